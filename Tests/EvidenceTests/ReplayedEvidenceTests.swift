import Foundation
import IOMMUModel
import Investigation
import PageTables
import Randomness
import Reports
import Simulation
import Testing
import XuanTie

@testable import Evidence

/// Recorded evidence, imported into an investigation of its own, leads to the conclusions that were drawn from it then.
@Suite struct ReplayedEvidenceTests {
  /// What is imported, by the name of the file in Fixtures/evidence that has the answer.
  static let cases: [(name: String, files: [String])] = [
    ("field-notes", ["field-notes.txt"]),
    ("field-notes-with-satp", ["field-notes.txt", "evidence/satp.txt"]),
    ("pgdir-shift", folder("pgdir-shift")), ("fixed", folder("fixed")), ("cookie", folder("cookie")),
    ("vfio", folder("vfio")), ("vfio-huge-pages", folder("vfio") { $0.contains("huge-pages") && !$0.contains("bug") }),
    ("vfio-alias", folder("vfio") { $0.hasPrefix("d-") }),
    ("vfio-alias-tables", ["vfio/d-alias-tables-with-pgdir-bug.txt", "evidence/satp.txt"]),
    ("vfio-huge-pages-tables", ["vfio/b-huge-pages-tables.txt"]),
    ("vfio-huge-pages-tables-with-pgdir-bug", ["vfio/b-huge-pages-tables-with-pgdir-bug.txt"]),
    ("vfio-two-runs", ["vfio/b-huge-pages-tables.txt", "vfio/b-huge-pages-tables-with-pgdir-bug.txt"]),
    ("walk-summary", ["fixed/tables-walk-summary.txt"]),
    ("field-notes-and-transcript", ["field-notes.txt", "pgdir-shift/xt_iommu_map-first-3-stops.txt"]),
    (
      "riscv-iommu",
      ["riscv-iommu/main-map-unmap.csv", "riscv-iommu/main-monitor.txt", "riscv-iommu/pci-iommu-dc.json"]
    ),
    ("live-repair", folder("pgdir-shift") { $0.hasPrefix("live-repair") }),
    ("domain-alloc", ["cookie/xt_iommu_domain_alloc-first-2-stops.txt"]),
    ("cookie-translations", ["cookie/qemu-translate-results.csv"]), ("console", ["pgdir-shift/console.log"]),
  ]

  /// The files of a folder of evidence, as a shell would list them.
  private static func folder(_ name: String, where isWanted: (String) -> Bool = { _ in true }) -> [String] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: Texts.fixtures + name)) ?? []
    return names.filter(isWanted).sorted().map { "\(name)/\($0)" }
  }

  let workspace: Workspace

  init() throws { workspace = try Workspace() }

  private func store(_ name: String = "a") throws -> InvestigationStore {
    try InvestigationStore(path: workspace.file("\(name).iommulens"), side: "test")
  }

  @discardableResult
  private func take(_ files: [String], into store: InvestigationStore) throws -> EvidenceImport {
    try EvidenceImport(files.map(Texts.read(fixture:)), into: store, profiles: Texts.profiles)
  }

  private func findings(_ files: [String]) throws -> Findings {
    let store = try store()
    try take(files, into: store)
    return try Findings(offline: store, tenants: Scenario.tenants)
  }

  private func report(_ files: [String]) throws -> String {
    let store = try store("report")
    try take(files, into: store)
    return try Report(Findings(offline: store, tenants: Scenario.tenants), store: store).markdown()
  }

  @Test(arguments: cases.map(\.name)) func conclusions(_ name: String) throws {
    let files = try #require(Self.cases.first { $0.name == name }?.files)
    #expect(!files.isEmpty)
    let store = try store()
    let imported = Terminal.imported(try take(files, into: store), into: store, devices: Texts.profiles.map(\.device))
    let findings = try Findings(offline: store, tenants: Scenario.tenants)
    let answer =
      [
        "$ iommulens import", imported, "$ iommulens check", Terminal.check(of: findings, limit: 6),
        "$ iommulens diagnose", Terminal.diagnosis(of: findings),
      ].joined(separator: "\n").replacing(workspace.path + "/", with: "") + "\n"
    try Texts.expect(answer, isFixture: "evidence/\(name).txt")
  }

  // MARK: Captures

  @Test func callsOfSeveralFilesAreOneRecording() throws {
    let findings = try findings(Self.folder("pgdir-shift"))
    // In the folder the second part of the table comes first, and backtraces repeat some of its calls.
    #expect(findings.calls.count == 200 && findings.calls.first?.call.iova == IOVA(0xffff_f000))
    #expect(findings.calls.map(\.number) == Array(1...140) + Array(1...60))
    #expect(findings.calls.first?.callers.contains("e1000_alloc_ring_dma") == true)
    #expect(findings.calls.allSatisfy { $0.root == TableRoot(address: GPA(0x80b8_2000), mode: .sv39) })
    #expect(findings.calls.allSatisfy { $0.requester == RequesterID(rawValue: 8) })
  }

  @Test func aCallAtItsEntryIsLeftOut() throws {
    let files = ["calls-first-120.csv"].map { "fixed/map-unmap-\($0)" } + Self.folder("fixed") { $0.contains("at-120") }
    let findings = try findings(files)
    // The entry of the last call was not written yet: it is neither verified nor compared.
    #expect(findings.verifications.count == 119 && findings.diagnosis.calls == 119)
    #expect(findings.check.mappedPages == 120 && findings.check.disagreements.isEmpty && findings.diagnosis.isClean)
    let last = try #require(findings.calls.last)
    #expect(last.number == 120 && last.id.flatMap { findings.verifications[$0] } == nil)
  }

  /// Importing the files one by one, in any order, comes to the same as importing them together.
  @Test(arguments: [0, 1, 2]) func theOrderOfImportsDoesNotMatter(seed: Int) throws {
    var files = Self.folder("fixed") { $0.hasPrefix("map-unmap-calls-") || $0.hasSuffix("paging-values.txt") }
    if seed == 1 { files.reverse() }
    if seed == 2 { files.swapAt(0, files.count - 1) }
    let captures = Self.folder("fixed") { $0.hasPrefix("tables-after") && $0.hasSuffix(".json") }
    let store = try store("order-\(seed)")
    for file in files { try take([file], into: store) }
    try take(captures, into: store)
    let findings = try Findings(offline: store, tenants: Scenario.tenants)
    #expect(findings.diagnosis.isClean && findings.check.disagreements.isEmpty)
    #expect(findings.check.mappedPages == 141 && findings.calls.count >= 240)
  }

  /// Two texts that cannot be of one run are told; a page that was unmapped before it is mapped anew is no sign of that.
  @Test(arguments: [false, true]) func textsOfTwoRunsAreTold(isUnmapped: Bool) throws {
    let columns = "function,iova,paddr,pgsize,pgcount,iommu_prot,gfp,domain\n"
    let unmap = isUnmapped ? "xt_iommu_unmap,0x1000,,4096,1,,,0x10\n" : ""
    func read(_ rows: String, _ name: String) -> Extraction {
      Texts.reader.read(Array((columns + rows).utf8), name: name)
    }
    let imported = try EvidenceImport(
      [
        read("xt_iommu_map,0x1000,0x9000,4096,1,7,0xa20,0x10\n" + unmap, "first.csv"),
        read("xt_iommu_map,0x1000,0xa000,4096,1,7,0xa20,0x10\n", "second.csv"),
      ], into: try store(), profiles: Texts.profiles)
    let told =
      "0x1000 is mapped to 0xa000 here and to 0x9000 in first.csv:2, with no unmap between: they may be of two runs. "
      + "Give each run an investigation of its own."
    #expect(imported.texts.map(\.remarks) == [[], isUnmapped ? [] : [told]])
  }

  @Test func theRootIsNeverGuessed() throws {
    // Pages and registers without a word of the domain: the calls keep no root, although only one table is there.
    let notes = #"{"dtbase": "0x80b76000", "rsiddiv": 8, "rsid": "0x8", "root": "0x80b82000", "s1mode": 8}"#
    let store = try store()
    let texts = [
      try Texts.read(fixture: "fixed/map-unmap-calls-first-120.csv"),
      try Texts.reader.read(Texts.fixture("fixed/tables-at-120-maps-pages.json"), name: "t-pages.json"),
      Texts.reader.read(Array(notes.utf8), name: "t-meta.json"),
    ]
    _ = try EvidenceImport(texts, into: store, profiles: Texts.profiles)
    #expect(try store.calls().allSatisfy { $0.root == nil })
    let findings = try Findings(offline: store, tenants: Scenario.tenants)
    #expect(findings.check.pages == 0)
    #expect(findings.remarks == ["The table of 120 calls is not known, so that they are not compared."])
  }

  @Test func capturesThatAreNone() {
    func reason(_ text: String, name: String = "t.json") -> String? {
      Texts.reader.read(Array(text.utf8), name: name).refusals.first?.reason
    }
    #expect(reason("{\"0x1000\": \"00", name: "t.txt") == nil)
    #expect(reason("{\"0x1000\": \"00") == "It starts as JSON does and is none: perhaps it was cut.")
    #expect(reason("{\"0x1008\": \"00\"}") == "0x1008 is not the address of a page.")
    #expect(
      reason("{\"0x1000\": \"00\"}") == "The page at 0x1000 is not 4096 bytes as 8192 hexadecimal digits.")
    #expect(reason("{\"0x1000\": 5}") == "The page at 0x1000 is not 4096 bytes as 8192 hexadecimal digits.")
    let digit = "{\"0x1000\": \"\(String(repeating: "0", count: 8191))g\"}"
    #expect(reason(digit) == "The page at 0x1000 is not 4096 bytes as 8192 hexadecimal digits.")
    #expect(
      reason("{\"a\": 1}")
        == "It is JSON, but neither the pages of tables nor what is noted beside those of a device known here (QEMU xmmuv1)."
    )
    #expect(reason(String(repeating: "{\"root\":", count: 100_000)) != nil)
    // Values of any kind where numbers are expected.
    let odd = #"{"root": -1, "s1mode": 300, "rsid": 1e300, "dtbase": true, "calls_seen": [1], "maps": [{"iova": {}}]}"#
    #expect(
      Texts.read(odd).findings.map(\.evidence) == [.capture(TableCapture())])
  }

  @Test func momentsAndNumbersKeep() {
    for moment in [
      CaptureMoment(file: "a, before call 3.json", before: 7), CaptureMoment(file: "a, before call x", before: nil),
      CaptureMoment(file: "", before: 0),
    ] {
      #expect(CaptureMoment(reason: moment.reason) == moment)
    }
    #expect(CaptureMoment(reason: "check") == nil)
    for requester in [nil, RequesterID(rawValue: 8)] {
      let root = DomainRoot(
        domain: KVA(0xff60_0000_0097_8ef8), root: TableRoot(address: GPA(0x80b8_2000), mode: .sv39),
        requester: requester)
      #expect(DomainRoot(factName: root.factName, value: root.factValue) == root)
    }
    for value in ["", "sv39", "sv40 table at 0x0", "sv39 table at 5", "sv39 table at 0x", "a b c d, e"] {
      #expect(DomainRoot(factName: "domain 0x1", value: value) == nil)
    }
  }

  // MARK: What the device was seen doing

  private func call(_ iova: UInt64, to target: UInt64, number: Int, origin: String? = nil) -> RecordedCall {
    RecordedCall(
      id: EventID(rawValue: Int64(number)), number: number,
      call: DriverCall(
        function: "xt_iommu_map",
        operation: .map(target: GPA(target), protection: [.read, .write], allocation: nil), domain: KVA(1),
        iova: IOVA(iova), length: 0x2000),
      root: nil, requester: nil, origin: origin)
  }

  private func unmap(_ iova: UInt64, number: Int) -> RecordedCall {
    RecordedCall(
      id: EventID(rawValue: Int64(number)), number: number,
      call: DriverCall(function: "xt_iommu_unmap", operation: .unmap, domain: KVA(1), iova: IOVA(iova), length: 0x1000),
      root: nil, requester: nil)
  }

  private func translation(
    _ iova: UInt64, at event: Int, to target: UInt64? = nil, access: Access = .read, count: UInt64 = 1,
    stride: UInt64 = 0, latched: UInt64 = 0
  ) -> RecordedTranslation {
    RecordedTranslation(
      id: EventID(rawValue: Int64(event)), requester: nil, iova: IOVA(iova), count: count, stride: stride,
      access: .read,
      answer: target.map { RecordedTranslation.Answer(address: GPA($0), mask: 0, access: access) },
      before: RegisterValues(byOffset: [0x20: latched]))
  }

  /// A refusal is right where the driver allowed no more, and in a text, whose accesses have no times, where it took the address
  /// back.
  @Test func refusalsThatAreRight() {
    func verdict(
      of access: Access, at iova: UInt64, protection: Protection?, isImported: Bool = true
    ) -> TranslationCheck.Verdict? {
      let map = DriverCall(
        function: "map", operation: .map(target: GPA(0x9000), protection: protection, allocation: nil), domain: KVA(1),
        iova: IOVA(0x1000), length: 0x2000)
      let calls = [
        RecordedCall(id: EventID(rawValue: 1), number: 1, call: map, root: nil, requester: nil),
        unmap(0x2000, number: 10),
      ]
      let refused = RecordedTranslation(
        id: EventID(rawValue: 20), requester: nil, iova: IOVA(iova), access: access,
        answer: RecordedTranslation.Answer(address: GPA(iova), mask: 0, access: .none))
      return TranslationCheck(
        [refused], calls: calls, device: XuanTieDevice(),
        imported: isImported ? [EventID(rawValue: 20)...EventID(rawValue: 20)] : []
      ).lines.first?.verdict
    }
    for isImported in [false, true] {
      #expect(verdict(of: .write, at: 0x1008, protection: .read, isImported: isImported) == .forbidden)
      #expect(verdict(of: .readWrite, at: 0x1008, protection: .read, isImported: isImported) == .forbidden)
      #expect(verdict(of: .read, at: 0x1008, protection: .read, isImported: isImported) == .refusedThoughMapped)
      #expect(
        verdict(of: .write, at: 0x1008, protection: [.read, .write], isImported: isImported) == .refusedThoughMapped)
      #expect(verdict(of: .write, at: 0x1008, protection: nil, isImported: isImported) == .refusedThoughMapped)
    }
    #expect(verdict(of: .read, at: 0x2008, protection: .read) == .nobodyMapped(isRefused: true))
    #expect(verdict(of: .read, at: 0x3008, protection: .read) == .nobodyMapped(isRefused: true))
  }

  @Test func verdictsOnTranslations() {
    let calls = [call(0x1000, to: 0x9000, number: 1), unmap(0x2000, number: 10)]
    func verdict(_ translation: RecordedTranslation) -> TranslationCheck.Verdict? {
      // One at the same event ends the stretch in which the calls count for it.
      let before = translation.id.map { EventID(rawValue: $0.rawValue - 1) }
      let mark = RecordedTranslation(id: before, requester: nil, iova: IOVA(0xf000), access: .read, answer: nil)
      return TranslationCheck([mark, translation], calls: calls, device: XuanTieDevice()).lines
        .first { $0.translation.id == translation.id }?.verdict
    }
    #expect(verdict(translation(0x1008, at: 2, to: 0x9008)) == .agrees)
    #expect(verdict(translation(0x2008, at: 2, to: 0xa008)) == .agrees)
    #expect(verdict(translation(0x1008, at: 2, to: 0x8008)) == .wrongAddress(GPA(0x8008)))
    #expect(verdict(translation(0x1008, at: 2, to: 0x1008)) == .bypassed)
    #expect(verdict(translation(0x5008, at: 2, to: 0x5008)) == .bypassed)
    #expect(verdict(translation(0x5008, at: 2, to: 0x6008)) == .nobodyMapped(isRefused: false))
    #expect(verdict(translation(0x1008, at: 2, to: 0x1008, access: .none)) == .refusedThoughMapped)
    #expect(verdict(translation(0x1008, at: 2, to: 0x9008, access: .write)) == .refusedThoughMapped)
    #expect(verdict(translation(0x5008, at: 2, to: 0x5008, access: .none)) == .nobodyMapped(isRefused: true))
    // The second page is unmapped by event 10.
    #expect(verdict(translation(0x2008, at: 12, to: 0x2008, access: .none)) == .nobodyMapped(isRefused: true))
    #expect(verdict(translation(0x2008, at: 12, to: 0xa008)) == .afterUnmap(10))
    #expect(verdict(translation(0x2008, at: 12, to: 0x2008)) == .bypassed)
    #expect(verdict(translation(0x1008, at: 12, to: 0x9008)) == .agrees)
    let cause = XuanTieDevice().latchedFault(RegisterValues(byOffset: [0x20: 0x8000_0000_0008_0010]))?.cause
    #expect(
      verdict(translation(0x1008, at: 2, to: 0x1008, access: .none, latched: 0x8000_0000_0008_0010))
        == cause.map { .sticky($0) })
    // Without an answer the steps tell.
    #expect(verdict(translation(0x1000, at: 2, count: 16, stride: 1)) == .works)
    #expect(verdict(translation(0x1000, at: 2, count: 4, stride: 4)) == .refusedThoughMapped)
    #expect(verdict(translation(0x1000, at: 2, count: 4, stride: 8)) == .unanswered)
    #expect(verdict(translation(0x1000, at: 2)) == .unanswered)
    // A run that leaves its mapping is judged at both ends.
    #expect(verdict(translation(0x1ff0, at: 12, to: 0x9ff0, count: 32, stride: 1)) == .afterUnmap(10))
    // Mapped again.
    #expect(
      TranslationCheck(
        [translation(0x2008, at: 12, to: 0xb008)],
        calls: calls + [call(0x2000, to: 0xb000, number: 11)], device: XuanTieDevice()
      ).lines.map(\.verdict) == [.agrees])
  }

  /// Random maps, unmaps and translations against a table of pages, of which each has a history since the last translation.
  @Test func mappingsAreThoseInForce() {
    var numbers = SeededNumbers(seed: 11)
    for _ in 0..<60 {
      // What each page led to since the last translation, nil for nowhere, and which call unmapped it before that.
      var pages: [UInt64: [UInt64?]] = [:]
      var unmaps: [UInt64: Int] = [:]
      var earlier: [UInt64: Int] = [:]
      var calls: [RecordedCall] = []
      var translations: [RecordedTranslation] = []
      var expected: [TranslationCheck.Verdict] = []
      for event in 1...120 {
        let iova = UInt64.random(in: 0..<24, using: &numbers) << 12
        switch Int.random(in: 0...2, using: &numbers) {
        case 0:
          let target = UInt64.random(in: 100..<200, using: &numbers) << 12
          calls.append(call(iova, to: target, number: event))
          pages[iova, default: [nil]].append(target)
          pages[iova + 0x1000, default: [nil]].append(target + 0x1000)
          (unmaps[iova], unmaps[iova + 0x1000]) = (nil, nil)
        case 1:
          calls.append(unmap(iova, number: event))
          pages[iova, default: [nil]].append(nil)
          unmaps[iova] = event
        default:
          let target = UInt64.random(in: 100..<200, using: &numbers) << 12
          let history = pages[iova] ?? [nil]
          let found = (history.randomElement(using: &numbers) ?? nil) ?? target
          translations.append(translation(iova, at: event, to: found))
          if history.contains(found) {
            expected.append(.agrees)
          } else if history.contains(where: { $0 != nil }) {
            expected.append(.wrongAddress(GPA(found)))
          } else {
            expected.append(earlier[iova].map { .afterUnmap($0) } ?? .nobodyMapped(isRefused: false))
          }
          for (iova, history) in pages { pages[iova] = [history.last ?? nil] }
          earlier = unmaps
        }
      }
      let check = TranslationCheck(translations, calls: calls, device: XuanTieDevice())
      let found = Dictionary(uniqueKeysWithValues: check.lines.map { ($0.translation.id, $0.verdict) })
      #expect(translations.map { found[$0.id] } == expected)
    }
  }

  // MARK: Files that name no driver

  @Test func logsAreEnoughForADiagnosis() throws {
    let findings = try findings(["vfio/c-console-no-cache-coherency.log"])
    #expect(findings.profile.name == "not known" && findings.diagnosis.hypotheses.map(\.cause) == [.noCacheCoherency])
    #expect(try report(["vfio/c-console-no-cache-coherency.log"]).contains("VFIO refuses to bind"))
  }

  @Test func theReportTellsWhatTheDeviceWasSeenDoing() throws {
    let report = try report(Self.folder("pgdir-shift"))
    #expect(
      report.contains(
        """
        ## What the device was seen to translate

        26 runs of translations: 24 refused though mapped; 2 answer not seen.

        | IOVA | translations | should lead to | says | verdict |
        |---|---|---|---|---|
        | `0xfffff000-0xfffff00c` | 20 translations in 8 runs | `0x80bd1000` | map #1 | refused though mapped |
        """))
    #expect(report.contains("\n- The tables are"))
    #expect(report.contains("\n- Calls 120 to 237 are not recorded: "))
  }

  @Test func anEmptyFileIsSaidToBeEmpty() throws {
    let store = try store("empty")
    #expect(throws: InvestigationError("\(store.path) is empty: nothing was recorded in it.")) {
      try Findings(offline: store, tenants: Scenario.tenants)
    }
  }

  @Test func theCPUsModeDecides() throws {
    func first(_ satp: UInt64?) throws -> Diagnosis.Hypothesis? {
      let store = try store(satp.map(hex) ?? "none")
      try take(["field-notes.txt"], into: store)
      if let satp { try store.setFact(Fact.satp, hex(satp)) }
      return try Findings(offline: store, tenants: Scenario.tenants).diagnosis.hypotheses.first
    }
    #expect(try first(nil)?.wrongShift?.shift == nil && first(nil)?.wrongShift?.shifts.shifts == [39, 48])
    #expect(try first(0x9000_0000_0008_0bc0)?.wrongShift?.shift == 39)
    #expect(try first(0xa000_0000_0008_0bc0)?.wrongShift?.shift == 48)
    // Under Sv39 the source is right by luck: then the refusal is all that is known.
    #expect(try first(0x8000_0000_0008_0bc0)?.cause == .refusedThoughMapped)
  }
}
