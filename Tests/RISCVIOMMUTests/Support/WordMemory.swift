import PageTables

/// Eight-byte words in a dictionary; all else reads zero. Pages can be taken away, and resident pages made of what is left.
final class WordMemory: PhysicalMemory {
  private(set) var words: [UInt64: UInt64] = [:]
  /// Pages that cannot be read.
  var holes: Set<UInt64> = []

  subscript(address: UInt64) -> UInt64 {
    get { words[address] ?? 0 }
    set { words[address] = newValue }
  }

  /// Stores four bytes.
  func store(_ value: UInt32, at address: UInt64) {
    let shift = (address & 4) * 8
    words[address & ~7] = (words[address & ~7] ?? 0) & ~(0xffff_ffff << shift) | UInt64(value) << shift
  }

  func read(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) throws(UnreadableMemory) {
    if buffer.count == 8 && address.rawValue & 7 == 0 && !holes.contains(address.page.rawValue) {
      return withUnsafeBytes(of: (words[address.rawValue] ?? 0).littleEndian) { buffer.copyBytes(from: $0) }
    }
    for offset in 0..<buffer.count {
      let byte = address.rawValue &+ UInt64(offset)
      guard !holes.contains(byte & ~0xfff) else { throw UnreadableMemory(address: GPA(byte), reason: "a hole") }
      buffer[offset] = UInt8(truncatingIfNeeded: (words[byte & ~7] ?? 0) >> ((byte & 7) * 8))
    }
  }
}
