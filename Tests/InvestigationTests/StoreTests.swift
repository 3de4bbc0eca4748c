import Foundation
import GRDB
import IOMMUModel
import PageTables
import Randomness
import Simulation
import Testing

@testable import Investigation

@Suite struct StoreTests {
  let workspace: Workspace
  init() throws { workspace = try Workspace() }

  private func message(_ path: String) -> String {
    do throws(InvestigationError) {
      _ = try InvestigationStore(path: path, side: "test")
      return "opened"
    } catch { return error.description }
  }

  /// Runs SQL on the file behind the store's back.
  private func sql(_ path: String, _ statements: String) throws {
    var configuration = Configuration()
    configuration.foreignKeysEnabled = false
    try DatabaseQueue(path: path, configuration: configuration).writeWithoutTransaction {
      try $0.execute(sql: statements)
    }
  }

  static func call(_ iova: UInt64, to target: UInt64 = 0x8000_0000) -> RecordedCall {
    RecordedCall(
      number: 0,
      call: DriverCall(
        function: "xt_iommu_map", operation: .map(target: GPA(target), protection: .read, allocation: nil),
        domain: KVA(1), iova: IOVA(iova), length: 4096), root: nil, requester: nil)
  }

  // MARK: Round trips

  @Test func everyKindOfEventComesBackWithAllBits() throws {
    let store = try InvestigationStore(path: workspace.file("a.iommulens"), side: "test")
    let values: [UInt64] = [0, 1, .max, 1 << 63, (1 << 63) - 1, 0xffff_f000]
    var calls: [RecordedCall] = []
    for (position, value) in values.enumerated() {
      let map = DriverCall(
        function: "xt_iommu_map",
        operation: .map(
          target: GPA(value), protection: Protection(rawValue: .max),
          allocation: position == 0 ? nil : AllocationFlags(rawValue: value)),
        domain: KVA(value), iova: IOVA(value), length: value,
        pages: position == 1 ? nil : DriverCall.Pages(size: value, count: value))
      let unmap = DriverCall(
        function: "xt_iommu_unmap", operation: .unmap, domain: KVA(value), iova: IOVA(value), length: value)
      for call in [map, unmap] {
        let recorded = RecordedCall(
          number: 0, call: call, root: position == 2 ? nil : TableRoot(address: GPA(value), mode: .sv57x4),
          requester: position == 3 ? nil : RequesterID(rawValue: .max), callers: position == 4 ? ["a", "b", ""] : [])
        calls.append(try store.append(recorded))
      }
    }
    #expect(try store.calls() == calls)
    #expect(calls.map(\.number) == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6])
    #expect(calls.compactMap(\.id?.rawValue) == Array(1...12))

    var last = calls[11]
    #expect(try store.lastCall() == last)
    last.callers = ["other"]
    try store.add(callers: ["first"], to: try #require(last.id))
    try store.add(callers: ["other"], to: try #require(last.id))
    #expect(try store.calls().last == last)

    let verdicts: [Verdict] = [
      .agrees, .missing(level: 2), .wrongAddress(GPA(.max)), .wrongPermission([.valid, .dirty]),
      .staleAfterUnmap(GPA(1 << 63)), .malformed(level: 1, "W without R"), .unreadable(GPA(.max)),
    ]
    var expected: [EventID: Verification] = [:]
    for (call, verdict) in zip(calls, verdicts) {
      let id = try #require(call.id)
      let verification = Verification(
        leaves: .max, agreeing: 0, verdict: verdict, iova: verdict == .agrees ? nil : IOVA(.max),
        shifts: verdict == .agrees ? [] : [ShiftSet(rawValue: .max), ShiftSet(rawValue: 0), ShiftSet(63)])
      // The newest of a call counts.
      try store.append(Verification(leaves: 1, agreeing: 1, verdict: .agrees, iova: nil, shifts: []), of: id)
      try store.append(verification, of: id)
      expected[id] = verification
    }
    let verifications = try store.verifications()
    #expect(
      verifications.count == expected.count
        && calls.allSatisfy { $0.id.map { verifications[$0] == expected[$0] } ?? false })
    #expect(verifications.allSatisfy { expected[$0.call] == $0.verification })

    var registers = RegisterValues()
    for value in values { registers.byOffset[value] = ~value }
    try store.append(RegisterValues(byOffset: [0: 1]))
    try store.append(registers)
    #expect(try store.registers() == registers)

    for (name, value) in [("a", "1"), ("a", "2"), ("a", "2"), ("b", "it's | `quoted`\nend")] {
      try store.setFact(name, value)
    }
    #expect(try store.facts() == ["a": "2", "b": "it's | `quoted`\nend"])
    try store.append(note: "ä\r\n\"'")
    try store.append(note: "")
    #expect(try store.notes() == ["ä\r\n\"'", ""])

    let page = [UInt8](repeating: 0xff, count: 4096)
    let pages = [GPA(0xffff_ffff_ffff_f000): page, GPA(0): page]
    try store.append(snapshot: pages, reason: "test")
    #expect(try store.snapshot() == pages)
    let counts = ["map": 6, "unmap": 6, "verification": 14, "registers": 2, "fact": 3, "note": 2, "snapshot": 1]
    #expect(try store.counts() == counts)
  }

  @Test func aResumedFileGoesOnWhereItWas() throws {
    let path = workspace.file("a.iommulens")
    for expected in 1...3 {
      let store = try InvestigationStore(path: path, side: "run \(expected)")
      #expect(try store.append(Self.call(UInt64(expected))).number == expected)
    }
    let store = try InvestigationStore(path: path, side: "reader")
    #expect(try store.calls().map(\.call.iova) == [IOVA(1), IOVA(2), IOVA(3)])
    func column<Value: DatabaseValueConvertible>(_ sql: String) throws -> [Value] {
      try DatabaseQueue(path: path).read { try Value.fetchAll($0, sql: sql) }
    }
    // Who only reads starts no session.
    #expect(try column("SELECT side FROM session ORDER BY id") == ["run 1", "run 2", "run 3"])
    #expect(try column("SELECT session FROM event ORDER BY id") == [1, 2, 3])
    #expect(try column("SELECT sequence FROM event ORDER BY id") == [1, 1, 1])
  }

  @Test func aRebootDoesNotReorderCalls() throws {
    let path = workspace.file("a.iommulens")
    let store = try InvestigationStore(path: path, side: "test")
    for iova in 1...3 { _ = try store.append(Self.call(UInt64(iova))) }
    // The clock starts again at a reboot.
    try sql(path, "UPDATE event SET monotonic_ns = 10 - id")
    #expect(try store.calls().map(\.number) == [1, 2, 3])
  }

  @Test func failedWritesLeaveNoTrace() throws {
    let path = workspace.file("a.iommulens")
    let store = try InvestigationStore(path: path, side: "test")
    let verification = Verification(leaves: 1, agreeing: 1, verdict: .agrees, iova: nil, shifts: [])
    let error = #expect(throws: InvestigationError.self) {
      try store.append(verification, of: EventID(rawValue: 9))
    }
    #expect(error?.description == "\(path) cannot be used: FOREIGN KEY constraint failed.")
    #expect(try store.counts() == [:])
    // The session was rolled back with the event, and starts with the next one.
    #expect(try store.append(Self.call(1)).id == EventID(rawValue: 1))
  }

  @Test func manyCallsAreStoredAtOnceOrNotAtAll() throws {
    let path = workspace.file("a.iommulens")
    let store = try InvestigationStore(path: path, side: "test")
    #expect(try store.append(calls: []).isEmpty)
    #expect(try store.counts() == [:])
    _ = try store.append(Self.call(1))
    var calls = (0..<200).map { Self.call(UInt64($0) << 12) }
    calls[7].callers = ["iommu_map", "e1000_probe"]
    let unmap = DriverCall(
      function: "a_function_with_a_name_of_its_own", operation: .unmap, domain: KVA(.max), iova: IOVA(1), length: 2)
    calls.insert(
      RecordedCall(
        number: 0, call: unmap, root: TableRoot(address: GPA(4096), mode: .sv48), requester: RequesterID(rawValue: 9)),
      at: 100)
    let stored = try store.append(calls: calls)
    #expect(stored.map(\.id?.rawValue) == (2...202).map { Int64($0) })
    #expect(stored[100].number == 1 && stored[0].number == 2 && stored[200].number == 201)
    #expect(try Array(store.calls().dropFirst()) == stored)
    #expect(try store.lastCall()?.id == stored.last?.id)
    #expect(try store.append(Self.call(2)).number == 202)

    // A number that is taken: nothing of the rest is stored, and rows are looked up again afterwards.
    try sql(path, "UPDATE call SET number = 9223372036854775806 WHERE kind = 'map'")
    let error = #expect(throws: InvestigationError.self) { try store.append(calls: calls) }
    #expect(error?.description == "\(path) is damaged: a call has the number 9223372036854775807.")
    #expect(try store.calls().count == 203)
    #expect(try store.counts() == ["map": 202, "unmap": 1])
    #expect(try store.pragma("foreign_keys") == "1")
  }

  // MARK: Table pages

  @Test func pagesAreStoredOncePerContent() throws {
    let path = workspace.file("a.iommulens")
    let store = try InvestigationStore(path: path, side: "test")
    let zero = [UInt8](repeating: 0, count: 4096)
    var one = zero
    one[4095] = 1
    for round in 0..<5 {
      var pages: [GPA: [UInt8]] = [:]
      for page in 0..<20 { pages[GPA(UInt64(page) << 12)] = page == round ? one : zero }
      try store.append(snapshot: pages, reason: "round \(round)")
    }
    let stored = try DatabaseQueue(path: path).read { try Int.fetchOne($0, sql: "SELECT count(*) FROM page") }
    #expect(stored == 2)
    #expect(try store.snapshot().filter { $0.value == one }.map(\.key) == [GPA(4 << 12)])
    #expect(try store.snapshot().count == 20)
    try store.append(snapshot: [:], reason: "empty")
    #expect(try store.snapshot().isEmpty)
  }

  @Test func aSnapshotIsCutAtItsLimit() throws {
    let driver = SimulatedDriver()
    let domain = driver.domain(of: Scenario.card)
    for page in 0..<64 { driver.map(domain, UInt64(page) << 21, to: 0x1_0000_0000) }
    func collect(_ limit: Int) -> [GPA: [UInt8]] {
      TablePages.collect(contexts: [], roots: [domain.root], memory: driver.memory, limit: limit)
    }
    #expect(TablePages.limit == 65536)
    #expect(collect(TablePages.limit).count == 66)
    #expect(collect(10).count == 10)
    #expect(collect(10)[domain.root.address] != nil)
    #expect(collect(0).isEmpty)
    driver.memory.unreadable = [domain.root.address]
    #expect(collect(10).isEmpty)
  }

  @Test func aTableThatPointsToItselfEndsASnapshot() {
    let driver = SimulatedDriver(mode: .sv57)
    let domain = driver.domain(of: nil)
    let root = domain.root.address.rawValue
    for slot in 0..<512 { driver.memory[root + UInt64(slot) * 8] = (root >> 12) << 10 | 1 }
    #expect(TablePages.collect(contexts: [], roots: [domain.root], memory: driver.memory).count == 1)
  }

  /// Many roots over the same tables, as a device table of the largest size can name them.
  @Test func tablesThatRootsShareAreGoneThroughOnce() {
    let driver = SimulatedDriver()
    let domain = driver.domain(of: nil)
    for page in 0..<64 { driver.map(domain, UInt64(page) << 21, to: 0x1_0000_0000) }
    let table = driver.memory[domain.root.address.rawValue]
    let roots = (0..<100).map { number in
      let place = GPA(0x8800_0000 + UInt64(number) << 12)
      driver.memory[place.rawValue] = table
      return TableRoot(address: place, mode: domain.root.mode)
    }
    var parts = 0
    let progress = WorkProgress { step in
      parts = step.done
      return false
    }
    #expect(TablePages.collect(contexts: [], roots: roots, memory: driver.memory, progress: progress).count == 165)
    #expect(parts == 0, "asked again after 1024 of \(100 * 66) tables")
  }

  @Test func aNoteHasALimit() throws {
    let store = try InvestigationStore(path: workspace.file("a.iommulens"), side: "test")
    try store.append(note: String(repeating: "x", count: 1 << 20))
    #expect(
      throws: InvestigationError(
        "A note has 1 MiB at most, and this one has 1048577 bytes: write it into a file and import that.")
    ) { try store.append(note: String(repeating: "x", count: 1 << 20 + 1)) }
    #expect(try store.notes().count == 1)
  }

  @Test func aFactIsStoredWhenItIsNew() throws {
    let store = try InvestigationStore(path: workspace.file("a.iommulens"), side: "test")
    #expect(try [store.setFact("a", "1"), store.setFact("a", "1"), store.setFact("a", "2")] == [true, false, true])
  }

  // MARK: Several processes

  @Test func aKilledWriterLosesNothingThatWasStored() throws {
    let path = workspace.file("a.iommulens")
    let writer = try Program("store-writer", ["append", path, "1000000"])
    let said = writer.kill(afterLines: 200).split(separator: "\n").compactMap { Int($0) }
    #expect(said.count >= 200)
    let calls = try InvestigationStore(path: path, side: "test").calls()
    // The last call may have been stored and not been told of any more.
    #expect(calls.count >= said.count)
    #expect(calls.map(\.number) == Array(1...calls.count))
    #expect(calls.enumerated().allSatisfy { $1.call.iova == IOVA(UInt64($0) << 12) })
  }

  @Test(arguments: 0..<3) func processesWriteOneNewFileAtOnce(round: Int) throws {
    let path = workspace.file("a.iommulens")
    let writers = try (0..<3).map { _ in try Program("store-writer", ["append", path, "100"]) }
    let store = try InvestigationStore(path: path, side: "test")
    for iova in 0..<100 { _ = try store.append(Self.call(UInt64(iova) << 12)) }
    for writer in writers {
      let end = writer.finish()
      #expect(end.status == 0 && end.errors.isEmpty, "\(end.errors)")
      #expect(end.output.split(separator: "\n").count == 100)
    }
    let calls = try store.calls()
    #expect(calls.map(\.number) == Array(1...400))
    for pages in Dictionary(grouping: calls, by: \.call.domain).values {
      #expect(pages.map(\.call.iova) == (0..<100).map { IOVA(UInt64($0) << 12) })
    }
  }

  @Test func theLogIsSynchronizedAtCheckpoints() throws {
    let store = try InvestigationStore(path: workspace.file("a.iommulens"), side: "test")
    #expect(try store.pragma("journal_mode") == "wal")
    #expect(try store.pragma("synchronous") == "1")
    #expect(try store.pragma("application_id") == "\(InvestigationStore.applicationID)")
  }

  // MARK: Files of earlier versions

  /// Files of every released schema are about: what made them must stay as it was, and they must open.
  @Test func aFileOfTheFirstSchemaIsCarriedOver() throws {
    let first = InvestigationStore.schema[0]
    #expect(
      first.utf8.reduce(UInt64(0xcbf2_9ce4_8422_2325)) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
        == 6_870_844_638_733_978_026)
    let path = workspace.file("old.iommulens")
    try sql(
      path,
      first + """
        PRAGMA application_id = \(InvestigationStore.applicationID); PRAGMA user_version = 1;
        INSERT INTO session VALUES (1, 'kernel', 4711, '2026-11-23T22:00:00Z');
        INSERT INTO event VALUES (1, 1, 1, 1000, 'map'), (2, 1, 2, 2000, 'verification');
        INSERT INTO call VALUES (1, 'map', 1, 'xt_iommu_map', -4096, 4294963200, 4096, 4096, 1, 4397146112, 7, 2592, 8,
                                 2159550464, 'sv39');
        INSERT INTO verification VALUES (2, 1, 1, 0, 'missing', 2, NULL, '', 4294963200, '1000,200000,ffffffff00000000');
        """)
    let store = try InvestigationStore(path: path, side: "test")
    let call = try #require(try store.calls().first)
    #expect(call.call.iova == IOVA(0xffff_f000) && call.requester == Scenario.card && call.origin == nil)
    let verification = try #require(try store.verifications()[EventID(rawValue: 1)])
    #expect(verification.verdict == .missing(level: 2) && verification.samples.isEmpty)
    try store.append([RecordedTranslation(requester: Scenario.card, iova: IOVA(0x1000), access: .read, answer: nil)])
    #expect(try store.translations().map(\.iova) == [IOVA(0x1000)])
    #expect(try store.pragma("user_version") == "\(InvestigationStore.schemaVersion)")
  }

  /// The second schema had an index for the number that a call gets; the third asks the last call of the kind.
  @Test func callsOfAFileOfTheSecondSchemaAreCountedOn() throws {
    let second = InvestigationStore.schema[1]
    #expect(
      second.utf8.reduce(UInt64(0xcbf2_9ce4_8422_2325)) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
        == 13_458_630_128_681_742_817)
    let path = workspace.file("old.iommulens")
    try sql(
      path,
      InvestigationStore.schema[0] + second + """
        PRAGMA application_id = \(InvestigationStore.applicationID); PRAGMA user_version = 2;
        INSERT INTO session VALUES (1, 'kernel', 4711, '2026-11-23T22:00:00Z');
        INSERT INTO event VALUES (1, 1, 1, 1000, 'map'), (2, 1, 2, 2000, 'map'), (5, 1, 3, 3000, 'unmap');
        INSERT INTO call(event, kind, number, function, domain, iova, length)
          VALUES (1, 'map', 1, 'xt_iommu_map', -4096, 4096, 4096), (2, 'map', 2, 'xt_iommu_map', -4096, 8192, 4096),
                 (5, 'unmap', 1, 'xt_iommu_unmap', -4096, 4096, 4096);
        """)
    let store = try InvestigationStore(path: path, side: "test")
    #expect(try store.calls().map(\.number) == [1, 2, 1])
    let unmap = DriverCall(
      function: "xt_iommu_unmap", operation: .unmap, domain: KVA(1), iova: IOVA(8192), length: 4096)
    let added = try store.append(calls: [
      Self.call(1), RecordedCall(number: 0, call: unmap, root: nil, requester: nil), Self.call(2),
    ])
    #expect(added.map(\.number) == [3, 2, 4])
    #expect(added.map(\.id?.rawValue) == [6, 7, 8])
    #expect(try store.append(Self.call(3)).number == 5)
    #expect(try store.pragma("user_version") == "\(InvestigationStore.schemaVersion)")
  }

  /// What the views say is what the store says.
  @Test func viewsSayInSQLWhatTheStoreSays() throws {
    let path = workspace.file("a.iommulens")
    let store = try InvestigationStore(path: path, side: "kernel")
    let high = DriverCall(
      function: "xt_iommu_map",
      operation: .map(target: GPA(0x1_0617_2000), protection: [.read, .cache], allocation: nil),
      domain: KVA(0xff60_0000_0044_0220), iova: IOVA(0xffff_f000), length: 8192,
      pages: DriverCall.Pages(size: 4096, count: 2))
    let unmap = DriverCall(function: "xt_iommu_unmap", operation: .unmap, domain: KVA(1), iova: IOVA(0), length: 4096)
    let stored = try store.append(calls: [
      RecordedCall(
        number: 0, call: high, root: TableRoot(address: GPA(0x80b8_2000), mode: .sv39),
        requester: RequesterID(bdf: "0001:02:1f.7"), origin: "notes.txt:7"),
      RecordedCall(number: 0, call: unmap, root: nil, requester: nil),
    ])
    let id = try #require(stored.first?.id)
    for verdict in [Verdict.agrees, .missing(level: 2)] {
      try store.append(
        Verification(leaves: 2, agreeing: 1, verdict: verdict, iova: nil, shifts: []), of: id)
    }
    try store.append([
      RecordedTranslation(
        requester: RequesterID(bdf: "00:01.0"), iova: IOVA(0x1000), count: 4, stride: 4, access: .readWrite,
        answer: RecordedTranslation.Answer(address: GPA(0x2000), mask: 0xfff, access: .none)),
      RecordedTranslation(requester: nil, iova: IOVA(0x3000), access: .write, answer: nil),
    ])
    func rows(_ sql: String) throws -> [String] {
      try DatabaseQueue(path: path).read { db in
        try Row.fetchAll(db, sql: sql).map { row in
          row.databaseValues.map { $0.isNull ? "-" : String.fromDatabaseValue($0) ?? "\($0)" }.joined(separator: " ")
        }
      }
    }
    #expect(
      try rows("SELECT * FROM calls").map { $0.replacing(/kernel \d+/, with: "kernel TIME") } == [
        "1 kernel TIME map 1 xt_iommu_map 0xff60000000440220 4294963200 8192 4096 2 4397146112 5 - 0001:02:1f.7 "
          + "2159550464 sv39 notes.txt:7 missing 2 2 1",
        "2 kernel TIME unmap 1 xt_iommu_unmap 0x1 0 4096 - - - - - - - - - - - - -",
      ])
    #expect(
      try rows("SELECT * FROM translations").map { $0.replacing(/kernel \d+/, with: "kernel TIME") } == [
        "5 kernel TIME 0000:00:01.0 4096 4 4 read and write 8192 4095 none 1 - - - -",
        "6 kernel TIME - 12288 1 0 write - - - - - - - -",
      ])
  }

  /// Rows go into the file in batches: every count around the size of one must come out whole and in order.
  @Test(arguments: [1, 2, 63, 64, 65, 127, 128, 129]) func aBatchOfAnySizeIsWhole(_ count: Int) throws {
    let store = try InvestigationStore(path: workspace.file("a.iommulens"), side: "test")
    let stored = try store.append(calls: (0..<count).map { Self.call(UInt64($0) << 12, to: UInt64($0) << 13) })
    #expect(stored.map(\.number) == Array(1...count))
    #expect(try store.calls() == stored)
    try store.append(
      verifications: stored.compactMap(\.id).enumerated().map { place, id in
        (
          call: id,
          verification: Verification(leaves: place + 1, agreeing: place, verdict: .agrees, iova: nil, shifts: [])
        )
      })
    let found = try store.verifications()
    #expect(stored.map { $0.id.flatMap { found[$0] }?.agreeing } == (0..<count).map { Int?($0) })
    #expect(try store.counts() == ["map": count, "verification": count])
  }

  // MARK: Files that are something else

  @Test func otherFilesAreRefusedAndLeftAsTheyAre() throws {
    let text = try workspace.write("a.txt", Array("Not a database, but a text.".utf8))
    let other = workspace.file("other.sqlite")
    try sql(other, "CREATE TABLE t(x); INSERT INTO t VALUES (1)")
    let marked = workspace.file("marked.sqlite")
    try sql(marked, "PRAGMA application_id = 7")
    let logged = workspace.file("logged.sqlite")
    try sql(logged, "PRAGMA journal_mode = WAL; CREATE TABLE t(x); INSERT INTO t VALUES (1)")
    // As a killed program leaves it: all but the header is still in the log.
    let left = workspace.file("left.sqlite")
    try DatabaseQueue(path: logged).writeWithoutTransaction { db in
      try db.execute(sql: "INSERT INTO t VALUES (2)")
      for suffix in ["", "-wal"] { try FileManager.default.copyItem(atPath: logged + suffix, toPath: left + suffix) }
    }
    let newer = workspace.file("newer.iommulens")
    do { _ = try InvestigationStore(path: newer, side: "test").append(Self.call(1)) }
    try sql(newer, "PRAGMA user_version = 5; PRAGMA journal_mode = DELETE")
    let cut = try workspace.write("cut.iommulens", Array("SQLite format 3\u{0}".utf8))
    let files = [text, other, marked, logged, left, left + "-wal", newer, cut]
    let before = try files.map { try Data(contentsOf: URL(fileURLWithPath: $0)) }

    let foreign = "is an SQLite database, but not an investigation; it was left as it is. Choose another name."
    #expect(message(text) == "\(text) is not an investigation file; it was left as it is. Choose another name.")
    #expect(message(other) == "\(other) \(foreign)")
    #expect(message(marked) == "\(marked) \(foreign)")
    #expect(message(logged) == "\(logged) \(foreign)")
    #expect(message(left) == "\(left) \(foreign)")
    #expect(
      message(newer)
        == "\(newer) was written by a newer IOMMULens (schema 5, this one reads up to 4). Update IOMMULens to open it.")
    #expect(message(cut) == "\(cut) cannot be used: file is not a database.")
    let after = try files.map { try Data(contentsOf: URL(fileURLWithPath: $0)) }
    #expect(before == after)
    for path in [text, other, marked, newer, cut] {
      for suffix in ["-wal", "-shm", "-journal"] { #expect(!FileManager.default.fileExists(atPath: path + suffix)) }
    }

    #expect(message(workspace.path) == "\(workspace.path) is a directory, not an investigation file.")
    #expect(message("/dev/null") == "/dev/null is a device or a pipe, not a file.")
    #expect(mkfifo(workspace.file("pipe"), 0o600) == 0)
    #expect(message(workspace.file("pipe")) == "\(workspace.file("pipe")) is a device or a pipe, not a file.")
    let nowhere = workspace.file("no/where.iommulens")
    #expect(message(nowhere) == "\(nowhere) cannot be made: there is no folder \(workspace.path)/no.")
  }

  @Test func anEmptyFileBecomesAnInvestigation() throws {
    #expect(message(try workspace.write("a.iommulens", [])) == "opened")
  }

  @Test func whatMayNotBeReadOrWrittenIsSaid() throws {
    func open(_ path: String) throws -> String { try Program("store-writer", ["open", path]).finish().output }
    chmod(workspace.path, 0o755)
    let secret = workspace.file("secret.iommulens")
    do { _ = try InvestigationStore(path: secret, side: "test").append(Self.call(1)) }
    chmod(secret, 0)
    #expect(try open(secret) == "\(secret) cannot be read: check its permissions.\n")
    chmod(secret, 0o444)
    let file =
      "\(secret) is read-only, because the file may not be written: nothing was added. Copy it elsewhere to go on.\n"
    #expect(try open(secret) == "opened, 1 calls\n" + file)
    chmod(secret, 0o644)
    #expect(try open(secret) == "opened, 1 calls\n" + file)
    chown(secret, 65534, 65534)
    chmod(workspace.path, 0o555)
    defer { chmod(workspace.path, 0o755) }
    #expect(try open(secret) == "opened, 1 calls\n" + file.replacing("the file may", with: "its folder may"))
    #expect(try FileManager.default.contentsOfDirectory(atPath: workspace.path) == ["secret.iommulens"])
    let new = workspace.file("new.iommulens")
    let advice = "The file and its folder must be writable.\n"
    #expect(try open(new) == "\(new) cannot be used: unable to open database file. \(advice)")
    #expect(!FileManager.default.fileExists(atPath: new))
  }

  // MARK: Damage

  /// A whole file to damage.
  static let scenario = Result {
    let workspace = try Workspace()
    let path = workspace.file("a.iommulens")
    do { _ = try Scenario(rootShift: 48, path: path) }
    try DatabaseQueue(path: path).writeWithoutTransaction { try $0.execute(sql: "PRAGMA journal_mode = DELETE") }
    return [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
  }

  /// SQL, and what the error says; nil where only a trap would be wrong.
  static let damage: [(String, String?)] = [
    ("UPDATE call SET domain = 'x'", "column domain holds \"x\""),
    ("UPDATE call SET iova = 1.5", nil),
    ("UPDATE call SET length = x'00'", "column length holds Data(1 bytes)"),
    ("UPDATE call SET mode = 'sv99'", "a call has the paging mode 'sv99'"),
    ("UPDATE call SET target = 'far away'", "column target holds \"far away\""),
    ("UPDATE call SET number = 'many' WHERE event < 10 AND number = 1", "column number holds \"many\""),
    ("UPDATE call SET requester = x'ff'", "column requester holds Data(1 bytes)"),
    ("UPDATE caller SET function = x'fffe'", nil),
    ("UPDATE verification SET leaves = -1", "a verification counts 0 of -1 leaves"),
    (
      "UPDATE verification SET agreeing = -9223372036854775808, leaves = 1",
      "a verification counts -9223372036854775808 of 1 leaves"
    ),
    ("UPDATE verification SET leaves = 'all'", "column leaves holds \"all\""),
    (
      "UPDATE verification SET verdict = 'missing', level = NULL",
      "a verification has the verdict 'missing' without its particulars"
    ),
    ("UPDATE verification SET verdict = 'bad', detail = x'00'", nil),
    ("UPDATE verification SET shifts = 'g'", "a verification has the shifts 'g'"),
    ("UPDATE verification SET level = 'top'", "column level holds \"top\""),
    ("UPDATE register SET value = 'x'", "column value holds \"x\""),
    ("UPDATE page SET bytes = 1", "column bytes holds 1"), ("UPDATE page SET bytes = x'00'", nil),
    ("UPDATE snapshot_page SET address = address + 1", nil),
    ("UPDATE snapshot_page SET address = 'x' || address", nil),
    ("UPDATE fact SET value = x'ff' WHERE name = 'satp'", nil), ("UPDATE fact SET value = 'zz'", nil),
    ("UPDATE fact SET value = '' WHERE name = 'satp'", nil), ("UPDATE event SET kind = x'ff'", nil),
    ("UPDATE call SET length = -1, page_size = -1, page_count = -1, iova = -1", nil),
    ("UPDATE call SET length = 9223372036854775807, number = -9223372036854775808 + event", nil),
    ("UPDATE call SET number = 9223372036854775807 - event", nil),
    ("UPDATE call SET length = -4096", nil), ("UPDATE call SET length = 4096 * (1 << 40)", nil),
    ("UPDATE call SET root = -1, target = -1, gfp = -1, prot = -1", nil),
    ("UPDATE call SET mode = 'sv57x4', iova = -iova", nil), ("UPDATE call SET mode = 'sv32'", nil),
    ("UPDATE verification SET verdict = 'missing', level = -9223372036854775808", nil),
    ("UPDATE verification SET verdict = 'missing', level = 9223372036854775807", nil),
    ("UPDATE verification SET leaves = 9223372036854775807, agreeing = 0, verdict = 'missing', level = 0", nil),
    ("UPDATE verification SET shifts = '1,2,3,4,5,6,7,8,9,a,ffffffffffffffff'", nil),
    ("UPDATE verification SET shifts = ''", nil), ("UPDATE register SET value = -1", nil),
    ("UPDATE register SET value = 63 WHERE offset = 8", nil), ("UPDATE register SET value = -1 WHERE offset = 8", nil),
    ("DROP TABLE call", "no such table: call"), ("DROP TABLE page", nil), ("DROP TABLE event", nil),
  ]

  @Test(arguments: damage.indices) func aDamagedFileIsAnErrorAndNeverATrap(_ number: Int) throws {
    let (statement, what) = Self.damage[number]
    let path = workspace.file("a.iommulens")
    _ = try workspace.write("a.iommulens", Self.scenario.get())
    try sql(path, statement)
    var text = "no error"
    do {
      let store = try InvestigationStore(path: path, side: "test")
      _ = try store.counts()
      _ = try store.calls()
      let findings = try Findings(offline: store, tenants: Scenario.tenants)
      _ = findings.check(in: IOVA(0)...IOVA(.max))
    } catch { text = "\(error)" }
    if let what { #expect(text.hasSuffix(": \(what)."), "\(statement): \(text)") }
  }

  @Test func randomDamageNeverTraps() throws {
    let whole = try Self.scenario.get()
    var numbers = SeededNumbers(seed: 3)
    for round in 0..<16 {
      var bytes = whole
      for _ in 0..<Int.random(in: 1...40, using: &numbers) {
        bytes[Int.random(in: 100..<bytes.count, using: &numbers)] = UInt8.random(in: 0...255, using: &numbers)
      }
      if round % 4 == 0 { bytes.removeLast(Int.random(in: 0..<bytes.count - 100, using: &numbers)) }
      let copy = try workspace.write("damaged-\(round).iommulens", bytes)
      do {
        let store = try InvestigationStore(path: copy, side: "test")
        _ = try store.counts()
        _ = try Findings(offline: store, tenants: Scenario.tenants)
        _ = try store.append(Self.call(1))
      } catch {}
    }
  }
}
