import IOMMUModel
import LinuxKernel
import PageTables
import RISCVIOMMU
import Simulation
import Testing
import XuanTie

@testable import Investigation

@Suite struct InvestigatorTests {
  let workspace: Workspace
  init() throws { workspace = try Workspace() }

  /// As a debugger and a monitor name them, and as a reader looks for them.
  @Test(
    arguments: [
      ("../drivers/iommu/generic_pt/fmt/../iommu_pt.h:934", "drivers/iommu/generic_pt/iommu_pt.h:934"),
      ("./a/b/../../c.c:1", "c.c:1"), ("../../c.c:1", "c.c:1"), ("/usr/src/a/../c.c:1", "/usr/src/a/../c.c:1"),
    ])
  func sourcesByTheirTree(_ told: String, _ kept: String) throws {
    let scenario = try Scenario(rootShift: 30, path: workspace.file("s.iommulens"))
    try scenario.investigator.recordFacts(debugger: nil, source: told)
    #expect(try scenario.investigator.requireStore().facts()[Fact.source] == kept)
  }

  @Test(
    arguments: [
      ("10.0.2Debian 1:10.0.2+ds-2+deb13u1~bpo12+1\r\n", "10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)"),
      ("9.2.0\r\n", "9.2.0"), ("8.0.0 (v8.0.0-rc1)\r\n", "8.0.0 (v8.0.0-rc1)"), ("unknown command\r\n", nil),
    ] as [(String, String?)])
  func versionsOfQEMU(_ told: String, _ kept: String?) throws {
    let scenario = try Scenario(rootShift: 30, path: workspace.file("v.iommulens"))
    scenario.target.version = told
    let investigator = Investigator(target: scenario.target, tenants: Scenario.tenants)
    try investigator.open(workspace.file("w.iommulens"))
    try investigator.recordFacts(debugger: nil, source: nil)
    #expect(try investigator.requireStore().facts()[Fact.emulator] == kept)
  }

  @Test func theScenarioEndsInItsCause() throws {
    let scenario = try Scenario(rootShift: 48, path: workspace.file("a.iommulens"))
    let findings = try scenario.investigator.findings(reason: "test")
    #expect(
      findings.calls.map { "\($0.call.isMap ? "map" : "unmap") \($0.number)" } == [
        "map 1", "map 2", "map 3", "map 4", "unmap 1", "map 5", "map 6",
      ])
    #expect(findings.calls.allSatisfy { $0.root != nil && $0.requester != nil })
    #expect(findings.calls.map { $0.requester == Scenario.card } == [true, true, true, true, true, false, false])
    #expect(findings.verifications.count == 7)
    #expect(findings.verifications.count { $0.verification.agrees } == 2)
    #expect(findings.diagnosis.hypotheses.first?.wrongShift?.shift == 48)
    #expect(findings.diagnosis.calls == 6 && findings.diagnosis.disagreeing == 5)
    // The same from the file alone.
    let offline = try Findings(
      offline: InvestigationStore(path: workspace.file("a.iommulens"), side: "test"), tenants: Scenario.tenants)
    #expect(offline.check.lines == findings.check.lines)
    #expect(offline.diagnosis.hypotheses == findings.diagnosis.hypotheses)
    #expect(offline.registers == findings.registers)
    #expect(
      offline.facts == [
        "satp": "0xa000000000081234", "kernel": "Linux version 6.1.0 (build@host) (gcc 12.2.0) #1 SMP",
        "profile": "xuantie/pages", "source": "drivers/iommu/xuantie-iommu.c:431", "debugger": "GNU gdb 13.1",
        "memory": "remote protocol, page by page: `set iommu memory remote` asks for it",
      ])
  }

  /// What `iommu probe` saw of the driver's interrupt is in the file, and the file alone says the same.
  @Test func whyNobodyWasToldIsKept() throws {
    let scenario = try Scenario(rootShift: 48, path: workspace.file("a.iommulens"))
    let store = try scenario.investigator.requireStore()
    var state = KernelState()
    state.faultHandling = KernelState.FaultHandling(
      interrupt: 0, interruptName: "xmmu",
      node: .init(name: "iommu@2c000000", hasInterrupt: true, interruptNames: []), handler: "xt_iommu_interrupt",
      reads: [0x20])
    try store.append(state)
    let findings = try scenario.investigator.findings(reason: "test")
    #expect(findings.state == state)
    #expect(
      findings.diagnosis.hypotheses.dropFirst().map(\.cause) == [
        .faultsUnheard, .registerMisplaced(driver: 0x20, device: 0x28),
      ])
    let offline = try Findings(
      offline: InvestigationStore(path: workspace.file("a.iommulens"), side: "test"), tenants: Scenario.tenants)
    #expect(offline.state == state && offline.diagnosis.hypotheses == findings.diagnosis.hypotheses)
    // What was seen at the last stop comes before what the probe saw.
    try store.setFact(Fact.faultInterrupt, "handled")
    #expect(
      try scenario.investigator.findings(reason: "test").diagnosis.hypotheses.dropFirst().map(\.cause) == [
        .registerMisplaced(driver: 0x20, device: 0x28)
      ])
  }

  @Test func theFixedDriverIsCleared() throws {
    let scenario = try Scenario(rootShift: 30, path: workspace.file("a.iommulens"))
    let findings = try scenario.investigator.findings(reason: "test")
    #expect(findings.check.disagreements.isEmpty && findings.diagnosis.hypotheses.isEmpty)
    #expect(findings.verifications.count { !$0.verification.agrees } == 0)
  }

  private func session(rootShift: Int = 48) throws -> (SimulatedTarget, Investigator, SimulatedDriver.Domain) {
    let target = SimulatedTarget(SimulatedDriver(rootShift: rootShift))
    let investigator = Investigator(target: target, tenants: Scenario.tenants)
    investigator.memoryPreference = .remote
    try investigator.open(workspace.file("a.iommulens"))
    investigator.watch(WatchRule(kinds: [.map, .unmap], stop: .never))
    return (target, investigator, target.driver.domain(of: Scenario.card))
  }

  private func arguments(_ domain: SimulatedDriver.Domain, _ iova: UInt64, _ target: UInt64) -> [UInt64] {
    [domain.pointer.rawValue, iova, target, 4096, 1, 7, 0xdc0, 0]
  }

  @Test func aCallIsVerifiedAtTheNextOne() throws {
    let (target, investigator, domain) = try session()
    investigator.watch(WatchRule(kinds: [.map], stop: .mismatch))
    let first = try investigator.hit("xt_iommu_map", arguments: arguments(domain, 0xffff_f000, 0x1_0617_2000))
    let early = try investigator.findings(reason: "test")
    #expect(early.running.map(\.number) == [1] && early.check.pages == 0 && early.calls.count == 1)
    #expect(first.mismatch == nil && !first.stops && investigator.pendingCall?.number == 1)
    target.driver.map(domain, 0xffff_f000, to: 0x1_0617_2000)
    let second = try investigator.hit("xt_iommu_map", arguments: arguments(domain, 0x1000, 0x1_0618_0000))
    #expect(second.stops && second.mismatch?.call.number == 1)
    #expect(second.mismatch?.verification.verdict == .missing(level: 2))
    target.driver.map(domain, 0x1000, to: 0x1_0618_0000, prot: 7)
    investigator.targetRan()
    let last = try investigator.verifyPending().first
    #expect(last?.verification.agrees == true)
    #expect(try investigator.verifyPending().isEmpty)
    #expect(try investigator.findings(reason: "test").running.isEmpty)
  }

  /// A step over the breakpoint may be cut short, and the debugger then tells of the same call again; a driver that does
  /// nothing is called again and again.
  @Test func aCallToldAgainIsOneCall() throws {
    let (target, investigator, domain) = try session()
    let place = CallPlace(thread: 1, stack: 0xff20_0000_0000_1000)
    func hit(_ iova: UInt64, at place: CallPlace) throws {
      _ = try investigator.hit("xt_iommu_map", arguments: arguments(domain, iova, 0x1_0617_2000), place: place)
    }
    func calls() throws -> Int { try investigator.requireStore().calls().count }
    try hit(0x1000, at: place)
    try hit(0x1000, at: place)
    #expect(try calls() == 1)
    // It has run since, so the same arguments are another call.
    target.driver.map(domain, 0x1000, to: 0x1_0617_2000, prot: 7)
    try hit(0x1000, at: place)
    #expect(try calls() == 2)
    try hit(0x2000, at: place)
    try hit(0x2000, at: CallPlace(thread: 2, stack: place.stack))
    #expect(try calls() == 4)
    for _ in 0..<5 { try hit(0x3000, at: place) }
    #expect(try calls() == 4 + 5 - PendingCall.repeatLimit - 1)
  }

  /// Another CPU's call, or an interrupt's, comes while the first is still running: nothing is concluded from that.
  @Test func aCallThatIsStillRunningIsNotJudged() throws {
    let (target, investigator, domain) = try session(rootShift: 30)
    let (low, high) = (CallPlace(thread: 1, stack: 0x8000), CallPlace(thread: 2, stack: 0x8000))
    _ = try investigator.hit("xt_iommu_map", arguments: arguments(domain, 0x1000, 0x1_0617_2000), place: low)
    target.running = [low.stack]
    _ = try investigator.hit("xt_iommu_map", arguments: arguments(domain, 0x2000, 0x1_0618_0000), place: high)
    #expect(try investigator.requireStore().verifications().isEmpty)
    target.running = []
    target.driver.map(domain, 0x1000, to: 0x1_0617_2000, prot: 7)
    target.driver.map(domain, 0x2000, to: 0x1_0618_0000, prot: 7)
    investigator.targetRan()
    #expect(try investigator.verifyPending().map(\.verification.agrees) == [true, true])
  }

  /// Whoever stops at every call has not asked for the one before.
  @Test func onlyARuleAboutMismatchesTellsOfThem() throws {
    let (target, investigator, domain) = try session()
    investigator.watch(WatchRule(kinds: [.map], stop: .always))
    _ = try investigator.hit("xt_iommu_map", arguments: arguments(domain, 0xffff_f000, 0x1_0617_2000))
    target.driver.map(domain, 0xffff_f000, to: 0x1_0617_2000)
    let second = try investigator.hit("xt_iommu_map", arguments: arguments(domain, 0x1000, 0x1_0618_0000))
    #expect(second.stops && second.mismatch == nil)
    #expect(try investigator.requireStore().verifications().map(\.verification.verdict) == [.missing(level: 2)])
  }

  @Test func rulesFilterStopAndEnd() throws {
    let (target, investigator, domain) = try session()
    investigator.dropRules(thatStop: false)
    #expect(!investigator.isWatching)
    let high = IOVA(0xf000_0000)...IOVA(0xffff_ffff)
    investigator.watch(WatchRule(kinds: [.map], iovas: high, stop: .mismatch, limit: 1))
    investigator.watch(WatchRule(kinds: [.unmap], iovas: high, requester: Scenario.card, stop: .always))
    investigator.watch(WatchRule(kinds: [.map], requester: Scenario.passedThrough, stop: .always))
    func map(_ iova: UInt64) throws -> Bool {
      defer { target.driver.map(domain, iova, to: 0x1_0617_2000) }
      return try investigator.hit("xt_iommu_map", arguments: arguments(domain, iova, 0x1_0617_2000)).stops
    }
    #expect(try map(0xffff_f000) == false)
    // Not of interest itself, but it is the moment at which the call before it is found wrong.
    #expect(try map(0x1000) == true)
    #expect(investigator.pendingCall == nil)
    // The rule has stopped once, and records on.
    #expect(try map(0xffff_e000) == false)
    #expect(try map(0xffff_d000) == false)
    #expect(
      try investigator.hit("xt_iommu_unmap", arguments: [domain.pointer.rawValue, 0xffff_f000, 4096, 1, 0]).stops)
    #expect(
      try !investigator.hit("xt_iommu_unmap", arguments: [domain.pointer.rawValue, 0x1000, 4096, 1, 0]).stops)
    #expect(
      try investigator.requireStore().calls().map(\.call.iova.rawValue) == [
        0xffff_f000, 0xffff_e000, 0xffff_d000, 0xffff_f000,
      ])
    investigator.dropRules(thatStop: true)
    #expect(investigator.rules.isEmpty)
  }

  @Test func whatIsAskedOfTheDebugger() throws {
    let (target, investigator, domain) = try session()
    _ = try investigator.hit("xt_iommu_map", arguments: arguments(domain, 0x1000, 0))
    target.driver.map(domain, 0x1000, to: 0)
    investigator.targetRan()
    target.forgetQuestions()
    _ = try investigator.hit("xt_iommu_map", arguments: arguments(domain, 0x2000, 0))
    // Symbols and offsets are asked for once. A stop costs the pages that it needs and the device's registers, and the one
    // question whether memory still lies where it was.
    #expect(target.questions.filter { $0.hasPrefix("parameters") || $0.contains("struct") } == [])
    #expect(target.questions.filter { $0.contains("info") } == ["monitor info mtree -f"])
    #expect(target.questions.filter { $0.hasPrefix("read virtual") } == [])
    let pages = target.questions.filter { $0.hasPrefix("read physical") }
    #expect(Set(pages).count == pages.count, "\(pages)")
    #expect(target.questions.count { $0.hasPrefix("monitor xp") } == 8)
    #expect(target.questions.count <= 20, "\(target.questions)")
    // Hits that follow each other without a stop ask for pages alone, and `satp` is nobody's concern.
    target.driver.map(domain, 0x2000, to: 0)
    target.forgetQuestions()
    _ = try investigator.hit("xt_iommu_map", arguments: arguments(domain, 0x3000, 0))
    #expect(target.questions.allSatisfy { $0.hasPrefix("read physical") }, "\(target.questions)")
  }

  @Test func whatCannotBeFoundOutIsSaid() throws {
    let (target, investigator, domain) = try session()
    func message(_ body: () throws -> Void) -> String {
      do {
        try body()
        return "no error"
      } catch { return "\(error)" }
    }
    #expect(
      message { _ = try investigator.call("xt_iommu_unmap", arguments: [1, 2]) }
        == "xt_iommu_unmap takes 5 arguments, but only 2 could be read.")
    #expect(
      message { _ = try investigator.call("panic", arguments: []) }
        == "panic is not a map or unmap function of xuantie-iommu, map_pages (6.x signature).")
    #expect(
      message { _ = try investigator.root(of: Scenario.passedThrough) }
        == "0000:00:02.0 is not translated: DTE not valid. `iommu devices` lists who is.")
    // A garbage domain is recorded without a root, and its verification is left out.
    let hit = try investigator.hit("xt_iommu_map", arguments: [0xdead_beef, 0x1000, 0, 4096, 1, 7, 0, 0])
    #expect(!hit.stops && investigator.pendingCall?.root == nil && investigator.pendingCall?.requester == nil)
    #expect(try investigator.verifyPending().isEmpty)
    target.hasMonitor = false
    investigator.targetRan()
    #expect(message { _ = try investigator.registers() } != "no error")
    #expect(
      investigator.describe(
        try investigator.call("xt_iommu_map", arguments: arguments(domain, 0x1000, 0))
      ).requester == nil)
    #expect(try investigator.findings(reason: "test").registers == nil)
    let closed = Investigator(target: target, tenants: Scenario.tenants)
    #expect(
      message { _ = try closed.findings(reason: "test") }
        == "No investigation is open: `iommu open [FILE]` starts one.")
    #expect(
      message { _ = try Investigator(target: target, tenants: [NoDriver.self]).profile() }
        == "No IOMMU driver known here is in the symbols: xt_iommu_map is missing. "
        + "Load the kernel with its debug information: `file vmlinux`.")
    #expect(
      message { _ = try Investigator(target: target, tenants: [NoDriver.self, NoOtherDriver.self]).profile() }
        == "No IOMMU driver known here is in the symbols: xt_iommu_map, riscv_iommu_map_pages and riscv_64_map_range are "
        + "missing. Load the kernel with its debug information: `file vmlinux`.")
  }

  @Test func aTableIsChosen() throws {
    let (target, investigator, domain) = try session()
    #expect(try investigator.table(TableSelector()).requester == Scenario.card)
    let second = target.driver.domain(of: Scenario.passedThrough)
    investigator.targetRan()
    let error = #expect(throws: TargetError.self) { try investigator.table(TableSelector()) }
    #expect(
      error?.description == "Several devices are translated (0000:00:01.0, 0000:00:02.0): choose one with -device.")
    #expect(try investigator.table(TableSelector(device: Scenario.passedThrough)).root == second.root)
    #expect(try investigator.table(TableSelector(domain: domain.pointer)).root == domain.root)
    let byHand = TableRoot(address: GPA(0x8100_0000), mode: .sv48)
    #expect(try investigator.table(TableSelector(root: byHand)).root == byHand)
    _ = try investigator.hit("xt_iommu_map", arguments: arguments(second, 0, 0))
    #expect(try investigator.table(TableSelector()).root == second.root)
  }
}

/// A family whose driver this kernel has not.
private enum NoDriver: Tenant {
  static let name = XuanTie.name
  static var profiles: [any DriverProfile] { XuanTie.profiles }
  static func profile(in target: any Target) throws(TargetError) -> (any DriverProfile)? { nil }
}

/// Another one.
private enum NoOtherDriver: Tenant {
  static let name = RISCVIOMMU.name
  static var profiles: [any DriverProfile] { RISCVIOMMU.profiles }
  static func profile(in target: any Target) throws(TargetError) -> (any DriverProfile)? { nil }
}
