import Investigation

/// Text as Markdown (CommonMark with GitHub's tables) that can hold no markup of its own: much of it comes from the target
/// or from a file that somebody else wrote.
enum MarkdownText {
  /// Characters kept of one piece of text.
  static let limit = 400

  /// Plain text, with identifiers and what stands between backticks in code spans. Neither HTML, links, emphasis nor list
  /// or heading marks come through; a newline becomes a replacement character.
  static func prose(_ text: String, inTable: Bool = false) -> String {
    let parts = cut(text).split(separator: "`", omittingEmptySubsequences: false)
    var safe = ""
    for (position, part) in parts.enumerated() {
      let isClosed = position % 2 == 1 && position + 1 < parts.count
      if isClosed && !part.allSatisfy(\.isWhitespace) {
        add(code(String(part), inTable: inTable), to: &safe)
      } else {
        if position % 2 == 1 { safe += "\\`" }
        addWords(part, to: &safe)
        if isClosed { safe += "\\`" }
      }
    }
    return blockSafe(safe)
  }

  /// Code spans must not touch: two backticks in a row are another mark.
  private static func add(_ span: String, to safe: inout String) {
    if safe.last == "`" { safe += " " }
    safe += span
  }

  /// A code span.
  static func code(_ text: String, inTable: Bool = false) -> String {
    var inside = cut(text).replacing("`", with: "'").trimmingSpaces
    if inTable { inside = inside.replacing("|", with: "¦") }
    return inside.isEmpty ? "" : "`\(inside)`"
  }

  private static func cut(_ text: String) -> String {
    let safe = printable(text)
    return safe.count <= limit ? safe : safe.prefix(limit - 1) + "…"
  }

  /// Escapes; what has an underscore in it is a name, a path or a setting, to where no letter, digit or mark of such follows:
  /// `xt_iommu.root_shift=30`.
  private static func addWords(_ text: Substring, to safe: inout String) {
    var rest = text
    while let first = rest.first {
      if let name = identifier(rest) {
        add("`\(name)`", to: &safe)
        rest = rest.dropFirst(name.count)
        continue
      }
      let word = rest.prefix { $0.isLetter || $0.isNumber }
      rest = rest.dropFirst(max(word.count, 1))
      if word.isEmpty {
        safe += first == "_" ? "\\_" : first == ":" && rest.hasPrefix("//") ? "\\:" : escaped(first)
      } else {
        safe += word
        // GitHub makes links of bare addresses.
        if word.lowercased() == "www", rest.first == "." {
          safe += "\\."
          rest.removeFirst()
        }
      }
    }
  }

  /// The name, path or setting at the start of `text`; nil where there is none with an underscore in it.
  private static func identifier(_ text: Substring) -> Substring? {
    var name = text.prefix { $0.isLetter || $0.isNumber || "_./=@-".contains($0) }
    while let last = name.last, !(last.isLetter || last.isNumber || last == "_") { name.removeLast() }
    guard name.contains("_"), name.contains(where: { $0.isLetter || $0.isNumber }) else { return nil }
    return name
  }

  private static func escaped(_ character: Character) -> String {
    switch character {
    case "\\", "*", "[", "]", "|", "~", "$": "\\\(character)"
    case "<": "&lt;"
    case "&": "&amp;"
    default: String(character)
    }
  }

  /// Takes the meaning from what would open a block at the start of a line: `#`, `>`, `-`, `1.`.
  private static func blockSafe(_ text: String) -> String {
    let text = text.trimmingSpaces
    guard let first = text.first else { return "" }
    if "#>-+=:".contains(first) { return "\\" + text }
    let digits = text.prefix { $0.isNumber }
    if !digits.isEmpty, let mark = text.dropFirst(digits.count).first, mark == "." || mark == ")" {
      return "\(digits)\\\(text.dropFirst(digits.count))"
    }
    return text
  }
}

extension String {
  fileprivate var trimmingSpaces: String {
    var part = self[...]
    while part.first?.isWhitespace == true { part.removeFirst() }
    while part.last?.isWhitespace == true { part.removeLast() }
    return String(part)
  }
}
