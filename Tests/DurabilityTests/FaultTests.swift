import Foundation
import IOMMUModel
import Investigation
import PageTables
import Randomness
import Simulation
import Testing
import XuanTie

/// What can go wrong with the file while it is in use is told in one sentence, and loses nothing that was shown.
@Suite struct FaultTests {
  let workspace: Workspace
  init() throws { workspace = try Workspace() }

  private func append(_ iova: UInt64, to store: InvestigationStore) throws -> Int {
    let call = DriverCall(
      function: "xt_iommu_map", operation: .map(target: GPA(0), protection: .read, allocation: nil), domain: KVA(1),
      iova: IOVA(iova), length: 4096)
    return try store.append(RecordedCall(number: 0, call: call, root: nil, requester: nil)).number
  }

  private func message(_ body: () throws -> Void) -> String {
    do { try body() } catch { return "\(error)" }
    return "no error"
  }

  // MARK: Disks

  /// Whether this user may mount a file system of its own.
  static let canMount =
    (try? RunningProgram.output(
      of: ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], in: NSTemporaryDirectory())) != nil

  /// What a shell prints for `script`, in which `$DISK` is an empty disk of `size` and `fill` and `clear` take and give back
  /// all of its room.
  private func onDisk(of size: String, _ script: String) throws -> String {
    let disk = workspace.file("disk")
    try FileManager.default.createDirectory(atPath: disk, withIntermediateDirectories: true)
    let setting = """
      DISK=\(disk)
      iommulens() { \(RunningProgram.commandLine) "$@" 2>&1; }
      fill() { head -c 64M /dev/zero >$DISK/filler 2>/dev/null; }
      clear() { rm $DISK/filler; }
      mount -t tmpfs -o size=\(size) none $DISK || exit
      """
    return try RunningProgram.output(
      of: ["unshare", "-rm", "bash", "-c", setting + "\n" + script], in: workspace.path, mayFail: true
    ).replacing(disk, with: "$DISK")
  }

  @Test(.enabled(if: canMount, "Needs a user who may mount a file system of its own."))
  func aFullDiskTakesNothingAway() throws {
    let output = try onDisk(
      of: "1m",
      """
      notes=Tests/Fixtures/field-notes.txt
      iommulens import $notes -o $DISK/a.iommulens | grep Added
      iommulens export $DISK/a.iommulens $DISK/report.md
      before=$(md5sum <$DISK/report.md)
      fill
      iommulens import Tests/Fixtures/pgdir-shift/console.log -o $DISK/a.iommulens
      iommulens export $DISK/a.iommulens $DISK/report.md
      iommulens show $DISK/a.iommulens | head -1
      iommulens diagnose $DISK/a.iommulens | head -1
      iommulens import $notes -o $DISK/b.iommulens
      [ "$before" = "$(md5sum <$DISK/report.md)" ] && echo the report is as it was
      clear
      rm $DISK/b.iommulens
      echo $(cd $DISK; ls *.iommulens *.md)
      iommulens import Tests/Fixtures/pgdir-shift/console.log -o $DISK/a.iommulens | grep Added
      """)
    let full = "is read-only, because its disk is full"
    #expect(
      output == """
        Added to $DISK/a.iommulens: 6 facts, 5 log lines, 1 map, 4 translations.
        Error: $DISK/a.iommulens \(full): nothing was added. Copy it elsewhere to go on.
        Error: $DISK/report.md cannot be written: No space left on device.
        Investigation $DISK/a.iommulens: 1 map, 0 unmaps, 4 translations, 0 notes. It \(full).
        1. the root is indexed with PGDIR_SHIFT, which follows the CPU's mode; this table is Sv39: 30   (1 of 1 refused access)
        Error: $DISK/b.iommulens cannot be written: the disk is full. What was recorded before is in it; make room to go on.
        the report is as it was
        a.iommulens report.md
        Added to $DISK/a.iommulens: 1 fact, 21 log lines.

        """)
  }

  /// An import that does not fit adds nothing, so that it can be made again.
  @Test(.enabled(if: canMount, "Needs a user who may mount a file system of its own."))
  func anImportIsWholeOrNotThere() throws {
    let output = try onDisk(
      of: "700k",
      """
      cd Tests/Fixtures/pgdir-shift
      texts="map-unmap-calls-first-120.csv qemu-translate-results.csv tables-at-120-maps-meta.json tables-at-120-maps-pages.json"
      iommulens import qemu-translate-runs.csv -o $DISK/a.iommulens | grep Added
      head -c $(($(df --output=avail -B1 $DISK | tail -1) - 100000)) /dev/zero >$DISK/filler
      iommulens import $texts -o $DISK/a.iommulens
      iommulens show $DISK/a.iommulens | head -1
      clear
      iommulens import $texts -o $DISK/a.iommulens | grep Added
      iommulens show $DISK/a.iommulens | head -1
      """)
    #expect(
      output == """
        Added to $DISK/a.iommulens: 3 translations.
        Error: $DISK/a.iommulens cannot be written: the disk is full. What was recorded before is in it; make room to go on.
        Investigation $DISK/a.iommulens: 0 maps, 0 unmaps, 3 translations, 0 notes.
        Added to $DISK/a.iommulens: 2 facts, 120 maps, 1 register reading, 1 snapshot, 4 translations, 119 verifications.
        Investigation $DISK/a.iommulens: 120 maps, 0 unmaps, 7 translations, 0 notes.

        """)
  }

  /// What a hit could not store is stored with the next one that can be.
  @Test(.enabled(if: canMount, "Needs a user who may mount a file system of its own."))
  func whatDidNotFitIsStoredLater() throws {
    let guest = workspace.file("guest")
    try """
    set pagination off
    set width 0
    file build/lab/guest/guest.elf
    target remote \(guest)/gdb.sock
    source gdb-scripts/iommulens-gdb.py
    iommu open \(workspace.file("disk"))/a.iommulens
    iommu break map
    echo ----\\n
    continue
    continue
    shell head -c 64M /dev/zero >\(workspace.file("disk"))/filler 2>/dev/null
    continue
    continue
    shell rm \(workspace.file("disk"))/filler
    continue
    iommu timeline

    """.write(toFile: workspace.file("session.gdb"), atomically: true, encoding: .utf8)
    let output = try onDisk(
      of: "1m", "lab/guest/debug \(guest) -- -nx -batch -x \(workspace.file("session.gdb")) 2>&1")
    let lines = output.split(separator: "\n").map(String.init)
    let failure =
      "iommu: $DISK/a.iommulens cannot be written: the disk is full. What was recorded before is in it; make room to go on. "
      + "What was seen since is kept until then."
    #expect(lines.filter { $0.hasPrefix("iommu: ") } == [failure, failure])
    let stops = lines.filter { $0.hasPrefix("map #") }.map { String($0.prefix(6)) }
    #expect(stops == ["map #1", "map #2", "map #5"])
    let entries = lines.compactMap { $0.firstMatch(of: /kernel  (map .*?)(?:  |;)/).map { String($0.output.1) } }
    // What the third call left was overtaken by the fourth before it could be looked at.
    #expect(
      entries == [
        "map #1", "map #1 is wrong at 0xfffff000: missing at level 2", "map #2",
        "map #2 is wrong at 0xffffc000: missing at level 2", "map #3", "map #4",
        "map #4 is wrong at 0xffffa000: missing at level 2", "map #5",
      ])
  }

  @Test(.enabled(if: canMount, "Needs a user who may mount a file system of its own."))
  func whatCannotBeWrittenIsRead() throws {
    // Left by a writer that was killed: most of it is in the log.
    let killed = workspace.file("killed.iommulens")
    let writer = try RunningProgram(
      [RunningProgram.products + "/store-writer", "append", killed, "100000"], output: workspace.file("calls"))
    #expect(wait(20) { writer.output.count { $0 == "\n" } > 200 })
    writer.kill()
    let count = try FileContent(copying: killed, to: workspace.file("copy.iommulens")).calls.count
    try OldFile(version: 1).write(to: workspace.file("old.iommulens"))
    let output = try onDisk(
      of: "8m",
      """
      cp \(workspace.path)/killed.iommulens* \(workspace.path)/old.iommulens $DISK
      mount -o remount,ro $DISK
      iommulens show $DISK/killed.iommulens | head -1
      iommulens diagnose $DISK/old.iommulens | head -1
      iommulens import Tests/Fixtures/field-notes.txt -o $DISK/old.iommulens
      iommulens import Tests/Fixtures/field-notes.txt -o $DISK/new.iommulens
      """)
    #expect(count >= 200)
    let readOnly = "is read-only, because its file system is"
    #expect(
      output == """
        Investigation $DISK/killed.iommulens: \(count) maps, 0 unmaps, 0 notes. It \(readOnly).
        1. the root is indexed with shift 48, PGDIR_SHIFT of the CPU's Sv57; this table is Sv39: 30   (6 of 6 calls)
        Error: $DISK/old.iommulens \(readOnly): nothing was added. Copy it elsewhere to go on.
        Error: $DISK/new.iommulens cannot be used: unable to open database file. The file and its folder must be writable.

        """)
  }

  // MARK: Files that go away

  @Test func aDeletedFileIsSaved() throws {
    let path = workspace.file("a.iommulens")
    let store = try InvestigationStore(path: path, side: "test")
    for iova in 1...3 as ClosedRange<UInt64> { #expect(try append(iova << 12, to: store) == Int(iova)) }
    try FileManager.default.removeItem(atPath: path)
    let saved = workspace.file("a-recovered.iommulens")
    let told = "\(path) was deleted while it was open. What was recorded is in \(saved): open that to go on."
    // It is said as often as it matters, and saved once.
    for _ in 0..<2 { #expect(message { _ = try append(0, to: store) } == told) }
    #expect(!FileManager.default.fileExists(atPath: workspace.file("a-recovered-2.iommulens")))
    let other = try InvestigationStore(path: saved, side: "test")
    #expect(try other.calls() == store.calls())
    #expect(try append(4 << 12, to: other) == 4)
  }

  @Test(arguments: ["", "-wal", "-shm"]) func aReplacedFileIsLeftAlone(suffix: String) throws {
    let path = workspace.file("a.iommulens")
    let store = try InvestigationStore(path: path, side: "test")
    _ = try append(0x1000, to: store)
    try Data("another".utf8).write(to: URL(fileURLWithPath: path + suffix), options: .atomic)
    #expect(
      message { _ = try append(0, to: store) }
        == "\(path)\(suffix) was replaced while it was open. What was recorded is in "
        + "\(workspace.file("a-recovered.iommulens")): open that to go on.")
    #expect(try String(contentsOfFile: path + suffix, encoding: .utf8) == "another")
    #expect(try FileContent(workspace.file("a-recovered.iommulens")).calls == ["map #1": 0x1000])
  }

  /// The folder went with it; a relative name stays what it was when the file was opened.
  @Test func aDeletedFolderIsNoReasonToLoseAnything() throws {
    let folder = workspace.file("folder")
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    let name = UUID().uuidString
    let store = try InvestigationStore(path: "\(folder)/\(name).iommulens", side: "test")
    _ = try append(0x1000, to: store)
    try FileManager.default.removeItem(atPath: folder)
    let text = message { _ = try append(0, to: store) }
    let saved = try #require(text.split(separator: " ").first { $0.contains("recovered") }).dropLast()
    defer { try? FileManager.default.removeItem(atPath: String(saved)) }
    #expect(try FileContent(String(saved)).calls == ["map #1": 0x1000])
  }

  /// A session whose file was deleted goes on in the copy, and stores there what it has seen since.
  @Test func recordingGoesOnInTheCopy() throws {
    let target = SimulatedTarget(SimulatedDriver(rootShift: 48))
    let investigator = Investigator(target: target, tenants: [XuanTie.self])
    investigator.memoryPreference = .remote
    let path = workspace.file("a.iommulens")
    try investigator.open(path)
    investigator.watch(WatchRule(kinds: [.map], stop: .never))
    let domain = target.driver.domain(of: Scenario.card)
    func hit(_ page: UInt64) throws {
      _ = try investigator.hit(
        "xt_iommu_map", arguments: [domain.pointer.rawValue, page << 12, 0x1_0000_0000, 4096, 1, 7, 0xdc0, 0])
      target.driver.map(domain, page << 12, to: 0x1_0000_0000, prot: 7)
    }
    try hit(0xffff0)
    try FileManager.default.removeItem(atPath: path)
    let saved = workspace.file("a-recovered.iommulens")
    let told =
      "\(path) was deleted while it was open. What was recorded is in \(saved): open that to go on. "
      + "What was seen since is kept until then."
    #expect(message { try hit(0xffff1) } == told)
    try investigator.open(saved)
    try hit(0xffff2)
    try investigator.verifyPending()
    let content = try FileContent(saved)
    #expect(content.calls == ["map #1": 0xffff_0000, "map #2": 0xffff_1000, "map #3": 0xffff_2000])
    #expect(content.verified == ["map #1", "map #2", "map #3"])
  }

  // MARK: What a killed program leaves

  enum Leftover: String, CaseIterable { case noLog, noIndex, otherIndex, cutLog, otherLog, emptyLog }

  /// SQLite's log and its index may be gone or be somebody else's: what of the log is whole counts, and the rest is left out.
  @Test(arguments: Leftover.allCases) func aFileWithoutItsLogOpens(leftover: Leftover) throws {
    var numbers = SeededNumbers()
    let path = workspace.file("a.iommulens")
    let writer = try RunningProgram(
      [RunningProgram.products + "/store-writer", "append", path, "1000000"], output: workspace.file("calls"))
    #expect(wait(60) { writer.output.count { $0 == "\n" } > 3000 })
    writer.kill()
    let log = try #require(FileManager.default.contents(atPath: path + "-wal"))
    let other = Data(numbers.bytes(log.count))
    switch leftover {
    case .noLog: try FileManager.default.removeItem(atPath: path + "-wal")
    case .noIndex: try FileManager.default.removeItem(atPath: path + "-shm")
    case .otherIndex: _ = try workspace.write("a.iommulens-shm", numbers.bytes(32768))
    case .cutLog: try log.prefix(numbers.below(log.count)).write(to: URL(fileURLWithPath: path + "-wal"))
    case .otherLog: try other.write(to: URL(fileURLWithPath: path + "-wal"))
    case .emptyLog: try Data().write(to: URL(fileURLWithPath: path + "-wal"))
    }
    let store = try InvestigationStore(path: path, side: "test")
    let count = try store.calls().count
    #expect(count > 0, "seed \(SeededNumbers.run)")
    #expect(try append(0, to: store) == count + 1)
    #expect(try FileContent(copying: path, to: workspace.file("copy.iommulens")).damage == [])
    // All of the log is there: so is all that the writer said.
    if [.noIndex, .otherIndex].contains(leftover) { #expect(count >= writer.output.count { $0 == "\n" }) }
  }

  // MARK: Clocks

  /// Whether this user may give a process another monotonic clock.
  static let canShiftClock =
    (try? RunningProgram.output(
      of: ["unshare", "-rT", "--fork", "--monotonic", "1000", "true"], in: NSTemporaryDirectory())) != nil

  /// The clock jumps from one session to the next, as it does at a reboot and on another host: forwards, backwards, and so
  /// that times of different sessions are mixed.
  @Test(.enabled(if: canShiftClock, "Needs a user who may have a clock of its own."))
  func theOrderDoesNotDependOnTheClock() throws {
    let path = workspace.file("a.iommulens")
    for shift in ["0", "1000000", "500000", "500000", "0"] {
      _ = try RunningProgram.output(
        of: [
          "unshare", "-rT", "--fork", "--monotonic", shift, RunningProgram.products + "/store-writer", "append", path,
          "3",
        ], in: workspace.path)
    }
    let store = try InvestigationStore(path: path, side: "test")
    #expect(try store.calls().map(\.number) == Array(1...15))
    var (order, starts) = ([Int64](), [Int64]())
    try Timeline(store).forEach {
      order.append($0.id.rawValue)
      if $0.startsClock { starts.append($0.id.rawValue) }
      #expect($0.time >= 0)
    }
    #expect(order == Array(1...15))
    // Where it went back; where it went on, nobody can tell.
    #expect(starts == [7, 13])
  }

  // MARK: Files that are no investigation

  /// An investigation that was cut at any length, and what is said of it.
  @Test func aCutFileIsAnErrorOrWhatIsLeftOfIt() throws {
    let whole = workspace.file("whole.iommulens")
    do { _ = try Scenario(rootShift: 48, path: whole) }
    let bytes = try Data(contentsOf: URL(fileURLWithPath: whole))
    var numbers = SeededNumbers()
    var said: [String: Int] = [:]
    for length in [1, 15, 16, 17, 99, 100, 101, 4095, 4096, 4097, bytes.count - 1]
      + (0..<40).map({ _ in numbers.below(bytes.count) + 1 })
    {
      let path = workspace.file("cut.iommulens")
      try bytes.prefix(length).write(to: URL(fileURLWithPath: path))
      let text = message {
        let store = try InvestigationStore(path: path, side: "test")
        _ = try store.calls()
        _ = try Findings(offline: store, tenants: [XuanTie.self])
      }
      said[text.replacing(path, with: "FILE"), default: 0] += 1
      for suffix in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: path + suffix) }
    }
    let known = [
      "FILE is not an investigation file; it was left as it is. Choose another name.",
      "FILE is damaged: database disk image is malformed. `sqlite3 FILE .recover` reads what is left of it.",
      "FILE cannot be used: file is not a database.",
      "FILE is empty: nothing was recorded in it.", "no error",
    ]
    #expect(Set(said.keys).subtracting(known) == [], "\(said), seed \(SeededNumbers.run)")
    #expect(said[known[0]] ?? 0 >= 1 && said[known[1]] ?? 0 > 10)
  }
}
