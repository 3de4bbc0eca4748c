import IOMMUModel
import PageTables
import Simulation
import Testing

@testable import Investigation
@testable import Reports

/// What is said of addresses that a device did not ask for, to the letter.
@Suite struct UntranslatedTextTests {
  private let workspace: Workspace
  private let scenario: Scenario
  private let kernel: InvestigationStore
  private let host: SimulatedHost
  private let investigator: DeviceInvestigator

  /// The card's start-up on the kernel's side, and a debugger on QEMU that comes later.
  init() throws {
    workspace = try Workspace()
    let path = workspace.file("a.iommulens")
    scenario = try Scenario(rootShift: 30, path: path)
    kernel = try scenario.investigator.requireStore()
    host = SimulatedHost(scenario.driver)
    let store = try InvestigationStore(path: path, side: "qemu")
    investigator = DeviceInvestigator(target: host, tenants: Scenario.tenants) { store }
  }

  private func map(_ iova: UInt64, origin: String? = nil) throws {
    let domain = scenario.driver.domains[0]
    let call = scenario.driver.map(domain, iova, to: 0x1_0700_0000)
    _ = try kernel.append(
      RecordedCall(number: 0, call: call, root: domain.root, requester: domain.requester, origin: origin))
  }

  private func findings() throws -> Findings {
    scenario.investigator.targetRan()
    return try scenario.investigator.findings(reason: "check")
  }

  private func check(_ iovas: ClosedRange<IOVA>? = nil, limit: Int?) throws -> String {
    Terminal.check(of: try findings(), in: iovas, limit: limit)
  }

  /// The first descriptor of the ring at 0xfffff000, and a buffer; the ring at 0xffffe000 is never asked for.
  private func record(_ rule: TranslationRule = TranslationRule(stop: .never)) throws {
    investigator.watch(rule)
    try investigator.flush()
    try host.access(0xffff_f000, bytes: 16, step: 1, for: investigator)
    try map(0xfffd_0000)
    try map(0xfffd_1000)
    try host.access(0xffff_c000, bytes: 16, step: 1, for: investigator)
    try investigator.flush()
  }

  @Test func nothingIsSaidWithoutARecording() throws {
    #expect(try check(limit: nil) == "All 13 pages agree: 12 mapped, 1 unmapped.")
    investigator.watch(TranslationRule(stop: .never))
    try investigator.flush()
    #expect(try check(limit: nil) == "All 13 pages agree: 12 mapped, 1 unmapped.")
    #expect(try !Report(findings(), store: kernel).markdown().contains("asked for"))
  }

  @Test func aRingThatIsNotAskedFor() throws {
    try record()
    try map(0xffff_0000, origin: "calls.csv:2")
    #expect(
      try check(limit: 20)
        == """
        All 16 pages agree: 15 mapped, 1 unmapped.
        2 runs of translations: 2 agrees.
        Mapped and not asked for while translations were recorded: 3 of 5 ranges (4 of 6 pages) for 0000:00:01.0; 2 of 2 ranges (8 of 8 pages) for 0000:00:02.0. `iommu check -all` lists the ranges.
        Cannot be judged: 1 range not mapped then, or not watched; 1 range of texts, which do not say when.
        """)
    #expect(
      try check(limit: nil)
        == """
        All 16 pages agree: 15 mapped, 1 unmapped.
        2 runs of translations: 2 agrees.
        0xfffd0000-0xfffd1fff  2 pages  map #7 to #8  0000:00:01.0  not asked for
        0xffffe000-0xffffefff  1 page   map #2        0000:00:01.0  not asked for
        0x10000000-0x10003fff  4 pages  map #5        0000:00:02.0  not asked for
        0x50000000-0x50003fff  4 pages  map #6        0000:00:02.0  not asked for
        Mapped and not asked for while translations were recorded: 3 of 5 ranges (4 of 6 pages) for 0000:00:01.0; 2 of 2 ranges (8 of 8 pages) for 0000:00:02.0.
        Cannot be judged: 1 range not mapped then, or not watched; 1 range of texts, which do not say when.
        """)
    #expect(
      try check(IOVA(0xffff_c000)...IOVA(0xffff_cfff), limit: 20)
        == """
        All 1 page agree: 1 mapped, 0 unmapped.
        1 run of translations: 1 agrees.
        Mapped and not asked for while translations were recorded: 0 of 1 range (0 of 1 page) for 0000:00:01.0.
        """)
    #expect(try check(IOVA(0x1000)...IOVA(0x1fff), limit: 20) == "Nothing to check: no recorded call covers it.")
    #expect(
      try Report(findings(), store: kernel).markdown().contains(
        """
        ## What the device did not ask for

        - Mapped and not asked for while translations were recorded: 3 of 5 ranges (4 of 6 pages) for 0000:00:01.0; 2 of 2 ranges (8 of 8 pages) for 0000:00:02.0.
        - Cannot be judged: 1 range not mapped then, or not watched; 1 range of texts, which do not say when.

        <details><summary>4 ranges</summary>

        | IOVA | pages | says | device |
        |---|---|---|---|
        | `0xfffd0000-0xfffd1fff` | 2 | map #7 to #8 | `0000:00:01.0` |
        | `0xffffe000-0xffffefff` | 1 | map #2 | `0000:00:01.0` |
        | `0x10000000-0x10003fff` | 4 | map #5 | `0000:00:02.0` |
        | `0x50000000-0x50003fff` | 4 | map #6 | `0000:00:02.0` |

        </details>

        """))
    // It accuses nobody.
    #expect(try findings().diagnosis.isClean)
  }

  /// What the rule leaves out could have been asked for.
  @Test func onlyWhatWasWatchedIsTold() throws {
    try record(TranslationRule(iovas: IOVA(0xffff_e000)...IOVA(0xffff_ffff), requester: Scenario.card, stop: .never))
    #expect(
      try check(limit: nil).hasSuffix(
        """
        0xffffe000-0xffffefff  1 page  map #2  0000:00:01.0  not asked for
        Mapped and not asked for while translations were recorded: 1 of 2 ranges (1 of 2 pages) for 0000:00:01.0.
        Cannot be judged: 6 ranges not mapped then, or not watched.
        """))
  }

  @Test func domainsWithoutARequester() throws {
    let mappings = UntranslatedMappings(
      [
        RecordedTranslation(
          id: EventID(rawValue: 3), requester: Scenario.card, iova: IOVA(0x5000), access: .read, answer: nil)
      ],
      calls: [
        RecordedCall(
          id: EventID(rawValue: 1), number: 1,
          call: DriverCall(
            function: "map", operation: .map(target: GPA(0), protection: nil, allocation: nil), domain: KVA(0),
            iova: IOVA(0x1000), length: 0x1000), root: nil, requester: nil)
      ],
      watches: [TranslationWatch(first: EventID(rawValue: 2), last: EventID(rawValue: 3), scopes: [.init()])])
    #expect(
      Terminal.untranslated(mappings, limit: .max)
        == """
        0x1000-0x1fff  1 page  map #1  no requester known  not asked for
        Mapped and not asked for while translations were recorded: 1 of 1 range (1 of 1 page) for no known requester, by any device.
        """)
    let first = try #require(Terminal.untranslated(mappings, limit: 1)?.split(separator: "\n"))
    #expect(first.count == 2)
  }

  /// Of many ranges a report shows some.
  @Test func manyRangesAreCut() {
    let calls = (1...60).map { number in
      RecordedCall(
        id: EventID(rawValue: Int64(number)), number: number,
        call: DriverCall(
          function: "map", operation: .map(target: GPA(0), protection: nil, allocation: nil), domain: KVA(1),
          iova: IOVA(UInt64(number) << 13), length: 0x1000), root: nil, requester: Scenario.card)
    }
    let run = RecordedTranslation(
      id: EventID(rawValue: 62), requester: nil, iova: IOVA(0x50_0000), access: .read, answer: nil)
    let mappings = UntranslatedMappings(
      [run], calls: calls,
      watches: [TranslationWatch(first: EventID(rawValue: 61), last: EventID(rawValue: 62), scopes: [.init()])])
    let lines = Terminal.untranslated(mappings, limit: 50)?.split(separator: "\n") ?? []
    #expect(lines.count == 52 && lines[50] == "… 10 more: `iommu check -all`.")
    #expect(lines[51].hasSuffix(": 60 of 60 ranges (60 of 60 pages) for 0000:00:01.0."))
  }
}
