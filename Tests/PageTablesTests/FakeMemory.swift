import PageTables

/// Guest memory from one address on, which records every access.
final class FakeMemory: PhysicalMemory {
  /// How pages are handed out.
  enum Style: CaseIterable {
    /// Every page where it stands.
    case resident
    /// Every page copied, many in one request.
    case copying
    /// Every other page where it stands.
    case mixed
  }

  enum Access: Hashable {
    case read(GPA, count: Int)
    case resident(GPA)
    case batch([GPA])
  }

  let base: UInt64
  let style: Style
  var accesses: [Access] = []
  /// Called before a page is handed out, to change memory under the reader.
  var beforeAccess: (() -> Void)?
  private let bytes: UnsafeMutableRawBufferPointer
  private let holes: Set<UInt64>

  /// `pages` zero pages from `base` on; those in `holes` cannot be read.
  init(base: UInt64 = 0x8000_0000, pages: Int, style: Style = .resident, holes: Set<UInt64> = []) {
    self.base = base
    self.style = style
    self.holes = holes
    bytes = .allocate(byteCount: pages * 4096, alignment: 4096)
    bytes.initializeMemory(as: UInt8.self, repeating: 0)
  }

  deinit { bytes.deallocate() }

  func store(_ value: UInt64, at address: UInt64, bytes count: Int = 8) {
    for byte in 0..<count { bytes[Int(address - base) + byte] = UInt8(value >> UInt64(8 * byte) & 0xff) }
  }

  func read(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) throws(UnreadableMemory) {
    accesses.append(.read(address, count: buffer.count))
    try copy(address, into: buffer)
  }

  private func copy(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) throws(UnreadableMemory) {
    var byte = address
    while byte - address < UInt64(buffer.count) {
      guard isReadable(byte) else { throw UnreadableMemory(address: byte, reason: "a hole") }
      byte = byte.page + 4096
    }
    guard let from = bytes.baseAddress else { return }
    buffer.baseAddress?.copyMemory(from: from + Int(address.rawValue - base), byteCount: buffer.count)
  }

  func residentPage(_ page: GPA) -> UnsafeRawPointer? {
    beforeAccess?()
    guard style != .copying, isReadable(page), style == .resident || page.rawValue >> 12 & 1 == 0 else { return nil }
    accesses.append(.resident(page))
    return UnsafeRawPointer(bytes.baseAddress.map { $0 + Int(page.rawValue - base) })
  }

  func readPages(_ pages: [GPA], into buffer: UnsafeMutableRawBufferPointer) -> Int {
    accesses.append(.batch(pages))
    for (position, page) in pages.enumerated() {
      guard isReadable(page) else { return position }
      buffer.baseAddress.map { to in
        bytes.baseAddress.map { from in
          (to + position * 4096).copyMemory(from: from + Int(page.rawValue - base), byteCount: 4096)
        }
      }
    }
    return pages.count
  }

  private func isReadable(_ address: GPA) -> Bool {
    address.rawValue >= base && address.rawValue - base < UInt64(bytes.count) && !holes.contains(address.page.rawValue)
  }
}

/// Sv39 tables built leaf by leaf, for tests that need to know where everything lies.
struct TestTables {
  let memory: FakeMemory
  let root: GPA
  private(set) var tables: [GPA]

  init(pages: Int, style: FakeMemory.Style = .resident, holes: Set<UInt64> = []) {
    memory = FakeMemory(pages: pages, style: style, holes: holes)
    root = GPA(memory.base)
    tables = [root]
  }

  /// Stores `entry` for `iova` at `level`, making tables on the way in order of their first use.
  mutating func set(_ iova: UInt64, _ entry: UInt64, level: Int = 0) {
    var table = root
    for above in stride(from: 2, to: level, by: -1) {
      let address = table + ((iova >> UInt64(12 + 9 * above)) & 511) * 8
      let pointer = (try? memory.word(at: address)) ?? 0
      if pointer == 0 {
        let new = GPA(memory.base + UInt64(tables.count) * 4096)
        tables.append(new)
        memory.store(new.rawValue >> 2 | 1, at: address.rawValue)
        table = new
      } else {
        table = GPA((pointer >> 10) << 12)
      }
    }
    memory.store(entry, at: (table + ((iova >> UInt64(12 + 9 * level)) & 511) * 8).rawValue)
    memory.accesses = []
  }
}
