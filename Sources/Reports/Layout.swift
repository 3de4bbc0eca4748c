/// How wide lines may be. Tables wrap their cells then, and sentences are broken between words.
public enum Layout {
  /// The columns of the terminal that the text is for; nil for lines as long as they come.
  @TaskLocal public static var width: Int?

  /// Less is no table any more.
  private static let least = 40
  /// What the last column of a table, which mostly holds words, keeps before others have to give way.
  private static let lastColumn = 24

  /// The width to keep to.
  private static var limit: Int? { width.map { max($0, least) } }

  /// `text` with the lines that are too long broken between words, the rest of a line indented by two more than its start.
  public static func folded(_ text: String) -> String {
    guard let limit, text.utf8.count > limit else { return text }
    return text.split(separator: "\n", omittingEmptySubsequences: false).flatMap { line in
      folded(String(line), hanging: line.prefix { $0 == " " }.count + 2)
    }.joined(separator: "\n")
  }

  /// `line` in lines that are not too long, from the second one on indented by `hanging`.
  static func folded(_ line: String, hanging: Int) -> [String] {
    guard let limit, line.count > limit else { return [line] }
    let head = line.prefix { $0 == " " }
    let lines = wrapped(String(line.dropFirst(head.count)), first: limit - head.count, width: limit - hanging)
    return lines.enumerated().map { ($0 == 0 ? head : Substring(repeating: " ", count: hanging)) + $1 }.map(String.init)
  }

  /// `text` broken at spaces into lines of at most `first` and then `width` characters; a longer word stays whole.
  static func wrapped(_ text: String, first: Int? = nil, width: Int) -> [String] {
    var rest = Substring(text)
    var lines: [String] = []
    while true {
      let room = max(1, lines.isEmpty ? first ?? width : width)
      if rest.utf8.count <= room { break }
      let head = rest.prefix(room &+ 1)
      guard head.count > room else { break }
      let tail = rest.dropFirst(room)
      guard let space = head.lastIndex(of: " ") ?? tail.firstIndex(of: " ") else { break }
      var line = rest[..<space]
      while line.last == " " { line.removeLast() }
      rest = rest[space...].drop { $0 == " " }
      if !line.isEmpty { lines.append(String(line)) }
    }
    if !rest.isEmpty || lines.isEmpty { lines.append(String(rest)) }
    return lines
  }

  /// Whether the table of `rows` keeps to the width without wrapping.
  static func fits(_ rows: [[String]], gap: Int = 2) -> Bool {
    guard let limit else { return true }
    let columns = (0..<(rows.map(\.count).max() ?? 0)).map { column in
      rows.map { $0.indices.contains(column) ? $0[column].count : 0 }.max() ?? 0
    }
    return columns.reduce(0, +) + gap * max(0, columns.count - 1) <= limit
  }

  /// How many columns are left of a line after `start`.
  static func room(after start: Int) -> Int { limit.map { max(1, $0 - start) } ?? .max }

  /// The widths with which the columns of `rows` keep to the limit; those of their widest cells where they do anyway, or never
  /// can. A short row's last cell does not count for its column, but needs room as well.
  static func columns(of rows: [[String]], indent: Int, gap: Int) -> [Int] {
    let count = rows.map(\.count).max() ?? 0
    var (widths, least) = ([Int](repeating: 0, count: count), [Int](repeating: 0, count: count))
    // By column, what the last cells of rows that end there need.
    var ends = [Int](repeating: 0, count: count)
    for row in rows {
      for (column, cell) in row.enumerated() {
        let word = limit == nil ? 0 : cell.split(separator: " ").map(\.count).max() ?? 0
        if column == row.count - 1 { ends[column] = max(ends[column], word, min(cell.count, lastColumn)) }
        if column == row.count - 1 && row.count < count { continue }
        widths[column] = max(widths[column], cell.count)
        least[column] = max(least[column], word)
      }
    }
    guard let limit, let last = widths.indices.last else { return widths }
    func excess(_ column: Int, _ cell: Int) -> Int { widths[..<column].reduce(indent + gap * column + cell, +) - limit }
    widths[last] -= min(max(0, excess(last, widths[last])), max(0, widths[last] - ends[last]))
    // The widest column that may give way for rows that end in `column` and are too long.
    func widest(for column: Int) -> Int? {
      guard excess(column, column == last ? widths[last] : ends[column]) > 0 else { return nil }
      return (0..<(column == last ? count : column)).filter { widths[$0] > least[$0] }.max { widths[$0] < widths[$1] }
    }
    while let widest = widths.indices.lazy.compactMap(widest).first { widths[widest] -= 1 }
    return widths
  }
}
