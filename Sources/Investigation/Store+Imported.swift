import GRDB
public import IOMMUModel
import PageTables

// What texts add to calls that are stored already.

extension InvestigationStore {
  /// Gives calls that were read from texts their domain's table, where they have none.
  public func setRoots(_ roots: [DomainRoot]) throws(InvestigationError) {
    try write { db in
      for known in roots {
        try db.execute(
          sql: """
            UPDATE call SET root = ?, mode = ?, requester = coalesce(requester, ?)
            WHERE domain = ? AND root IS NULL AND origin IS NOT NULL
            """,
          arguments: [
            signed(known.root.address.rawValue), known.root.mode.rawValue,
            known.requester.map { Int64($0.rawValue) }, signed(known.domain.rawValue),
          ])
      }
    }
  }

  /// Why the last snapshot was taken; nil when there is none.
  public func snapshotReason() throws(InvestigationError) -> String? {
    try read { try String.fetchOne($0, sql: "SELECT reason FROM snapshot ORDER BY event DESC LIMIT 1") }
  }

  /// All readings of the device's registers, oldest first, with the event of each.
  public func registerReadings() throws(InvestigationError) -> [(id: EventID, values: RegisterValues)] {
    try read { db in
      var readings: [(id: EventID, values: RegisterValues)] = []
      for row in try Row.fetchAll(db, sql: "SELECT event, offset, value FROM register ORDER BY event") {
        let id = EventID(rawValue: try row.value("event"))
        if readings.last?.id != id { readings.append((id, RegisterValues())) }
        readings[readings.count - 1].values.byOffset[unsigned(try row.value("offset"))] = unsigned(
          try row.value("value"))
      }
      return readings
    }
  }

  /// Every value that a fact had whose name starts with `prefix`, oldest first, with the event of each.
  public func factHistory(prefix: String) throws(InvestigationError) -> [(id: EventID, name: String, value: String)] {
    try read { db in
      try Row.fetchAll(
        db, sql: "SELECT event, name, value FROM fact WHERE substr(name, 1, ?) = ? ORDER BY event",
        arguments: [prefix.count, prefix]
      ).map { (EventID(rawValue: try $0.value("event")), try $0.value("name"), try $0.value("value")) }
    }
  }
}
