import IOMMUModel
import PageTables
import Randomness
import Simulation
import Testing

@testable import Investigation

@Suite struct DiagnosisTests {
  static let trueShifts = [12, 13, 17, 20, 21, 22, 26, 29, 30, 31, 32, 33, 34, 35, 37, 38, 39, 40, 43, 47, 48, 52, 57]
  static let cpus: [PagingMode?] = [nil, .sv39, .sv48, .sv57]

  /// Calls with IOVAs that differ in every bit that an Sv39 table can tell apart, and, when `wide`, in all bits above.
  private func recording(rootShift: Int, wide: Bool = false) -> Recording {
    let recording = Recording(SimulatedDriver(rootShift: rootShift))
    let domain = recording.driver.domain(of: Scenario.card)
    let bits = [12, 14, 18, 20, 21, 24, 29] + (30...(wide ? 63 : 37))
    for (position, bit) in bits.enumerated() {
      recording.map(domain, 1 << UInt64(bit), to: 0x1_0000_0000 + UInt64(position) << 12)
    }
    return recording
  }

  @Test(arguments: trueShifts) func theRootShiftIsSolved(shift: Int) throws {
    let recording = recording(rootShift: shift)
    for cpu in Self.cpus {
      let diagnosis = recording.diagnosis(cpu: cpu)
      if shift == 30 {
        #expect(diagnosis.hypotheses.isEmpty && diagnosis.disagreeing == 0)
        continue
      }
      let cause = try #require(diagnosis.hypotheses.first)
      #expect(cause.wrongShift?.level == 2 && cause.explainsAll && cause.wrongShift?.expected == 30)
      // Bits 30 to 37 are there: a shift that uses one of them stands alone; one beyond them is any of the rest.
      #expect(cause.wrongShift?.shifts.shifts == (shift < 38 ? [shift] : Array(38...63)))
      #expect(cause.openQuestion?.contains("$satp") == (shift < 38 || cpu != nil ? nil : true) || cpu == .sv39)
    }
  }

  @Test(arguments: trueShifts) func bitsAboveTheTableTellAllShiftsApart(shift: Int) throws {
    let diagnosis = recording(rootShift: shift, wide: true).diagnosis(cpu: .sv57)
    // An Sv39 walk refuses such addresses, so even the right shift leaves disagreements, and then no hypothesis.
    #expect(diagnosis.disagreeing > 0)
    if shift == 30 {
      #expect(diagnosis.hypotheses.isEmpty)
    } else {
      #expect(diagnosis.hypotheses.first?.wrongShift?.shifts.shifts == [shift])
    }
  }

  @Test func theConstantIsNamedAfterTheCPUsMode() {
    func title(_ shift: Int, _ cpu: PagingMode?, wide: Bool = false) -> String? {
      recording(rootShift: shift, wide: wide).diagnosis(cpu: cpu).hypotheses.first?.title
    }
    let table = "this table is Sv39: 30"
    #expect(title(48, .sv57) == "the root is indexed with shift 48, PGDIR_SHIFT of the CPU's Sv57; \(table)")
    #expect(title(39, .sv48) == "the root is indexed with shift 39, PGDIR_SHIFT of the CPU's Sv48; \(table)")
    // Nothing below bit 39 tells 39 from 48: the constant that indexes a root is taken.
    #expect(title(39, .sv57) == "the root is indexed with shift 48, PGDIR_SHIFT of the CPU's Sv57; \(table)")
    #expect(title(39, .sv57, wide: true) == "the root is indexed with shift 39, P4D_SHIFT of the CPU's Sv57; \(table)")
    #expect(
      title(48, .sv57, wide: true) == "the root is indexed with shift 48, PGDIR_SHIFT of the CPU's Sv57; \(table)")
    // 48 is no constant of an Sv48 kernel.
    #expect(title(48, .sv48, wide: true) == "the root is indexed with shift 48; \(table)")
    #expect(title(31, .sv57) == "the root is indexed with shift 31; \(table)")
    #expect(title(35, .sv48) == "the root is indexed with shift 35; \(table)")
    #expect(title(21, .sv57) == "the root is indexed with shift 21, PMD_SHIFT; \(table)")
    #expect(title(12, .sv57) == "the root is indexed with shift 12, PAGE_SHIFT; \(table)")
    #expect(title(48, nil) == "the root is indexed with a shift of 38 to 63; \(table)")
    #expect(title(30, .sv39) == nil)
  }

  @Test func theSourcesPGDIRShiftIsRightByLuckUnderSv39() throws {
    func recording(cpu: PagingMode) -> Recording {
      let recording = Recording(SimulatedDriver(rootShift: cpu.shift(atLevel: cpu.levels - 1)))
      let domain = recording.driver.domain(of: Scenario.card)
      for page in 0..<4 { recording.map(domain, 0xffff_f000 - UInt64(page) << 12, to: 0x1_0617_2000) }
      return recording
    }
    let lucky = recording(cpu: .sv39).diagnosis(cpu: .sv39)
    #expect(lucky.disagreeing == 0 && lucky.hypotheses.isEmpty && lucky.calls == 4)
    let wrong = try #require(recording(cpu: .sv57).diagnosis(cpu: .sv57).hypotheses.first)
    #expect(wrong.wrongShift?.shift == 48)
    #expect(
      wrong.evidence == [
        "4 of 4 recorded map calls have their entries exactly where this shift puts them.",
        "The CPU runs Sv57, where PGDIR_SHIFT is 48; it follows the CPU's mode and is right for this table only by luck.",
        "Shifts 32 to 47 and 49 to 63 fit as well: no recorded IOVA has a bit that tells them apart.",
      ])
    #expect(
      wrong.counterEvidence == [
        "P4D_SHIFT (39) would leave the same entries; PGDIR_SHIFT is the constant that indexes a root."
      ])
    #expect(wrong.openQuestion == nil)
    #expect(wrong.effects == ["4 of 4 mapped pages are missing in the device's eyes: it faults on them."])
    #expect(
      wrong.remedy
        == "compute vpn2_idx with shift 30 (Sv39, level 2), whatever mode the CPU runs; the same in unmap and iova_to_phys."
    )
  }

  @Test func oneCallLeavesSeveralShifts() throws {
    func diagnosis(_ shift: Int, cpu: PagingMode?, iova: UInt64) throws -> Diagnosis.Hypothesis {
      let recording = Recording(SimulatedDriver(rootShift: shift))
      recording.map(recording.driver.domain(of: Scenario.card), iova, to: 0x1_0617_2000)
      return try #require(recording.diagnosis(cpu: cpu).hypotheses.first)
    }
    let unknown = try diagnosis(48, cpu: nil, iova: 0xffff_f000)
    #expect(unknown.wrongShift?.shift == nil)
    #expect(unknown.wrongShift?.shifts.description == "32 to 63")
    #expect(
      unknown.openQuestion
        == "PGDIR_SHIFT is 30 under Sv39, 39 under Sv48 and 48 under Sv57: `p/x $satp` at a stop in the kernel tells which."
    )
    #expect(unknown.evidence.last == "Shifts 32 to 63 fit equally: no recorded IOVA has a bit that tells them apart.")
    // Under Sv39 no constant fits: then only more calls help.
    let unnamed = try diagnosis(48, cpu: .sv39, iova: 0xffff_f000)
    #expect(unnamed.wrongShift?.shift == nil)
    #expect(unnamed.openQuestion == "More calls with higher IOVA bits set would narrow it down: `iommu record map`.")
    let exact = try diagnosis(31, cpu: .sv57, iova: 0xffff_f000)
    #expect(exact.wrongShift?.shifts.shifts == [31] && exact.openQuestion == nil)
    #expect(exact.evidence.last == "No paging constant of the CPU's Sv57 has that value.")
  }

  @Test(arguments: [0, 1]) func aWrongShiftBelowTheRootIsFoundThere(level: Int) throws {
    for shift in [13, 15, 20, 22, 25, 29, 30, 39] where shift != 12 + 9 * level {
      let driver = SimulatedDriver()
      driver.shifts[level] = shift
      let recording = Recording(driver)
      let domain = driver.domain(of: Scenario.card)
      for bit in 12..<38 { recording.map(domain, 0xa5_a5a5_a000 ^ 1 << UInt64(bit), to: 1 << UInt64(bit)) }
      let cause = try #require(recording.diagnosis(cpu: .sv57).hypotheses.first)
      #expect(
        cause.wrongShift?.level == level && cause.wrongShift?.shifts.shifts.contains(shift) == true, "\(cause.title)")
      #expect(cause.wrongShift?.shift == nil || cause.wrongShift?.shift == shift)
      #expect(cause.title.hasPrefix("level \(level) is indexed with shift \(shift)"))
      #expect(cause.remedy.contains("compute vpn\(level)_idx with shift \(12 + 9 * level) (Sv39, level \(level))"))
    }
  }

  @Test func severalConstantsBelowTheRootAreNotGuessedAt() throws {
    let driver = SimulatedDriver()
    driver.shifts[1] = 39
    let recording = Recording(driver)
    recording.map(driver.domain(of: Scenario.card), 0x20_1000, to: 0x1_0000_0000)
    let cause = try #require(recording.diagnosis(cpu: .sv57).hypotheses.first)
    #expect(cause.title == "level 1 is indexed with a shift of 22 to 63; this table is Sv39: 21")
    #expect(cause.wrongShift?.shift == nil)
  }

  @Test func lostEntriesAreNamedAsSuch() {
    let recording = Recording(SimulatedDriver())
    recording.driver.mistakes = .losesEntries
    let domain = recording.driver.domain(of: Scenario.card)
    for page in 0..<10 { recording.map(domain, UInt64(page) << 30, to: 0x1_0000_0000) }
    let diagnosis = recording.diagnosis(cpu: .sv57)
    #expect(diagnosis.calls == 10 && diagnosis.disagreeing == 10)
    #expect(diagnosis.hypotheses.map(\.cause) == [.entriesLost])
  }

  @Test func whatOnlyOneDeviceShowsIsToldAsSuch() throws {
    // Two domains in one recording: one below 1 GiB, where the wrong shift does no harm.
    let recording = Recording(SimulatedDriver(rootShift: 48))
    let low = recording.driver.domain(of: Scenario.card)
    let high = recording.driver.domain(of: Scenario.passedThrough)
    for page in 0..<8 {
      recording.map(low, UInt64(page) << 12, to: 0x1_0000_0000 + UInt64(page) << 12)
      recording.map(high, 0xffff_0000 + UInt64(page) << 12, to: 0x2_0000_0000 + UInt64(page) << 12)
    }
    let diagnosis = recording.diagnosis(cpu: .sv57)
    #expect(diagnosis.calls == 16 && diagnosis.disagreeing == 8)
    let cause = try #require(diagnosis.hypotheses.first)
    #expect(cause.explainsAll && cause.wrongShift?.shift == 48)
    #expect(diagnosis.hypotheses.count == 1)
  }

  @Test func aCallLargerThanItsIndexOverwritesItself() throws {
    // 4 x 1 GiB in one call, as VFIO maps a guest on huge pages; scaled down to a table whose level 1 is wrong.
    let driver = SimulatedDriver()
    driver.shifts[1] = 30
    let recording = Recording(driver)
    recording.map(driver.domain(of: Scenario.card), 0x4000_0000, to: 0x1_0000_0000, size: 0x20_0000, count: 4)
    let cause = try #require(recording.diagnosis(cpu: .sv57).hypotheses.first)
    #expect(cause.wrongShift?.level == 1 && cause.wrongShift?.shifts.shifts.contains(30) == true && cause.explainsAll)
    #expect(driver.overwrites == 1536)
    #expect(cause.effects.last?.hasPrefix("1536 pages of 1 map call lost their entry") == true)
  }

  @Test func lateVerificationIsForgivenAndTold() throws {
    let recording = Recording(SimulatedDriver(rootShift: 48))
    let domain = recording.driver.domain(of: Scenario.card)
    recording.verifiesLate = true
    // The second call takes the first one's entry before it is looked at.
    recording.map(domain, 0x1000_0000, to: 0x1_0000_0000)
    recording.map(domain, 0x5000_0000, to: 0x2_0000_0000)
    for page in 0..<6 {
      recording.map(domain, 0xffff_f000 - UInt64(page) << 12, to: 0x3_0000_0000 + UInt64(page) << 12)
    }
    recording.verifyAll()
    let diagnosis = recording.diagnosis(cpu: .sv57)
    let cause = try #require(diagnosis.hypotheses.first)
    #expect(cause.wrongShift?.shift == 48 && cause.support.explained == 8 && cause.support.total == 8)
    #expect(
      cause.evidence.contains(
        "1 other call lost its entries to a later one, which this shift puts into the same place: 0x10000000 of map #1 "
          + "leads to 0x200000000, which map #2 maps at 0x50000000."))
    #expect(!cause.counterEvidence.contains { $0.contains("not explained") })
    #expect(diagnosis.hypotheses.count == 1)
    #expect(
      cause.effects.last
        == "1 page of 1 map call lost its entry to another IOVA while mapped: addresses that differ only in bits which the wrong index leaves out share one entry."
    )
  }

  @Test(arguments: [31, 32, 35, 39, 48], [UInt64(1), 2, 3]) func overwritesAreCountedExactly(shift: Int, seed: UInt64) {
    var numbers = SeededNumbers(seed: seed)
    let driver = SimulatedDriver(rootShift: shift)
    let recording = Recording(driver)
    recording.verifiesLate = true
    let domains = [driver.domain(of: Scenario.card), driver.domain(of: Scenario.passedThrough)]
    for _ in 0..<400 {
      let domain = domains[Int.random(in: 0...1, using: &numbers)]
      let iova = UInt64.random(in: 0...7, using: &numbers) << 30 | UInt64.random(in: 0...15, using: &numbers) << 12
      let count = UInt64.random(in: 1...4, using: &numbers)
      if Bool.random(using: &numbers) {
        recording.map(domain, iova, to: UInt64.random(in: 0..<1 << 30, using: &numbers) << 12, count: count)
      } else {
        recording.unmap(domain, iova, count: count)
      }
    }
    #expect(driver.overwrites > 50)
    #expect(recording.replay(rootShift: shift).overwrites == driver.overwrites)
    #expect(recording.replay().overwrites == 0)
  }

  /// Random workloads with one wrong shift at a random level. Prints the seed and where it went wrong.
  @Test func randomMutationsAreNamed() throws {
    var numbers = SeededNumbers()
    var (judged, named, harmless) = (0, 0, 0)
    var confusion: [String: Int] = [:]
    for _ in 0..<70 {
      let level = Int.random(in: 0...2, using: &numbers)
      let shift = Int.random(in: 12...57, using: &numbers)
      guard shift != 12 + 9 * level else { continue }
      let driver = SimulatedDriver()
      driver.shifts[level] = shift
      let recording = Recording(driver)
      let domain = driver.domain(of: Scenario.card)
      // A device's allocator goes down from the top or up from somewhere; VFIO maps a guest's RAM.
      let isLow = Int.random(in: 0...9, using: &numbers) == 0
      var iova = UInt64.random(in: 1..<(isLow ? 1 << 8 : 1 << 20), using: &numbers) << 12
      for _ in 0..<Int.random(in: 1...16, using: &numbers) {
        let count = UInt64.random(in: 1...8, using: &numbers)
        switch Int.random(in: 0...3, using: &numbers) {
        case 0 where !isLow: iova = UInt64.random(in: 1..<1 << 20, using: &numbers) << 12
        case 1 where !isLow: iova = 0xffff_f000 - UInt64.random(in: 0..<1000, using: &numbers) << 12
        default: iova &+= count << 12
        }
        recording.map(domain, iova, to: UInt64.random(in: 1..<1 << 24, using: &numbers) << 12, count: count)
      }
      let cpu = Self.cpus[Int.random(in: 0...3, using: &numbers)]
      let diagnosis = recording.diagnosis(cpu: cpu)
      guard diagnosis.disagreeing > 0 else {
        harmless += 1
        #expect(diagnosis.hypotheses.isEmpty)
        continue
      }
      judged += 1
      if diagnosis.hypotheses.prefix(2).contains(where: {
        $0.wrongShift?.level == level && $0.wrongShift?.shifts.shifts.contains(shift) == true
      }) {
        named += 1
      } else {
        let found = diagnosis.hypotheses.map { $0.title }.joined(separator: " | ")
        confusion["level \(level) shift \(shift) of \(diagnosis.calls) calls, taken for: \(found)", default: 0] += 1
      }
    }
    print("random mutations: seed \(numbers.seed), \(named) of \(judged) named, \(harmless) harmless")
    for (what, count) in confusion.sorted(by: { $0.key < $1.key }) { print("  \(count) x \(what)") }
    #expect(judged > 40)
    #expect(Double(named) >= 0.95 * Double(judged), "seed \(numbers.seed)")
  }
}
