public import PageTables

/// A guest's memory with Sv39 tables in it, shuffled as a kernel leaves them.
public final class Image: PhysicalMemory {
  /// What the leaves look like.
  public enum Shape: String, CaseIterable {
    /// 16 contiguous pages, then a hole.
    case runs
    /// Nothing merges.
    case rand
    /// 1,000 leaves, 512 GiB / 1,000 apart.
    case sparse
  }

  /// The root table, and where the image starts.
  public let root = GPA(0x8000_0000)
  /// How many leaves the tables have room for.
  public let leaves: Int
  /// How many pages the tables have.
  public var pages: Int { bytes.count / 4096 }
  private let bytes: UnsafeMutableRawBufferPointer
  /// The bytes of all tables, which is what a memcpy of them moves.
  public var tableBytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(bytes) }

  /// Tables with room for 2^`leavesLog2` leaves, 9 to 27, all of which are used but for the holes of a shape; a sparse
  /// image is always the same.
  public init(_ shape: Shape, leavesLog2: Int) {
    let leafTables = shape == .sparse ? Self.sparseLeaves : (1 << leavesLog2) / 512
    // The leaf tables by their place in the space: the number of each 2 MiB.
    let places = (0..<leafTables).map { shape == .sparse ? $0 * (512 * 512) / leafTables : $0 }
    let middleTables = Set(places.map { $0 / 512 }).count
    leaves = shape == .sparse ? leafTables : leafTables * 512
    let pages = 1 + middleTables + leafTables
    bytes = .allocate(byteCount: pages * 4096, alignment: 4096)
    bytes.initializeMemory(as: UInt64.self, repeating: 0)
    var generator = Generator(state: 0x9e37_79b9_7f4a_7c15)
    var order = Array(1..<pages).shuffled(using: &generator)
    var middle: (place: Int, page: Int)?
    for place in places {
      if middle?.place != place / 512, let page = order.popLast() {
        middle = (place / 512, page)
        store(pointer(to: page), page: 0, index: place / 512)
      }
      guard let middle, let page = order.popLast() else { break }
      store(pointer(to: page), page: middle.page, index: place % 512)
      for leaf in 0..<512 {
        let number = UInt64(place * 512 + leaf)
        switch shape {
        case .runs where leaf % 17 == 16: continue
        case .sparse where leaf != place % 512: continue
        case .runs, .sparse: store((0x100_000 + number) << 10 | 7, page: page, index: leaf)
        case .rand: store(UInt64.random(in: 0..<1 << 30, using: &generator) * 2 << 10 | 7, page: page, index: leaf)
        }
      }
    }
  }

  private static let sparseLeaves = 1000

  deinit { bytes.deallocate() }

  private func pointer(to page: Int) -> UInt64 { (root.rawValue >> 12 + UInt64(page)) << 10 | 1 }

  private func store(_ value: UInt64, page: Int, index: Int) {
    bytes.storeBytes(of: value.littleEndian, toByteOffset: page * 4096 + index * 8, as: UInt64.self)
  }

  /// Copies bytes of the image.
  public func read(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) throws(UnreadableMemory) {
    let offset = address - root
    guard offset <= UInt64(bytes.count), UInt64(buffer.count) <= UInt64(bytes.count) - offset else {
      throw UnreadableMemory(address: address, reason: "outside the image")
    }
    buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[Int(offset)..<Int(offset) + buffer.count]))
  }

  /// The page where it stands.
  public func residentPage(_ page: GPA) -> UnsafeRawPointer? {
    let offset = page - root
    guard offset < UInt64(bytes.count) else { return nil }
    return bytes.baseAddress.map { UnsafeRawPointer($0) + Int(offset) }
  }
}

/// A small repeatable random number generator (xorshift64).
public struct Generator: RandomNumberGenerator {
  private var state: UInt64

  /// A generator that starts from `state`, which must not be 0.
  public init(state: UInt64) { self.state = state }

  /// The next number.
  public mutating func next() -> UInt64 {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return state
  }
}
