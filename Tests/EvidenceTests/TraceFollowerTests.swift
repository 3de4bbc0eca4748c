import Foundation
import IOMMUModel
import Investigation
import PageTables
import RISCVIOMMU
import Reports
import Randomness
import Simulation
import Testing
import XuanTie

@testable import Evidence

/// QEMU's log, followed while it grows: the same events as from the whole log, each once, and in order with what else is
/// recorded.
@Suite struct TraceFollowerTests {
  let workspace: Workspace
  let store: InvestigationStore
  /// The log.
  let path: String

  init() throws {
    workspace = try Workspace()
    store = try InvestigationStore(path: workspace.file("a.iommulens"), side: "kernel")
    path = try workspace.write("trace.log", [])
  }

  static let page = "riscv_iommu_dma (null): translate 0000:01.0 #0 RO 0x1000 -> 0x80002000\n"
  static let other = "riscv_iommu_dma (null): translate 0000:01.0 #0 WR 0x5010 -> 0x80003010\n"
  static let fault = "riscv_iommu_flt (null): fault 0000:01.0 reason: 0x80d0000000d iova: 0x1000\n"
  static let refused = "riscv_iommu_dma (null): translate 0000:01.0 #0 RO 0x1000 -> 0x0\n"
  /// IOTINVAL.VMA of 0x1000.
  static let forget = "riscv_iommu_cmd (null): command 0x100002401 0x1000\n"

  private func follower(_ scope: TranslationWatch.Scope = .init()) throws -> TraceFollower {
    try TraceFollower(path, device: RISCVIOMMUDevice(), scope: scope)
  }

  /// What QEMU does.
  private func write(_ text: some Sequence<UInt8>, at offset: UInt64? = nil, to path: String? = nil) throws {
    let file = try #require(FileHandle(forUpdatingAtPath: path ?? self.path))
    defer { try? file.close() }
    if let offset { try file.seek(toOffset: offset) } else { try file.seekToEnd() }
    try file.write(contentsOf: Data(text))
  }

  private func write(_ text: String) throws { try write(Array(text.utf8)) }

  private func empty(_ path: String) throws {
    let file = try #require(FileHandle(forUpdatingAtPath: path))
    try file.truncate(atOffset: 0)
    try file.close()
  }

  /// What was stored, in order, a translation at a time: a run ends where the log was looked at.
  private func events(in store: InvestigationStore? = nil) throws -> [String] {
    var found: [String] = []
    try Timeline(store ?? self.store).forEach { entry in
      switch entry.content {
      case .translation(let run, _):
        for position in 0..<run.count {
          let answer = run.answer.map {
            "\($0.access) \($0.address + ($0.access == .none ? 0 : position * run.stride))"
          }
          found.append(
            "\(run.requester?.description ?? "") \(run.iova + position * run.stride) \(run.access ?? .none) "
              + (answer ?? "no answer"))
        }
      case .log(let line): found.append("\(line.origin):\(line.line) \(line.meaning.rawValue) \(line.text)")
      case .note(let text): found.append(text)
      case .call(let call): found.append("\(call.call.isMap ? "map" : "unmap") #\(call.number)")
      default: found.append("\(entry.content)")
      }
    }
    return found
  }

  /// An event as it would be in the first file by that name.
  private func unnumbered(_ event: String) -> String { event.replacing(#/ \(file \d+\)/#, with: "") }

  /// What an import of the whole makes of it.
  private func imported(_ bytes: [UInt8]) throws -> [String] {
    let store = try InvestigationStore(path: workspace.file("\(UUID()).iommulens"), side: "test")
    let profiles = RISCVIOMMUEvidenceTests.profiles
    _ = try EvidenceImport(
      [EvidenceReader(profiles: profiles).read(bytes, name: path)], into: store, profiles: profiles)
    return try events(in: store)
  }

  // MARK: What is read

  /// Cut anywhere: in a line, behind it, in a number that would still be one.
  @Test func everyCutGivesTheSameEvents() throws {
    let text = Array(
      (Self.page + Self.other + "qemu: something else\r\n\n" + Self.fault + Self.refused + Self.forget
        + "12@1.5:" + Self.page.replacing("0x1000", with: "0x1040") + Self.page.replacing("0x1000", with: "0x1080"))
        .utf8)
    let expected = try imported(text)
    #expect(expected.count == 7 && expected[3].hasSuffix("no answer") == false)
    for cut in 0...text.count {
      try empty(path)
      let follower = try follower()
      try write(text[..<cut])
      try follower.take(into: store)
      try write(text[cut...])
      try follower.take(into: store)
      #expect(follower.lineCount == 9)
      try store.append(note: "end")
    }
    for (cut, found) in try events().split(separator: "end").enumerated() {
      try #require(found.map(unnumbered) == expected, "cut at \(cut)")
    }
  }

  /// Captured traces, in pieces of any size, with looks where nothing is new.
  @Test(arguments: ["main-trace.txt", "fault-trace.txt", "msi-fault-trace.txt", "napot-trace.txt"])
  func anyPiecesGiveTheSameEvents(_ name: String) throws {
    let text = try Texts.fixture("riscv-iommu/\(name)")
    let expected = try imported(text)
    for round in 0..<8 {
      var numbers = SeededNumbers(round: round)
      try empty(path)
      let follower = try follower()
      var place = 0
      while place < text.count {
        let piece = min(numbers.chance(20) ? 0 : numbers.below(1 << numbers.below(12)), text.count - place)
        try write(text[place..<place + piece])
        try follower.take(into: store)
        place += piece
      }
      try store.append(note: "end")
      let found = try events().split(separator: "end").last?.map(unnumbered)
      #expect(found == expected, "round \(round), seed \(SeededNumbers.run)")
    }
  }

  /// A look at a log that has not grown stores nothing.
  @Test func nothingNewCostsNothing() throws {
    let follower = try follower()
    try write(Self.page)
    try follower.take(into: store)
    let before = try store.counts()
    for _ in 0..<3 { try follower.take(into: store) }
    #expect(try store.counts() == before)
    #expect(follower.takeNotices().isEmpty && follower.lineCount == 1)
  }

  /// What the log had before belongs to no call that is recorded; a line that is not all there yet does not.
  @Test func itStartsAtTheEnd() throws {
    try write(Self.fault + Self.page.dropLast(20))
    let follower = try follower()
    #expect(follower.passedOver == 1)
    try follower.take(into: store)
    #expect(try events().isEmpty)
    try write(Self.page.suffix(20) + Self.fault)
    try follower.take(into: store)
    let found = try events()
    #expect(found.count == 2 && found[0] == "0000:00:01.0 0x1000 read read 0x80002000")
    #expect(found[1].hasPrefix("\(path):3 device fault riscv_iommu_flt (null): fault"))
  }

  @Test func theScopeChoosesTranslations() throws {
    let follower = try follower(.init(iovas: IOVA(0x5000)...IOVA(0x5fff), requester: RequesterID(rawValue: 8)))
    try write(
      Self.page + Self.other + Self.other.replacing("01.0", with: "02.0") + Self.fault + Self.refused + Self.forget)
    try follower.take(into: store)
    #expect(
      try events().map { $0.replacing(path, with: "log").prefix(30) }
        == [
          "0000:00:01.0 0x5010 write write", "log:4 device fault riscv_iommu_", "log:6 invalidation riscv_iommu_",
        ].map { $0.prefix(30) })
  }

  /// Other lines of QEMU's log, of any length.
  @Test func linesThatAreNoTrace() throws {
    let follower = try follower()
    let long = String(repeating: "x", count: 3 << 18)
    try write(long)
    try follower.take(into: store)
    try write(long + Self.page + Self.page)
    try follower.take(into: store)
    try write("\0\0\0" + Self.other)
    try follower.take(into: store)
    #expect(
      try events() == ["0000:00:01.0 0x1000 read read 0x80002000", "0000:00:01.0 0x5010 write write 0x80003010"])
  }

  // MARK: Order

  /// A translation before an unmap is what it should be, and one after it is not; the same lines imported would tell neither.
  @Test func theOrderBesideTheCallsIsTrue() throws {
    let follower = try follower()
    func call(_ operation: DriverCall.Operation) throws {
      try follower.take(into: store)
      try store.append(
        RecordedCall(
          number: 0,
          call: DriverCall(
            function: "map", operation: operation, domain: KVA(0xffff), iova: IOVA(0x1000), length: 0x1000),
          root: nil, requester: RequesterID(rawValue: 8)))
    }
    try call(.map(target: GPA(0x8000_2000), protection: nil, allocation: nil))
    try write(Self.page)
    try call(.unmap)
    try write(Self.other + Self.page)
    try call(.map(target: GPA(0x8000_4000), protection: nil, allocation: nil))
    try write(Self.forget + Self.page.replacing("0x80002000", with: "0x80004000"))
    try follower.end(in: store)
    #expect(
      try events().map { $0.replacing(#/ riscv.*/#, with: "") } == [
        "map #1", "0000:00:01.0 0x1000 read read 0x80002000", "unmap #1",
        "0000:00:01.0 0x5010 write write 0x80003010", "0000:00:01.0 0x1000 read read 0x80002000", "map #2",
        "\(path):4 invalidation",
        "0000:00:01.0 0x1000 read read 0x80004000",
      ])
    let check = TranslationCheck(
      try store.translations(), calls: try store.calls(), device: RISCVIOMMUDevice())
    #expect(Array(check.lines.verdicts) == [.afterUnmap(1), .nobodyMapped(isRefused: false), .agrees, .agrees])
    // It was watched from before the first call to after the last translation.
    let watches = try store.translationWatches()
    #expect(watches.count == 1)
    let untranslated = UntranslatedMappings(
      try store.translations(), calls: try store.calls(), watches: watches)
    #expect(untranslated?.unwatched == 0 && untranslated?.lines.isEmpty == true)
  }

  /// What an import leaves out is what was recorded, whatever way leads to the file.
  @Test func anImportLeavesOutWhatWasFollowed() throws {
    try write(Self.page + Self.fault)
    for _ in 0..<2 {
      let follower = try follower()
      try write(Self.other + Self.forget)
      try follower.end(in: store)
      try write(Self.page)
    }
    #expect(try events().count == 4)
    #expect(try FollowedLog(path, in: store).factValue == "file 1, lines 3-4, 6-7")
    let link = workspace.file("link.log")
    try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: path)
    let store = self.store
    let told = try Terminal.imported([link], tenants: RISCVIOMMUEvidenceTests.tenants) {
      () throws(InvestigationError) in
      store
    }
    #expect(told.contains("  4 lines tell nothing: 4 that were recorded while they were written"), "\(told)")
    #expect(
      try events()[4...].map { $0.replacing(link, with: "log").prefix(21) } == [
        "0000:00:01.0 0x1000 r", "log:2 device fault ri", "0000:00:01.0 0x1000 r", "0000:00:01.0 0x1000 r",
      ])
    // Another file by that name is read whole.
    try empty(path)
    let follower = try follower()
    try follower.end(in: store)
    #expect(try FollowedLog(path, in: store).lines.isEmpty)
  }

  // MARK: What becomes of the file

  private var emptied: String {
    "\(path) was emptied or written anew: it is read from its start. What was written in between may be missing."
  }

  /// The faults of the next run are not those of the one before, however alike they are.
  @Test func aLogThatIsEmptied() throws {
    let follower = try follower()
    try write(Self.fault + Self.refused + "riscv_iommu_dma (nu")
    try follower.take(into: store)
    try empty(path)
    try follower.take(into: store)
    #expect(follower.takeNotices() == [emptied])
    try write(Self.fault + Self.refused)
    try follower.take(into: store)
    #expect(follower.takeNotices().isEmpty)
    let found = try events()
    #expect(found.count == 4 && follower.lineCount == 4)
    #expect(found[2] == found[0].replacing("log:1", with: "log (file 2):1") && found[3] == found[1])
  }

  /// As long as before, or longer, when it is looked at.
  @Test func aLogThatIsWrittenAnew() throws {
    let follower = try follower()
    try write(Self.page)
    try follower.take(into: store)
    try empty(path)
    try write(Self.other + Self.fault)
    try follower.take(into: store)
    #expect(follower.takeNotices() == [emptied])
    #expect(
      try events().map { String($0.prefix(19)) } == [
        "0000:00:01.0 0x1000", "0000:00:01.0 0x5010", String(path.prefix(19)),
      ])
  }

  /// QEMU goes on where it was in a file that somebody else has emptied.
  @Test func aLogWithAHole() throws {
    let follower = try follower()
    let size = UInt64(3 << 20)
    try write(Array(repeating: 0x0a, count: Int(size)))
    try follower.take(into: store)
    try empty(path)
    try write(Array(Self.page.utf8), at: size)
    try follower.take(into: store)
    #expect(follower.takeNotices() == [emptied])
    #expect(try events() == ["0000:00:01.0 0x1000 read read 0x80002000"])
  }

  /// What was written into the old one before is not lost.
  @Test func aLogThatIsReplaced() throws {
    let follower = try follower()
    try write(Self.page)
    try follower.take(into: store)
    try write(Self.other)
    let new = try workspace.write("new.log", Array((Self.page + Self.page).utf8))
    try FileManager.default.moveItem(atPath: path, toPath: workspace.file("old.log"))
    try FileManager.default.moveItem(atPath: new, toPath: path)
    try follower.take(into: store)
    #expect(follower.takeNotices() == ["\(path) is another file now: it is read from its start."])
    #expect(
      try events().map { String($0.dropFirst(13).prefix(6)) } == ["0x1000", "0x5010", "0x1000", "0x1000"])
  }

  @Test func aLogThatIsRemoved() throws {
    let follower = try follower()
    let file = try #require(FileHandle(forWritingAtPath: path))
    try FileManager.default.removeItem(atPath: path)
    for text in [Self.page, Self.other] {
      try file.write(contentsOf: Data(text.utf8))
      try follower.take(into: store)
    }
    #expect(
      follower.takeNotices() == [
        "\(path) was removed: what QEMU goes on writing into it is still read, until there is a new one."
      ])
    _ = try workspace.write("trace.log", Array(Self.page.utf8))
    try follower.take(into: store)
    #expect(follower.takeNotices() == ["\(path) is another file now: it is read from its start."])
    #expect(try events().count == 3)
  }

  // MARK: What goes wrong

  @Test func whatCannotBeFollowed() throws {
    func message(_ path: String, _ device: any DeviceModel = RISCVIOMMUDevice()) -> String? {
      do { _ = try TraceFollower(path, device: device) } catch { return "\(error)" }
      return nil
    }
    #expect(message(path + "x") == "\(path)x cannot be read: No such file or directory.")
    #expect(message(workspace.path) == "\(workspace.path) is not a file.")
    let pipe = workspace.file("pipe")
    #expect(mkfifo(pipe, 0o600) == 0)
    #expect(message(pipe) == "\(pipe) is not a file.")
    #expect(
      message(path, XuanTieDevice())
        == "QEMU xmmuv1 writes no trace. Translations are made in QEMU: watch them in a second GDB that is attached to "
        + "QEMU's process, with the same investigation file open.")
  }

  /// Ctrl-C: what is stored stays, and the rest comes the next time.
  @Test func aReadThatIsStopped() throws {
    let follower = try follower()
    let count = 10_000
    try write(String(repeating: Self.page + Self.other, count: count / 2))
    var looks = 0
    let progress = WorkProgress { _ in
      looks += 1
      return looks > 1
    }
    #expect(throws: InvestigationError("Interrupted while reading \(path).")) {
      try follower.take(into: store, progress: progress)
    }
    let before = try store.translations().count
    #expect(0 < before && before < count && follower.lineCount == before)
    try follower.take(into: store)
    #expect(try store.translations().count == count)
  }

  /// What could not be stored waits.
  @Test func aFileThatIsGone() throws {
    let follower = try follower()
    try follower.take(into: store)
    try write(Self.page)
    try FileManager.default.removeItem(atPath: store.path)
    #expect(throws: InvestigationError.self) { try follower.take(into: store) }
    try write(Self.fault)
    let next = try InvestigationStore(path: workspace.file("b.iommulens"), side: "kernel")
    try follower.take(into: next)
    #expect(try events(in: next).count == 2)
    #expect(try next.translationWatches().count == 1)
  }
}
