import IOMMUModel
import PageTables
import Randomness
import Simulation
import Testing

@testable import Investigation

@Suite struct CrossCheckTests {
  let driver = SimulatedDriver()
  let recording: Recording
  let domain: SimulatedDriver.Domain

  init() {
    recording = Recording(driver)
    domain = driver.domain(of: Scenario.card)
  }

  private var root: UInt64 { domain.root.address.rawValue }
  /// The only line.
  private func line(_ check: CrossCheck? = nil) throws -> CrossCheck.Line {
    let check = check ?? recording.check()
    try #require(check.lines.count == 1)
    return check.lines[0]
  }

  @Test func agrees() throws {
    recording.map(domain, 0xffff_f000, to: 0x1_0617_2000)
    let check = recording.check()
    #expect(try line(check).tables == .agrees)
    #expect(try line(check).device == .agrees)
    #expect(check.disagreements.isEmpty && check.pages == 1 && check.mappedPages == 1 && check.summary.isEmpty)
  }

  @Test(arguments: [0, 1, 2]) func missingAtEachLevel(level: Int) throws {
    recording.map(domain, 0x8040_3000, to: 0x1_0617_2000)
    var entry = root + 2 * 8
    for step in stride(from: 2, to: level, by: -1) {
      entry = (driver.memory[entry] >> 10) << 12 + [3, 2, 0][step - 1] * 8
    }
    driver.memory[entry] = 0
    let found = try line()
    #expect(found.tables == .missing(level: level))
    #expect(found.device == .missing(level: level))
    #expect(found.cause?.code == 16)
    #expect(found.worst == .missing(level: level))
  }

  @Test func wrongAddressAndWrongPermission() throws {
    driver.mistakes = .offByOnePage
    recording.map(domain, 0x1000, to: 0x1_0000_0000)
    let wrong = try line()
    #expect(wrong.tables == .wrongAddress(GPA(0x1_0000_1000)))
    #expect(wrong.device == .wrongAddress(GPA(0x1_0000_1000)))
    driver.mistakes = .losesWrite
    recording.map(domain, 0x1000, to: 0x1_0000_0000)
    let weak = try line()
    #expect(weak.tables == .wrongPermission([.valid, .read]))
    // The device latches its cause and says so.
    #expect(weak.device == .deviceDiffers("refuses"))
    #expect(weak.cause?.description == "15 (S1_PTE_NO_RW)")
    #expect(weak.worst == weak.tables)
  }

  @Test func overwrittenNamesTheCallThatDidIt() throws {
    driver.shifts[2] = 48
    let other = driver.domain(of: Scenario.passedThrough)
    recording.map(other, 0, to: 0x2_0000_0000, count: 4)
    recording.map(domain, 0x1000_0000, to: 0x1_0000_0000, count: 4)
    recording.map(domain, 0x5000_0000, to: 0x2_0000_0000, count: 4)
    let check = recording.check()
    #expect(check.disagreements.count == 2)
    // Not map #1, which maps the same pages for somebody else.
    #expect(check.disagreements[0].tables == .overwritten(GPA(0x2_0000_0000), by: 3))
    #expect(check.disagreements[0].length == 0x4000)
    #expect(check.disagreements[1].tables == .missing(level: 2))
    #expect(check.summary.map(\.verdict) == ["overwritten", "missing"])
    #expect(check.summary.map(\.pages) == [4, 4])
    #expect(check.disagreeingPages == 8 && check.pages == 12)
  }

  @Test func anEarlierMappingThatShowsThroughIsNotCalledOverwriting() throws {
    // The page that shows through belongs to a mapping of its own as well.
    recording.map(domain, 0x1000, to: 0x2_0000_0000)
    recording.map(domain, 0x9000, to: 0x2_0000_0000)
    driver.mistakes = .losesEntries
    recording.map(domain, 0x9000, to: 0x3_0000_0000)
    let wrong = try #require(recording.check().disagreements.first)
    #expect(wrong.tables == .wrongAddress(GPA(0x2_0000_0000)))
  }

  /// What came to a cleared entry later is not what the unmap left.
  @Test func anEntryThatWasClearedIsAnotherCallsNow() throws {
    driver.shifts[2] = 48
    recording.map(domain, 0x0, to: 0x1_0000_0000, count: 2)
    recording.unmap(domain, 0x0, count: 2)
    // By this shift, 3 GiB further on are the same entries; and the first page's memory is mapped there again.
    recording.map(domain, 0xc000_0000, to: 0x1_0000_0000)
    let line = try #require(recording.check().disagreements.first { !$0.call.call.isMap })
    #expect(line.tables == .overwritten(GPA(0x1_0000_0000), by: 2))
    #expect(line.iova == IOVA(0) && line.length == 0x1000 && line.expected == nil)
    #expect(recording.diagnosis().staleUnmaps == 0)
  }

  @Test func staleAfterUnmap() throws {
    recording.map(domain, 0x1000, to: 0x1_0000_0000, count: 3)
    driver.mistakes = .forgetsToClear
    recording.unmap(domain, 0x1000, count: 2)
    let check = recording.check()
    let stale = try #require(check.disagreements.first)
    #expect(stale.tables == .staleAfterUnmap(GPA(0x1_0000_0000)))
    #expect(stale.length == 0x2000 && stale.expected == nil && !stale.call.call.isMap && stale.device == .agrees)
    #expect(check.mappedPages == 1 && check.unmappedPages == 2)
    #expect(recording.diagnosis().staleUnmaps == 1)
    // Mapped anew, it is fine.
    recording.map(domain, 0x1000, to: 0x5_0000_0000, count: 2)
    #expect(recording.check().disagreements.isEmpty)
  }

  @Test func malformed() throws {
    // Neither READ nor WRITE: a bare V.
    recording.map(domain, 0x1000, to: 0x1_0000_0000, prot: 4)
    let found = try line()
    #expect(found.tables == .malformed(level: 0, "no R, W or X at level 0"))
    #expect(found.device == .deviceDiffers("refuses"))
  }

  @Test func aHugeLeafIsRightInTheTablesAndAnotherMatterForTheDevice() throws {
    driver.mistakes = .hugeLeaves
    recording.map(domain, 0x4020_0000, to: 0x1_0020_0000, size: 0x20_0000)
    let check = recording.check()
    #expect(check.lines.allSatisfy { $0.tables == .agrees })
    #expect(recording.verified[0].verification.agrees)
    // xmmuv1 walks on below the leaf (in the same table), which may take it elsewhere.
    #expect(!check.disagreements.isEmpty)
  }

  @Test func aLatchedFaultHidesAGoodMapping() throws {
    recording.map(domain, 0x1000, to: 0x1_0000_0000)
    driver.latchFault(of: Scenario.card, at: 0x5000)
    let found = try line()
    #expect(found.tables == .agrees)
    guard case .latchedFault(let cause) = found.device else {
      Issue.record("\(found.device)")
      return
    }
    #expect(cause.code == 16)
    #expect(found.worst == found.device)
  }

  @Test func bypassed() throws {
    recording.map(domain, 0x1000, to: 0x1_0000_0000)
    driver.enable = 0
    #expect(try line().device == .bypassed("translation is off"))
    driver.enable = 1
    driver.write(domain.descriptor.rawValue | 4, toEntryOf: Scenario.card)
    #expect(try line().device == .bypassed("DTE not valid"))
    driver.write(domain.descriptor.rawValue | 1, toEntryOf: Scenario.card)
    #expect(try line().device == .bypassed("DTE.F is 0: first stage off"))
    #expect(try line().tables == .agrees)
  }

  @Test func notAttached() throws {
    let nobody = driver.domain(of: nil)
    recording.map(nobody, 0x1000, to: 0x1_0000_0000)
    #expect(try line().device == .notAttached)
    // Without registers the device's side says nothing.
    #expect(try line(recording.check(registers: .some(nil))).device == .agrees)
  }

  @Test func anotherTableUnderTheDevice() throws {
    recording.map(domain, 0x1000, to: 0x1_0000_0000)
    let vfio = driver.domain(of: Scenario.card)
    #expect(try line().device == .otherTable(vfio.root))
    #expect(
      try line().device.description == "other table: the device walks Sv39 at \(vfio.root.address)")
    // The same root in another mode.
    driver.attach(Scenario.card, to: domain)
    driver.memory[domain.descriptor.rawValue] = 9 << 60 | root >> 12
    #expect(try line().device == .otherTable(TableRoot(address: domain.root.address, mode: .sv48)))
  }

  @Test func unreadable() throws {
    recording.map(domain, 0x1000, to: 0x1_0000_0000)
    let leafTable = GPA((driver.memory[(driver.memory[root] >> 10) << 12] >> 10) << 12)
    driver.memory.unreadable = [leafTable]
    let found = try line()
    #expect(found.tables == .unreadable(leafTable + 8))
    #expect(found.device == .unreadable(leafTable + 8))
  }

  @Test func rangesMergeOnlyWhereEverythingGoesOn() throws {
    recording.map(domain, 0x1000, to: 0x1_0000_0000, count: 8)
    recording.map(domain, 0x9000, to: 0x1_0000_8000, count: 2)
    // One page in the middle of the first call is lost.
    driver.unmap(domain, 0x4000)
    let lines = recording.check().lines.sorted { $0.iova < $1.iova }
    #expect(lines.map(\.iova.rawValue) == [0x1000, 0x4000, 0x5000, 0x9000])
    #expect(lines.map(\.length) == [0x3000, 0x1000, 0x4000, 0x2000])
    #expect(lines.map(\.expected) == [0x1_0000_0000, 0x1_0000_3000, 0x1_0000_4000, 0x1_0000_8000].map { GPA($0) })
  }

  @Test func worstComesFirst() throws {
    recording.map(domain, 0x1000, to: 0x1_0000_0000)
    driver.mistakes = .losesWrite
    recording.map(domain, 0x2000, to: 0x1_0000_1000)
    driver.mistakes = .losesEntries
    recording.map(domain, 0x3000, to: 0x1_0000_2000)
    driver.mistakes = .none
    recording.map(domain, 0x4000, to: 0x1_0000_3000)
    driver.mistakes = .forgetsToClear
    recording.unmap(domain, 0x4000)
    driver.mistakes = .offByOnePage
    recording.map(domain, 0x5000, to: 0x1_1000_0000)
    #expect(
      recording.check().lines.map(\.worst.name) == [
        "wrong address", "stale after unmap", "missing", "wrong permission", "agrees",
      ])
  }

  @Test func aRangeFiltersByPagesThatItTouches() {
    recording.map(domain, 0x1000, to: 0x1_0000_0000, count: 4)
    recording.unmap(domain, 0x4000)
    func pages(_ first: UInt64, _ last: UInt64) -> [Int] {
      let check = recording.check(range: IOVA(first)...IOVA(last))
      return [check.mappedPages, check.unmappedPages]
    }
    #expect(pages(0, .max) == [3, 1])
    #expect(pages(0x2000, 0x2fff) == [1, 0])
    #expect(pages(0x2abc, 0x2abc) == [1, 0])
    #expect(pages(0x2fff, 0x3000) == [2, 0])
    #expect(pages(0x4fff, 0x4fff) == [0, 1])
    #expect(pages(0x5000, .max) == [0, 0])
    #expect(pages(0, 0xfff) == [0, 0])
  }

  @Test(arguments: [UInt64(1), 2]) func aRightDriverIsNeverAccused(seed: UInt64) {
    var numbers = SeededNumbers(seed: seed)
    let domains = [domain, driver.domain(of: Scenario.passedThrough)]
    for _ in 0..<1500 {
      let domain = domains[Int.random(in: 0...1, using: &numbers)]
      let base: UInt64 = [0, 0x4000_0000, 0xffff_0000, 0x1f_ffe0_0000][Int.random(in: 0...3, using: &numbers)]
      let iova = base + UInt64.random(in: 0..<64, using: &numbers) << 12
      let count = UInt64.random(in: 1...4, using: &numbers)
      if Int.random(in: 0...2, using: &numbers) > 0 {
        // Remaps to new pages and changes of the protection are part of it.
        let target = UInt64.random(in: 0..<256, using: &numbers) << 12
        recording.map(domain, iova, to: target, count: count, prot: UInt32.random(in: 1...7, using: &numbers) | 1)
      } else {
        recording.unmap(domain, iova, count: count)
      }
    }
    let check = recording.check()
    #expect(check.disagreements.isEmpty, "\(check.disagreements.prefix(3))")
    #expect(check.mappedPages > 100 && check.unmappedPages > 50)
    #expect(recording.verified.count { !$0.verification.agrees } == 0)
    let diagnosis = recording.diagnosis(cpu: .sv57)
    #expect(diagnosis.disagreeing == 0 && diagnosis.staleUnmaps == 0 && diagnosis.hypotheses.isEmpty)
  }

  @Test func verdictsHaveNamesAndAnOrder() {
    let verdicts: [Verdict] = [
      .wrongAddress(GPA(1)), .staleAfterUnmap(GPA(1)), .missing(level: 0), .wrongPermission(.valid),
      .latchedFault(FaultCause(code: 16, name: "x")), .bypassed("x"), .unreadable(GPA(1)), .agrees,
    ]
    #expect(verdicts.map(\.severity) == Array(0...7))
    #expect(Set(verdicts.map(\.name)).count == verdicts.count)
    for verdict in verdicts { #expect(verdict.description.hasPrefix(verdict.name)) }
  }
}
