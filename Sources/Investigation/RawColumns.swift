import GRDB
import GRDBSQLite

/// The columns of the row that a cursor stands on, by their place and without a value of GRDB's in between: a million rows
/// have fifteen million columns.
struct RawColumns {
  private let statement: OpaquePointer
  private let row: Row

  /// The columns of `row`, which comes from a cursor over `statement`.
  init(of row: Row, from statement: Statement) {
    self.statement = statement.sqliteStatement
    self.row = row
  }

  /// The integer that a query answers, which is asked for at every recorded call; nil for no row or NULL.
  static func integer(_ db: Database, _ sql: String, _ text: String? = nil) throws -> Int64? {
    let statement = try db.cachedStatement(sql: sql).sqliteStatement
    defer { sqlite3_reset(statement) }
    if let text { bindCopy(of: text, to: statement, 1) }
    switch sqlite3_step(statement) {
    case SQLITE_DONE: return nil
    case SQLITE_ROW:
      switch sqlite3_column_type(statement, 0) {
      case SQLITE_INTEGER: return sqlite3_column_int64(statement, 0)
      case SQLITE_NULL: return nil
      default: throw Damage(what: "`\(sql)` answers no number")
      }
    case let code:
      throw DatabaseError(
        resultCode: ResultCode(rawValue: code), message: db.sqliteConnection.map { String(cString: sqlite3_errmsg($0)) }
      )
    }
  }

  /// An integer; what is something else is an error that `row` tells.
  func integer(_ column: Int32, _ name: String) throws -> Int64 {
    if sqlite3_column_type(statement, column) == SQLITE_INTEGER { return sqlite3_column_int64(statement, column) }
    return try row.value(name)
  }

  /// An integer; nil for none.
  func optionalInteger(_ column: Int32, _ name: String) throws -> Int64? {
    switch sqlite3_column_type(statement, column) {
    case SQLITE_INTEGER: sqlite3_column_int64(statement, column)
    case SQLITE_NULL: nil
    default: try row.optional(name)
    }
  }

  /// A text, the same one as one of `known` where it reads the same.
  func text(_ column: Int32, _ name: String, _ known: inout RecentTexts) throws -> String {
    if let bytes = bytes(column), let text = known.text(bytes) { return text }
    let text: String = try row.value(name)
    known.add(text)
    return text
  }

  /// A text, the same one as one of `known` where it reads the same; nil for none.
  func optionalText(_ column: Int32, _ name: String, _ known: inout RecentTexts) throws -> String? {
    if sqlite3_column_type(statement, column) == SQLITE_NULL { return nil }
    return try text(column, name, &known)
  }

  /// A text's bytes, as long as the cursor stands; nil for what is no text.
  func bytes(_ column: Int32) -> UnsafeBufferPointer<UInt8>? {
    guard sqlite3_column_type(statement, column) == SQLITE_TEXT, let bytes = sqlite3_column_text(statement, column)
    else { return nil }
    return UnsafeBufferPointer(start: bytes, count: Int(sqlite3_column_bytes(statement, column)))
  }
}

/// Binds a text, of which SQLite takes a copy, to a statement's parameter at `place`, counted from 1.
func bindCopy(of text: String, to statement: OpaquePointer, _ place: Int32) {
  var text = text
  let transient = unsafeBitCast(-1, to: sqlite3_destructor_type.self)
  text.withUTF8 { bytes in
    bytes.withMemoryRebound(to: CChar.self) { characters in
      _ = sqlite3_bind_text(statement, place, characters.baseAddress, Int32(clamping: characters.count), transient)
    }
  }
}

/// The last different texts of a column: most rows have one of a few.
struct RecentTexts {
  private var texts: [String] = []
  private var oldest = 0
  private static let room = 4

  /// The one with these bytes.
  func text(_ bytes: UnsafeBufferPointer<UInt8>) -> String? {
    texts.first { text in
      guard text.utf8.count == bytes.count else { return false }
      return text.utf8.withContiguousStorageIfAvailable { $0.elementsEqual(bytes) } ?? text.utf8.elementsEqual(bytes)
    }
  }

  /// The one that reads as `text` does, or from now on `text` itself.
  mutating func shared(_ text: String) -> String {
    if let known = texts.first(where: { $0 == text }) { return known }
    add(text)
    return text
  }

  mutating func add(_ text: String) {
    if texts.count < Self.room {
      texts.append(text)
    } else {
      texts[oldest] = text
      oldest = (oldest + 1) % Self.room
    }
  }
}
