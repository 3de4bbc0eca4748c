import GRDB
import GRDBSQLite

/// The statements that insert rows into a table, put together once.
struct InsertStatements: Sendable {
  let columns: Int32
  let one: String
  let many: String

  /// Rows of the long one.
  static let batch = 64

  init(into table: String, _ columns: [String]) {
    self.columns = Int32(columns.count)
    let head = "INSERT INTO \(table)(\(columns.joined(separator: ", "))) VALUES "
    let row = "(" + Array(repeating: "?", count: columns.count).joined(separator: ", ") + ")"
    one = head + row
    many = head + Array(repeating: row, count: Self.batch).joined(separator: ", ")
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

  /// The texts that need not be copied for every row; nil where there are few rows.
  private let texts: FirstTexts?

  /// Inserts `rows` rows, in the statements that `db` keeps.
  init(_ db: Database, _ statements: InsertStatements, rows: Int) throws {
    columns = statements.columns
    remaining = rows
    one = try db.cachedStatement(sql: statements.one).sqliteStatement
    many = rows < InsertStatements.batch ? nil : try db.cachedStatement(sql: statements.many).sqliteStatement
    texts = many == nil ? nil : FirstTexts(columns: Int(columns))
  }

  /// The statement that takes the next row: the last rows, too few for a whole one, go one by one.
  private var statement: OpaquePointer {
    if let many, start > 0 || remaining >= InsertStatements.batch { many } else { one }
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
    guard let text else { return bind(place, nil as Int64?) }
    if let kept = texts?.bytes(of: text, inColumn: Int(place) - 1) {
      // Without a destructor: SQLITE_STATIC.
      sqlite3_bind_text(statement, start + place, kept.baseAddress, Int32(clamping: kept.count), nil)
      return
    }
    bindCopy(of: text, to: statement, start + place)
  }

  /// Ends the row. It is in the table when the last row of its statement has ended.
  mutating func endRow() throws {
    let statement = statement
    if statement == many, start < columns * Int32(InsertStatements.batch - 1) {
      start += columns
      return
    }
    let code = sqlite3_step(statement)
    let reset = sqlite3_reset(statement)
    guard code == SQLITE_DONE else {
      let message = sqlite3_db_handle(statement).flatMap(sqlite3_errmsg).map { String(cString: $0) }
      throw DatabaseError(resultCode: ResultCode(rawValue: reset), message: message)
    }
    remaining -= statement == many ? InsertStatements.batch : 1
    start = 0
    // What was bound may not stay as long as the statement.
    if remaining == 0, texts != nil { for used in [one, many] { sqlite3_clear_bindings(used) } }
  }
}

/// The first few different texts of each column, in memory that stays as long as this lives: of most columns these are all
/// there are, and copying them for every row was a fifth of a bulk import.
private final class FirstTexts {
  private var columns: [[(text: String, bytes: UnsafeMutableBufferPointer<CChar>)]]
  private static let room = 4

  init(columns: Int) { self.columns = Array(repeating: [], count: columns) }

  deinit { for kept in columns.joined() { kept.bytes.deallocate() } }

  /// The bytes of a text; nil when it is none of those kept.
  func bytes(of text: String, inColumn column: Int) -> UnsafeBufferPointer<CChar>? {
    for kept in columns[column] where kept.text == text { return UnsafeBufferPointer(kept.bytes) }
    guard columns[column].count < Self.room else { return nil }
    let bytes = UnsafeMutableBufferPointer<CChar>.allocate(capacity: text.utf8.count)
    _ = bytes.initialize(from: text.utf8.lazy.map { CChar(bitPattern: $0) })
    columns[column].append((text, bytes))
    return UnsafeBufferPointer(bytes)
  }
}
