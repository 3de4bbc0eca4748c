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
  static let schemaVersion = 1

  /// The file.
  public let path: String
  private let database: DatabaseQueue
  private let session: Int64
  private var sequence: Int64 = 0

  /// Opens the investigation at `path`, making it when there is none, and starts a session of `side` in it.
  public init(path: String, side: String) throws(InvestigationError) {
    self.path = path
    var configuration = Configuration()
    configuration.busyMode = .timeout(10)
    configuration.journalMode = .wal
    configuration.label = "investigation"
    do {
      try Self.refuseForeignFile(path)
      let database = try DatabaseQueue(path: path, configuration: configuration)
      session = try database.write { db in
        try Self.prepare(db, path: path)
        try db.execute(
          sql: "INSERT INTO session(side, process, started) VALUES (?, ?, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))",
          arguments: [side, Int(getpid())])
        return db.lastInsertedRowID
      }
      self.database = database
    } catch let error as InvestigationError {
      throw error
    } catch {
      throw Self.failure(error, path: path)
    }
  }

  /// A file that is not SQLite must not be touched; an empty or missing one becomes an investigation.
  private static func refuseForeignFile(_ path: String) throws {
    var isFolder: ObjCBool = false
    guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else { return }
    if isFolder.boolValue { throw InvestigationError("\(path) is a directory, not an investigation file.") }
    guard let file = FileHandle(forReadingAtPath: path) else {
      throw InvestigationError("\(path) cannot be read: check its permissions.")
    }
    defer { try? file.close() }
    let start = try file.read(upToCount: 16) ?? Data()
    if !start.isEmpty && start != Data("SQLite format 3\0".utf8) {
      throw InvestigationError("\(path) is not an investigation file; it was left as it is. Choose another name.")
    }
  }

  private static func prepare(_ db: Database, path: String) throws {
    let application = try Int.fetchOne(db, sql: "PRAGMA application_id") ?? 0
    let version = try Int.fetchOne(db, sql: "PRAGMA user_version") ?? 0
    let tables = try Int.fetchOne(db, sql: "SELECT count(*) FROM sqlite_master") ?? 0
    if application != applicationID && tables > 0 {
      throw InvestigationError(
        "\(path) is an SQLite database, but not an investigation; it was left as it is. Choose another name.")
    }
    if version > schemaVersion {
      throw InvestigationError(
        "\(path) was written by a newer IOMMULens (schema \(version), this one reads up to \(schemaVersion)). "
          + "Update IOMMULens to open it.")
    }
    if version == schemaVersion { return }
    try db.execute(sql: schema)
    try db.execute(sql: "PRAGMA application_id = \(applicationID); PRAGMA user_version = \(schemaVersion)")
  }

  private static func failure(_ error: any Error, path: String) -> InvestigationError {
    guard let error = error as? DatabaseError else {
      return InvestigationError("\(path) cannot be used: \(error).")
    }
    let why = error.message ?? "SQLite error \(error.resultCode.rawValue)"
    return InvestigationError("\(path) cannot be used: \(why).")
  }

  private func write<T>(_ body: (Database) throws -> T) throws(InvestigationError) -> T {
    do { return try database.write(body) } catch { throw Self.failure(error, path: path) }
  }

  private func read<T>(_ body: (Database) throws -> T) throws(InvestigationError) -> T {
    do { return try database.read(body) } catch { throw Self.failure(error, path: path) }
  }

  private func event(_ db: Database, kind: String) throws -> EventID {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    sequence += 1
    let statement = try db.cachedStatement(
      sql: "INSERT INTO event(session, sequence, monotonic_ns, kind) VALUES (?, ?, ?, ?)")
    try statement.execute(arguments: [session, sequence, Int64(now.tv_sec) * 1_000_000_000 + Int64(now.tv_nsec), kind])
    return EventID(rawValue: db.lastInsertedRowID)
  }

  // MARK: Calls

  /// Stores a call and returns it with its event's number and its own.
  public func append(_ recorded: RecordedCall) throws(InvestigationError) -> RecordedCall {
    var stored = recorded
    try write { db in
      let call = recorded.call
      let kind = call.isMap ? "map" : "unmap"
      let id = try event(db, kind: kind)
      let number = try Int.fetchOne(
        db.cachedStatement(sql: "SELECT coalesce(max(number), 0) + 1 FROM call WHERE kind = ?"), arguments: [kind])
      stored.id = id
      stored.number = number ?? 1
      var allocation: UInt64?
      if case .map(_, _, let flags) = call.operation { allocation = flags?.rawValue }
      try db.cachedStatement(
        sql: """
          INSERT INTO call(event, kind, number, function, domain, iova, length, page_size, page_count, target, prot, gfp,
                           requester, root, mode)
          VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
          """
      ).execute(arguments: [
        id.rawValue, kind, stored.number, call.function, signed(call.domain.rawValue), signed(call.iova.rawValue),
        signed(call.length), call.pages.map { signed($0.size) }, call.pages.map { signed($0.count) },
        call.target.map { signed($0.rawValue) }, call.protection.map { Int64($0.rawValue) }, allocation.map(signed),
        recorded.requester.map { Int64($0.rawValue) }, recorded.root.map { signed($0.address.rawValue) },
        recorded.root?.mode.rawValue,
      ])
      try insertCallers(recorded.callers, of: id, db)
    }
    return stored
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

  /// All calls in the order in which they were recorded.
  public func calls() throws(InvestigationError) -> [RecordedCall] {
    try read { db in
      var callers: [Int64: [String]] = [:]
      for row in try Row.fetchAll(db, sql: "SELECT call, function FROM caller ORDER BY call, depth") {
        callers[row["call"], default: []].append(row["function"])
      }
      return try Row.fetchAll(
        db, sql: "SELECT call.* FROM call JOIN event ON event.id = call.event ORDER BY event.monotonic_ns, event.id"
      ).map { Self.call($0, callers: callers[$0["event"]] ?? []) }
    }
  }

  /// The call recorded last, without its callers; nil when there is none.
  public func lastCall() throws(InvestigationError) -> RecordedCall? {
    try read { db in
      try Row.fetchOne(db, sql: "SELECT * FROM call ORDER BY event DESC LIMIT 1").map { Self.call($0, callers: []) }
    }
  }

  private static func call(_ row: Row, callers: [String]) -> RecordedCall {
    let root: TableRoot? = (row["mode"] as String?).flatMap(PagingMode.init(rawValue:)).flatMap { mode in
      (row["root"] as Int64?).map { TableRoot(address: GPA(unsigned($0)), mode: mode) }
    }
    let pages: DriverCall.Pages? = (row["page_size"] as Int64?).flatMap { size in
      (row["page_count"] as Int64?).map { DriverCall.Pages(size: unsigned(size), count: unsigned($0)) }
    }
    let protection = UInt32(truncatingIfNeeded: row["prot"] as Int64? ?? 0)
    let operation: DriverCall.Operation =
      (row["target"] as Int64?).map {
        .map(
          target: GPA(unsigned($0)), protection: Protection(rawValue: protection),
          allocation: (row["gfp"] as Int64?).map { AllocationFlags(rawValue: unsigned($0)) })
      } ?? .unmap
    return RecordedCall(
      id: EventID(rawValue: row["event"]), number: row["number"],
      call: DriverCall(
        function: row["function"], operation: operation, domain: KVA(unsigned(row["domain"])),
        iova: IOVA(unsigned(row["iova"])), length: unsigned(row["length"]), pages: pages),
      root: root, requester: (row["requester"] as Int64?).map { RequesterID(rawValue: UInt32(truncatingIfNeeded: $0)) },
      callers: callers)
  }

  // MARK: Verifications

  /// Stores what was found right after a call.
  public func append(_ verification: Verification, of call: EventID) throws(InvestigationError) {
    try write { db in
      let id = try event(db, kind: "verification")
      let (level, found, detail) = particulars(verification.verdict)
      try db.cachedStatement(
        sql: """
          INSERT INTO verification(event, call, leaves, agreeing, verdict, level, found, detail, iova, shifts)
          VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
          """
      ).execute(arguments: [
        id.rawValue, call.rawValue, verification.leaves, verification.agreeing, verification.verdict.name, level,
        found.map(signed), detail, verification.iova.map { signed($0.rawValue) },
        verification.shifts.map { String($0.rawValue, radix: 16) }.joined(separator: ","),
      ])
    }
  }

  /// The verifications by call.
  public func verifications() throws(InvestigationError) -> [EventID: Verification] {
    try read { db in
      var found: [EventID: Verification] = [:]
      for row in try Row.fetchAll(db, sql: "SELECT * FROM verification ORDER BY event") {
        let shifts = (row["shifts"] as String).split(separator: ",").compactMap { UInt64($0, radix: 16) }
        found[EventID(rawValue: row["call"])] = Verification(
          leaves: row["leaves"], agreeing: row["agreeing"],
          verdict: verdict(
            row["verdict"], level: row["level"], found: (row["found"] as Int64?).map(unsigned), detail: row["detail"]),
          iova: (row["iova"] as Int64?).map { IOVA(unsigned($0)) }, shifts: shifts.map { ShiftSet(rawValue: $0) })
      }
      return found
    }
  }

  // MARK: Facts, registers, notes

  /// Stores what is known of the target: a name and a value. The newest of a name counts.
  public func setFact(_ name: String, _ value: String) throws(InvestigationError) {
    try write { db in
      let last = try String.fetchOne(
        db, sql: "SELECT value FROM fact WHERE name = ? ORDER BY event DESC LIMIT 1", arguments: [name])
      if last == value { return }
      let id = try event(db, kind: "fact")
      try db.execute(
        sql: "INSERT INTO fact(event, name, value) VALUES (?, ?, ?)", arguments: [id.rawValue, name, value])
    }
  }

  /// What is known of the target.
  public func facts() throws(InvestigationError) -> [String: String] {
    try read { db in
      var facts: [String: String] = [:]
      for row in try Row.fetchAll(db, sql: "SELECT name, value FROM fact ORDER BY event") {
        facts[row["name"]] = row["value"]
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
      for row in rows { values.byOffset[unsigned(row["offset"])] = unsigned(row["value"]) }
      return values
    }
  }

  /// Stores a remark.
  public func append(note: String) throws(InvestigationError) {
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
        let known = try Row.fetchAll(
          db.cachedStatement(sql: "SELECT id, bytes FROM page WHERE hash = ?"), arguments: [hash]
        ).first { ($0["bytes"] as Data) == content }
        var page: Int64? = known?["id"]
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
      while let row = try rows.next() { pages[GPA(unsigned(row["address"]))] = [UInt8](row["bytes"] as Data) }
      return pages
    }
  }

  /// FNV-1a over the bytes; equal hashes are compared byte by byte, so collisions only cost time.
  private static func hash(_ bytes: [UInt8]) -> UInt64 {
    bytes.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
  }

  // MARK: Counts

  /// How many events of each kind there are.
  public func counts() throws(InvestigationError) -> [String: Int] {
    try read { db in
      var counts: [String: Int] = [:]
      for row in try Row.fetchAll(db, sql: "SELECT kind, count(*) AS n FROM event GROUP BY kind") {
        counts[row["kind"]] = row["n"]
      }
      return counts
    }
  }

  private static let schema = """
    CREATE TABLE session(id INTEGER PRIMARY KEY, side TEXT NOT NULL, process INTEGER NOT NULL, started TEXT NOT NULL);
    CREATE TABLE event(id INTEGER PRIMARY KEY, session INTEGER NOT NULL REFERENCES session(id), sequence INTEGER NOT NULL,
                       monotonic_ns INTEGER NOT NULL, kind TEXT NOT NULL);
    CREATE INDEX event_time ON event(monotonic_ns);
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
    """
}

private func signed(_ bits: UInt64) -> Int64 { Int64(bitPattern: bits) }
private func unsigned(_ bits: Int64) -> UInt64 { UInt64(bitPattern: bits) }

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

/// The verdict of a verification from its columns. Only the kinds that a verification makes come back in full.
private func verdict(_ name: String, level: Int?, found: UInt64?, detail: String) -> Verdict {
  switch (name, level, found) {
  case ("agrees", _, _): .agrees
  case ("missing", let level?, _): .missing(level: level)
  case ("malformed", let level?, _): .malformed(level: level, detail)
  case ("wrong address", _, let found?): .wrongAddress(GPA(found))
  case ("stale after unmap", _, let found?): .staleAfterUnmap(GPA(found))
  case ("unreadable", _, let found?): .unreadable(GPA(found))
  case ("wrong permission", _, let found?):
    .wrongPermission(PageTableEntry.Flags(rawValue: UInt8(truncatingIfNeeded: found)))
  default: .deviceDiffers(detail)
  }
}
