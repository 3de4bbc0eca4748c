import Foundation
import GRDB
import PageTables

// What was found right after each call.

extension InvestigationStore {
  private static let verificationRows = InsertStatements(
    into: "verification",
    ["event", "call", "leaves", "agreeing", "verdict", "level", "found", "detail", "iova", "shifts", "samples"])

  /// Stores what was found right after a call.
  public func append(_ verification: Verification, of call: EventID) throws(InvestigationError) {
    try append(verifications: CollectionOfOne((call: call, verification: verification)))
  }

  /// Stores what was found right after many calls, all of it or nothing.
  public func append(
    verifications: some Collection<(call: EventID, verification: Verification)>
  ) throws(InvestigationError) {
    if verifications.isEmpty { return }
    let isBulk = verifications.count >= InsertStatements.batch
    try write(isBulk: isBulk) { db in
      if isBulk { try Self.requireCalls(verifications.map(\.call), db) }
      var events = try newEvents(db, count: verifications.count)
      try insert(verifications, &events, db)
    }
  }

  func insert(
    _ verifications: some Collection<(call: EventID, verification: Verification)>, _ events: inout NewEvents,
    _ db: Database
  ) throws {
    var rows = try RawInsert(db, Self.verificationRows, rows: verifications.count)
    // Most have the same shifts as the one before.
    var (last, text): ([ShiftSet], String) = ([], "")
    for (call, verification) in verifications {
      let id = try append("verification", to: &events)
      let (level, found, detail) = particulars(verification.verdict)
      if verification.shifts != last {
        last = verification.shifts
        text = last.map { String($0.rawValue, radix: 16) }.joined(separator: ",")
      }
      rows.bind(1, id.rawValue)
      rows.bind(2, call.rawValue)
      rows.bind(3, Int64(verification.leaves))
      rows.bind(4, Int64(verification.agreeing))
      rows.bind(5, verification.verdict.name)
      rows.bind(6, level.map { Int64($0) })
      rows.bind(7, found.map(signed))
      rows.bind(8, detail)
      rows.bind(9, verification.iova.map { signed($0.rawValue) })
      rows.bind(10, text)
      rows.bind(11, verification.samples.isEmpty ? "" : verification.samples.map(\.stored).joined(separator: ","))
      try rows.endRow()
    }
  }

  /// Throws when one of the calls is not in the file: what a foreign key says, in one pass for many rows.
  private static func requireCalls(_ calls: [EventID], _ db: Database) throws {
    let wanted = calls.map(\.rawValue).sorted()
    guard let first = wanted.first, let last = wanted.last else { return }
    let sql = "SELECT event FROM call WHERE event BETWEEN ? AND ? ORDER BY event"
    let stored = try Int64.fetchCursor(db, sql: sql, arguments: [first, last])
    var candidate = try stored.next()
    for call in wanted {
      while let event = candidate, event < call { candidate = try stored.next() }
      guard candidate == call else {
        throw DatabaseError(resultCode: .SQLITE_CONSTRAINT_FOREIGNKEY, message: "event \(call) is not a call")
      }
    }
  }

  /// The verifications by call.
  public func verifications(progress: WorkProgress? = nil) throws(InvestigationError) -> Verifications {
    try read { db in
      var found = Verifications.Collector(
        capacity: try Int.fetchOne(db, sql: "SELECT count(*) FROM verification") ?? 0)
      var read = 0
      try Self.eachVerification(db, "ORDER BY event") { _, call, verification in
        if progress?.stops("reading verifications", at: read) == true {
          throw WorkProgress.interruption("reading verifications")
        }
        read += 1
        found.add(verification, of: call)
      }
      return found.verifications()
    }
  }

  /// Hands out the verifications that the query's `tail` chooses: the event, the call it is about, what was found.
  static func eachVerification(
    _ db: Database, _ tail: String, arguments: StatementArguments = [],
    _ body: (EventID, EventID, Verification) throws -> Void
  ) throws {
    // Most verifications are like one before.
    var shiftSets: [String: [ShiftSet]] = [:]
    var (names, details, shiftTexts) = (RecentTexts(), RecentTexts(), RecentTexts())
    let statement = try db.cachedStatement(
      sql: """
        SELECT call, leaves, agreeing, verdict, level, found, detail, iova, shifts, samples, event FROM verification
        \(tail)
        """)
    let rows = try Row.fetchCursor(statement, arguments: arguments)
    while let next = try rows.next() {
      let row = RawColumns(of: next, from: statement)
      let leaves = Int(try row.integer(1, "leaves"))
      let agreeing = Int(try row.integer(2, "agreeing"))
      guard 0 <= agreeing, agreeing <= leaves else {
        throw Damage(what: "a verification counts \(agreeing) of \(leaves) leaves")
      }
      let name = try row.text(3, "verdict", &names)
      let level = try row.optionalInteger(4, "level").map { Int($0) }
      let target = try row.optionalInteger(5, "found")
      let detail = try row.text(6, "detail", &details)
      guard let verdict = verdict(name, level: level, found: target.map(unsigned), detail: detail) else {
        throw Damage(what: "a verification has the verdict '\(name)' without its particulars")
      }
      let iova = try row.optionalInteger(7, "iova")
      let text = try row.text(8, "shifts", &shiftTexts)
      let shifts = try shiftSets[text] ?? Self.shifts(text)
      if shiftSets.count < 1 << 12 { shiftSets[text] = shifts }
      try body(
        EventID(rawValue: try row.integer(10, "event")), EventID(rawValue: try row.integer(0, "call")),
        Verification(
          leaves: leaves, agreeing: agreeing, verdict: verdict, iova: iova.map { IOVA(unsigned($0)) }, shifts: shifts,
          samples: try Self.samples(row)))
    }
  }

  /// Sets of shifts as they are stored: hexadecimal, with commas.
  private static func shifts(_ text: String) throws -> [ShiftSet] {
    try text.split(separator: ",").map { word in
      guard let bits = UInt64(word, radix: 16) else { throw Damage(what: "a verification has the shifts '\(text)'") }
      return ShiftSet(rawValue: bits)
    }
  }

  private static func samples(_ row: RawColumns) throws -> [Verification.Sample] {
    guard let bytes = row.bytes(9) else { throw Damage(what: "a verification has samples that are no text") }
    if bytes.isEmpty { return [] }
    return try bytes.split(separator: UInt8(ascii: ",")).map { word in
      guard let sample = Verification.Sample(stored: word) else {
        throw Damage(what: "a verification has the sample '\(String(decoding: word, as: UTF8.self))'")
      }
      return sample
    }
  }
}

/// The parts of a verdict that have columns of their own.
private func particulars(_ verdict: Verdict) -> (level: Int?, found: UInt64?, detail: String) {
  switch verdict {
  case .missing(let level): (level, nil, "")
  case .malformed(let level, let problem): (level, nil, problem)
  case .wrongAddress(let found), .staleAfterUnmap(let found), .overwritten(let found, _), .unreadable(let found):
    (nil, found.rawValue, "")
  case .wrongPermission(let flags): (nil, UInt64(flags.rawValue), "")
  default: (nil, nil, verdict.description)
  }
}

/// The verdict of a verification from its columns; nil when they do not fit. Only the kinds that a verification makes
/// come back in full.
private func verdict(_ name: String, level: Int?, found: UInt64?, detail: String) -> Verdict? {
  switch (name, level, found) {
  case ("agrees", _, _): .agrees
  case ("missing", let level?, _): .missing(level: level)
  case ("malformed", let level?, _): .malformed(level: level, detail)
  case ("wrong address", _, let found?): .wrongAddress(GPA(found))
  case ("stale after unmap", _, let found?): .staleAfterUnmap(GPA(found))
  case ("unreadable", _, let found?): .unreadable(GPA(found))
  case ("wrong permission", _, let found?):
    .wrongPermission(PageTableEntry.Flags(rawValue: UInt8(truncatingIfNeeded: found)))
  case ("missing", _, _), ("malformed", _, _), ("wrong address", _, _), ("stale after unmap", _, _),
    ("unreadable", _, _), ("wrong permission", _, _):
    nil
  default: .deviceDiffers(detail)
  }
}
