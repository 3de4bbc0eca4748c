/// Marks what a person looks for in a text of ``Terminal``, for a terminal that shows styles. The text is one of this module's own,
/// so that its words are known; nothing is concluded from them.
public struct Styling: Sendable {
  /// What is marked.
  public enum Style: String, CaseIterable, Sendable {
    /// Where something lies: `0x864cd018`. Values of entries, registers and flags are none.
    case address
    /// A function of the target.
    case function
    /// What a block of lines is about, and the heads of tables.
    case title
    /// What is wrong.
    case highlight
  }

  private let starts: [Style: String]
  private static let reset = "\u{1b}[m"

  /// `starts` are the terminal's escape sequences that begin a style; a style without one is left plain.
  public init(starts: [Style: String]) { self.starts = starts.filter { !$0.value.isEmpty } }

  /// `text` with escape sequences. Each style ends where it began, on the same line.
  public func apply(to text: String) -> String {
    let bytes = Array(text.utf8)
    var styled: [UInt8] = []
    styled.reserveCapacity(bytes.count * 2)
    for line in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
      if line.startIndex > bytes.startIndex { styled.append(UInt8(ascii: "\n")) }
      apply(to: StyledLine(line), into: &styled)
    }
    return String(decoding: styled, as: UTF8.self)
  }

  private func apply(to line: StyledLine, into styled: inout [UInt8]) {
    var index = line.bytes.startIndex
    while index < line.bytes.endIndex {
      guard let (style, end) = line.mark(at: index), let start = starts[style] else {
        styled.append(line.bytes[index])
        index += 1
        continue
      }
      styled += start.utf8
      styled += line.bytes[index..<end]
      styled += Self.reset.utf8
      index = end
    }
  }
}

/// A line in which marks are looked for, byte by byte: a dump has a million of them.
private struct StyledLine {
  let bytes: ArraySlice<UInt8>
  private let hasArrow: Bool

  init(_ bytes: ArraySlice<UInt8>) {
    self.bytes = bytes
    hasArrow = bytes.contains(UInt8(ascii: "<"))
  }

  /// The style that begins at `index`, and where it ends; nil for none.
  func mark(at index: Int) -> (Styling.Style, end: Int)? {
    if index == bytes.startIndex, let end = titleEnd() { return (.title, end) }
    // What is looked for are words.
    if index > bytes.startIndex && Self.isWord(bytes[index - 1]) { return nil }
    if let end = addressEnd(index) { return (.address, end) }
    if hasArrow, let end = functionEnd(index) { return (.function, end) }
    if let end = alarmEnd(index) { return (.highlight, end) }
    return nil
  }

  private func has(_ text: StaticString, at index: Int) -> Bool {
    index >= bytes.startIndex && index + text.utf8CodeUnitCount <= bytes.endIndex
      && text.withUTF8Buffer { bytes[index...].starts(with: $0) }
  }

  private func has(_ text: StaticString, before index: Int) -> Bool { has(text, at: index - text.utf8CodeUnitCount) }

  /// Where `text` begins at or behind `index`; the line's end where it does not.
  private func start(of text: StaticString, from index: Int) -> Int {
    (index..<bytes.endIndex).first { has(text, at: $0) } ?? bytes.endIndex
  }

  // MARK: Titles

  /// Words with which a block of lines begins.
  private static let titles: [StaticString] = ["map #", "unmap #", "walk ", "device walk,", "translate "]
  /// The first two heads of tables.
  private static let heads: [(StaticString, StaticString)] = [("device ", "rsid "), ("domain ", "type ")]

  private func titleEnd() -> Int? {
    guard let first = bytes.first, first != UInt8(ascii: " ") else { return nil }
    for (head, second) in Self.heads where has(head, at: bytes.startIndex) {
      let next = bytes[bytes.startIndex...].dropFirst(head.utf8CodeUnitCount).firstIndex { $0 != UInt8(ascii: " ") }
      if let next, has(second, at: next) { return bytes.endIndex }
    }
    let support = start(of: "   ", from: bytes.startIndex)
    if UInt8(ascii: "1")...UInt8(ascii: "9") ~= first {
      // A cause: all of it but the support in parentheses.
      let digits = bytes.prefix { UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 }
      return has(". ", at: digits.endIndex) ? support : nil
    }
    guard Self.titles.contains(where: { has($0, at: bytes.startIndex) }) else { return nil }
    return min(support, start(of: " 0x", from: bytes.startIndex))
  }

  // MARK: Words

  /// Before a hexadecimal number that is a value: of an entry, of a register, of flags.
  private static let valueSigns: [StaticString] = ["= ", "(", "satp "]

  /// The end of a hexadecimal number that is no value.
  private func addressEnd(_ index: Int) -> Int? {
    guard bytes[index] == UInt8(ascii: "0"), has("0x", at: index) else { return nil }
    let end = bytes[(index + 2)...].firstIndex { !Self.isHexDigit($0) } ?? bytes.endIndex
    return Self.valueSigns.contains { has($0, before: index) } ? nil : end
  }

  /// The end of a name beside an arrow of a chain of calls.
  private func functionEnd(_ index: Int) -> Int? {
    guard bytes[index] != UInt8(ascii: " "), index == bytes.startIndex || bytes[index - 1] == UInt8(ascii: " ") else {
      return nil
    }
    let end = bytes[index...].firstIndex(of: UInt8(ascii: " ")) ?? bytes.endIndex
    if has("<-", at: index) { return nil }
    return has(" <- ", at: end) || has(" <- ", before: index) ? end : nil
  }

  /// Words that tell of something wrong.
  private static let alarms: [StaticString] = [
    "not valid", "missing", "wrong address", "wrong permission", "stale after unmap", "overwritten", "malformed",
    "faults:", "refused", "bypassed", "latched fault hides", "is wrong", "disagree",
  ]
  private static let alarmStarts = Set(alarms.map { $0.utf8Start.pointee })

  private func alarmEnd(_ index: Int) -> Int? {
    // An item of a checklist that fails.
    if index == bytes.startIndex, has("fail  ", at: index) { return index + 4 }
    guard Self.alarmStarts.contains(bytes[index]), let alarm = Self.alarms.first(where: { has($0, at: index) }) else {
      return nil
    }
    return index + alarm.utf8CodeUnitCount
  }

  private static func isHexDigit(_ byte: UInt8) -> Bool {
    UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte || UInt8(ascii: "a")...UInt8(ascii: "f") ~= byte
  }

  private static func isWord(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
      UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "_"):
      true
    default: false
    }
  }
}
