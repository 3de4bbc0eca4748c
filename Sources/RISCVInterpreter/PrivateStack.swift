internal import PageTables

/// The stack of an interpreted function: the only memory it may write, and none of the guest's.
///
/// It lies at addresses that no paging mode translates: bits 63:56 are neither all zero nor all one, so Sv39, Sv48 and Sv57
/// all fault there (privileged specification, "Sv57: Page-Based 57-bit Virtual-Memory System"), and no pointer of a guest
/// leads there by right.
///
/// Bytes that were never written read as zero. Correct code reads such bytes where it copies a structure with its padding,
/// or changes one bit field of a fresh word, and its result does not depend on them; to refuse would stop at harmless
/// functions. Where a result does depend on them it is undefined on the real machine as well.
struct PrivateStack {
  /// In bytes: four times the kernel's own, because code for debugging has large frames.
  static let size = 64 * 1024
  /// The first address behind the stack, and the initial stack pointer (16-byte aligned, as the calling convention asks).
  static let top = base + UInt64(size)
  /// The place that the outermost function returns to.
  static let returnAddress = KVA(region.rawValue | 0xffff_ffff_fff0)

  private static let region = KVA(0x5a00_0000_0000_0000)
  private static let base = region + 0x8000_0000_0000

  /// Where an access goes.
  enum Place: Hashable {
    /// To the stack, at this offset from its lowest byte.
    case inside(Int)
    /// Below the stack.
    case below
    /// At or above its top, if only with the last byte.
    case above
    /// To the guest's memory.
    case elsewhere
  }

  private var bytes = [UInt8](repeating: 0, count: size)

  /// Where `count` bytes at `address` lie.
  static func place(_ address: KVA, count: Int) -> Place {
    guard address.rawValue >> 48 == region.rawValue >> 48 else { return .elsewhere }
    if address < base { return .below }
    guard let offset = Int(exactly: address - base), count <= size, offset <= size - count else { return .above }
    return .inside(offset)
  }

  /// The little-endian number in `count` bytes at `offset`; 0 outside.
  func load(_ offset: Int, count: Int) -> UInt64 {
    var value: UInt64 = 0
    for position in (0..<count).reversed() where bytes.indices.contains(offset + position) {
      value = value << 8 | UInt64(bytes[offset + position])
    }
    return value
  }

  /// Writes the low `count` bytes of `value`, little-endian; nothing outside.
  mutating func store(_ value: UInt64, _ offset: Int, count: Int) {
    for position in 0..<count where bytes.indices.contains(offset + position) {
      bytes[offset + position] = UInt8(truncatingIfNeeded: value >> UInt64(position * 8))
    }
  }
}
