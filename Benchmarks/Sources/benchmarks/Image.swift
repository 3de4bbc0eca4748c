import PageTables

/// A guest's memory with Sv39 tables in it, shuffled as a kernel leaves them.
final class Image: PhysicalMemory {
  /// What the leaves look like.
  enum Shape: String, CaseIterable {
    /// 16 contiguous pages, then a hole.
    case runs
    /// Nothing merges.
    case rand
  }

  let root = GPA(0x8000_0000)
  let leaves: Int
  private let bytes: UnsafeMutableRawBufferPointer
  /// The bytes of all tables, which is what a memcpy of them moves.
  var tableBytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(bytes) }

  /// Tables with 2^`leavesLog2` leaves, 9 to 27.
  init(_ shape: Shape, leavesLog2: Int) {
    leaves = 1 << leavesLog2
    let leafTables = leaves / 512
    let middleTables = max(1, leafTables / 512)
    let pages = 1 + middleTables + leafTables
    bytes = .allocate(byteCount: pages * 4096, alignment: 4096)
    bytes.initializeMemory(as: UInt64.self, repeating: 0)
    var generator = Generator(state: 0x9e37_79b9_7f4a_7c15)
    let order = Array(1..<pages).shuffled(using: &generator)
    let middle = order[..<middleTables]
    let lower = order[middleTables...]
    func entry(_ page: Int) -> UInt64 { (root.rawValue >> 12 + UInt64(page)) << 10 }
    for (index, page) in middle.enumerated() { store(entry(page) | 1, page: 0, index: index) }
    for (index, page) in lower.enumerated() {
      store(entry(page) | 1, page: middle[middle.startIndex + index / 512], index: index % 512)
      for leaf in 0..<512 {
        let number = UInt64(index * 512 + leaf)
        switch shape {
        case .runs where leaf % 17 == 16: continue
        case .runs: store((0x100_000 + number) << 10 | 7, page: page, index: leaf)
        case .rand: store(UInt64.random(in: 0..<1 << 30, using: &generator) * 2 << 10 | 7, page: page, index: leaf)
        }
      }
    }
  }

  deinit { bytes.deallocate() }

  private func store(_ value: UInt64, page: Int, index: Int) {
    bytes.storeBytes(of: value.littleEndian, toByteOffset: page * 4096 + index * 8, as: UInt64.self)
  }

  func read(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) throws(UnreadableMemory) {
    let offset = address - root
    guard offset <= UInt64(bytes.count), UInt64(buffer.count) <= UInt64(bytes.count) - offset else {
      throw UnreadableMemory(address: address, reason: "outside the image")
    }
    buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[Int(offset)..<Int(offset) + buffer.count]))
  }

  func residentPage(_ page: GPA) -> UnsafeRawPointer? {
    let offset = page - root
    guard offset < UInt64(bytes.count) else { return nil }
    return bytes.baseAddress.map { UnsafeRawPointer($0) + Int(offset) }
  }
}

/// A small repeatable random number generator (xorshift64).
struct Generator: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return state
  }
}
