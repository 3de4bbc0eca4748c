/// Writes ELF64 cores as QEMU does, and with one thing wrong where a test wants that.
struct CoreWriter {
  struct Segment {
    var type: UInt32 = 1
    var physical: UInt64
    var virtual: UInt64?
    var bytes: [UInt8]
    /// p_memsz, when it is not the number of bytes.
    var claimed: UInt64?
  }

  var segments: [Segment] = []
  /// e_phnum = PN_XNUM, the number in section header 0.
  var usesExtendedNumbering = false

  /// QEMU's layout: header, section headers, program headers, then the segments, aligned to nothing.
  var bytes: [UInt8] {
    let tableOffset = 64 + 64
    var file: [UInt8] = [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0] + [UInt8](repeating: 0, count: 8)
    file.append(UInt16(4), UInt16(243), UInt32(1))
    file.append(UInt64(0), UInt64(tableOffset), UInt64(64))
    file.append(UInt32(0), UInt16(64), UInt16(56))
    file.append(UInt16(usesExtendedNumbering ? 0xffff : segments.count), UInt16(64), UInt16(1), UInt16(0))
    file += [UInt8](repeating: 0, count: 44)
    file.append(UInt32(usesExtendedNumbering ? segments.count : 0))
    file += [UInt8](repeating: 0, count: 16)
    var offset = tableOffset + 56 * segments.count + 4
    for segment in segments {
      file.append(segment.type, UInt32(0))
      file.append(UInt64(offset), segment.virtual ?? segment.physical, segment.physical)
      file.append(UInt64(segment.bytes.count), segment.claimed ?? UInt64(segment.bytes.count), UInt64(0))
      offset += segment.bytes.count
    }
    return file + [0, 0, 0, 0] + segments.flatMap(\.bytes)
  }
}

extension [UInt8] {
  /// Little-endian.
  mutating func append<each Value: FixedWidthInteger>(_ values: repeat each Value) {
    for value in repeat each values { Swift.withUnsafeBytes(of: value.littleEndian) { self += $0 } }
  }

  /// A copy with `value` at `offset`, little-endian.
  func patched<Value: FixedWidthInteger>(_ offset: Int, _ value: Value) -> [UInt8] {
    var copy = self
    copy.replaceSubrange(
      offset..<offset + MemoryLayout<Value>.size, with: Swift.withUnsafeBytes(of: value.littleEndian, Array.init))
    return copy
  }
}
