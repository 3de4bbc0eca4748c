import Foundation
import GRDB
public import IOMMUModel
public import PageTables

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
  private static let callRows = InsertStatements(
    into: "call",
    [
      "event", "kind", "number", "function", "domain", "iova", "length", "page_size", "page_count", "target", "prot",
      "gfp",
      "requester", "root", "mode", "origin",
    ])
  private static let verificationRows = InsertStatements(
    into: "verification",
    ["event", "call", "leaves", "agreeing", "verdict", "level", "found", "detail", "iova", "shifts", "samples"])

  /// The events of one transaction.
  private struct NewEvents {
    var rows: RawInsert
    var last: Int64
    let session: Int64
  }

  private func newEvents(_ db: Database, count: Int) throws -> NewEvents {
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

  private func append(_ kind: String, to events: inout NewEvents) throws -> EventID {
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

  // MARK: Calls

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

  // MARK: Verifications

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

  private func insert(
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

  // MARK: Facts, registers, notes

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

  // MARK: Table pages

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

  // MARK: Counts

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

  /// What makes each version of the schema out of the one before it. Files of every version are about: a step that was
  /// released never changes.
  static let schema = [
    """
    CREATE TABLE session(id INTEGER PRIMARY KEY, side TEXT NOT NULL, process INTEGER NOT NULL, started TEXT NOT NULL);
    CREATE TABLE event(id INTEGER PRIMARY KEY, session INTEGER NOT NULL REFERENCES session(id), sequence INTEGER NOT NULL,
                       monotonic_ns INTEGER NOT NULL, kind TEXT NOT NULL);
    CREATE TABLE call(event INTEGER PRIMARY KEY REFERENCES event(id), kind TEXT NOT NULL, number INTEGER NOT NULL,
                      function TEXT NOT NULL, domain INTEGER NOT NULL, iova INTEGER NOT NULL, length INTEGER NOT NULL,
                      page_size INTEGER, page_count INTEGER, target INTEGER, prot INTEGER, gfp INTEGER,
                      requester INTEGER, root INTEGER, mode TEXT);
    CREATE UNIQUE INDEX call_number ON call(kind, number);
    CREATE TABLE caller(call INTEGER NOT NULL REFERENCES event(id), depth INTEGER NOT NULL, function TEXT NOT NULL,
                        PRIMARY KEY(call, depth)) WITHOUT ROWID;
    CREATE TABLE verification(event INTEGER PRIMARY KEY REFERENCES event(id), call INTEGER NOT NULL REFERENCES event(id),
                              leaves INTEGER NOT NULL, agreeing INTEGER NOT NULL, verdict TEXT NOT NULL, level INTEGER,
                              found INTEGER, detail TEXT NOT NULL, iova INTEGER, shifts TEXT NOT NULL);
    CREATE TABLE fact(event INTEGER PRIMARY KEY REFERENCES event(id), name TEXT NOT NULL, value TEXT NOT NULL);
    CREATE TABLE register(event INTEGER NOT NULL REFERENCES event(id), offset INTEGER NOT NULL, value INTEGER NOT NULL,
                          PRIMARY KEY(event, offset)) WITHOUT ROWID;
    CREATE TABLE note(event INTEGER PRIMARY KEY REFERENCES event(id), text TEXT NOT NULL);
    CREATE TABLE snapshot(event INTEGER PRIMARY KEY REFERENCES event(id), reason TEXT NOT NULL);
    CREATE TABLE page(id INTEGER PRIMARY KEY, hash INTEGER NOT NULL, bytes BLOB NOT NULL);
    CREATE INDEX page_hash ON page(hash);
    CREATE TABLE snapshot_page(snapshot INTEGER NOT NULL REFERENCES event(id), address INTEGER NOT NULL,
                               page INTEGER NOT NULL REFERENCES page(id), PRIMARY KEY(snapshot, address)) WITHOUT ROWID;
    """,
    """
    CREATE TABLE translation(event INTEGER PRIMARY KEY REFERENCES event(id), requester INTEGER, iova INTEGER NOT NULL,
                             count INTEGER NOT NULL, stride INTEGER NOT NULL, access INTEGER, answer_address INTEGER,
                             answer_mask INTEGER, answer_access INTEGER, before BLOB NOT NULL, after BLOB NOT NULL,
                             device TEXT, operation TEXT, path TEXT, length INTEGER);
    CREATE TABLE kernel_state(event INTEGER PRIMARY KEY REFERENCES event(id), state TEXT NOT NULL);
    CREATE TABLE log(event INTEGER PRIMARY KEY REFERENCES event(id), origin TEXT NOT NULL, line INTEGER NOT NULL,
                     time_ns INTEGER, text TEXT NOT NULL, meaning TEXT NOT NULL, UNIQUE(origin, line, text));
    CREATE TABLE cookie(event INTEGER PRIMARY KEY REFERENCES event(id), domain INTEGER NOT NULL, held INTEGER NOT NULL,
                        callers TEXT NOT NULL);
    ALTER TABLE call ADD COLUMN origin TEXT;
    ALTER TABLE verification ADD COLUMN samples TEXT NOT NULL DEFAULT '';
    """,
    // The index was for the next call's number alone, and about a quarter of what storing a call cost.
    """
    DROP INDEX call_number;
    """,
    views,
  ]
}

func signed(_ bits: UInt64) -> Int64 { Int64(bitPattern: bits) }
func unsigned(_ bits: Int64) -> UInt64 { UInt64(bitPattern: bits) }

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
