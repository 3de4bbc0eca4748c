import Foundation
import GRDB
public import PageTables

// The tables' pages at one moment. A page that stays as it is is kept once.

extension InvestigationStore {
  /// Stores the table pages as they are now; a page whose content is known takes no more room.
  public func append(snapshot pages: [GPA: [UInt8]], reason: String) throws(InvestigationError) {
    try write { db in
      let id = try event(db, kind: "snapshot")
      try db.execute(sql: "INSERT INTO snapshot(event, reason) VALUES (?, ?)", arguments: [id.rawValue, reason])
      for (address, bytes) in pages.sorted(by: { $0.key < $1.key }) {
        let content = Data(bytes)
        let hash = signed(Self.hash(bytes))
        var page = try Row.fetchAll(
          db.cachedStatement(sql: "SELECT id, bytes FROM page WHERE hash = ?"), arguments: [hash]
        ).first { try $0.value("bytes") == content }.map { try $0.value("id") as Int64 }
        if page == nil {
          try db.cachedStatement(sql: "INSERT INTO page(hash, bytes) VALUES (?, ?)").execute(arguments: [hash, content])
          page = db.lastInsertedRowID
        }
        try db.cachedStatement(sql: "INSERT INTO snapshot_page(snapshot, address, page) VALUES (?, ?, ?)")
          .execute(arguments: [id.rawValue, signed(address.rawValue), page])
      }
    }
  }

  /// The pages of the last snapshot, by address.
  public func snapshot() throws(InvestigationError) -> [GPA: [UInt8]] {
    try read { db in
      var pages: [GPA: [UInt8]] = [:]
      let rows = try Row.fetchCursor(
        db,
        sql: """
          SELECT address, bytes FROM snapshot_page JOIN page ON page.id = snapshot_page.page
          WHERE snapshot = (SELECT max(event) FROM snapshot)
          """)
      while let row = try rows.next() {
        pages[GPA(unsigned(try row.value("address")))] = [UInt8](try row.value("bytes") as Data)
      }
      return pages
    }
  }

  /// FNV-1a over the bytes; equal hashes are compared byte by byte, so collisions only cost time.
  private static func hash(_ bytes: [UInt8]) -> UInt64 {
    bytes.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
  }
}
