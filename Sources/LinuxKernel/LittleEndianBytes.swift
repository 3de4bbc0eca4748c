/// Bytes of the guest, read as numbers.
struct LittleEndianBytes {
  let bytes: [UInt8]

  /// The number in `count` bytes (8 at most) at `offset`; nil outside.
  func integer(at offset: Int, count: Int = 8) -> UInt64? {
    guard offset >= 0, count >= 0, offset <= bytes.count, count <= bytes.count - offset else { return nil }
    return bytes[offset..<offset + count].reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }
}
