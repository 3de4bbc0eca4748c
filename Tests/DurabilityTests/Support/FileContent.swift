import Foundation
import GRDB

/// What an investigation's file holds, read with SQLite alone.
struct FileContent {
  /// `7 2 3 map`: number, session, place in it and kind of every event.
  let events: [String]
  /// The IOVA of `map #3`.
  let calls: [String: UInt64]
  /// The calls that were verified.
  let verified: Set<String>
  let notes: Set<String>
  let facts: Set<String>
  /// What is wrong with the file, a line each.
  let damage: [String]

  /// Of no file.
  static let none = FileContent()

  private init() { (events, calls, verified, notes, facts, damage) = ([], [:], [], [], [], []) }

  /// Reads the file at `path`.
  init(_ path: String) throws {
    let database = try DatabaseQueue(path: path)
    self = try database.read { try FileContent($0) }
    try database.close()
  }

  private init(_ db: Database) throws {
    var damage = try String.fetchAll(db, sql: "PRAGMA integrity_check").filter { $0 != "ok" }
    damage += try Row.fetchAll(db, sql: "PRAGMA foreign_key_check").map { "refers to nothing: \($0)" }
    guard try Int.fetchOne(db, sql: "PRAGMA user_version") != 0 else {
      (events, calls, verified, notes, facts, self.damage) = ([], [:], [], [], [], damage)
      return
    }
    events = try String.fetchAll(
      db, sql: "SELECT id || ' ' || session || ' ' || sequence || ' ' || kind FROM event ORDER BY id")
    var calls: [String: UInt64] = [:]
    for row in try Row.fetchAll(db, sql: "SELECT kind, number, iova FROM call ORDER BY event") {
      let (kind, number): (String, Int) = (row["kind"], row["number"])
      calls["\(kind) #\(number)"] = UInt64(bitPattern: row["iova"])
    }
    self.calls = calls
    verified = try String.fetchSet(
      db,
      sql: "SELECT kind || ' #' || number FROM verification JOIN call ON call.event = verification.call")
    notes = try String.fetchSet(db, sql: "SELECT text FROM note")
    facts = try String.fetchSet(db, sql: "SELECT name FROM fact")
    // Numbers have no gaps, and nothing is there twice.
    let (first, last, count) =
      try Row.fetchOne(
        db, sql: "SELECT coalesce(min(id), 1), coalesce(max(id), 0), count(*) FROM event"
      ).map { ($0[0] as Int, $0[1] as Int, $0[2] as Int) } ?? (1, 0, 0)
    if first != 1 || last != count { damage.append("\(count) events are numbered \(first) to \(last)") }
    for kind in ["map", "unmap"] {
      let numbers = try Int.fetchAll(
        db, sql: "SELECT number FROM call WHERE kind = ? ORDER BY event", arguments: [kind])
      if numbers != Array(0..<numbers.count).map({ $0 + 1 }) { damage.append("\(kind)s are numbered \(numbers)") }
    }
    self.damage = damage
  }

  /// The same of a copy of the file and its log, so that whoever opens the file next finds it as it was left.
  init(copying path: String, to copy: String) throws {
    for suffix in ["", "-wal", "-shm"] {
      try? FileManager.default.removeItem(atPath: copy + suffix)
      if suffix != "-shm", FileManager.default.fileExists(atPath: path + suffix) {
        try FileManager.default.copyItem(atPath: path + suffix, toPath: copy + suffix)
      }
    }
    guard FileManager.default.fileExists(atPath: copy) else {
      self = .none
      return
    }
    try self.init(copy)
  }
}
