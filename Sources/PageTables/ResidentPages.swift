/// Memory whose pages are all resident: those that its source has to copy are copied once and kept. For a walk of many
/// addresses; the copies are as old as their first use.
public final class ResidentPages: PhysicalMemory {
  private let memory: any PhysicalMemory
  private let limit: Int
  /// nil for a page that cannot be read as a whole.
  private var copies: [GPA: UnsafeMutableRawPointer?] = [:]

  /// The pages of `memory`, of which at most `limit` are copied: 64 MiB. All others are read word by word.
  public init(of memory: any PhysicalMemory, limit: Int = 1 << 14) {
    self.memory = memory
    self.limit = limit
  }

  deinit { for copy in copies.values { copy?.deallocate() } }

  /// As the source reads.
  public func read(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) throws(UnreadableMemory) {
    try memory.read(address, into: buffer)
  }

  /// The page at its source or its copy; nil when it cannot be read, or copied any more.
  public func residentPage(_ page: GPA) -> UnsafeRawPointer? {
    if let page = memory.residentPage(page) { return page }
    if let known = copies[page] { return known.map { UnsafeRawPointer($0) } }
    guard copies.count < limit else { return nil }
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 4096)
    do throws(UnreadableMemory) {
      try memory.read(page, into: buffer)
      copies[page] = .some(buffer.baseAddress)
    } catch {
      buffer.deallocate()
      copies[page] = .some(nil)
    }
    return copies[page].flatMap { $0 }.map { UnsafeRawPointer($0) }
  }
}
