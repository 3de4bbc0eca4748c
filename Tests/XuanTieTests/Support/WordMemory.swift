import PageTables

/// Eight-byte words in a dictionary; all else in `range` reads zero. Pages can be taken away, and every read is recorded.
final class WordMemory: PhysicalMemory {
  var words: [UInt64: UInt64]
  /// Where something answers.
  var range = UInt64.min...UInt64.max
  /// Pages in it that cannot be read.
  var holes: Set<UInt64> = []
  /// The addresses read, in order.
  private(set) var reads: [UInt64] = []

  init(_ words: [UInt64: UInt64] = [:]) { self.words = words }

  /// Stores eight bytes anywhere.
  func store(_ value: UInt64, at address: UInt64) {
    let shift = (address & 7) * 8
    let first = address & ~7
    guard shift > 0 else { return words[first] = value }
    words[first] = (words[first] ?? 0) & ((1 << shift) - 1) | value << shift
    words[first &+ 8] = ((words[first &+ 8] ?? 0) >> shift) << shift | value >> (64 - shift)
  }

  func read(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) throws(UnreadableMemory) {
    reads.append(address.rawValue)
    if address.rawValue & 7 == 0 && buffer.count == 8 && isReadable(address.rawValue) {
      return withUnsafeBytes(of: (words[address.rawValue] ?? 0).littleEndian) { buffer.copyBytes(from: $0) }
    }
    for offset in 0..<buffer.count {
      let byte = address.rawValue &+ UInt64(offset)
      guard isReadable(byte) else { throw UnreadableMemory(address: GPA(byte), reason: "a hole") }
      buffer[offset] = UInt8(truncatingIfNeeded: (words[byte & ~7] ?? 0) >> ((byte & 7) * 8))
    }
  }

  private func isReadable(_ byte: UInt64) -> Bool { range.contains(byte) && !holes.contains(byte & ~0xfff) }
}
