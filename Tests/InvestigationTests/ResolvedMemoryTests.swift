import IOMMUModel
import PageTables
import Simulation
import Testing

@testable import Investigation

/// Memory is looked for once, and again where a machine got more of it, or lost some, while it ran.
@Suite struct ResolvedMemoryTests {
  private static let dimm = "0000000088000000-000000008fffffff (prio 0, ram): dimm0"
  private let target = SimulatedTarget(SimulatedDriver(rootShift: 30))

  init() { target.ram = ["0000000080000000-0000000087ffffff (prio 0, ram): riscv_virt_board.ram"] }

  private func investigator() -> Investigator {
    let investigator = Investigator(target: target, tenants: Scenario.tenants)
    investigator.memoryPreference = .remote
    return investigator
  }

  private func word(_ address: UInt64, _ investigator: Investigator) -> String {
    do { return hex(try investigator.memory().source.word(at: GPA(address))) } catch { return "\(error)" }
  }

  @Test func whatIsPluggedInIsFoundOnceTheGuestHasRun() {
    let investigator = investigator()
    let outside =
      "Cannot read guest-physical address 0x88000000: outside guest RAM, which holds 0x80000000-0x87ffffff."
    #expect(word(0x8800_0000, investigator) == outside)
    target.driver.memory[0x8800_0000] = 0x1234
    target.ram.append(Self.dimm)
    // Nothing can have been plugged in while the guest stood still, so nobody is asked.
    target.forgetQuestions()
    #expect(word(0x8800_0000, investigator) == outside && target.questions.isEmpty)
    investigator.targetRan()
    #expect(word(0x8800_0000, investigator) == "0x1234")
    target.ram.removeLast()
    investigator.targetRan()
    #expect(word(0x8800_0000, investigator) == outside)
  }

  @Test func whereNothingMovedOneQuestionIsAllThatItCosts() throws {
    let investigator = investigator()
    _ = try investigator.memory()
    target.forgetQuestions()
    investigator.targetRan()
    for _ in 0..<3 { _ = try investigator.memory() }
    #expect(target.questions == ["monitor info mtree -f"])
  }

  @Test func aMonitorThatFallsSilentSaysNothingOfMemory() {
    let investigator = investigator()
    target.driver.memory[0x8000_0000] = 7
    #expect(word(0x8000_0000, investigator) == "0x7")
    target.hasMonitor = false
    investigator.targetRan()
    #expect(word(0x8000_0000, investigator) == "0x7")
    #expect(word(0x8800_0000, investigator).contains("outside guest RAM, which holds 0x80000000-0x87ffffff"))
  }

  /// A debugger that asks the monitor may tell of an event before the answer comes: that comes back to the same investigator.
  @Test func anEventWhileTheMonitorIsAskedDoesNoHarm() {
    let investigator = investigator()
    target.driver.memory[0x8000_0000] = 7
    target.whenMonitored = { investigator.targetRan() }
    for _ in 0..<3 {
      investigator.targetRan()
      #expect(word(0x8000_0000, investigator) == "0x7")
    }
    target.whenMonitored = { investigator.forgetTarget() }
    investigator.targetRan()
    #expect(word(0x8000_0000, investigator) == "0x7")
  }
}
