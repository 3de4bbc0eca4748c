import Investigation

/// Writes rows of a report as comma-separated values (RFC 4180), with a head of column names.
enum CSVText {
  /// Hands out `rows`, which all have the parts that the first one has, in pieces.
  static func write(_ rows: ReportList, emit: (String) throws -> Void) throws {
    var piece = ""
    for position in 0..<rows.count {
      guard case .object(let parts) = rows[position] else { continue }
      if position == 0 { piece += parts.map(\.name).joined(separator: ",") + "\n" }
      for (column, part) in parts.enumerated() {
        if column > 0 { piece += "," }
        piece += cell(part.value)
      }
      piece += "\n"
      if piece.utf8.count > 60_000 {
        try emit(piece)
        piece = ""
      }
    }
    try emit(piece)
  }

  /// One cell. Several values are one: those of a list with ` <- ` between them, as callers are shown, named ones as
  /// `name=value`.
  private static func cell(_ value: ReportValue) -> String {
    switch value {
    case .object(let parts): quoted(parts.map { "\($0.name)=\(plain($0.value))" }.joined(separator: " "))
    case .list(let list): quoted((0..<list.count).map { plain(list[$0]) }.joined(separator: " <- "))
    case .sentence, .literal, .markup: quoted(plain(value))
    case .word, .integer, .flag, .nothing: plain(value)
    }
  }

  private static func plain(_ value: ReportValue) -> String {
    switch value {
    case .sentence(let text), .literal(let text), .markup(let text): printable(text)
    case .word(let bits): "0x" + String(bits, radix: 16)
    case .integer(let number): String(number)
    case .flag(let flag): flag ? "true" : "false"
    case .object, .list, .nothing: ""
    }
  }

  /// A cell that is text: a spreadsheet takes what starts like a formula for one, wherever it came from.
  private static func quoted(_ text: String) -> String {
    let text = text.utf8.first.map { "=+-@".utf8.contains($0) } == true ? "'" + text : text
    guard text.utf8.contains(where: { $0 == UInt8(ascii: ",") || $0 == UInt8(ascii: "\"") }) else { return text }
    return "\"" + text.replacing("\"", with: "\"\"") + "\""
  }
}
