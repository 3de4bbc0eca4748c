import Foundation
import GRDB
import IOMMUModel
import LinuxKernel
import PageTables
import Simulation
import Testing

@testable import Investigation

@Suite struct TimelineTests {
  let workspace: Workspace
  init() throws { workspace = try Workspace() }

  private func entries(
    _ store: InvestigationStore, iovas: ClosedRange<IOVA>? = nil, last: Int? = nil
  ) throws -> [Timeline.Entry] {
    var found: [Timeline.Entry] = []
    try Timeline(store).forEach(iovas: iovas, last: last) { found.append($0) }
    return found
  }

  private func told(_ entries: [Timeline.Entry]) -> [String] {
    entries.map { entry in
      let what: String
      switch entry.content {
      case .call(let call): what = "\(call.call.kind) \(call.number)"
      case .wrong(let call, let found): what = "wrong \(call.call.kind) \(call.number) \(found.verdict.name)"
      case .translation(let run, let changes): what = "translation \(run.iova) \(run.count) +\(changes.count)"
      case .registers(let changes): what = "registers +\(changes.count)"
      case .log(let line): what = "log \(line.line)"
      case .cookie(let request): what = "cookie \(request.held)"
      case .note(let text): what = "note \(text)"
      case .snapshot(let reason, let pages): what = "snapshot \(reason) \(pages)"
      }
      return "\(entry.id.rawValue) \(entry.side) \(what)"
    }
  }

  /// One flipped byte in a file: the fifty-second event of fifty-five has the number 97 among those of its neighbours.
  @Test func eventsThatAreNotInTheOrderOfTheirNumbersAreToldAsDamage() throws {
    let path = workspace.file("damaged.iommulens")
    var place = 0
    do {
      let store = try InvestigationStore(path: path, side: "test")
      for number in 1...55 { try store.append(note: "\(number)") }
    }
    try DatabaseQueue(path: path).write { db in
      place = (try Int.fetchOne(db, sql: "SELECT rootpage - 1 FROM sqlite_schema WHERE name = 'event'") ?? 0) * 4096
    }
    var bytes = [UInt8](try Data(contentsOf: URL(filePath: path)))
    // SQLite's file format: a leaf's header of 8 bytes, then where each cell is; a cell has its size and its number first.
    let pointer = place + 8 + 51 * 2
    let cell = place + Int(bytes[pointer]) << 8 + Int(bytes[pointer + 1])
    #expect(bytes[place] == 0x0d && bytes[cell + 1] == 52)
    bytes[cell + 1] = 97
    try Data(bytes).write(to: URL(filePath: path))
    let damaged = try InvestigationStore(path: path, side: "test")
    let error = InvestigationError("\(path) is damaged: its events are not in the order of their numbers.")
    #expect(throws: error) { try entries(damaged) }
  }

  private func run(_ iova: UInt64, before: [UInt64: UInt64], after: [UInt64: UInt64]) -> RecordedTranslation {
    RecordedTranslation(
      requester: Scenario.card, iova: IOVA(iova), count: 4, stride: 4, access: .read,
      answer: .init(address: GPA(iova), mask: 0, access: .none), before: RegisterValues(byOffset: before),
      after: RegisterValues(byOffset: after))
  }

  /// Two sessions in turn write one file; a third one reads it.
  private func twoSides() throws -> InvestigationStore {
    let path = workspace.file("a.iommulens")
    let kernel = try InvestigationStore(path: path, side: "kernel")
    let qemu = try InvestigationStore(path: path, side: "qemu")
    try kernel.setFact("kernel", "not shown")  // 1
    let call = try kernel.append(
      RecordedCall(
        number: 0,
        call: DriverCall(
          function: "xt_iommu_map", operation: .map(target: GPA(0x1_0617_2000), protection: .read, allocation: nil),
          domain: KVA(1), iova: IOVA(0xffff_f000), length: 4096), root: nil, requester: Scenario.card))  // 2
    try qemu.append([run(0xffff_f000, before: [0x18: 7, 0x20: 0, 0x28: 0], after: [0x18: 7, 0x20: 16, 0x28: 1])])  // 3
    let wrong = Verification(
      leaves: 1, agreeing: 0, verdict: .missing(level: 2), iova: IOVA(0xffff_f000), shifts: [])
    try kernel.append(wrong, of: try #require(call.id))  // 4
    try kernel.append(
      Verification(leaves: 1, agreeing: 1, verdict: .agrees, iova: nil, shifts: []), of: try #require(call.id))  // 5
    try kernel.append(RegisterValues(byOffset: [0x18: 7, 0x20: 16, 0x28: 1]))  // 6: as the other side saw them
    try kernel.append(note: "both")  // 7
    try qemu.append([run(0x1000, before: [0x18: 7, 0x20: 0, 0x28: 1], after: [0x18: 7, 0x20: 16, 0x28: 0x100c])])  // 8
    try kernel.append(CookieRequest(domain: KVA(1), held: 5, callers: []))  // 9
    try kernel.append([LogLine(origin: "kernel log", line: 3, time: 5, text: "NETDEV WATCHDOG", meaning: .watchdog)])
    try qemu.append(snapshot: [GPA(0x1000): [UInt8](repeating: 1, count: 4096)], reason: "check")  // 11
    return try InvestigationStore(path: path, side: "command line")
  }

  @Test func bothSidesInOrder() throws {
    let entries = try entries(try twoSides())
    #expect(
      told(entries) == [
        "2 kernel map 1", "3 qemu registers +1", "3 qemu translation 0xfffff000 4 +2", "4 kernel wrong map 1 missing",
        "7 kernel note both", "8 qemu registers +1", "8 qemu translation 0x1000 4 +2", "9 kernel cookie 5",
        "10 kernel log 3", "11 qemu snapshot check 1",
      ])
    #expect(zip(entries, entries.dropFirst()).allSatisfy { $0.time <= $1.time } && entries[0].time > 0)
    guard case .registers(let changes) = entries[5].content else { return }
    #expect(changes == [Timeline.RegisterChange(offset: 0x20, before: 16, after: 0)])
  }

  @Test func theLastOnes() throws {
    let store = try twoSides()
    let all = try entries(store)
    for count in 1...all.count + 1 { #expect(try entries(store, last: count) == Array(all.suffix(count))) }
  }

  @Test func aboutSomeAddresses() throws {
    let store = try twoSides()
    func about(_ iovas: ClosedRange<UInt64>) throws -> [String] {
      told(try entries(store, iovas: IOVA(iovas.lowerBound)...IOVA(iovas.upperBound)))
    }
    #expect(
      try about(0xffff_f00c...0xffff_f00c) == [
        "2 kernel map 1", "3 qemu translation 0xfffff000 4 +2", "4 kernel wrong map 1 missing",
      ])
    #expect(try about(0xffff_f00d...0xffff_f00d) == ["2 kernel map 1", "4 kernel wrong map 1 missing"])
    #expect(try about(0...0x1000) == ["8 qemu translation 0x1000 4 +2"])
    #expect(try about(0x2000...0x3000) == [])
  }

  /// Many pieces, read forwards and from the end; register changes do not depend on where a piece starts.
  @Test func manyEvents() throws {
    let store = try InvestigationStore(path: workspace.file("a.iommulens"), side: "qemu")
    var value: UInt64 = 0
    for batch in 0..<20 as Range<UInt64> {
      try store.append(
        (0..<100 as Range<UInt64>).map { position in
          let before = value
          if (batch &* 100 + position) % 7 == 0 { value += 1 }
          return run(batch * 0x10000 + position * 16, before: [0x28: before], after: [0x28: value])
        })
    }
    let all = try entries(store)
    #expect(all.count == 2000)
    let changed = all.count { if case .translation(_, let changes) = $0.content { !changes.isEmpty } else { false } }
    #expect(changed == 286)
    for count in [1, 511, 512, 513, 1500] { #expect(try entries(store, last: count) == Array(all.suffix(count))) }
  }

  /// In a damaged file the numbers can be as far apart as numbers can.
  @Test func eventsFarApart() throws {
    let store = try twoSides()
    let before = try entries(store)
    try DatabaseQueue(path: store.path).write { db in
      for (note, id) in [("first", Int64.min), ("far", 1 << 62), ("last", .max)] {
        try db.execute(
          sql: """
            INSERT INTO event(id, session, sequence, monotonic_ns, kind) SELECT ?, session, ?, monotonic_ns, 'note' FROM event
              WHERE id = 11
            """, arguments: [id, id])
        try db.execute(sql: "INSERT INTO note VALUES (?, ?)", arguments: [id, note])
      }
    }
    let all = try entries(store)
    #expect(all.map(\.id.rawValue) == [.min] + before.map(\.id.rawValue) + [1 << 62, .max])
    #expect(try entries(store, last: 2).map(\.id.rawValue) == [1 << 62, .max])
    #expect(try entries(store, last: 100).map(\.id) == all.map(\.id))
  }

  /// The host's clock begins anew with a reboot; the order is that of the numbers.
  @Test func aRebootBetweenSessions() throws {
    let path = workspace.file("a.iommulens")
    do {
      let store = try InvestigationStore(path: path, side: "kernel")
      for text in ["one", "two", "three", "four"] { try store.append(note: text) }
    }
    try DatabaseQueue(path: path).write { db in
      for (id, time) in [(1, 5_000), (2, 7_000), (3, 1_000), (4, 1_500)] {
        try db.execute(sql: "UPDATE event SET monotonic_ns = ? WHERE id = ?", arguments: [time, id])
      }
    }
    let store = try InvestigationStore(path: path, side: "command line")
    let all = try entries(store)
    #expect(all.map(\.time) == [0, 2_000, 0, 500])
    #expect(all.map(\.startsClock) == [false, false, true, false])
    for count in 1...4 { #expect(try entries(store, last: count) == Array(all.suffix(count))) }
  }

  @Test func anEmptyFile() throws {
    let store = try InvestigationStore(path: workspace.file("a.iommulens"), side: "kernel")
    #expect(try entries(store).isEmpty)
    #expect(try entries(store, last: 5).isEmpty)
    try store.setFact("kernel", "x")
    #expect(try entries(store).isEmpty)
  }

  /// What somebody else wrote into the file is an error, not a trap.
  @Test func aDamagedFile() throws {
    let path = workspace.file("a.iommulens")
    do { _ = try twoSides() }
    var unchecked = Configuration()
    unchecked.foreignKeysEnabled = false
    for (statement, restore) in [
      ("UPDATE verification SET call = 99 WHERE event = 4", "UPDATE verification SET call = 2 WHERE event = 4"),
      ("UPDATE translation SET access = 77 WHERE event = 3", "UPDATE translation SET access = 1 WHERE event = 3"),
    ] {
      try DatabaseQueue(path: path, configuration: unchecked).write { try $0.execute(sql: statement) }
      let store = try InvestigationStore(path: path, side: "command line")
      #expect(throws: InvestigationError.self) { try entries(store) }
      try DatabaseQueue(path: path).write { try $0.execute(sql: restore) }
    }
  }
}
