import Foundation
import GRDB
public import IOMMUModel
import PageTables

/// Why an investigation file could not be used: a full sentence.
public struct InvestigationError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The sentence.
  public let description: String
  /// An error with this sentence.
  public init(_ description: String) { self.description = description }
}

/// An investigation on disk: one SQLite file, written by several processes at once.
///
/// Every event is on disk, in the write-ahead log, when the call that stores it returns; a killed debugger loses nothing.
/// Addresses keep all 64 bits: they are stored as the signed integer with the same bits.
public final class InvestigationStore {
  /// Marks the file as an investigation: `IOML`.
  static let applicationID = 0x494f_4d4c
  /// The newest schema that this version reads and writes.
  static let schemaVersion = 4

  /// The file.
  public let path: String
  /// Why nothing can be added; nil when it can.
  public let readOnly: String?
  private let database: DatabaseQueue
  private let files: OpenFiles
  private let side: String
  /// This process's session; nil before its first event.
  private var session: Int64?
  private var sequence: Int64 = 0
  /// The connection inside ``together(_:)``.
  private var current: Database?
  /// The copy of a file that was deleted or replaced.
  private var copy: String?

  /// Who may end a wait for another process that writes to a file; nil where nobody can.
  @TaskLocal public static var waiter: Waiter?

  // A structure: Swift 6.3 crashes on a closure as a task-local value where its runtime is linked in.
  /// Whoever asked for what goes on now.
  public struct Waiter: Sendable {
    /// Whether it is wanted no longer: asked again and again during a wait, on the thread that waits.
    public let isGone: @Sendable () -> Bool

    /// A waiter who is asked this way.
    public init(isGone: @escaping @Sendable () -> Bool) { self.isGone = isGone }
  }

  /// Opens the investigation at `path`, making it when there is none. Its first event starts a session of `side`, so that
  /// reading leaves no trace. What cannot be written can be read all the same, as it is now.
  public init(path: String, side: String) throws(InvestigationError) {
    self.path = path
    self.side = side
    do {
      (database, readOnly) = try Self.open(path)
      files = OpenFiles(of: path)
    } catch {
      throw Self.failure(error, path: path)
    }
  }

  /// Whether there is a file at `path`, whatever it is.
  public static func exists(at path: String) -> Bool { access(path, F_OK) == 0 }

  /// Opens the investigation at `path`; an error rather than a new one when there is none.
  public convenience init(existing path: String, side: String) throws(InvestigationError) {
    guard Self.exists(at: path) else { throw InvestigationError("\(path) does not exist.") }
    try self.init(path: path, side: side)
  }

  /// Whether `other` names this investigation's file.
  func isSameFile(as other: String) -> Bool { files.main == FileIdentity(other) }

  /// Whether `other` is the copy of this investigation that was made when its file was deleted or replaced.
  func isContinued(in other: InvestigationStore) -> Bool { copy.map(other.isSameFile) ?? false }

  /// Throws when nothing can be added.
  public func requireWritable() throws(InvestigationError) {
    if let readOnly {
      throw InvestigationError(
        "\(path) is read-only, because \(readOnly): nothing was added. Copy it elsewhere to go on.")
    }
  }

  /// Throws when the file was deleted or replaced. Everything recorded is then in what this process holds open, and nowhere
  /// else: it is copied, once.
  private func requireFile() throws {
    guard let lost = files.lost else { return }
    let saved = copy ?? files.copyName
    if copy == nil {
      try database.writeWithoutTransaction { try $0.execute(sql: "VACUUM INTO ?", arguments: [saved]) }
      copy = saved
    }
    throw InvestigationError(
      "\(lost.path) was \(lost.isReplaced ? "replaced" : "deleted") while it was open. What was recorded is in \(saved): "
        + "open that to go on.")
  }

  /// Runs `body` in one transaction. In a bulk one SQLite does not look up for every row what the row refers to; `body`
  /// must have written that itself.
  func write<T>(isBulk: Bool = false, _ body: (Database) throws -> T) throws(InvestigationError) -> T {
    try requireWritable()
    let before = session
    do {
      if let current { return try body(current) }
      try requireFile()
      guard isBulk else { return try database.write(body) }
      return try database.writeWithoutTransaction { db in
        try db.execute(sql: "PRAGMA foreign_keys = OFF")
        defer { try? db.execute(sql: "PRAGMA foreign_keys = ON") }
        var result: T?
        try db.inTransaction(.immediate) {
          result = try body(db)
          return .commit
        }
        guard let result else { throw DatabaseError(message: "the transaction was not run") }
        return result
      }
    } catch {
      session = before
      throw Self.failure(error, path: path)
    }
  }

  /// Runs `body` in one transaction: what it stores is in the file when it ends, all of it or nothing, and no other process
  /// writes meanwhile.
  public func together<T>(_ body: () throws(InvestigationError) -> T) throws(InvestigationError) -> T {
    try write(isBulk: true) { db in
      current = db
      defer { current = nil }
      return try body()
    }
  }

  func read<T>(_ body: (Database) throws -> T) throws(InvestigationError) -> T {
    do {
      if let current { return try body(current) }
      return try database.read(body)
    } catch { throw Self.failure(error, path: path) }
  }

  func event(_ db: Database, kind: String) throws -> EventID {
    var events = try newEvents(db, count: 1)
    return try append(kind, to: &events)
  }

  private static let eventRows = InsertStatements(into: "event", ["id", "session", "sequence", "monotonic_ns", "kind"])

  /// The events of one transaction.
  struct NewEvents {
    var rows: RawInsert
    var last: Int64
    let session: Int64
  }

  func newEvents(_ db: Database, count: Int) throws -> NewEvents {
    let known = try session ?? Self.newSession(db, side)
    session = known
    let last = try RawColumns.integer(db, "SELECT max(id) FROM event") ?? 0
    guard last <= Int64.max - Int64(count) else { throw Damage(what: "an event has the number \(last)") }
    return NewEvents(
      rows: try RawInsert(db, Self.eventRows, rows: count),
      last: last, session: known)
  }

  private static func newSession(_ db: Database, _ side: String) throws -> Int64 {
    try db.execute(
      sql: "INSERT INTO session(side, process, started) VALUES (?, ?, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))",
      arguments: [side, Int(getpid())])
    return db.lastInsertedRowID
  }

  func append(_ kind: String, to events: inout NewEvents) throws -> EventID {
    // Read inside the transaction, so that the times of one host's sessions rise with the events' numbers.
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    sequence += 1
    events.last += 1
    events.rows.bind(1, events.last)
    events.rows.bind(2, events.session)
    events.rows.bind(3, sequence)
    events.rows.bind(4, Int64(now.tv_sec) * 1_000_000_000 + Int64(now.tv_nsec))
    events.rows.bind(5, kind)
    try events.rows.endRow()
    return EventID(rawValue: events.last)
  }

  /// Stores what is known of the target: a name and a value. The newest of a name counts.
  @discardableResult
  public func setFact(_ name: String, _ value: String) throws(InvestigationError) -> Bool {
    try write { db in
      let last = try String.fetchOne(
        db, sql: "SELECT value FROM fact WHERE name = ? ORDER BY event DESC LIMIT 1", arguments: [name])
      if last == value { return false }
      let id = try event(db, kind: "fact")
      try db.execute(
        sql: "INSERT INTO fact(event, name, value) VALUES (?, ?, ?)", arguments: [id.rawValue, name, value])
      return true
    }
  }

  /// What is known of the target.
  public func facts() throws(InvestigationError) -> [String: String] {
    try read { db in
      var facts: [String: String] = [:]
      for row in try Row.fetchAll(db, sql: "SELECT name, value FROM fact ORDER BY event") {
        facts[try row.value("name")] = try row.value("value") as String
      }
      return facts
    }
  }

  /// Stores the registers read at one moment.
  public func append(_ values: RegisterValues) throws(InvestigationError) {
    try write { db in
      let id = try event(db, kind: "registers")
      for (offset, value) in values.byOffset {
        try db.execute(
          sql: "INSERT INTO register(event, offset, value) VALUES (?, ?, ?)",
          arguments: [id.rawValue, signed(offset), signed(value)])
      }
    }
  }

  /// The registers as they were last read; nil when they never were.
  public func registers() throws(InvestigationError) -> RegisterValues? {
    try read { db in
      let rows = try Row.fetchAll(
        db, sql: "SELECT offset, value FROM register WHERE event = (SELECT max(event) FROM register)")
      if rows.isEmpty { return nil }
      var values = RegisterValues()
      for row in rows { values.byOffset[unsigned(try row.value("offset"))] = unsigned(try row.value("value")) }
      return values
    }
  }

  /// The longest remark, in bytes.
  static let noteLimit = 1 << 20

  /// Stores a remark.
  public func append(note: String) throws(InvestigationError) {
    guard note.utf8.count <= Self.noteLimit else {
      throw InvestigationError(
        "A note has 1 MiB at most, and this one has \(note.utf8.count) bytes: write it into a file and import that.")
    }
    try write { db in
      let id = try event(db, kind: "note")
      try db.execute(sql: "INSERT INTO note(event, text) VALUES (?, ?)", arguments: [id.rawValue, note])
    }
  }

  /// The remarks, oldest first.
  public func notes() throws(InvestigationError) -> [String] {
    try read { try String.fetchAll($0, sql: "SELECT text FROM note ORDER BY event") }
  }

  /// A setting of the connection, for tests.
  func pragma(_ name: String) throws(InvestigationError) -> String? {
    try read { try String.fetchOne($0, sql: "PRAGMA \(name)") }
  }

  /// How many events of each kind there are.
  public func counts() throws(InvestigationError) -> [String: Int] {
    try read { db in
      var counts: [String: Int] = [:]
      for row in try Row.fetchAll(db, sql: "SELECT kind, count(*) AS n FROM event GROUP BY kind") {
        counts[try row.value("kind")] = try row.value("n") as Int
      }
      return counts
    }
  }
}

func signed(_ bits: UInt64) -> Int64 { Int64(bitPattern: bits) }
func unsigned(_ bits: Int64) -> UInt64 { UInt64(bitPattern: bits) }

/// A value in the file that no version writes: somebody else's work, or a broken disk.
struct Damage: Error {
  let what: String
}

extension Row {
  /// A column's value; an error, never a trap, when it is missing or of another type.
  func value<Value: DatabaseValueConvertible>(_ column: String) throws -> Value {
    let stored: DatabaseValue = try decode(DatabaseValue.self, forColumn: column)
    guard let value = Value.fromDatabaseValue(stored) else {
      throw Damage(what: "column \(column) holds \(stored.isNull ? "nothing" : stored.description)")
    }
    return value
  }

  /// A column's value, nil for none.
  func optional<Value: DatabaseValueConvertible>(_ column: String) throws -> Value? {
    let stored: DatabaseValue = try decode(DatabaseValue.self, forColumn: column)
    return stored.isNull ? nil : try value(column) as Value
  }
}
