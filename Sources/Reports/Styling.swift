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
    var styled = ""
    styled.reserveCapacity(text.utf8.count * 3 / 2)
    for (number, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      if number > 0 { styled += "\n" }
      apply(to: line, into: &styled)
    }
    return styled
  }

  private func apply(to line: Substring, into styled: inout String) {
    var end = line.startIndex
    for (range, style) in Self.marks(line) where range.lowerBound >= end {
      guard let start = starts[style] else { continue }
      styled += line[end..<range.lowerBound] + start + line[range] + Self.reset
      end = range.upperBound
    }
    styled += line[end...]
  }

  /// What is to be marked in a line, in order; of two marks at one place the first counts.
  private static func marks(_ line: Substring) -> [(Range<Substring.Index>, Style)] {
    var marks: [(Range<Substring.Index>, Style)] = []
    if let title = title(line) { marks.append((title, .title)) }
    marks += addresses(line).map { ($0, .address) }
    if let functions = functions(line) { marks += functions.map { ($0, .function) } }
    marks += alarms(line).map { ($0, .highlight) }
    return marks.enumerated().sorted { ($0.element.0.lowerBound, $0.offset) < ($1.element.0.lowerBound, $1.offset) }
      .map(\.element)
  }

  /// Words with which a block begins, and after which its title ends.
  private static let titles = ["map #", "unmap #", "walk", "device walk", "translate"]
  /// The first two heads of tables.
  private static let heads = [["device", "rsid"], ["domain", "type"]]

  private static func title(_ line: Substring) -> Range<Substring.Index>? {
    guard let first = line.first, first != " " else { return nil }
    let words = line.split(separator: " ", maxSplits: 2)
    if heads.contains(where: { zip($0, words).allSatisfy { $0 == $1 } && words.count > 1 }) {
      return line.startIndex..<line.endIndex
    }
    if first.isNumber, let number = words.first, number.last == "." {
      // A cause: all of it but the support in parentheses.
      return line.startIndex..<(line.firstRange(of: "   (")?.lowerBound ?? line.endIndex)
    }
    guard titles.contains(where: { line.hasPrefix($0) }) else { return nil }
    let end = line.firstRange(of: "   ")?.lowerBound ?? line.firstRange(of: " 0x")?.lowerBound ?? line.endIndex
    let word = line.firstRange(of: " 0x")?.lowerBound ?? end
    return line.startIndex..<min(end, word)
  }

  /// Before a hexadecimal number that is a value: of an entry, of a register, of flags.
  private static let valueSigns = ["= ", "(", "satp "]

  /// Hexadecimal numbers that are no values.
  private static func addresses(_ line: Substring) -> [Range<Substring.Index>] {
    var found: [Range<Substring.Index>] = []
    let bytes = line.utf8
    var index = bytes.startIndex
    var last = UInt8(0)
    while index < bytes.endIndex {
      let byte = bytes[index]
      let next = bytes.index(after: index)
      let starts = byte == UInt8(ascii: "0") && next < bytes.endIndex && bytes[next] == UInt8(ascii: "x")
      if starts && !isWord(last) {
        let end = bytes[next...].dropFirst().firstIndex { !isHexDigit($0) } ?? bytes.endIndex
        if !valueSigns.contains(where: { line[..<index].hasSuffix($0) }) { found.append(index..<end) }
        (last, index) = (UInt8(ascii: "0"), end)
        continue
      }
      (last, index) = (byte, next)
    }
    return found
  }

  private static func isHexDigit(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"): true
    default: false
    }
  }

  private static func isWord(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
      UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "_"):
      true
    default: false
    }
  }

  /// The names on both sides of each arrow of a chain of calls; nil where there is none.
  private static func functions(_ line: Substring) -> [Range<Substring.Index>]? {
    let arrow = " <- "
    guard line.utf8.contains(UInt8(ascii: "<")), line.contains(arrow) else { return nil }
    var found: [Range<Substring.Index>] = []
    for range in line.ranges(of: arrow) {
      let before = line[..<range.lowerBound]
      let start = before.lastIndex(of: " ").map { before.index(after: $0) } ?? before.startIndex
      if found.last?.lowerBound != start && start < before.endIndex { found.append(start..<before.endIndex) }
      let after = line[range.upperBound...]
      let end = after.firstIndex(of: " ") ?? after.endIndex
      if after.startIndex < end { found.append(after.startIndex..<end) }
    }
    return found
  }

  /// Words that tell of something wrong.
  private static let alarmWords = [
    "not valid", "missing", "wrong address", "wrong permission", "stale after unmap", "overwritten", "malformed",
    "faults", "refused", "bypassed", "latched fault", "is wrong", "disagree", "fail ",
  ]

  private static func alarms(_ line: Substring) -> [Range<Substring.Index>] {
    alarmWords.flatMap { word in
      line.ranges(of: word).filter { range in
        let isStart =
          range.lowerBound == line.startIndex || !isWord(line.utf8[line.utf8.index(before: range.lowerBound)])
        return isStart && (word != "fail " || range.lowerBound == line.startIndex)
      }
    }
  }
}
