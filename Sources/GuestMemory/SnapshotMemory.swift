import Glibc
public import PageTables

/// Pages that were stored earlier: what an investigation recorded. Every page is resident.
public struct SnapshotMemory: PhysicalMemory, Sendable {
  /// Keeps the copies that the table points into.
  private let pages: PageCopies
  private let table: RangeTable

  /// Copies `pages`, each 4096 bytes at a multiple of 4096; else throws ``MemoryError/badPage(_:count:)``. No pages are
  /// fine: then nothing is readable.
  public init(pages: [GPA: [UInt8]]) throws(MemoryError) {
    let copies = PageCopies(count: pages.count)
    var ranges: [(range: MemoryRange, place: UInt64)] = []
    for (slot, (page, bytes)) in pages.sorted(by: { $0.key < $1.key }).enumerated() {
      guard bytes.count == 4096, page.pageOffset == 0 else { throw .badPage(page, count: bytes.count) }
      let target = UnsafeMutableRawBufferPointer(rebasing: copies.buffer[slot * 4096..<(slot + 1) * 4096])
      target.copyBytes(from: bytes)
      ranges.append((try MemoryRange(start: page, size: 4096), UInt64(UInt(bitPattern: target.baseAddress))))
    }
    self.pages = copies
    self.table = RangeTable(ranges, name: "the recorded pages")
  }

  /// Copies; fails at the first address that was not recorded.
  public func read(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) throws(UnreadableMemory) {
    try table.copy(address, into: buffer)
  }

  /// The recorded page, aligned to 4096 bytes.
  public func residentPage(_ page: GPA) -> UnsafeRawPointer? { table.residentPage(page) }
}

/// One allocation for all pages of a snapshot, so that pointers stay good while any copy of the snapshot lives.
private final class PageCopies: @unchecked Sendable {
  // Unchecked: written by one initializer before anybody else sees it.
  let buffer: UnsafeMutableRawBufferPointer

  init(count: Int) { buffer = .allocate(byteCount: count * 4096, alignment: 4096) }
  deinit { buffer.deallocate() }
}
