import IOMMUModel
import LinuxKernel
import PageTables
import Simulation
import Testing

@testable import Investigation

/// Which explanation comes first, and when there is none.
@Suite struct RankingTests {
  private let recording = Recording(SimulatedDriver())
  private let domain: SimulatedDriver.Domain
  private var driver: SimulatedDriver { recording.driver }

  init() { domain = recording.driver.domain(of: Scenario.card) }

  private func causes(_ change: (inout Diagnosis.Context) -> Void = { _ in }) -> [Diagnosis.Cause] {
    recording.diagnosis(cpu: .sv57, change).hypotheses.map(\.cause)
  }

  @Test func theFaultComesAfterItsCause() {
    driver.shifts[2] = 48
    recording.map(domain, 0x1000, to: 0x1_0000_0000)
    recording.map(domain, 0xffff_f000, to: 0x2_0000_0000)
    driver.latchFault(of: Scenario.card, at: 0xffff_f008)
    let hypotheses = recording.diagnosis(cpu: .sv57).hypotheses
    #expect(hypotheses.map { $0.wrongShift?.shift } == [48, nil, nil])
    #expect(hypotheses.map(\.role) == [.cause, .silence, .consequence])
    #expect(hypotheses.last?.cause == .latchedFault)
    #expect(
      hypotheses.last?.evidence.last
        == "An access to 0xfffff000 would latch the same cause again: that is to be repaired first.")
  }

  /// A diagnosis with a run of translations that began after all calls.
  private func seen(_ iova: UInt64, leadingTo target: UInt64) -> [Diagnosis.Hypothesis] {
    let last = Int64(recording.calls.count)
    func run(_ event: Int64, _ iova: UInt64, _ target: UInt64?) -> RecordedTranslation {
      RecordedTranslation(
        id: EventID(rawValue: event), requester: Scenario.card, iova: IOVA(iova), count: 16, stride: 1, access: .read,
        answer: target.map { RecordedTranslation.Answer(address: GPA($0), mask: 0, access: .read) })
    }
    let runs = [run(last + 1, 0x7fff_f000, nil), run(last + 2, iova, target)]
    return recording.diagnosis(cpu: .sv57) {
      $0.translations = TranslationCheck(runs, calls: recording.calls, device: recording.profile.device)
    }.hypotheses
  }

  /// The tables are right, so that something else remembers: a cache.
  @Test func whatIsReachedAfterAnUnmapIsACause() {
    recording.map(domain, 0x1000, to: 0x1_0000_0000)
    recording.unmap(domain, 0x1000)
    let found = seen(0x1000, leadingTo: 0x1_0000_0000)
    #expect(found.map(\.cause) == [.reachedAfterUnmap] && found.map(\.role) == [.cause])
    #expect(
      found.first?.evidence == ["0x1000: 16 translations in steps of 1, translated after unmap #1."])
    #expect(found.first?.title == "the device reaches 0x1000 after unmap #1 took it back")
    // Mapped again since, it may be reached.
    recording.map(domain, 0x1000, to: 0x2_0000_0000)
    #expect(seen(0x1000, leadingTo: 0x2_0000_0000).isEmpty)
  }

  @Test func whatUnmapLeftIsReachedAndNoSecondCause() {
    recording.map(domain, 0x1000, to: 0x1_0000_0000)
    driver.mistakes = .forgetsToClear
    recording.unmap(domain, 0x1000)
    let found = seen(0x1000, leadingTo: 0x1_0000_0000)
    #expect(found.map(\.cause) == [.unmapIncomplete(.nothing)])
    #expect(
      found.first?.evidence.last
        == "The device was seen to reach it, in 1 run of translations: 0x1000: 16 translations in steps of 1, translated "
        + "after unmap #1.")
  }

  /// Where the device goes astray as the tables say, that speaks for what spoilt them; elsewhere it is told by itself.
  @Test func goingAstrayByTheTablesIsEvidence() {
    driver.shifts[2] = 48
    recording.map(domain, 0x1000_0000, to: 0x1_0000_0000)
    recording.map(domain, 0x5000_0000, to: 0x2_0000_0000)
    let astray = seen(0x1000_0000, leadingTo: 0x2_0000_0000)
    #expect(astray.map { $0.wrongShift?.shift } == [48])
    #expect(
      astray.first?.evidence.last
        == "The device was seen to go there, in 1 run of translations: 0x10000000: 16 translations in steps of 1, wrong "
        + "address: leads to 0x200000000 (map #1: 0x100000000).")
    let elsewhere = seen(0x1000_0000, leadingTo: 0x3_0000_0000)
    #expect(elsewhere.map(\.role) == [.cause, .consequence] && elsewhere.last?.cause == .translatedElsewhere)
  }

  @Test func theFaultComesFirstWhenItsCauseIsGone() {
    driver.shifts[2] = 48
    recording.map(domain, 0xffff_f000, to: 0x2_0000_0000)
    driver.shifts[2] = 30
    recording.map(domain, 0xffff_f000, to: 0x3_0000_0000)
    driver.latchFault(of: Scenario.card, at: 0xffff_f008)
    let hypotheses = recording.diagnosis(cpu: .sv57).hypotheses
    #expect(hypotheses.map(\.cause).first == .latchedFault && hypotheses.first?.role == .cause)
    #expect(hypotheses.map { $0.wrongShift?.shift } == [nil, 48, nil])
    #expect(
      hypotheses.dropFirst().first?.counterEvidence.last
        == "From map #2 on entries are where they should be: the driver was changed before it.")
  }

  @Test func aFaultThatHidesNothingYetIsToldWithTheCause() {
    driver.shifts[2] = 48
    recording.map(domain, 0xffff_f000, to: 0x2_0000_0000)
    #expect(recording.diagnosis(cpu: .sv57).hypotheses.first?.effects.count == 1)
    driver.latchFault(of: Scenario.card, at: 0xffff_f008)
    let hypotheses = recording.diagnosis(cpu: .sv57).hypotheses
    #expect(hypotheses.map(\.role) == [.cause, .silence])
    #expect(
      hypotheses.first?.effects.last
        == "Cause 16 (S1_PTE_INVALID) of 0000:00:01.0 is latched and outlives the repair: until it is cleared, good mappings "
        + "fail as well. An 8-byte write to RESUME (offset 0x1018) clears it, and nothing else does.")
  }

  /// The same entry, lost to another IOVA's mapping and to somebody who was not recorded.
  @Test func anAliasIsNotTakenForAnotherWriter() {
    driver.shifts[2] = 48
    recording.map(domain, 0x1000_0000, to: 0x1_0000_0000, count: 4)
    recording.map(domain, 0x5000_0000, to: 0x2_0000_0000, count: 4)
    #expect(recording.check().disagreements.first?.tables == .overwritten(GPA(0x2_0000_0000), by: 2))
    let alias = recording.diagnosis(cpu: .sv57).hypotheses
    #expect(alias.map { $0.wrongShift?.level } == [2] && alias.first?.present == 1)
    // Unmapping the second takes out what the first should have: still the same cause.
    recording.unmap(domain, 0x5000_0000, count: 4)
    #expect(recording.diagnosis(cpu: .sv57).hypotheses.map { $0.wrongShift?.level } == [2])

    let other = Recording(SimulatedDriver())
    let mapped = other.driver.domain(of: Scenario.card)
    other.map(mapped, 0x1000_0000, to: 0x1_0000_0000, count: 4)
    other.driver.overwrite(0x1000_0000, in: mapped, 0x20_0000 << 10 | 7)
    #expect(other.diagnosis(cpu: .sv57).hypotheses.map(\.cause) == [.vanished])
  }

  /// The core may map a page anew; that is no overwriting.
  @Test func mappingAnewIsNoMistake() {
    recording.map(domain, 0x1000_0000, to: 0x1_0000_0000, count: 4)
    recording.map(domain, 0x1000_1000, to: 0x2_0000_0000, count: 2)
    #expect(causes().isEmpty)
  }

  @Test func whatStaleEntriesAWrongIndexShowsAreNotUnmapsFault() {
    // With this shift two neighbouring pages share an entry, which lies where a third page's should.
    driver.shifts[0] = 13
    for page: UInt64 in 0..<8 { recording.map(domain, page << 12, to: 0x1_0000_0000 + page << 12) }
    for page: UInt64 in [1, 2, 3] { recording.unmap(domain, page << 12) }
    let diagnosis = recording.diagnosis(cpu: .sv57)
    #expect(diagnosis.staleUnmaps > 0)
    #expect(diagnosis.hypotheses.map { $0.wrongShift?.level } == [0])
  }

  @Test func minusOneIsNotTakenForAMask() {
    driver.mistakes.pageDistance = -1
    for page: UInt64 in [1, 3, 5] { recording.map(domain, page << 12, to: 0x1_0000_0000 + page << 12) }
    #expect(causes() == [.pageNumberOff(by: -1), .pageNumberCut(lost: 1)])
    // One even page, and the mask is out.
    recording.map(domain, 0x8000, to: 0x1_0000_8000)
    #expect(causes() == [.pageNumberOff(by: -1)])
  }

  @Test func callsThatWereRightSpeakAgainstAnExplanation() {
    driver.mistakes.flags = .alwaysWritable
    recording.map(domain, 0x1000, to: 0x1_0000_0000, prot: 1)
    recording.map(domain, 0x2000, to: 0x1_0000_1000, prot: 2)
    recording.map(domain, 0x3000, to: 0x1_0000_2000, prot: 1)
    let hypotheses = recording.diagnosis(cpu: .sv57).hypotheses
    #expect(hypotheses.map(\.cause) == [.protectionMisread(.alwaysWritable), .protectionMisread(.exchanged)])
    #expect(hypotheses.first?.counterEvidence == [])
    #expect(
      hypotheses.last?.counterEvidence == [
        "1 call would have gone wrong by it and is right, the first is map #2 at 0x2000."
      ])
  }

  @Test func aSecondMistakeComesBeforeTheRivalsOfTheFirst() {
    driver.mistakes.pageBits = 0xfffff
    driver.mistakes.flags = .writeLost
    driver.mistakes.cleared = .nothing
    for page: UInt64 in 0..<4 {
      recording.map(domain, page << 12, to: 0x1_0000_0000 + page << 20, prot: page < 2 ? 7 : 5)
    }
    recording.unmap(domain, 0x3000)
    #expect(
      causes() == [
        .pageNumberCut(lost: 0x100000), .protectionMisread(.writeLost), .unmapIncomplete(.nothing),
        .pageNumberOff(by: -0x100000), .protectionMisread(.alwaysReadOnly),
      ])
  }

  @Test func whatKeepsTheIOMMUFromBeingUsedStandsBesideWhatTheTablesShow() {
    driver.mistakes = .losesEntries
    recording.map(domain, 0x1000, to: 0x1_0000_0000)
    var state = KernelState()
    state.groups = [KernelState.Group(id: 3, defaultDomain: nil, domain: nil)]
    #expect(causes { $0.state = state } == [.entriesLost, .noDefaultDomain(secondCookie: false)])
    state.mapOperation = "map"
    // That the entries are lost says no more than the signature does.
    #expect(
      causes { $0.state = state } == [.otherSignature("map"), .noDefaultDomain(secondCookie: false), .entriesLost])
  }

  @Test func largeCallsAreJudgedByWhatWasLookedAt() {
    // 16384 pages, of which every fourth is looked at.
    driver.mistakes.mapped = .sizeIgnored
    recording.map(domain, 0x4000_0000, to: 0x1_0000_0000, size: 0x20_0000, count: 32)
    #expect(recording.verified[0].verification.leaves == 4096)
    #expect(causes() == [.rangeCut(.sizeIgnored)])
  }

  @Test func callsOfTwoDomainsInTurnAreRepeatedAllTheSame() {
    let other = driver.domain(of: Scenario.passedThrough)
    for page: UInt64 in 0..<4 {
      recording.map(domain, 0x1000, to: 0x1_0000_0000)
      recording.map(other, page << 12, to: 0x1_0000_0000)
    }
    #expect(causes() == [.progressNotReported])
    let hypothesis = recording.diagnosis().hypotheses.first
    #expect(hypothesis?.support == Diagnosis.Support(explained: 4, total: 8, unit: "map call"))
    // Twice is none, and neither is mapping again after an unmap.
    let harmless = Recording(SimulatedDriver())
    let card = harmless.driver.domain(of: Scenario.card)
    for _ in 0..<5 {
      harmless.map(card, 0x1000, to: 0x1_0000_0000)
      harmless.map(card, 0x1000, to: 0x1_0000_0000)
      harmless.unmap(card, 0x1000)
    }
    #expect(harmless.diagnosis().hypotheses.isEmpty)
  }

  // MARK: Nobody is told

  private func silent(_ reads: [UInt64]? = [0x20]) -> (inout Diagnosis.Context) -> Void {
    {
      var state = KernelState()
      state.faultHandling = KernelState.FaultHandling(
        interrupt: 0, interruptName: "xmmu",
        node: .init(name: "iommu@2c000000", hasInterrupt: true, interruptNames: []), handler: "xt_iommu_interrupt",
        reads: reads)
      ($0.state, $0.interruptIsUnheard) = (state, true)
    }
  }
  private static let misplaced = Diagnosis.Cause.registerMisplaced(driver: 0x20, device: 0x28)

  @Test func silenceComesAfterTheCauseAndBeforeWhatItBringsAbout() {
    driver.shifts[2] = 48
    recording.map(domain, 0x1000, to: 0x1_0000_0000)
    recording.map(domain, 0xffff_f000, to: 0x2_0000_0000)
    #expect(recording.diagnosis(cpu: .sv57, silent()).hypotheses.map { $0.wrongShift?.shift } == [48])
    driver.latchFault(of: Scenario.card, at: 0xffff_f008)
    let hypotheses = recording.diagnosis(cpu: .sv57, silent()).hypotheses
    #expect(hypotheses.first?.wrongShift?.shift == 48)
    #expect(hypotheses.dropFirst().map(\.cause) == [.faultsUnheard, Self.misplaced, .latchedFault])
  }

  /// Nothing is missing but a handler: on a machine that works that is nobody's trouble, also where the device's last fault
  /// is one that harms nothing.
  @Test func aMissingHandlerAloneIsNoCause() {
    #expect(causes(silent()).isEmpty)
    recording.map(domain, 0x1000, to: 0x1_0000_0000)
    #expect(causes(silent()).isEmpty)
    // FTVAL keeps its value when the fault is cleared.
    driver.faultValue = 0x2008
    #expect(causes(silent()).isEmpty)
    recording.unmap(domain, 0x1000)
    driver.latchFault(of: Scenario.card, at: 0x1008)
    #expect(causes(silent()).isEmpty)
  }

  /// The handler that is there is asked, not the sources that are known.
  @Test func aRepairedHandlerIsNotAccused() {
    recording.map(domain, 0x1000, to: 0x1_0000_0000)
    driver.latchFault(of: Scenario.card, at: 0x2008)
    #expect(causes(silent()) == [.latchedFault, .faultsUnheard, Self.misplaced])
    for reads: [UInt64] in [[0x28], [0x20, 0x28], [0x30]] {
      #expect(causes(silent(reads)) == [.latchedFault, .faultsUnheard], "\(reads)")
    }
    #expect(causes { $0.interruptIsUnheard = false } == [.latchedFault, Self.misplaced])
  }

  // MARK: Nothing to explain

  /// Kernel states that are as they should be.
  private static var soundStates: [KernelState] {
    let domains = [KVA(0xff60_0000_0123_4098), KVA(0xff60_0000_0123_5098)]
    func device(_ name: String, _ group: Int?, _ requester: UInt32?, bus: String = "pci") -> KernelState.Device {
      KernelState.Device(
        name: name, bus: bus, driver: "e1000e", group: group, requester: requester.map { RequesterID(rawValue: $0) },
        attached: group.map { domains[$0] }, usesIOMMU: group != nil)
    }
    func state(_ devices: [KernelState.Device], vfio: Bool = false) -> KernelState {
      var state = KernelState()
      state.devices = devices
      state.groups = domains.indices.map {
        KernelState.Group(id: $0, defaultDomain: domains[$0], domain: vfio ? KVA(0xff60_0000_0999_9098) : domains[$0])
      }
      state.domains = domains.map { KernelState.Domain(pointer: $0, type: 11, root: nil, descriptor: nil) }
      (state.registered, state.mapOperation) = (1, "map_pages")
      (state.cacheCoherency, state.interruptRemapping) = (.yes, .no)
      state.interrupts = KernelState.Interrupts(unsafeAllowed: true, messageDomains: ["msi"], withoutRemapping: ["msi"])
      return state
    }
    var unread = KernelState()
    unread.unknown = ["The groups could not be read: no debug information."]
    var closed = state([device("0000:00:01.0", 0, 8)])
    // Nobody asks for VFIO, so nothing is refused.
    closed.cacheCoherency = .no
    closed.interrupts = KernelState.Interrupts(unsafeAllowed: false, messageDomains: ["msi"], withoutRemapping: ["msi"])
    return [
      KernelState(), unread, closed,
      state([]),
      state([device("0000:00:01.0", 0, 8), device("0000:00:02.0", 1, 16)]),
      state([device("0000:00:01.0", 0, 8), device("0000:00:02.0", 1, 16)], vfio: true),
      // Functions behind one bridge share an id and a group, and one at the end of the table is in it.
      state([device("0000:01:00.0", 0, 0x100), device("0000:01:00.1", 0, 0x100), device("0000:0f:1f.7", 1, 0xfff)]),
      // A platform device that the IOMMU does not know, and a PCI device beyond the table that it does not either.
      state([device("0000:00:01.0", 0, 8), device("10001000.virtio", nil, nil, bus: "platform")]),
      state([device("0000:00:01.0", 0, 8), device("0000:20:00.0", nil, 0x2000)]),
    ]
  }

  @Test(arguments: soundStates.indices) func nothingIsMadeUp(position: Int) {
    let state = Self.soundStates[position]
    let empty = Recording(SimulatedDriver())
    let sound = Recording(SimulatedDriver())
    let workload = Workload([.card, .guest], seed: 1)
    sound.run(
      workload.steps, in: [sound.driver.domain(of: Scenario.card), sound.driver.domain(of: Scenario.passedThrough)])
    let cookie = CookieRequest(domain: KVA(0xff60_0000_0123_4098), held: 0, callers: ["__iommu_domain_alloc"])
    let driver = LogLine(
      origin: "kernel log", line: 1, time: nil, text: "xuantie-iommu 2c000000.iommu: two-level device table",
      meaning: .driver)
    for recording in [empty, sound] {
      for cpu: PagingMode? in [nil, .sv39, .sv57] {
        let diagnosis = recording.diagnosis(cpu: cpu) {
          ($0.state, $0.cookies, $0.log, $0.interruptIsUnheard) = (state, [cookie], [driver], true)
        }
        #expect(diagnosis.isClean, "\(diagnosis.hypotheses.map(\.title))")
        #expect(diagnosis.hypotheses.isEmpty)
      }
    }
    #expect(sound.diagnosis().calls > 10)
  }

  /// Without registers or memory the device's side says nothing, and nothing is made up for it.
  @Test func whatCannotBeReadIsNoCause() {
    recording.map(domain, 0x1000, to: 0x1_0000_0000)
    #expect(
      causes { $0.registers = nil }.isEmpty && causes { $0.memory = nil }.isEmpty)
  }
}
