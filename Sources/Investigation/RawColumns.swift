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

/// Inserts rows into a table, many with one statement: starting one for every row was about a fifth of a bulk import.
struct RawInsert {
  private let columns: Int32
  private let one: OpaquePointer
  private let many: OpaquePointer?
  /// The rows that are not stored yet.
  private var remaining: Int
  /// Where the row's parameters start, counted from 0; those of a statement with many rows stand one after the other.
  private var start: Int32 = 0

  /// Rows of one statement.
  private static let batch = 64

  /// Inserts `rows` rows with these columns, in the statements that `db` keeps.
  init(_ db: Database, into table: String, _ columns: [String], rows: Int) throws {
    self.columns = Int32(columns.count)
    remaining = rows
    let head = "INSERT INTO \(table)(\(columns.joined(separator: ", "))) VALUES "
    let row = "(" + Array(repeating: "?", count: columns.count).joined(separator: ", ") + ")"
    one = try db.cachedStatement(sql: head + row).sqliteStatement
    many =
      rows < Self.batch
      ? nil
      : try db.cachedStatement(sql: head + Array(repeating: row, count: Self.batch).joined(separator: ", "))
        .sqliteStatement
  }

  /// The statement that takes the next row: the last rows, too few for a whole one, go one by one.
  private var statement: OpaquePointer {
    if let many, start > 0 || remaining >= Self.batch { many } else { one }
  }

  /// Binds an integer, nothing for nil, to the row's column at `place`, counted from 1.
  func bind(_ place: Int32, _ value: Int64?) {
    if let value {
      sqlite3_bind_int64(statement, start + place, value)
    } else {
      sqlite3_bind_null(statement, start + place)
    }
  }

  /// Binds a text, nothing for nil.
  func bind(_ place: Int32, _ text: String?) {
    guard var text else { return bind(place, nil as Int64?) }
    // SQLITE_TRANSIENT: SQLite keeps a copy.
    let transient = unsafeBitCast(-1, to: sqlite3_destructor_type.self)
    text.withUTF8 { bytes in
      bytes.withMemoryRebound(to: CChar.self) { characters in
        _ = sqlite3_bind_text(
          statement, start + place, characters.baseAddress, Int32(clamping: characters.count), transient)
      }
    }
  }

  /// Ends the row. It is in the table when the last row of its statement has ended.
  mutating func endRow() throws {
    let statement = statement
    if statement == many, start < columns * Int32(Self.batch - 1) {
      start += columns
      return
    }
    let code = sqlite3_step(statement)
    let reset = sqlite3_reset(statement)
    guard code == SQLITE_DONE else {
      let message = sqlite3_db_handle(statement).flatMap(sqlite3_errmsg).map { String(cString: $0) }
      throw DatabaseError(resultCode: ResultCode(rawValue: reset), message: message)
    }
    remaining -= statement == many ? Self.batch : 1
    start = 0
  }
}
