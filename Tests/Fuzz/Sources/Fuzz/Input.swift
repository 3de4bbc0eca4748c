import PageTables

/// The bytes that a fuzzer thought of, taken from the front; behind their end there are zeros.
struct Input {
  private var bytes: UnsafeRawBufferPointer.SubSequence

  init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes[...] }

  var isEmpty: Bool { bytes.isEmpty }

  mutating func byte() -> UInt8 { bytes.popFirst() ?? 0 }

  mutating func word() -> UInt64 { (0..<8).reduce(0) { word, _ in word << 8 | UInt64(byte()) } }

  /// A number from 0 to `bound - 1`, which is at most 65535.
  mutating func below(_ bound: Int) -> Int {
    let high = bound > 256 ? Int(byte()) << 8 : 0
    return (high | Int(byte())) % bound
  }

  mutating func pick<Choices: RandomAccessCollection>(_ choices: Choices) -> Choices.Element
  where Choices.Index == Int {
    choices[choices.startIndex + below(choices.count)]
  }

  /// A number as hostile input has them: any, or at a power of two, which one byte more is enough for.
  mutating func number() -> UInt64 {
    switch below(4) {
    case 0: word()
    case 1: 1 << UInt64(below(64))
    case 2: (1 << UInt64(below(64))) - 1
    default: UInt64(byte())
    }
  }

  /// Up to `count` bytes.
  mutating func take(_ count: Int) -> [UInt8] {
    let taken = Array(bytes.prefix(count))
    bytes = bytes.dropFirst(count)
    return taken
  }

  mutating func rest() -> [UInt8] { take(bytes.count) }
}
