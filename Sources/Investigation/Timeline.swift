import GRDB
import IOMMUModel
public import PageTables

/// What was seen, on all sides of an investigation, in the order in which it was stored.
///
/// Read in pieces, so that a file of any size takes little memory. What is written meanwhile appears too, if it comes before
/// the end is reached.
public struct Timeline {
  /// One line of it.
  public struct Entry: Hashable, Sendable {
    /// The event.
    public let id: EventID
    /// Nanoseconds since the first event, by the host's clock; since the clock's new start where that began anew.
    public let time: Int64
    /// Whether the clock began anew before this event: the host was booted, or it is another host.
    public let startsClock: Bool
    /// The side of the session that saw it: `kernel`, `qemu`, `command line`.
    public let side: String
    /// What was seen.
    public let content: Content
  }

  /// What was seen.
  public enum Content: Hashable, Sendable {
    /// A map or unmap call.
    case call(RecordedCall)
    /// A call that did not leave what it should have.
    case wrong(RecordedCall, Verification)
    /// Translations of the device, and what they changed in its registers.
    case translation(RecordedTranslation, changes: [RegisterChange])
    /// Registers that are not what they were when they were last seen.
    case registers([RegisterChange])
    /// A line of a log.
    case log(LogLine)
    /// A request for a DMA cookie.
    case cookie(CookieRequest)
    /// A remark.
    case note(String)
    /// The tables were stored: why, and how many pages.
    case snapshot(reason: String, pages: Int)
  }

  /// A register with another value than before.
  public struct RegisterChange: Hashable, Sendable {
    /// Its offset.
    public let offset: UInt64
    /// Its value when it was last seen; nil for never.
    public let before: UInt64?
    /// Its value now.
    public let after: UInt64
  }

  private let store: InvestigationStore

  /// Events read at a time.
  fileprivate static let piece = 512

  /// The timeline of `store`.
  public init(_ store: InvestigationStore) { self.store = store }

  /// Calls `body` with every entry, in order; with `iovas` only those about an address in that range, with `last` only so
  /// many at the end. `progress` may end it early.
  public func forEach(
    iovas: ClosedRange<IOVA>? = nil, last: Int? = nil, progress: WorkProgress? = nil, _ body: (Entry) throws -> Void
  ) throws {
    guard let bounds = try store.eventBounds() else { return }
    // The numbers of an undamaged file have no gaps.
    let (span, overflow) = bounds.upperBound.subtractingReportingOverflow(bounds.lowerBound)
    let total = overflow || span == .max ? 0 : Int(span + 1)
    var done = 0
    func isStopped() -> Bool {
      defer { done += Self.piece }
      return progress?.stops("reading events", at: done, of: total) ?? false
    }
    var state = try state(before: bounds.lowerBound, first: bounds.lowerBound)
    guard let last else {
      var next = try store.events(after: nil)
      while let events = next, events.lowerBound <= bounds.upperBound, !isStopped() {
        try entries(events, iovas: iovas, state: &state).forEach(body)
        next = try store.events(after: events.upperBound)
      }
      return
    }
    var found: [Entry] = []
    var previous = try store.events(before: nil)
    while let events = previous, found.count < last, !isStopped() {
      var state = try self.state(before: events.lowerBound, first: bounds.lowerBound)
      found = Array((try entries(events, iovas: iovas, state: &state) + found).suffix(max(last, 0)))
      previous = try store.events(before: events.lowerBound)
    }
    try found.forEach(body)
  }

  // MARK: One piece

  /// What has to be known of the events before a piece.
  private struct State {
    var registers = RegisterValues()
    /// The time of the last event, and that of the one at which the clock started.
    var last: Int64?
    var start: Int64
  }

  private func state(before event: Int64, first: Int64) throws(InvestigationError) -> State {
    let (start, previous) = try store.clock(before: event, first: first)
    return State(registers: try store.registers(before: event), last: previous, start: start)
  }

  private func entries(
    _ events: ClosedRange<Int64>, iovas: ClosedRange<IOVA>?, state: inout State
  ) throws(InvestigationError) -> [Entry] {
    var entries: [Entry] = []
    for event in try store.events(events.lowerBound, through: events.upperBound) {
      let startsClock = state.last.map { event.time < $0 } ?? false
      if startsClock { state.start = event.time }
      state.last = event.time
      // A time is a time: no difference of two can pass 64 bits unless the file is not ours.
      let time = event.time &- state.start
      func add(_ content: Content) {
        guard iovas.map(content.concerns) ?? true else { return }
        entries.append(
          Entry(
            id: event.id, time: time, startsClock: startsClock && entries.last?.id != event.id, side: event.side,
            content: content))
      }
      switch event.content {
      case .one(let content): add(content)
      case .registers(let values):
        let changes = Self.changes(from: state.registers, to: values)
        state.registers.merge(values)
        if !changes.isEmpty { add(.registers(changes)) }
      case .translation(let translation):
        let between = Self.changes(from: state.registers, to: translation.before)
        if !between.isEmpty { add(.registers(between)) }
        state.registers.merge(translation.before)
        let changes = Self.changes(from: state.registers, to: translation.after)
        state.registers.merge(translation.after)
        add(.translation(translation, changes: changes))
      }
    }
    return entries
  }

  /// What differs; of registers seen for the first time, those that are not zero.
  private static func changes(from old: RegisterValues, to new: RegisterValues) -> [RegisterChange] {
    new.byOffset.sorted { $0.key < $1.key }.compactMap { offset, value in
      old[offset] == value || (old[offset] == nil && value == 0)
        ? nil : RegisterChange(offset: offset, before: old[offset], after: value)
    }
  }
}

extension Timeline.Content {
  /// Whether it is about an address in `iovas`.
  fileprivate func concerns(_ iovas: ClosedRange<IOVA>) -> Bool {
    func touches(_ first: IOVA, _ last: IOVA) -> Bool { first <= iovas.upperBound && last >= iovas.lowerBound }
    switch self {
    case .call(let call), .wrong(let call, _): return touches(call.call.iova, call.call.last)
    case .translation(let translation, _): return touches(translation.iova, translation.last)
    case .registers, .log, .cookie, .note, .snapshot: return false
    }
  }
}

extension RegisterValues {
  /// Takes over what `newer` knows.
  fileprivate mutating func merge(_ newer: RegisterValues) {
    byOffset.merge(newer.byOffset) { _, new in new }
  }
}

/// An event of a piece, with what it holds.
private struct TimelineEvent {
  enum Content {
    case one(Timeline.Content)
    case translation(RecordedTranslation)
    case registers(RegisterValues)
  }

  let id: EventID
  let time: Int64
  let side: String
  let content: Content
}

extension InvestigationStore {
  /// The first and the last event's number; nil when there is none.
  fileprivate func eventBounds() throws(InvestigationError) -> ClosedRange<Int64>? { try bounds("") }

  /// The first and the last number of the piece of events that follows `event`, or all; nil when there is none. A damaged file
  /// has gaps of any size between the numbers.
  fileprivate func events(after event: Int64?) throws(InvestigationError) -> ClosedRange<Int64>? {
    try inOrder(try bounds("\(event.map { "WHERE id > \($0)" } ?? "") ORDER BY id LIMIT \(Timeline.piece)")) { found in
      event.map { found.lowerBound > $0 } ?? true
    }
  }

  /// The same of the piece that comes before `event`, or last.
  fileprivate func events(before event: Int64?) throws(InvestigationError) -> ClosedRange<Int64>? {
    try inOrder(try bounds("\(event.map { "WHERE id < \($0)" } ?? "") ORDER BY id DESC LIMIT \(Timeline.piece)")) {
      found in
      event.map { found.upperBound < $0 } ?? true
    }
  }

  /// A file whose rows are not in the order of their numbers gives some again and again.
  private func inOrder(
    _ found: ClosedRange<Int64>?, _ isFurther: (ClosedRange<Int64>) -> Bool
  ) throws(InvestigationError) -> ClosedRange<Int64>? {
    guard found.map(isFurther) ?? true else {
      throw InvestigationError("\(path) is damaged: its events are not in the order of their numbers.")
    }
    return found
  }

  private func bounds(_ selection: String) throws(InvestigationError) -> ClosedRange<Int64>? {
    try read { db in
      let query = "SELECT min(id) AS first, max(id) AS last FROM (SELECT id FROM event \(selection))"
      guard let row = try Row.fetchOne(db, sql: query), let first: Int64 = try row.optional("first"),
        let last: Int64 = try row.optional("last"), first <= last
      else { return nil }
      return first...last
    }
  }

  /// When the clock that runs before `event` started, and the time of the event just before; for the first event its own
  /// time and nil.
  fileprivate func clock(before event: Int64, first: Int64) throws(InvestigationError) -> (start: Int64, last: Int64?) {
    try read { db in
      // The last event whose time is less than that of the one before it.
      let start = try Int64.fetchOne(
        db,
        sql: """
          SELECT monotonic_ns FROM event AS e WHERE id < ? AND monotonic_ns <
            (SELECT monotonic_ns FROM event WHERE id < e.id ORDER BY id DESC LIMIT 1)
          ORDER BY id DESC LIMIT 1
          """, arguments: [event])
      let origin = try Int64.fetchOne(db, sql: "SELECT monotonic_ns FROM event WHERE id = ?", arguments: [first]) ?? 0
      let last = try Int64.fetchOne(
        db, sql: "SELECT monotonic_ns FROM event WHERE id < ? ORDER BY id DESC LIMIT 1", arguments: [event])
      return (start ?? origin, last)
    }
  }

  /// The registers as they were last seen before `event`: read, or after a translation.
  fileprivate func registers(before event: Int64) throws(InvestigationError) -> RegisterValues {
    try read { db in
      let read = try Int64.fetchOne(db, sql: "SELECT max(event) FROM register WHERE event < ?", arguments: [event])
      let row = try Row.fetchOne(
        db, sql: "SELECT * FROM translation WHERE event < ? ORDER BY event DESC LIMIT 1", arguments: [event])
      var values = RegisterValues()
      if let read {
        for (_, found) in try Self.registers(read, through: read, db) { values = found }
      }
      if let row {
        var shared = SharedParts()
        let translation = try Self.translation(row, &shared)
        if translation.id?.rawValue ?? 0 > read ?? 0 {
          values.merge(translation.after)
        } else {
          values = translation.after.merging(values)
        }
      }
      return values
    }
  }

  /// The driver's last recorded call about `iova` on behalf of `requester`, among the last 100,000; nil when there is none.
  func lastCall(covering iova: IOVA, of requester: RequesterID) throws(InvestigationError) -> RecordedCall? {
    try read { db in
      var found: RecordedCall?
      try Self.eachCall(db, "ORDER BY event DESC LIMIT 100000") { call in
        if call.call.covers(iova) && (call.requester == nil || call.requester == requester) { found = call }
        return found == nil
      }
      return found
    }
  }

  private static func registers(
    _ first: Int64, through last: Int64, _ db: Database
  ) throws -> [Int64: RegisterValues] {
    var found: [Int64: RegisterValues] = [:]
    for row in try Row.fetchAll(
      db, sql: "SELECT * FROM register WHERE event BETWEEN ? AND ?", arguments: [first, last])
    {
      found[try row.value("event"), default: RegisterValues()].byOffset[unsigned(try row.value("offset"))] =
        unsigned(try row.value("value"))
    }
    return found
  }

  /// The events with these numbers that a timeline shows.
  fileprivate func events(_ first: Int64, through last: Int64) throws(InvestigationError) -> [TimelineEvent] {
    try read { db in
      func rows(_ table: String) throws -> [Row] {
        try Row.fetchAll(
          db, sql: "SELECT * FROM \(table) WHERE event BETWEEN ? AND ?", arguments: [first, last])
      }
      var contents: [Int64: TimelineEvent.Content] = [:]
      var callers: [Int64: [String]] = [:]
      for row in try Row.fetchAll(
        db, sql: "SELECT * FROM caller WHERE call BETWEEN ? AND ? ORDER BY call, depth", arguments: [first, last])
      {
        callers[try row.value("call"), default: []].append(try row.value("function"))
      }
      let within = "WHERE event BETWEEN ? AND ?"
      try Self.eachCall(db, within, arguments: [first, last]) { found in
        guard let id = found.id?.rawValue else { return true }
        var call = found
        call.callers = callers[id] ?? []
        contents[id] = .one(.call(call))
        return true
      }
      var wrong: [(event: EventID, call: EventID, verification: Verification)] = []
      try Self.eachVerification(db, within, arguments: [first, last]) { event, call, verification in
        if !verification.agrees { wrong.append((event, call, verification)) }
      }
      for (event, number, verification) in wrong {
        var about: RecordedCall?
        try Self.eachCall(db, "WHERE event = ?", arguments: [number.rawValue]) { call in
          about = call
          return false
        }
        guard let about else { throw Damage(what: "a verification is about a call that is not there") }
        contents[event.rawValue] = .one(.wrong(about, verification))
      }
      var shared = SharedParts()
      for row in try rows("translation") {
        contents[try row.value("event")] = .translation(try Self.translation(row, &shared))
      }
      for (event, values) in try Self.registers(first, through: last, db) { contents[event] = .registers(values) }
      for row in try rows("log") { contents[try row.value("event")] = .one(.log(try Self.logLine(row))) }
      for row in try rows("cookie") { contents[try row.value("event")] = .one(.cookie(try Self.cookieRequest(row))) }
      for row in try rows("note") { contents[try row.value("event")] = .one(.note(try row.value("text"))) }
      for row in try rows("snapshot") {
        let event: Int64 = try row.value("event")
        let pages = try Int.fetchOne(
          db, sql: "SELECT count(*) FROM snapshot_page WHERE snapshot = ?", arguments: [event])
        contents[event] = .one(.snapshot(reason: try row.value("reason"), pages: pages ?? 0))
      }
      return try Row.fetchAll(
        db,
        sql: """
          SELECT event.id, monotonic_ns, side FROM event JOIN session ON session.id = event.session
          WHERE event.id BETWEEN ? AND ? ORDER BY event.id
          """, arguments: [first, last]
      ).compactMap { row in
        let id: Int64 = try row.value("id")
        guard let content = contents[id] else { return nil }
        return TimelineEvent(
          id: EventID(rawValue: id), time: try row.value("monotonic_ns"), side: try row.value("side"),
          content: content)
      }
    }
  }
}

extension RegisterValues {
  fileprivate func merging(_ newer: RegisterValues) -> RegisterValues {
    var merged = self
    merged.merge(newer)
    return merged
  }
}
