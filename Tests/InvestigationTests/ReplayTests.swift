import IOMMUModel
import PageTables
import Randomness
import Simulation
import Testing

@testable import Investigation

@Suite struct ReplayTests {
  /// The last writer of each page, kept the simplest way.
  struct Model {
    var writer: [Replay.Key: Int] = [:]
    var cleared: [Replay.Key: Int] = [:]

    mutating func add(_ call: DriverCall, root: GPA, position: Int) {
      for page in 0..<call.length / 4096 {
        let key = Replay.Key(root: root, iova: call.iova + page * 4096)
        if call.isMap {
          writer[key] = position
          cleared[key] = nil
        } else if writer.removeValue(forKey: key) != nil {
          cleared[key] = position
        }
      }
    }
  }

  @Test(arguments: [UInt64(1), 2, 3, 4]) func agreesWithTheNaiveModel(seed: UInt64) throws {
    var numbers = SeededNumbers(seed: seed)
    let driver = SimulatedDriver()
    let recording = Recording(driver)
    recording.verifiesLate = true
    let domains = [driver.domain(of: Scenario.card), driver.domain(of: Scenario.passedThrough)]
    var model = Model()
    for position in 0..<500 {
      let domain = domains[Int.random(in: 0...1, using: &numbers)]
      let iova = UInt64.random(in: 0...40, using: &numbers) << 12
      let count = UInt64.random(in: 0...9, using: &numbers)
      let call =
        Bool.random(using: &numbers)
        ? recording.map(domain, iova, to: UInt64(position) << 16, count: count)
        : recording.unmap(domain, iova, count: count)
      model.add(call.call, root: domain.root.address, position: position)
    }
    let replay = recording.replay()
    let live = Self.pages(replay.live)
    #expect(live.mapValues(\.call) == model.writer)
    #expect(Self.pages(replay.unmapped) == model.cleared)
    #expect(replay.overwrites == 0 && replay.victims.isEmpty && replay.leftOut.isEmpty)
    for (key, page) in live {
      let run = try #require(replay.run(of: page))
      #expect(run.iova(page.position) == key.iova)
    }
  }

  /// Ranges, page by page.
  static func pages(_ ranges: [Replay.LiveRange]) -> [Replay.Key: Replay.Page] {
    var pages: [Replay.Key: Replay.Page] = [:]
    for range in ranges {
      for page in 0..<range.pages {
        pages[Replay.Key(root: range.key.root, iova: range.key.iova + page * 4096)] = Replay.Page(
          call: range.page.call, run: range.page.run, position: range.page.position + page)
      }
    }
    return pages
  }

  static func pages(_ ranges: [Replay.UnmappedRange]) -> [Replay.Key: Int] {
    var pages: [Replay.Key: Int] = [:]
    for range in ranges {
      for page in 0..<range.pages {
        pages[Replay.Key(root: range.key.root, iova: range.key.iova + page * 4096)] = range.call
      }
    }
    return pages
  }

  static let garbage: [UInt64] = [.max & ~0xfff, 1 << 63, 1 << 60, 1 << 40, (1 << 39) + 4096]

  @Test(.timeLimit(.minutes(1)), arguments: garbage)
  func garbageLengthsAreLeftOut(length: UInt64) {
    let recording = Recording(SimulatedDriver())
    let domain = recording.driver.domain(of: Scenario.card)
    recording.map(domain, 0x1000, to: 0x1_0000_0000)
    recording.map(domain, 0xffff_ffff_ffff_f000, to: 0x1_0000_0000)
    let map = DriverCall(
      function: "xt_iommu_map",
      operation: .map(target: GPA(0), protection: .read, allocation: nil), domain: domain.pointer, iova: IOVA(0x8000),
      length: length)
    recording.record(map, domain)
    let before = recording.replay()
    #expect(before.leftOut == [2])
    #expect(before.live.map(\.pages) == [1, 1])
    recording.record(
      DriverCall(
        function: "xt_iommu_unmap", operation: .unmap, domain: domain.pointer, iova: IOVA(0x8000), length: length),
      domain)
    let after = recording.replay()
    // What lies behind 0x8000 within the length, which may wrap, is gone, and only that.
    let kept = [UInt64(0x1000), 0xffff_ffff_ffff_f000].filter { $0 &- 0x8000 >= length }
    #expect(after.live.map(\.key.iova.rawValue) == kept)
    #expect(recording.diagnosis(cpu: .sv57).calls == 3)
  }

  @Test(.timeLimit(.minutes(1))) func aWholeTableIsOneRange() throws {
    let recording = Recording(SimulatedDriver())
    let domain = recording.driver.domain(of: Scenario.card)
    func call(_ operation: DriverCall.Operation, _ iova: UInt64, _ length: UInt64) {
      recording.record(
        DriverCall(
          function: "f", operation: operation, domain: domain.pointer, iova: IOVA(iova), length: length), domain)
    }
    call(.map(target: GPA(0), protection: .read, allocation: nil), 0, 1 << 38)
    call(.unmap, 1 << 30, 1 << 36)
    call(.map(target: GPA(0), protection: .read, allocation: nil), ~0 << 38, 1 << 38)
    let replay = recording.replay()
    #expect(replay.leftOut.isEmpty && replay.overwrites == 0)
    #expect(replay.live.map(\.pages) == [0x4_0000, 0x2fc_0000, 0x400_0000])
    #expect(replay.live.map(\.page.position) == [0, 0x104_0000, 0])
    #expect(replay.unmapped.map(\.pages) == [0x100_0000])
    let check = recording.check()
    #expect(check.mappedPages == 0x700_0000 && check.unmappedPages == 0x100_0000)
    #expect(check.lines.map(\.tables) == [.missing(level: 2), .missing(level: 2), .missing(level: 2)])
  }

  @Test func theLimitIsOnRangesOfEntries() {
    let recording = Recording(SimulatedDriver())
    let domain = recording.driver.domain(of: Scenario.card)
    for page in 0..<4 { recording.map(domain, UInt64(page) << 20, to: 0, count: 4) }
    recording.unmap(domain, 0, count: 4)
    recording.map(domain, 9 << 20, to: 0, count: 4)
    // The right geometry needs none.
    #expect(Replay(recording.calls, profile: recording.profile, limit: 0).leftOut == [])
    // Wrong at the leaf tables: one for each page.
    let replay = Replay(recording.calls, profile: recording.profile, limit: 9) {
      $0.mode.geometry.replacing(shift: 13, atLevel: 0)
    }
    // Two neighbours share an entry, which the second has.
    #expect(replay.leftOut == [3])
    #expect(replay.live.map(\.pages).reduce(0, +) == 12)
  }

  @Test func aCallWithoutARootIsSkipped() {
    let recording = Recording(SimulatedDriver())
    let call = recording.driver.map(recording.driver.domain(of: nil), 0, to: 0)
    let recorded = RecordedCall(number: 1, call: call, root: nil, requester: nil)
    let replay = Replay([recorded], profile: recording.profile)
    #expect(replay.live.isEmpty && replay.unmapped.isEmpty && replay.leftOut.isEmpty)
    let check = CrossCheck(
      [recorded], replay: replay, profile: recording.profile, registers: nil, memory: recording.driver.memory)
    #expect(check.pages == 0 && check.lines.isEmpty)
  }

  @Test func samplesAreEvenAndHoldBothEnds() {
    #expect(Verifier.sample(0, limit: 16) == [])
    #expect(Verifier.sample(3, limit: 16) == [0, 1, 2])
    #expect(Verifier.sample(31, limit: 16) == Array(stride(from: 0, through: 30, by: 2)))
    let large = Verifier.sample(.max, limit: 16)
    #expect(large.count == 16 && large.first == 0 && large.last == .max - 1)
    #expect(large == large.sorted())
  }
}
