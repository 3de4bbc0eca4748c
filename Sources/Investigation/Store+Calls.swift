import Foundation
import GRDB
public import IOMMUModel
public import PageTables

// Recorded calls and the functions above them.

extension InvestigationStore {
  private static let callRows = InsertStatements(
    into: "call",
    [
      "event", "kind", "number", "function", "domain", "iova", "length", "page_size", "page_count", "target", "prot",
      "gfp",
      "requester", "root", "mode", "origin",
    ])

  /// Stores a call and returns it with its event's number and its own.
  public func append(_ recorded: RecordedCall) throws(InvestigationError) -> RecordedCall {
    try append(calls: CollectionOfOne(recorded)).first ?? recorded
  }

  /// Stores what earlier calls were found to have left, and a call made after them, in one transaction: that is what every
  /// hit of a breakpoint has to store. Returns the call with its event's number and its own.
  @discardableResult
  public func append(
    _ recorded: RecordedCall?, after verified: [(call: RecordedCall, verification: Verification)]
  ) throws(InvestigationError) -> RecordedCall? {
    let found = verified.compactMap { call, verification in call.id.map { (call: $0, verification: verification) } }
    if found.isEmpty && recorded == nil { return nil }
    return try write { db in
      var events = try newEvents(db, count: found.count + (recorded == nil ? 0 : 1))
      if !found.isEmpty { try insert(found, &events, db) }
      return try recorded.flatMap { try insert(CollectionOfOne($0), &events, db).first }
    }
  }

  /// Stores many calls, all or none of them, and returns them with their events' numbers and their own.
  @discardableResult
  public func append(calls: some Collection<RecordedCall>) throws(InvestigationError) -> [RecordedCall] {
    if calls.isEmpty { return [] }
    return try write(isBulk: calls.count > 1) { db in
      var events = try newEvents(db, count: calls.count)
      return try insert(calls, &events, db)
    }
  }

  private func insert(
    _ calls: some Collection<RecordedCall>, _ events: inout NewEvents, _ db: Database
  ) throws -> [RecordedCall] {
    var stored: [RecordedCall] = []
    stored.reserveCapacity(calls.count)
    var last: [CallKind: Int] = [:]
    var rows = try RawInsert(db, Self.callRows, rows: calls.count)
    for recorded in calls {
      var call = recorded
      let kind = recorded.call.kind
      let before = try last[kind] ?? Self.lastNumber(of: kind, db)
      let (number, overflow) = before.addingReportingOverflow(1)
      guard !overflow else { throw Damage(what: "a call has the number \(before)") }
      last[kind] = number
      let id = try append(kind.rawValue, to: &events)
      call.id = id
      call.number = number
      try insert(call, id, &rows)
      try insertCallers(call.callers, of: id, db)
      stored.append(call)
    }
    return stored
  }

  /// The number of the last call of a kind. Looks back over calls of the other kind only, so that all such searches together
  /// cost no more than the calls.
  private static func lastNumber(of kind: CallKind, _ db: Database) throws -> Int {
    let sql = "SELECT number FROM call WHERE kind = ? ORDER BY event DESC LIMIT 1"
    return Int(truncatingIfNeeded: try RawColumns.integer(db, sql, kind.rawValue) ?? 0)
  }

  private func insert(_ recorded: RecordedCall, _ id: EventID, _ rows: inout RawInsert) throws {
    let call = recorded.call
    var allocation: UInt64?
    if case .map(_, _, let flags) = call.operation { allocation = flags?.rawValue }
    rows.bind(1, id.rawValue)
    rows.bind(2, call.kind.rawValue)
    rows.bind(3, Int64(recorded.number))
    rows.bind(4, call.function)
    rows.bind(5, signed(call.domain.rawValue))
    rows.bind(6, signed(call.iova.rawValue))
    rows.bind(7, signed(call.length))
    rows.bind(8, call.pages.map { signed($0.size) })
    rows.bind(9, call.pages.map { signed($0.count) })
    rows.bind(10, call.target.map { signed($0.rawValue) })
    rows.bind(11, call.protection.map { Int64($0.rawValue) })
    rows.bind(12, allocation.map(signed))
    rows.bind(13, recorded.requester.map { Int64($0.rawValue) })
    rows.bind(14, recorded.root.map { signed($0.address.rawValue) })
    rows.bind(15, recorded.root?.mode.rawValue)
    rows.bind(16, recorded.origin)
    try rows.endRow()
  }

  /// Adds the functions above a stored call, read when a person was shown it.
  public func add(callers: [String], to call: EventID) throws(InvestigationError) {
    try write { db in
      try db.execute(sql: "DELETE FROM caller WHERE call = ?", arguments: [call.rawValue])
      try insertCallers(callers, of: call, db)
    }
  }

  private func insertCallers(_ callers: [String], of call: EventID, _ db: Database) throws {
    for (depth, function) in callers.enumerated() {
      try db.cachedStatement(sql: "INSERT INTO caller(call, depth, function) VALUES (?, ?, ?)")
        .execute(arguments: [call.rawValue, depth, function])
    }
  }

  /// All calls in the order in which they were recorded: by number, which one transaction after the other gives out. The
  /// clock would put what was recorded after a reboot before everything else.
  public func calls(progress: WorkProgress? = nil) throws(InvestigationError) -> [RecordedCall] {
    try read { db in
      var callers: [Int64: [String]] = [:]
      let names = try db.cachedStatement(sql: "SELECT call, function FROM caller ORDER BY call, depth")
      let callerRows = try Row.fetchCursor(names)
      while let row = try callerRows.next() {
        callers[try row.value("call"), default: []].append(try row.value("function"))
      }
      var calls: [RecordedCall] = []
      let count = try Int.fetchOne(db, sql: "SELECT count(*) FROM call") ?? 0
      calls.reserveCapacity(count)
      try Self.eachCall(db, "ORDER BY event") { found in
        if progress?.stops("reading calls", at: calls.count, of: count) == true {
          throw WorkProgress.interruption("reading calls")
        }
        var call = found
        if let id = call.id, let known = callers[id.rawValue] { call.callers = known }
        calls.append(call)
        return true
      }
      return calls
    }
  }

  /// Requesters and domains of the calls recorded last, and requesters of translations, ascending.
  public func recentNames() throws(InvestigationError) -> (requesters: [RequesterID], domains: [KVA]) {
    try read { db in
      func values(_ column: String, of table: String) throws -> [Int64] {
        try Int64.fetchAll(
          db,
          sql: """
            SELECT DISTINCT \(column) FROM (SELECT \(column) FROM \(table) ORDER BY event DESC LIMIT 20000)
            WHERE \(column) IS NOT NULL
            """)
      }
      let requesters = Set(try values("requester", of: "call") + values("requester", of: "translation"))
      let domains = Set(try values("domain", of: "call").map(unsigned)).subtracting([0])
      return (
        requesters.compactMap { UInt32(exactly: $0).map(RequesterID.init(rawValue:)) }.sorted(),
        domains.sorted().map { KVA($0) }
      )
    }
  }

  /// The call recorded last, without its callers; nil when there is none.
  public func lastCall() throws(InvestigationError) -> RecordedCall? {
    try read { db in
      var last: RecordedCall?
      try Self.eachCall(db, "ORDER BY event DESC LIMIT 1") { call in
        last = call
        return false
      }
      return last
    }
  }

  /// Hands out the calls that the query's `tail` chooses, without their callers, until `body` says no.
  static func eachCall(
    _ db: Database, _ tail: String, arguments: StatementArguments = [], _ body: (RecordedCall) throws -> Bool
  ) throws {
    var texts = CallTexts()
    let statement = try db.cachedStatement(sql: "SELECT \(callColumns) FROM call \(tail)")
    let rows = try Row.fetchCursor(statement, arguments: arguments)
    while let row = try rows.next() {
      guard try body(call(RawColumns(of: row, from: statement), &texts)) else { return }
    }
  }

  /// Texts that calls share.
  private struct CallTexts {
    var functions = RecentTexts(), modes = RecentTexts(), origins = RecentTexts()
  }

  /// In the order in which ``call(_:_:)`` reads them.
  private static let callColumns =
    "event, number, function, domain, iova, length, page_size, page_count, target, prot, gfp, requester, root, mode, "
    + "origin"

  /// The call in a row; it shares its texts with others.
  private static func call(_ row: RawColumns, _ texts: inout CallTexts) throws -> RecordedCall {
    var root: TableRoot?
    if let name = try row.optionalText(13, "mode", &texts.modes),
      let address = try row.optionalInteger(12, "root")
    {
      guard let mode = PagingMode(rawValue: name) else { throw Damage(what: "a call has the paging mode '\(name)'") }
      root = TableRoot(address: GPA(unsigned(address)), mode: mode)
    }
    var pages: DriverCall.Pages?
    if let size = try row.optionalInteger(6, "page_size"), let count = try row.optionalInteger(7, "page_count") {
      pages = DriverCall.Pages(size: unsigned(size), count: unsigned(count))
    }
    var operation = DriverCall.Operation.unmap
    if let target = try row.optionalInteger(8, "target") {
      let protection = try row.optionalInteger(9, "prot")
      let allocation = try row.optionalInteger(10, "gfp")
      operation = .map(
        target: GPA(unsigned(target)),
        protection: protection.map { Protection(rawValue: UInt32(truncatingIfNeeded: $0)) },
        allocation: allocation.map { AllocationFlags(rawValue: unsigned($0)) })
    }
    let requester = try row.optionalInteger(11, "requester")
    return RecordedCall(
      id: EventID(rawValue: try row.integer(0, "event")), number: Int(try row.integer(1, "number")),
      call: DriverCall(
        function: try row.text(2, "function", &texts.functions), operation: operation,
        domain: KVA(unsigned(try row.integer(3, "domain"))), iova: IOVA(unsigned(try row.integer(4, "iova"))),
        length: unsigned(try row.integer(5, "length")), pages: pages),
      root: root, requester: requester.map { RequesterID(rawValue: UInt32(truncatingIfNeeded: $0)) },
      origin: try row.optionalText(14, "origin", &texts.origins))
  }
}
