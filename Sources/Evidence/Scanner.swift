/// Reads a line from left to right. Nothing it does can fail beyond saying no.
struct Scanner {
  private let bytes: ArraySlice<UInt8>
  private var position: Int

  /// At the start of `bytes`.
  init(_ bytes: ArraySlice<UInt8>) {
    self.bytes = bytes
    position = bytes.startIndex
  }

  /// What is left.
  var rest: ArraySlice<UInt8> { bytes[position...] }
  /// Whether nothing is left.
  var isAtEnd: Bool { position >= bytes.endIndex }
  /// The next byte.
  var next: UInt8? { isAtEnd ? nil : bytes[position] }

  /// Passes spaces and tabs.
  mutating func skipSpaces() { _ = take(while: \.isSpace) }

  /// Passes bytes as long as `condition` holds, and returns them.
  mutating func take(while condition: (UInt8) -> Bool) -> ArraySlice<UInt8> {
    let start = position
    while position < bytes.endIndex, condition(bytes[position]) { position += 1 }
    return bytes[start..<position]
  }

  /// Passes `literal` when it is next.
  mutating func take(_ literal: String) -> Bool {
    guard rest.hasPrefix(literal) else { return false }
    position += literal.utf8.count
    return true
  }

  /// Goes behind the next `word`; stays where it is when there is none.
  mutating func skip(past word: String) -> Bool {
    guard let found = rest.position(of: word) else { return false }
    position = found + word.utf8.count
    return true
  }

  /// A C identifier.
  mutating func identifier() -> String? {
    guard let next, next.isIdentifier, !next.isDigit else { return nil }
    return take(while: \.isIdentifier).text
  }

  /// A number as C writes it: decimal, perhaps negative, or hexadecimal with 0x, cut to no bits: one of more than 64 is none.
  mutating func number() -> UInt64? {
    let start = position
    if let value = unsignedNumber() { return value }
    position = start
    return nil
  }

  private mutating func unsignedNumber() -> UInt64? {
    if take("0x") || take("0X") {
      let digits = take(while: \.isHexDigit)
      return digits.isEmpty ? nil : UInt64(digits.text, radix: 16)
    }
    let isNegative = take("-")
    let digits = take(while: \.isDigit)
    guard !digits.isEmpty else { return nil }
    if isNegative { return Int64("-" + digits.text).map { UInt64(bitPattern: $0) } }
    return UInt64(digits.text)
  }

  /// Hexadecimal digits without 0x.
  mutating func hexadecimal() -> UInt64? {
    let start = position
    if let value = UInt64(take(while: \.isHexDigit).text, radix: 16) { return value }
    position = start
    return nil
  }

  /// Whether a number, an identifier or the like ends here.
  var isAtWordEnd: Bool { next.map { !$0.isIdentifier } ?? true }
}

/// The number that `bytes` is, spaces around it allowed; nil for anything else.
func wholeNumber(_ bytes: ArraySlice<UInt8>) -> UInt64? {
  var scanner = Scanner(bytes.trimmed)
  guard let value = scanner.number(), scanner.isAtEnd else { return nil }
  return value
}
