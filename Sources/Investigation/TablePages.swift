public import IOMMUModel
public import PageTables

/// The pages that a device can reach from its contexts and roots, and those in which its faults wait: what an investigation
/// keeps to be read without the guest.
public enum TablePages {
  /// Pages kept at most; beyond it the snapshot is cut, which a walk then reports as unreadable.
  public static let limit = 1 << 16

  /// What it is doing, for a person who waits.
  static let work = "reading the tables"

  /// A page as a table of one level.
  private struct Table: Hashable {
    let address: GPA
    let level: Int
    let mode: PagingMode
  }

  /// The pages, by address, at most `limit`; those `queued` are wanted besides. Unreadable ones are left out, and those that are reached after `progress` has
  /// stopped.
  public static func collect(
    contexts: [DeviceContext], roots: [TableRoot], queued: Set<GPA> = [], memory: any PhysicalMemory,
    limit: Int = limit, progress: WorkProgress? = nil
  ) -> [GPA: [UInt8]] {
    var pages: [GPA: [UInt8]] = [:]
    // What several roots lead to is gone through once.
    var parsed: Set<Table> = []
    func keep(_ address: GPA) -> [UInt8]? {
      if let known = pages[address.page] { return known }
      guard pages.count < limit, progress?.stops(work, at: pages.count) != true,
        let bytes = try? memory.bytes(at: address.page, count: 4096)
      else { return nil }
      pages[address.page] = bytes
      return bytes
    }
    for page in queued.sorted() { _ = keep(page) }
    for context in contexts { for word in context.words { _ = keep(word.address) } }
    for root in Set(roots + contexts.compactMap(\.firstStage)) {
      let size = root.mode.entryFormat.bytes
      var tables = root.mode.isSecondStage ? (0..<4).map { root.address + $0 * 4096 } : [root.address]
      for level in stride(from: root.mode.levels - 1, through: 0, by: -1) {
        var below: [GPA] = []
        var seen: Set<GPA> = []
        for table in tables {
          guard let bytes = keep(table), level > 0,
            parsed.insert(Table(address: table, level: level, mode: root.mode)).inserted,
            progress?.stops(work, at: parsed.count) != true
          else { continue }
          for start in stride(from: 0, to: 4096, by: size) {
            let bits = bytes[start..<start + size].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            let entry = PageTableEntry(rawValue: bits, format: root.mode.entryFormat)
            if entry.isPointer && below.count < limit && seen.insert(entry.address).inserted {
              below.append(entry.address)
            }
          }
        }
        tables = below
      }
    }
    return pages
  }

  /// The pages in which faults of `device` wait for a driver to take them: without them nobody can tell later that it did not.
  public static func queued(
    by device: any DeviceModel, registers: RegisterValues?, memory: any PhysicalMemory
  ) -> Set<GPA> {
    guard let registers else { return [] }
    let noted = NotedMemory(of: memory)
    _ = try? device.faults(registers: registers, memory: noted, limit: Symptoms.queueLimit)
    return noted.pages
  }
}

/// Takes note of the pages that are asked for.
private final class NotedMemory: PhysicalMemory {
  private let memory: any PhysicalMemory
  private(set) var pages: Set<GPA> = []

  init(of memory: any PhysicalMemory) { self.memory = memory }

  func read(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) throws(UnreadableMemory) {
    pages.insert(address.page)
    if buffer.count > 0 { pages.insert((address + UInt64(buffer.count - 1)).page) }
    try memory.read(address, into: buffer)
  }

  func residentPage(_ page: GPA) -> UnsafeRawPointer? {
    pages.insert(page)
    return memory.residentPage(page)
  }
}
