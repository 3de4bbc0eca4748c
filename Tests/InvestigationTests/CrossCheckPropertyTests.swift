import IOMMUModel
import PageTables
import Randomness
import Simulation
import Testing
import XuanTie

@testable import Investigation

/// Comparisons of ranges against comparisons of one page after the other, with drivers that err in many ways.
@Suite struct CrossCheckPropertyTests {
  /// A driver at work, and the device's state at the end.
  private struct Work {
    let driver: SimulatedDriver
    let recording: Recording
    var registers: RegisterValues?

    init(using numbers: inout SeededNumbers) {
      func random(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &numbers) }
      let mode: PagingMode = [.sv39, .sv39, .sv48, .sv57][random(4)]
      driver = SimulatedDriver(mode: mode)
      if random(2) == 0 { driver.shifts[random(mode.levels)] = 12 + random(46) }
      recording = Recording(driver)
      recording.verifiesLate = true
      let domains = [
        driver.domain(of: Scenario.card), driver.domain(of: Scenario.card), driver.domain(of: Scenario.passedThrough),
        driver.domain(of: nil),
      ]
      if random(3) > 0 { driver.attach(Scenario.card, to: domains[0]) }
      let top: UInt64 = 1 << UInt64(mode.inputBits - 1)
      let bases: [UInt64] = [0, 0x4000_0000, 0x401f_0000, 0x8020_0000, 0xffff_0000, top - 0x4000, 0 &- 0x6000]
      for _ in 0..<(5 + random(60)) {
        if random(6) == 0 {
          driver.mistakes =
            [
              .none, .none, .forgetsToClear, .hugeLeaves, .hugeLeaves, .losesWrite, .losesEntries, .offByOnePage,
            ][random(8)]
        }
        let domain = domains[random(5) % 4]
        let iova = bases[random(bases.count)] &+ UInt64(random(24)) << 12
        let count = UInt64([1, 1, 3, 20, 600, 1200][random(6)])
        switch random(6) {
        case 0, 1: recording.unmap(domain, iova, count: min(count, 40))
        case 2: recording.map(domain, iova & ~0x1f_ffff, to: UInt64(random(8)) << 21, size: 0x20_0000, count: 1)
        default:
          recording.map(
            domain, iova, to: UInt64(random(12)) << 21 | UInt64(random(6)) << 12, count: count,
            prot: UInt32(random(8)))
        }
      }
      spoil(domains, using: &numbers)
    }

    private mutating func spoil(_ domains: [SimulatedDriver.Domain], using numbers: inout SeededNumbers) {
      func random(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &numbers) }
      if random(4) == 0 { driver.latchFault(of: Scenario.card, at: 0x5000) }
      if random(6) == 0 { driver.write(domains[0].descriptor.rawValue | UInt64(random(8)), toEntryOf: Scenario.card) }
      if random(8) == 0 {
        driver.memory[domains[0].descriptor.rawValue] =
          UInt64(random(12)) << 60 | domains[random(4)].root.address.rawValue >> 12
      }
      if random(20) == 0 { driver.enable = 0 }
      let pages = SimulatedMemory.ram.lowerBound + 0xb7_6000
      for _ in 0..<random(8) {
        let address = pages + UInt64(random(40)) << 12 + UInt64(random(512)) << 3
        driver.memory[address] ^= 1 << UInt64(random(64))
      }
      if random(5) == 0 { driver.memory.unreadable = [GPA(pages + UInt64(random(30)) << 12)] }
      registers = random(10) == 0 ? nil : driver.registers
    }
  }

  @Test(.timeLimit(.minutes(2)), arguments: [UInt64(1), 2, 3]) func linesAreThoseOfSinglePages(seed: UInt64) {
    let seed = SeededNumbers.run &+ seed << 48
    var numbers = SeededNumbers(seed: seed)
    var kinds: Set<String> = []
    // What the rounds have to reach; some kinds are rare.
    let common: Set<String> = [
      "agrees", "missing", "wrong address", "stale after unmap", "overwritten", "not attached", "other table",
    ]
    for round in 0..<100 where round < 12 || !kinds.isSuperset(of: common) {
      let work = Work(using: &numbers)
      let profile: any DriverProfile = Bool.random(using: &numbers) ? MixedLeavesDriver() : work.recording.profile
      let calls = work.recording.calls
      let replay = Replay(calls, profile: profile)
      let single = PageByPageReplay(calls, profile: profile) { $0.mode.geometry }
      let first = UInt64.random(in: 0..<0x4001_0000, using: &numbers)
      for range in [nil, IOVA(first)...IOVA(first + 0x4_4321)] {
        let found = CrossCheck(
          calls, replay: replay, profile: profile, registers: work.registers, memory: work.driver.memory, range: range)
        let wanted = PageByPageCheck(
          calls, replay: single, profile: profile, registers: work.registers, memory: work.driver.memory, range: range)
        for line in wanted.lines { kinds.formUnion([line.tables.name, line.device.name]) }
        if let (line, other) = zip(found.lines, wanted.lines).first(where: { $0 != $1 }) {
          Issue.record("seed \(seed) round \(round): \(line) instead of \(other)")
          return
        }
        let isSame =
          found.lines.count == wanted.lines.count && found.mappedPages == wanted.mappedPages
          && found.unmappedPages == wanted.unmappedPages
        guard isSame else {
          Issue.record("seed \(seed) round \(round): \(found.lines.count) lines instead of \(wanted.lines.count)")
          return
        }
      }
    }
    #expect(kinds.isSuperset(of: common))
  }

  @Test func aMappingOfManyGiBCostsRanges() {
    // VFIO gives a guest 64 GiB, contiguous, in two halves; then a page in the middle goes.
    let driver = SimulatedDriver(mode: .sv48)
    let recording = Recording(driver)
    recording.verifiesLate = true
    let domain = driver.domain(of: Scenario.card)
    for half in 0..<UInt64(2) {
      recording.record(
        DriverCall(
          function: "xt_iommu_map",
          operation: .map(target: GPA(0x1_0000_0000 + half << 35), protection: [.read, .write], allocation: nil),
          domain: domain.pointer, iova: IOVA(half << 35), length: 1 << 35), domain)
    }
    recording.unmap(domain, 0x1234_5000)
    driver.map(domain, 0x8000_0000, to: 0x1_8000_0000, count: 512)
    let check = recording.check()
    #expect(check.mappedPages == 1 << 24 - 1 && check.unmappedPages == 1)
    #expect(
      check.lines.map { "\($0.iova) \(hex($0.length)) \($0.worst.description)" } == [
        "0x0 0x12345000 missing at level 2", "0x12346000 0x6dcba000 missing at level 2",
        "0x80200000 0x3fe00000 missing at level 1", "0xc0000000 0x740000000 missing at level 2",
        "0x800000000 0x800000000 missing at level 2", "0x80000000 0x200000 agrees",
      ])
  }
}
