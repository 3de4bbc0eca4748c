import Foundation
import GRDB

/// An investigation's file as an earlier version of the schema made it; Tests/Fixtures/schema/README.md says how.
struct OldFile {
  static let folder = RunningProgram.top + "/Tests/Fixtures/schema"

  let version: Int

  /// Makes the file, in the way in which all investigations are kept: with a write-ahead log.
  func write(to path: String) throws {
    let text = try String(contentsOfFile: "\(Self.folder)/\(version).sql", encoding: .utf8)
      .replacing(/<(\d+)>/) { String(repeating: "00", count: Int($0.output.1) ?? 0) }
    // A dump lists tables in the order of their names, not in that of their references.
    var configuration = Configuration()
    configuration.foreignKeysEnabled = false
    let database = try DatabaseQueue(path: path, configuration: configuration)
    try database.writeWithoutTransaction { db in
      try db.execute(sql: text)
      _ = try String.fetchOne(db, sql: "PRAGMA journal_mode = WAL")
    }
    try database.close()
  }
}
