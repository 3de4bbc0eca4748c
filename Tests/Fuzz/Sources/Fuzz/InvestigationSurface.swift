import Foundation
import GRDB

/// A recorded investigation with other values in its tables, other bits in its file, and no end.
struct InvestigationSurface: Surface {
  private let recorded: RecordedFile
  /// The columns of the file's tables.
  private let columns: [(table: String, column: String)]

  init() throws {
    recorded = try RecordedFile()
    try recorded.restore(recorded.bytes)
    columns = try DatabaseQueue(path: recorded.file.path).read { database in
      try Row.fetchAll(
        database,
        sql: """
          SELECT m.name, c.name FROM sqlite_schema m, pragma_table_info(m.name) c WHERE m.type = 'table' ORDER BY 1, c.cid
          """
      ).map { ($0[0], $0[1]) }
    }
  }

  func feed(_ input: inout Input) throws {
    try recorded.restore(recorded.bytes)
    let export = input.below(9)
    // Values are what comes furthest; a file of other bits or without its end is mostly refused by SQLite.
    if input.below(4) > 0 { try? change(&input) } else { try damage(&input) }
    try recorded.readAll(recorded.open(), export: export)
  }

  private func damage(_ input: inout Input) throws {
    var bytes = recorded.bytes
    if input.below(4) == 0 { bytes.removeLast(Int(input.number() % UInt64(bytes.count))) }
    while !input.isEmpty {
      // Headers of pages are few among the bytes, and most of what SQLite believes is there.
      let page = input.below(max(bytes.count / 4096, 1)) * 4096
      let place = page + (input.below(2) == 0 ? input.below(128) : input.below(4096))
      bytes[place % bytes.count] ^= input.byte()
    }
    try recorded.restore(bytes)
  }

  /// Puts values that no recording would write where the schema has room for them.
  private func change(_ input: inout Input) throws {
    try DatabaseQueue(path: recorded.file.path).writeWithoutTransaction { database in
      try database.execute(
        sql: "PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON; PRAGMA synchronous = OFF")
      for _ in 0..<16 where !input.isEmpty {
        let (table, column) = input.pick(columns)
        let row = input.below(64)
        let other = input.pick(columns)
        let which =
          "\(column) IS (SELECT \(column) FROM \(table) LIMIT 1 OFFSET \(row) % (SELECT count(*) FROM \(table)))"
        let value: any DatabaseValueConvertible
        switch input.below(6) {
        case 0: value = Int64(bitPattern: input.number())
        case 1: value = Double(bitPattern: input.number())
        case 2: value = String(decoding: input.take(input.below(24)), as: UTF8.self)
        case 3: value = Data(input.take(input.below(24)))
        case 4:
          try? database.execute(
            sql: "UPDATE OR IGNORE \(table) SET \(column) = (SELECT \(other.column) FROM \(other.table)) WHERE \(which)"
          )
          continue
        default:
          try? database.execute(sql: "DELETE FROM \(table) WHERE \(which)")
          continue
        }
        try? database.execute(sql: "UPDATE OR IGNORE \(table) SET \(column) = ? WHERE \(which)", arguments: [value])
      }
    }
  }
}
