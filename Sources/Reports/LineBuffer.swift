import PageTables

/// Text of many lines, put together byte by byte: a dump has hundreds of thousands, and a string made for each of them would
/// cost ten times the walk.
struct LineBuffer {
  /// The text's bytes, and room for more.
  private var bytes: [UInt8]
  private var count = 0
  private let capacity: Int
  private var hasHandedOut = false
  // Mappings in a row mostly have the same flags and the same size.
  private var known = (flags: PageTableEntry.Flags(), size: UInt64(0))
  private var knownText: [UInt8] = []

  /// What a mapping's line has before its size: three numbers, each written as two words of eight digits.
  private static let numbersRoom = 3 * 18 + 5 + 16

  /// Text that is full at `capacity` bytes.
  init(capacity: Int) {
    self.capacity = capacity
    bytes = Array(repeating: 0, count: capacity + 512)
  }

  /// Whether no line was ever added.
  var isUnused: Bool { count == 0 && !hasHandedOut }

  /// Hands out what is there, and starts anew.
  mutating func flush(_ emit: (String) throws -> Void) rethrows {
    if count == 0 { return }
    hasHandedOut = true
    let text = String(decoding: bytes[..<count], as: UTF8.self)
    count = 0
    try emit(text)
  }

  private mutating func flushIfFull(_ emit: (String) throws -> Void) rethrows {
    if count >= capacity { try flush(emit) }
  }

  /// Adds a line as it is; hands the text out when it is full.
  mutating func add(line: String, emit: (String) throws -> Void) rethrows {
    let text = Array((line + "\n").utf8)
    makeRoom(text.count)
    let start = count
    bytes.withUnsafeMutableBytes { UnsafeMutableRawBufferPointer(rebasing: $0[start...]).copyBytes(from: text) }
    count = start + text.count
    try flushIfFull(emit)
  }

  /// Adds a line for each mapping, `0x1000-0x1fff -> 0x80000000  4 KiB  V R W`, and hands the text out whenever it is full.
  mutating func add(_ mappings: Span<Mapping>, emit: (String) throws -> Void) rethrows {
    for index in mappings.indices {
      add(mappings[index])
      try flushIfFull(emit)
    }
  }

  private mutating func add(_ mapping: Mapping) {
    if knownText.isEmpty || known != (mapping.flags, mapping.size) {
      known = (mapping.flags, mapping.size)
      knownText = Array("  \(size(mapping.size))  \(mapping.flags.description)\n".utf8)
    }
    makeRoom(Self.numbersRoom + knownText.count)
    var end = count
    let text = knownText
    bytes.withUnsafeMutableBytes { buffer in
      Self.put(mapping.iova.rawValue, in: buffer, at: &end)
      buffer[end] = 0x2d
      end += 1
      Self.put(mapping.last.rawValue, in: buffer, at: &end)
      // ` -> `
      buffer.storeBytes(of: (0x203e_2d20 as UInt32).littleEndian, toByteOffset: end, as: UInt32.self)
      end += 4
      Self.put(mapping.target.rawValue, in: buffer, at: &end)
      UnsafeMutableRawBufferPointer(rebasing: buffer[end...]).copyBytes(from: text)
    }
    count = end + text.count
  }

  private mutating func makeRoom(_ more: Int) {
    if bytes.count - count < more { bytes += Array(repeating: 0, count: max(more, 512)) }
  }

  /// Writes `0x` and the digits of `value`, at least one. What lies behind them, up to the sixteenth, is written over as well.
  @inline(__always)
  private static func put(_ value: UInt64, in buffer: UnsafeMutableRawBufferPointer, at end: inout Int) {
    buffer.storeBytes(of: (0x7830 as UInt16).littleEndian, toByteOffset: end, as: UInt16.self)
    let digits = max(1, (67 - value.leadingZeroBitCount) / 4)
    let first = value << UInt64(64 - 4 * digits)
    buffer.storeBytes(of: Self.digits(first >> 32).bigEndian, toByteOffset: end + 2, as: UInt64.self)
    if digits > 8 {
      buffer.storeBytes(of: Self.digits(first & 0xffff_ffff).bigEndian, toByteOffset: end + 10, as: UInt64.self)
    }
    end += 2 + digits
  }

  /// The eight digits of a 32-bit value as eight characters, the first one in the highest byte.
  @inline(__always)
  private static func digits(_ value: UInt64) -> UInt64 {
    var spread = (value | value << 16) & 0x0000_ffff_0000_ffff
    spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff
    spread = (spread | spread << 4) & 0x0f0f_0f0f_0f0f_0f0f
    // 1 in each byte that is a letter: 6 more carries into its upper half.
    let letters = (spread &+ 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101
    return spread &+ 0x3030_3030_3030_3030 &+ letters &* 0x27
  }
}
