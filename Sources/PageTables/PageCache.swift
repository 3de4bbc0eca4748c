/// Reads each page once, so that looking at one from many sides costs one request; a page that failed stays unreadable.
///
/// For a moment in which the memory does not change: nothing is ever read again, save pages that are at hand anyway.
public final class PageCache: PhysicalMemory {
  private let memory: any PhysicalMemory
  private var pages: [GPA: Result<[UInt8], UnreadableMemory>] = [:]

  /// A cache before `memory`.
  public init(of memory: any PhysicalMemory) { self.memory = memory }

  /// From the page, which is asked for whole; what crosses a page's end is not kept.
  public func read(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) throws(UnreadableMemory) {
    guard address.pageOffset + buffer.count <= 4096 else { return try memory.read(address, into: buffer) }
    if let resident = memory.residentPage(address.page) {
      let bytes = UnsafeRawBufferPointer(start: resident + address.pageOffset, count: buffer.count)
      return buffer.copyMemory(from: bytes)
    }
    let bytes = try page(address.page)
    buffer.copyBytes(from: bytes[address.pageOffset..<address.pageOffset + buffer.count])
  }

  /// That of the memory behind.
  public func residentPage(_ page: GPA) -> UnsafeRawPointer? { memory.residentPage(page) }

  private func page(_ page: GPA) throws(UnreadableMemory) -> [UInt8] {
    if let known = pages[page] { return try known.get() }
    do throws(UnreadableMemory) {
      let bytes = try memory.bytes(at: page, count: 4096)
      pages[page] = .success(bytes)
      return bytes
    } catch {
      pages[page] = .failure(error)
      throw error
    }
  }
}
