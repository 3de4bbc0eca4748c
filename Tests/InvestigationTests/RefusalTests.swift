import IOMMUModel
import LinuxKernel
import PageTables
import RISCVIOMMU
import Testing

@testable import Investigation

/// Refusals of what no call maps, and faults that nobody reads.
@Suite struct RefusalTests {
  private static let driver = RISCVIOMMUDriver(generation: .range)
  private static let card = RequesterID(rawValue: 8)

  private func refused(_ id: Int64, _ iova: UInt64, _ access: Access) -> RecordedTranslation {
    RecordedTranslation(
      id: EventID(rawValue: id), requester: Self.card, iova: IOVA(iova), access: access,
      answer: RecordedTranslation.Answer(address: GPA(0), mask: 0xfff, access: .none))
  }

  /// What follows from these translations in a kernel with the card, as `change` has it.
  private func causes(
    _ translations: [RecordedTranslation], _ change: (inout KernelState) -> Void = { _ in }
  ) -> [Diagnosis.Hypothesis] {
    var state = KernelState()
    state.registered = 1
    state.devices = [KernelState.Device(name: "0000:00:01.0", bus: "pci", requester: Self.card)]
    state.interrupts = KernelState.Interrupts(
      unsafeAllowed: nil, messageDomains: ["PCI-MSIX-0000:00:01.0-11"], withoutRemapping: [])
    change(&state)
    var context = Diagnosis.Context()
    context.state = state
    context.translations = TranslationCheck(translations, calls: [], device: Self.driver.device)
    return Diagnosis([], history: [], profile: Self.driver, check: nil, context: context).hypotheses
  }

  @Test func writesToADoorbell() {
    let found = causes([refused(1, 0x2800_0000, .write), refused(2, 0x2800_0000, .write)])
    #expect(found.map(\.cause) == [.doorbellUnmapped])
    #expect(
      found.first?.title
        == "0000:00:01.0's interrupts are refused: it writes them to 0x28000000, where nothing is mapped")
    // What was seen twice is said once.
    #expect(found.first?.evidence.count == 2)
  }

  /// What else such a card may be refused is no doorbell, and without its tables nothing is said of it.
  @Test func otherAccesses() {
    #expect(causes([refused(1, 0x2800_0000, .read)]).isEmpty)
    #expect(causes([refused(1, 0x2800_0000, .write), refused(2, 0x2800_1000, .write)]).isEmpty)
    let wired = causes([refused(1, 0x2800_0000, .write)]) { $0.interrupts = nil }
    #expect(wired.isEmpty)
    #expect(causes([refused(1, 0x2800_0000, .write)]) { $0.devices = [] }.isEmpty)
  }

  @Test func anIOMMUWithoutADriver() {
    let accesses = [refused(1, 0x80ac_1000, .read), refused(2, 0x80ac_2000, .read)]
    #expect(causes(accesses) { $0.registered = 0 }.map(\.cause) == [.neverProbed])
    #expect(causes(accesses) { $0.registered = nil }.isEmpty)
    #expect(causes([]) { $0.registered = 0 }.isEmpty)
  }

  /// Of the devices that wait, the IOMMU is the one that it depends on.
  @Test func anIOMMUThatWaits() {
    let found = causes([refused(1, 0x80ac_1000, .read)]) { state in
      state.registered = 0
      state.deferred = [
        KernelState.Deferred(device: "0000:00:01.0", reason: "wait for the IOMMU"),
        KernelState.Deferred(device: "3010000.iommu", reason: "platform: wait for supplier /cpus/cpu@0"),
      ]
    }.first
    #expect(
      found?.evidence.prefix(2) == [
        "The core knows of no IOMMU: iommu_device_list is empty.",
        "No driver has taken 3010000.iommu: platform: wait for supplier /cpus/cpu@0 (deferred_probe_pending_list).",
      ])
    #expect(found?.remedy.contains("devices_deferred") == false)
  }

  /// A fault queue of 4096 records at 0x80ac0000: FQB, FQH and FQT.
  private func silence(head: UInt64, tail: UInt64, state: KernelState? = nil) -> [Diagnosis.Hypothesis] {
    let memory = ContiguousTests.Words()
    // A read page fault (13) of device 8, TTYP 2.
    memory.words = [0x80ac_0000: 8 << 40 | 2 << 34 | 13, 0x80ac_0010: 0xffff_f160]
    var context = Diagnosis.Context()
    (context.memory, context.state) = (memory, state)
    context.registers = RegisterValues(byOffset: [0x28: 0x80ac_0000 >> 2 | 11, 0x30: head, 0x34: tail])
    return Diagnosis([], history: [], profile: Self.driver, check: nil, context: context).hypotheses
  }

  @Test func aQueueThatNobodyReads() {
    let found = silence(head: 0, tail: 1)
    #expect(found.map(\.cause) == [.faultsUnheard])
    #expect(
      found.first?.title == "faults are silent: 1 fault waits in the device's queue, and nobody has read it")
    #expect(
      found.first?.evidence == ["The first is cause 13 (read page fault) of 0000:00:01.0 at 0xfffff160."])
    #expect(silence(head: 1, tail: 1).isEmpty)
  }

  /// Why nobody reads it, where the device tree tells: that is the cause then.
  @Test func anInterruptFromAnotherSource() {
    var state = KernelState()
    state.faultHandling = KernelState.FaultHandling(
      interrupt: 13, interruptName: nil, interruptIndex: 1,
      node: .init(
        name: "iommu@3010000", hasInterrupt: true, interruptNames: [],
        wires: .init(controller: "plic@c000000", cells: 1, numbers: [36, 1, 37, 1, 38, 1, 39, 1])),
      handler: "riscv_iommu_fltq_process", reads: nil)
    let found = silence(head: 0, tail: 84, state: state).first
    #expect(
      found?.title
        == "faults are silent: the driver listens to source 1 of plic@c000000, and the device raises 37")
    #expect(found?.evidence.contains("84 faults wait in the device's queue.") == true)
    #expect(
      found?.remedy
        == "the property `interrupts` of iommu@3010000, which firmware or QEMU writes: 1 number for each, or an interrupt "
        + "controller that takes 2.")
    state.faultHandling?.interrupt = 0
    #expect(silence(head: 0, tail: 84, state: state).first?.title.contains("source 1") == false)
  }

  /// What an investigation keeps of memory has the faults that wait, and no more of the queue.
  @Test func whatWaitsIsKept() {
    let memory = ContiguousTests.Words()
    func queued(head: UInt64, tail: UInt64) -> Set<GPA> {
      let registers = RegisterValues(byOffset: [0x28: 0x80ac_0000 >> 2 | 11, 0x30: head, 0x34: tail])
      return TablePages.queued(by: Self.driver.device, registers: registers, memory: memory)
    }
    #expect(queued(head: 0, tail: 84) == [GPA(0x80ac_0000)])
    #expect(queued(head: 127, tail: 129) == [GPA(0x80ac_0000), GPA(0x80ac_1000)])
    #expect(queued(head: 4095, tail: 1) == [GPA(0x80ac_0000), GPA(0x80ad_f000)])
    #expect(queued(head: 84, tail: 84).isEmpty)
    #expect(TablePages.queued(by: Self.driver.device, registers: nil, memory: memory).isEmpty)
    memory.words = [0x80ac_0008: 5]
    let kept = TablePages.collect(contexts: [], roots: [], queued: [GPA(0x80ac_0000)], memory: memory)
    #expect(kept[GPA(0x80ac_0000)]?[8] == 5 && kept.count == 1)
  }
}
