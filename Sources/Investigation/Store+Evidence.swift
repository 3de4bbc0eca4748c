import Foundation
import GRDB
import IOMMUModel
public import LinuxKernel
import PageTables

// What is seen beside the driver's calls: translations, log lines, the kernel's structures.

extension InvestigationStore {
  // MARK: Translations

  /// Stores translations in one transaction, so that a burst costs one; returns them with their events' numbers.
  @discardableResult
  public func append(_ translations: [RecordedTranslation]) throws(InvestigationError) -> [RecordedTranslation] {
    var stored = translations
    try write { db in
      let statement = try db.cachedStatement(
        sql: """
          INSERT INTO translation(event, requester, iova, count, stride, access, answer_address, answer_mask,
                                  answer_access, before, after, device, operation, path, length)
          VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
          """)
      for (position, translation) in translations.enumerated() {
        let id = try event(db, kind: "translation")
        stored[position].id = id
        let (answer, asker) = (translation.answer, translation.asker)
        try statement.execute(arguments: [
          id.rawValue, translation.requester.map { Int64($0.rawValue) }, signed(translation.iova.rawValue),
          signed(translation.count), signed(translation.stride), translation.access.map { Int($0.rawValue) },
          answer.map { signed($0.address.rawValue) }, answer.map { signed($0.mask) },
          answer.map { Int($0.access.rawValue) }, translation.before.stored, translation.after.stored,
          asker?.device, asker?.operation, asker?.path, asker?.length.map(signed),
        ])
      }
    }
    return stored
  }

  /// All translations in the order in which they were recorded.
  public func translations(progress: WorkProgress? = nil) throws(InvestigationError) -> [RecordedTranslation] {
    try read { db in
      var shared = SharedParts()
      var found: [RecordedTranslation] = []
      let rows = try Row.fetchCursor(db, sql: "SELECT * FROM translation ORDER BY event")
      while let row = try rows.next() {
        if progress?.stops("reading translations", at: found.count) == true {
          throw WorkProgress.interruption("reading translations")
        }
        found.append(try Self.translation(row, &shared))
      }
      return found
    }
  }

  /// Stores which translations this session records from now on, also where the session before recorded the same.
  public func append(watching scopes: [TranslationWatch.Scope]) throws(InvestigationError) {
    try write { db in
      let id = try event(db, kind: "fact")
      try db.execute(
        sql: "INSERT INTO fact(event, name, value) VALUES (?, ?, ?)",
        arguments: [id.rawValue, Fact.translationsRecorded, TranslationWatch.Scope.stored(scopes)])
    }
  }

  /// When translations were recorded, in order. A session records until it says otherwise, another one does, or, where it was
  /// ended, up to its last event.
  public func translationWatches() throws(InvestigationError) -> [TranslationWatch] {
    try read { db in
      let rows = try Row.fetchAll(
        db,
        sql: """
          SELECT fact.event, value, session FROM fact JOIN event ON event.id = fact.event WHERE name = ?
          ORDER BY fact.event
          """, arguments: [Fact.translationsRecorded])
      if rows.isEmpty { return [] }
      var ends: [Int64: Int64] = [:]
      for row in try Row.fetchAll(db, sql: "SELECT session, max(id) AS last FROM event GROUP BY session") {
        ends[try row.value("session")] = try row.value("last") as Int64
      }
      var watches: [TranslationWatch] = []
      for (position, row) in rows.enumerated() {
        let first: Int64 = try row.value("event")
        var last = ends[try row.value("session")] ?? first
        if position + 1 < rows.count { last = min(last, try rows[position + 1].value("event")) }
        let scopes = TranslationWatch.Scope.scopes(stored: try row.value("value"))
        if !scopes.isEmpty {
          watches.append(
            TranslationWatch(first: EventID(rawValue: first), last: EventID(rawValue: last), scopes: scopes))
        }
      }
      return watches
    }
  }

  /// What many translations have in common, kept once: a million of them are in several lists.
  struct SharedParts {
    fileprivate var devices = RecentTexts(), operations = RecentTexts(), paths = RecentTexts()
    private var registers: [Data: RegisterValues] = [:]
    private static let room = 64

    fileprivate mutating func registers(stored: Data) throws -> RegisterValues {
      if let known = registers[stored] { return known }
      let values = try RegisterValues(stored: stored)
      if registers.count == Self.room { registers.removeAll(keepingCapacity: true) }
      registers[stored] = values
      return values
    }
  }

  /// The translation in a row; it shares parts with others.
  static func translation(_ row: Row, _ shared: inout SharedParts) throws -> RecordedTranslation {
    func access(_ column: String) throws -> Access? {
      guard let code: Int = try row.optional(column) else { return nil }
      guard let access = UInt8(exactly: code).flatMap(Access.init) else {
        throw Damage(what: "a translation has the access \(code)")
      }
      return access
    }
    var answer: RecordedTranslation.Answer?
    if let address: Int64 = try row.optional("answer_address"), let mask: Int64 = try row.optional("answer_mask"),
      let allowed = try access("answer_access")
    {
      answer = RecordedTranslation.Answer(address: GPA(unsigned(address)), mask: unsigned(mask), access: allowed)
    }
    var asker: RecordedTranslation.Asker?
    if let device: String = try row.optional("device") {
      asker = RecordedTranslation.Asker(
        device: shared.devices.shared(device), operation: shared.operations.shared(try row.optional("operation") ?? ""),
        path: shared.paths.shared(try row.optional("path") ?? ""),
        length: (try row.optional("length") as Int64?).map(unsigned))
    }
    return RecordedTranslation(
      id: EventID(rawValue: try row.value("event")),
      requester: (try row.optional("requester") as Int64?).map {
        RequesterID(rawValue: UInt32(truncatingIfNeeded: $0))
      },
      iova: IOVA(unsigned(try row.value("iova"))), count: max(1, unsigned(try row.value("count"))),
      stride: unsigned(try row.value("stride")), access: try access("access"), answer: answer,
      before: try shared.registers(stored: row.value("before")),
      after: try shared.registers(stored: row.value("after")),
      asker: asker)
  }

  // MARK: The kernel's structures

  /// Stores how the kernel has set up its devices, unless it is as it was last stored.
  public func append(_ state: KernelState) throws(InvestigationError) {
    try write { db in
      let encoder = JSONEncoder()
      encoder.outputFormatting = .sortedKeys
      let text = String(decoding: try encoder.encode(state), as: UTF8.self)
      let last = try String.fetchOne(db, sql: "SELECT state FROM kernel_state ORDER BY event DESC LIMIT 1")
      if last == text { return }
      let id = try event(db, kind: "kernel state")
      try db.execute(sql: "INSERT INTO kernel_state(event, state) VALUES (?, ?)", arguments: [id.rawValue, text])
    }
  }

  /// The kernel's structures as they were last stored; nil when they never were.
  public func kernelState() throws(InvestigationError) -> KernelState? {
    try read { db in
      guard let text = try String.fetchOne(db, sql: "SELECT state FROM kernel_state ORDER BY event DESC LIMIT 1") else {
        return nil
      }
      do { return try JSONDecoder().decode(KernelState.self, from: Data(text.utf8)) } catch {
        throw Damage(what: "the kernel's state is not what this version writes")
      }
    }
  }

  /// Stores a request for a DMA cookie.
  public func append(_ request: CookieRequest) throws(InvestigationError) {
    try write { db in
      let id = try event(db, kind: "cookie")
      try db.execute(
        sql: "INSERT INTO cookie(event, domain, held, callers) VALUES (?, ?, ?, ?)",
        arguments: [
          id.rawValue, signed(request.domain.rawValue), signed(request.held), request.callers.joined(separator: "\n"),
        ])
    }
  }

  /// All requests for DMA cookies, in order.
  public func cookieRequests() throws(InvestigationError) -> [CookieRequest] {
    try read { db in
      try Row.fetchAll(db, sql: "SELECT * FROM cookie ORDER BY event").map(Self.cookieRequest)
    }
  }

  static func cookieRequest(_ row: Row) throws -> CookieRequest {
    CookieRequest(
      id: EventID(rawValue: try row.value("event")), domain: KVA(unsigned(try row.value("domain"))),
      held: unsigned(try row.value("held")),
      callers: (try row.value("callers") as String).split(separator: "\n").map(String.init))
  }

  // MARK: Logs

  /// Stores log lines; those that are stored already (same origin, line and text) are left out.
  public func append(_ lines: [LogLine]) throws(InvestigationError) {
    try write { db in
      let known = try db.cachedStatement(sql: "SELECT 1 FROM log WHERE origin = ? AND line = ? AND text = ?")
      let statement = try db.cachedStatement(
        sql: "INSERT INTO log(event, origin, line, time_ns, text, meaning) VALUES (?, ?, ?, ?, ?, ?)")
      for line in lines
      where try Int.fetchOne(known, arguments: [line.origin, line.line, line.text]) == nil {
        let id = try event(db, kind: "log")
        try statement.execute(arguments: [
          id.rawValue, line.origin, line.line, line.time.map(signed), line.text, line.meaning.rawValue,
        ])
      }
    }
  }

  /// All log lines, in the order in which they were stored.
  public func logLines() throws(InvestigationError) -> [LogLine] {
    try read { db in
      try Row.fetchAll(db, sql: "SELECT * FROM log ORDER BY event").map(Self.logLine)
    }
  }

  /// The commands by which the device forgot what it kept, in the order in which they were stored, as `device` tells them from
  /// its trace.
  func invalidations(of device: any DeviceModel) throws(InvestigationError) -> [RecordedInvalidation] {
    guard let trace = device.trace else { return [] }
    return try read { db in
      try Row.fetchAll(
        db, sql: "SELECT event, text FROM log WHERE meaning = ? ORDER BY event",
        arguments: [LogLine.Meaning.invalidation.rawValue]
      ).compactMap { row in
        guard case .invalidation(let invalidation)? = trace.read(try row.value("text")) else { return nil }
        return RecordedInvalidation(id: EventID(rawValue: try row.value("event")), invalidation: invalidation)
      }
    }
  }

  static func logLine(_ row: Row) throws -> LogLine {
    LogLine(
      origin: try row.value("origin"), line: try row.value("line"),
      time: (try row.optional("time_ns") as Int64?).map(unsigned), text: try row.value("text"),
      meaning: LogLine.Meaning(rawValue: try row.value("meaning")) ?? .other)
  }
}

extension RegisterValues {
  /// As an investigation file keeps them: offset and value, eight bytes each, by offset.
  fileprivate var stored: Data {
    var bytes = Data(capacity: byOffset.count * 16)
    for (offset, value) in byOffset.sorted(by: { $0.key < $1.key }) {
      for word in [offset, value] { withUnsafeBytes(of: word.littleEndian) { bytes.append(contentsOf: $0) } }
    }
    return bytes
  }

  fileprivate init(stored: Data) throws {
    guard stored.count % 16 == 0 else { throw Damage(what: "a translation's registers are cut") }
    self.init()
    let words = stored.withUnsafeBytes { bytes in
      stride(from: 0, to: bytes.count, by: 8).map {
        UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: $0, as: UInt64.self))
      }
    }
    for position in stride(from: 0, to: words.count, by: 2) { byOffset[words[position]] = words[position + 1] }
  }
}
