package import PageTables

/// 256 MiB of guest RAM of which only the pages that were written take room; the others read as zero.
package final class SimulatedMemory: PhysicalMemory {
  /// Where RAM lies.
  package static let ram: Range<UInt64> = 0x8000_0000..<0x9000_0000
  /// A page that every read of an unwritten page shows.
  private let zero = SimulatedMemory.newPage()
  private var pages: [UInt64: UnsafeMutablePointer<UInt64>] = [:]
  /// Pages that cannot be read.
  package var unreadable: Set<GPA> = []

  package init() {}

  deinit {
    zero.deallocate()
    for page in pages.values { page.deallocate() }
  }

  private static func newPage() -> UnsafeMutablePointer<UInt64> {
    let page = UnsafeMutablePointer<UInt64>.allocate(capacity: 512)
    page.initialize(repeating: 0, count: 512)
    return page
  }

  /// The word at an address that is a multiple of 8. What is written outside RAM is lost, as on a bus where nobody answers:
  /// a wrong driver takes leaves for tables.
  package subscript(address: UInt64) -> UInt64 {
    get { pages[address >> 12].map { UInt64(littleEndian: $0[Int(address >> 3 & 511)]) } ?? 0 }
    set {
      guard Self.ram.contains(address) else { return }
      let page = pages[address >> 12] ?? Self.newPage()
      pages[address >> 12] = page
      page[Int(address >> 3 & 511)] = newValue.littleEndian
    }
  }

  package func residentPage(_ page: GPA) -> UnsafeRawPointer? {
    guard Self.ram.contains(page.rawValue), !unreadable.contains(page) else { return nil }
    return UnsafeRawPointer(pages[page.rawValue >> 12] ?? zero)
  }

  package func read(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) throws(UnreadableMemory) {
    for offset in 0..<buffer.count {
      let byte = address + UInt64(offset)
      guard let page = residentPage(byte.page) else {
        throw UnreadableMemory(address: byte, reason: "outside guest RAM")
      }
      buffer[offset] = page.load(fromByteOffset: byte.pageOffset, as: UInt8.self)
    }
  }

  /// The written pages as the content of a RAM file, up to the last of them.
  package func image() -> [UInt8] {
    let last = pages.keys.max() ?? Self.ram.lowerBound >> 12
    var bytes = [UInt8](repeating: 0, count: Int((last + 1) << 12 - Self.ram.lowerBound))
    for (number, page) in pages {
      let start = Int(number << 12 - Self.ram.lowerBound)
      bytes.replaceSubrange(start..<start + 4096, with: UnsafeRawBufferPointer(start: page, count: 4096))
    }
    return bytes
  }
}
