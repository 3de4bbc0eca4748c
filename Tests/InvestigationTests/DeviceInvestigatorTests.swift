import IOMMUModel
import PageTables
import Simulation
import Testing

@testable import Investigation

/// A session on QEMU's side: what it makes of the process's memory, and what it asks for.
@Suite struct DeviceInvestigatorTests {
  private let session: DeviceSession
  private var host: SimulatedHost { session.host }
  private var store: InvestigationStore { session.store }
  private var investigator: DeviceInvestigator { session.investigator }

  static let transmit = [
    "address_space_translate_iommu", "flatview_do_translate", "flatview_translate", "flatview_read",
    "address_space_read_full", "address_space_rw", "dma_memory_rw_relaxed", "dma_memory_rw", "pci_dma_rw",
    "pci_dma_read", "e1000e_start_xmit", "e1000e_set_tdt",
  ]

  init() throws {
    session = try DeviceSession()
    host.callers = Self.transmit
    host.arguments = ["pci_dma_read.len": 16, "flatview_read.len": 15]
  }

  private func map(_ iova: UInt64, _ target: UInt64) { host.driver.map(session.domain, iova, to: target, prot: 7) }

  private func recorded() throws -> [RecordedTranslation] {
    try investigator.flush()
    return try store.translations()
  }

  @Test func anAccessThatWorksIsOneRun() throws {
    map(0xffff_f000, 0x8200_0000)
    investigator.watch(TranslationRule(stop: .never))
    try host.access(0xffff_f000, bytes: 16, step: 1, for: investigator)
    let runs = try recorded()
    #expect(
      runs == [
        RecordedTranslation(
          id: runs.first?.id, requester: Scenario.card, iova: IOVA(0xffff_f000), count: 16, stride: 1, access: .read,
          answer: .init(address: GPA(0x8200_0000), mask: 0, access: .read), before: host.driver.registers,
          after: host.driver.registers,
          asker: .init(device: "e1000e", operation: "e1000e_start_xmit", path: "pci_dma_read", length: 16))
      ])
  }

  /// As on the real pair: four pieces, the first of which latches the cause.
  @Test func aRefusedAccessIsOneRunInStepsOfFour() throws {
    investigator.watch(TranslationRule(stop: .never))
    let before = host.driver.registers
    try host.access(0xffff_f000, bytes: 16, step: 4, for: investigator)
    let run = try #require(try recorded().first)
    #expect(try store.translations().count == 1)
    #expect((run.count, run.stride, run.last) == (4, 4, IOVA(0xffff_f00c)) && run.isRefused == true)
    #expect(run.before == before && run.before[0x20] == 0)
    #expect(run.after[0x20] == 0x8000_0000_0008_0010 && run.after[0x28] == 0xffff_f00c)
  }

  /// Two descriptors in a row lie behind each other, and are two accesses all the same.
  @Test func neighbouringAccessesAreRunsOfTheirOwn() throws {
    map(0xffff_f000, 0x8200_0000)
    investigator.watch(TranslationRule(stop: .never))
    try host.access(0xffff_f000, bytes: 16, step: 1, for: investigator)
    try host.access(0xffff_f010, bytes: 16, step: 1, for: investigator)
    #expect(try recorded().map(\.count) == [16, 16])
    #expect(host.questions.count { $0.hasPrefix("callers") } == 2)
  }

  @Test func whatEndsARun() throws {
    map(0xffff_e000, 0x8200_0000)
    map(0xffff_f000, 0x8300_0000)
    investigator.watch(TranslationRule(stop: .never))
    // Over the end of a page to one that lies elsewhere.
    try host.access(0xffff_effc, bytes: 8, step: 1, for: investigator)
    // Another access kind, another device, another outcome.
    _ = try host.translate(0xffff_f004, .write, for: investigator)
    _ = try host.translate(0xffff_f005, .write, by: SimulatedHost.behindBridge, for: investigator)
    #expect(
      try recorded().map { "\($0.requester?.description ?? "") \($0.iova) \($0.count) \($0.answer?.address ?? GPA(0))" }
        == [
          "0000:00:01.0 0xffffeffc 4 0x82000ffc", "0000:00:01.0 0xfffff000 4 0x83000000",
          "0000:00:01.0 0xfffff004 1 0x83000004", "0000:03:02.0 0xfffff005 1 0xfffff005",
        ])
    // The second part of one access has its asker from the first.
    #expect(try store.translations()[1].asker?.operation == "e1000e_start_xmit")
  }

  /// A run that other sessions were shown goes on as one of its own, without asking for the frames again.
  @Test func aRunGoesOnAfterAStop() throws {
    map(0xffff_f000, 0x8200_0000)
    investigator.watch(TranslationRule(stop: .always))
    #expect(try host.translate(0xffff_f000, answerAt: SimulatedHost.first, for: investigator) == (true, false))
    investigator.targetRan()
    #expect(try recorded().count == 1)
    for byte in 1..<16 as Range<UInt64> {
      #expect(try host.translate(0xffff_f000 + byte, for: investigator) == (false, false))
    }
    #expect(try recorded().map(\.count) == [1, 15])
    #expect(try store.translations().map(\.asker?.length) == [16, 16])
    #expect(host.questions.count { $0.hasPrefix("callers") } == 1)
    #expect(try recorded().count == 2)
  }

  @Test func rulesFilterAndEnd() throws {
    let high = IOVA(0xf000_0000)...IOVA(0xffff_ffff)
    investigator.watch(TranslationRule(iovas: high, requester: Scenario.card, stop: .never, limit: 2))
    #expect(investigator.isWatching)
    _ = try host.translate(0x1000, for: investigator)
    _ = try host.translate(0xffff_0000, by: SimulatedHost.behindBridge, for: investigator)
    // The last run is completed, and then nothing more is recorded.
    for start in [0xffff_f000, 0xffff_e000, 0xffff_d000] as [UInt64] {
      try host.access(start, bytes: 16, step: 4, for: investigator)
    }
    #expect(try recorded().map { "\($0.iova) \($0.count)" } == ["0xfffff000 4", "0xffffe000 4"])
    #expect(!investigator.isWatching)
    investigator.watch(TranslationRule(stop: .always, limit: 1))
    #expect(try host.translate(0x1000, for: investigator) == (true, false))
    #expect(try host.translate(0x2000, for: investigator) == (false, false))
    #expect(try recorded().count == 4)
    investigator.dropRules(thatStop: true)
    #expect(investigator.rules.count == 1 && !investigator.isWatching)
  }

  @Test func stopsWhereAnAnswerIsWrong() throws {
    map(0xffff_f000, 0x8200_0000)
    investigator.watch(TranslationRule(stop: .mismatch, limit: 2))
    #expect(try host.translate(0xffff_f000, for: investigator) == (false, false))
    // Nobody's fault that a device without a table passes through.
    #expect(try host.translate(0x1000, by: SimulatedHost.behindBridge, for: investigator) == (false, false))
    #expect(try host.translate(0x1000, for: investigator) == (false, true))
    let sight = try #require(investigator.stopped())
    #expect(sight.translation.isRefused == true && sight.expected?.latched?.code == 16)
    #expect(investigator.stopped() == nil)
    // A latched fault refuses what the tables have.
    #expect(try host.translate(0xffff_f000, for: investigator) == (false, true))
    #expect(investigator.stopped()?.walk?.target == GPA(0x8200_0000))
    #expect(try host.translate(0xffff_f000, for: investigator) == (false, false))
  }

  @Test func whatAUserIsShown() throws {
    investigator.watch(TranslationRule(stop: .always))
    #expect(try host.translate(0xffff_f000, for: investigator).entry)
    // The simulated thread has run on to its answer already.
    #expect(investigator.stopped() == nil)
    let answered = try #require(investigator.answered())
    #expect(answered.isRefused == true && answered.asker?.length == 16)
    #expect(investigator.answered() == nil)
    #expect(try host.enter(0x1000, .write, for: investigator))
    let sight = try #require(investigator.stopped())
    #expect(sight.translation.answer == nil && sight.translation.access == .write)
    #expect(sight.translation.asker?.path == "pci_dma_read")
    #expect(investigator.asking == Scenario.card)
  }

  /// The guest may renumber its buses while it runs.
  @Test func requestersAreAskedForAgainAfterAStop() throws {
    investigator.watch(TranslationRule(stop: .never))
    _ = try host.translate(0x1000, by: SimulatedHost.behindBridge, for: investigator)
    host.setBridgeBus(5)
    investigator.targetRan()
    _ = try host.translate(0x2000, by: SimulatedHost.behindBridge, for: investigator)
    #expect(try recorded().map(\.requester?.description) == ["0000:03:02.0", "0000:05:02.0"])
  }

  @Test func registersMemoryAndTables() throws {
    map(0xffff_f000, 0x8200_0000)
    host.driver.latchFault(of: Scenario.card, at: 0xffff_f00c)
    #expect(try investigator.registers() == host.driver.registers)
    #expect(try investigator.registerBlock() == GPA(0x2c00_0000))
    #expect(try investigator.root(of: Scenario.card) == session.domain.root)
    #expect(try investigator.table(TableSelector()).root == session.domain.root)
    let (memory, explanation) = try investigator.memory()
    #expect(
      explanation
        == "GDB, page by page: Cannot look into process 2147483647: No such file or directory. Run GDB as the user "
        + "that runs QEMU, and check that QEMU still runs.")
    #expect(
      session.domain.root.mode.geometry.walk(IOVA(0xffff_f000), root: session.domain.root.address, in: memory).target
        != nil)
    #expect(throws: UnreadableMemory.self) { try memory.word(at: GPA(0x9000_0000)) }
  }

  /// One hit costs two reads of the process's memory at the entry and two at the return, and no question to the debugger
  /// beside them.
  @Test func whatAHitCosts() throws {
    map(0xffff_f000, 0x8200_0000)
    investigator.watch(TranslationRule(stop: .never))
    try host.access(0xffff_f000, bytes: 8, step: 1, for: investigator)
    host.forgetQuestions()
    _ = try host.translate(0xffff_f008, for: investigator)
    #expect(
      host.questions == [
        "read host 0x50010400 60", "read host 0x60000040 40", "read host 0x50010400 60",
      ])
  }

  @Test func whatCannotBeFoundOutIsSaid() throws {
    func message(_ body: () throws -> Void) -> String {
      do {
        try body()
        return "no error"
      } catch { return "\(error)" }
    }
    host.isRunning = false
    #expect(
      message { _ = try investigator.registers() }
        == "QEMU is not running: `run` starts it, `attach PID` joins one that runs.")
    host.isRunning = true
    #expect(
      message { _ = try investigator.table(TableSelector(domain: KVA(1))) }
        == "-domain names a domain of the kernel's driver: that works in the GDB on the kernel. Here, -device.")
    #expect(
      message { _ = try investigator.findings(reason: "test") }.hasSuffix("is empty: nothing was recorded in it."))
    #expect(try host.leave(0x1234, for: investigator) == false)
    host.registers = [:]
    #expect(message { _ = try investigator.enter(thread: 0) } == "No symbol in current context: $rdi.")
    #expect(
      message { _ = try host.enter(3, by: 2, answerAt: 1, for: investigator) }
        == "Cannot access memory at address 0xffffffffffffffe2.")
    host.program = "aarch64"
    investigator.forgetTarget()
    #expect(
      message { _ = try investigator.registers() }
        == "This QEMU is a program for aarch64; its calls are read on i386:x86-64.")
    host.missing = ["xmmuv1_translate"]
    investigator.forgetTarget()
    #expect(investigator.implementation() == nil)
    #expect(
      message { _ = try investigator.registers() }
        == "No IOMMU of QEMU known here is in the symbols: load QEMU with its debug information.")
    host.forgetQuestions()
    #expect(investigator.implementation() == nil && host.questions.isEmpty)
  }

  /// What the debugger on the kernel stored, and this one's registers and memory, make one conclusion.
  @Test func findingsOverTheSharedFile() throws {
    let path = session.workspace.file("b.iommulens")
    let scenario = try Scenario(rootShift: 48, path: path)
    let store = try InvestigationStore(path: path, side: "qemu")
    let host = SimulatedHost(scenario.driver)
    let investigator = DeviceInvestigator(target: host, tenants: Scenario.tenants) { store }
    let findings = try investigator.findings(reason: "test")
    #expect(findings.diagnosis.hypotheses.first?.wrongShift?.shift == 48)
    #expect(findings.registers == scenario.driver.registers)
    investigator.watch(TranslationRule(stop: .always))
    _ = try host.enter(0xffff_f000, for: investigator)
    #expect(investigator.stopped()?.call?.number == 1)
  }
}

@Suite struct AccessPathTests {
  private func asker(_ names: [String], device: String? = "e1000e", _ values: [String: UInt64] = [:])
    -> RecordedTranslation.Asker?
  {
    AccessPath.asker(names, device: device) { values["\(names[$1]).\($0)"] }
  }

  /// The captured chain of a packet's data: a helper that several cards share stands between the layers and the card.
  @Test func aMappedBuffer() {
    let names = [
      "address_space_translate_iommu", "flatview_do_translate", "flatview_translate", "flatview_extend_translation",
      "address_space_map", "dma_memory_map", "pci_dma_map", "net_tx_pkt_add_raw_fragment", "e1000e_process_tx_desc",
      "e1000e_start_xmit",
    ]
    #expect(
      asker(names, ["address_space_map.plen": 90, "flatview_extend_translation.len": 89])
        == .init(device: "e1000e", operation: "e1000e_process_tx_desc", path: "pci_dma_map", length: 90))
    #expect(asker(names, device: "other")?.operation == "net_tx_pkt_add_raw_fragment")
    #expect(asker(names, device: nil)?.device == "net")
    #expect(asker(names)?.length == nil)
  }

  @Test func registersOfADevice() {
    #expect(
      asker(["address_space_translate_iommu", "address_space_ldl_le", "ldl_le_pci_dma", "nvme_poll"], device: "nvme")
        == .init(device: "nvme", operation: "nvme_poll", path: "ldl_le_pci_dma", length: nil))
  }

  @Test func whatIsNoAccess() {
    #expect(asker([]) == nil)
    #expect(asker(["e1000e_start_xmit"]) == nil)
    #expect(asker(["pci_dma_read"]) == .init(device: "e1000e", operation: "", path: "pci_dma_read", length: nil))
  }
}
