import IOMMUModel
import PageTables
import Randomness
import Simulation
import Testing
import XuanTie

@testable import Investigation

/// Ranges against one page after the other.
@Suite struct ExtentTests {
  /// A number that goes on, or one that stays.
  struct Mark: ExtentValue {
    var number: UInt64
    var advances: Bool
    func advanced(by count: UInt64) -> Self { advances ? Mark(number: number + count, advances: true) : self }
  }

  @Test(arguments: [UInt64(8), 300, 20_000]) func agreesWithAnArray(size: UInt64) {
    for seed in 0..<4 {
      var numbers = SeededNumbers(seed: UInt64(seed) << 32 | size)
      var map = ExtentMap<Mark>()
      var wanted = [Mark?](repeating: nil, count: Int(size))
      for round in 0..<3000 {
        let start = UInt64.random(in: 0..<size, using: &numbers)
        let longest = Int.random(in: 0..<50, using: &numbers) == 0 ? size : min(size, 6)
        let count = min(UInt64.random(in: 0...longest, using: &numbers), size - start)
        let value = Mark(
          number: UInt64.random(in: 0...9, using: &numbers), advances: Bool.random(using: &numbers))
        let places = Int(start)..<Int(start + count)
        switch Int.random(in: 0...5, using: &numbers) {
        case 0:
          map.set(start, count: count, to: nil)
          for place in places { wanted[place] = nil }
        case 1:
          var seen: UInt64 = 0
          map.update(start, count: count) { mark, count in
            seen += count
            if mark.advances { mark = Mark(number: 7, advances: false) }
          }
          #expect(seen == UInt64(places.count { wanted[$0] != nil }))
          for place in places where wanted[place]?.advances == true {
            wanted[place] = Mark(number: 7, advances: false)
          }
        default:
          map.set(start, count: count, to: value)
          for place in places { wanted[place] = value.advanced(by: UInt64(place) - start) }
        }
        guard round % 50 == 0 || size < 100 else { continue }
        #expect(marks(map, size) == wanted, "seed \(seed) round \(round)")
        var pieces = 0
        map.forEach { _ in pieces += 1 }
        #expect(pieces == map.count)
      }
      let place = UInt64.random(in: 0..<size, using: &numbers)
      let (value, count) = map.value(at: place)
      #expect(value == wanted[Int(place)])
      let same = (Int(place)..<Int(min(place &+ count, size))).allSatisfy {
        wanted[$0] == value?.advanced(by: UInt64($0) - place)
      }
      #expect(same)
    }
  }

  private func marks(_ map: ExtentMap<Mark>, _ size: UInt64) -> [Mark?] {
    var found = [Mark?](repeating: nil, count: Int(size))
    var end: UInt64 = 0
    map.forEach { extent in
      #expect(extent.start >= end && extent.count > 0)
      end = extent.end
      for place in extent.start..<extent.end { found[Int(place)] = extent.value.advanced(by: place - extent.start) }
    }
    return found
  }

  @Test func whatGoesOnBecomesOneExtent() {
    var map = ExtentMap<Mark>()
    let even = (0..<1000).map { UInt64($0) * 2 }
    for place in even.reversed() { map.set(place, count: 1, to: Mark(number: place, advances: true)) }
    #expect(map.count == 1000)
    for place in even { map.set(place + 1, count: 1, to: Mark(number: place + 1, advances: true)) }
    #expect(map.count == 1)
    map.set(500, count: 3, to: nil)
    #expect(map.count == 2)
    map.set(501, count: 1, to: Mark(number: 501, advances: false))
    #expect(map.count == 3)
    map.set(0, count: 2000, to: nil)
    #expect(map.count == 0)
    map.set(.max, count: 2, to: Mark(number: 0, advances: false))
    #expect(map.count == 0)
  }

  // MARK: Replays

  private static let modes: [PagingMode] = [.sv39, .sv39, .sv48, .sv57, .sv32, .sv39x4]

  /// Random calls on two tables of one mode, some of them near where addresses end.
  private func calls(_ mode: PagingMode, using numbers: inout SeededNumbers) -> [RecordedCall] {
    let roots = [TableRoot(address: GPA(0x8000_0000), mode: mode), TableRoot(address: GPA(0x9000_0000), mode: mode)]
    let top: UInt64 = 1 << UInt64(mode.inputBits)
    let bases: [UInt64] = [
      0, 0, 0x4000_0000, 0x4020_0000, 0xffff_0000, top / 2 - 0x4000, 0 &- (top / 2), top - 0x3000, 0 &- 0x5000,
      0 &- 0x20_0000,
    ]
    return (0..<Int.random(in: 1...90, using: &numbers)).map { number in
      func random(_ bound: UInt64) -> UInt64 { UInt64.random(in: 0..<bound, using: &numbers) }
      let pages: UInt64 = [12, 12, 12, 40, 1100][Int(random(5))]
      var iova = bases[Int(random(UInt64(bases.count)))] &+ random(24) << 12 &+ random(4) / 3 << 21
      if random(40) == 0 { iova |= random(4096) }
      var length = random(pages) << 12 | (random(30) == 0 ? random(4096) : 0)
      if random(25) == 0 { length = [.max, 1 << 63, 1 << 58, 1 << 42, 5 << 30, top + 4096][Int(random(6))] & ~0xfff }
      let isMap = length > 1 << 32 && length <= top ? false : random(5) > 1
      let target = GPA(random(16) << 21 | random(8) << 12)
      return RecordedCall(
        number: number + 1,
        call: DriverCall(
          function: "f",
          operation: isMap ? .map(target: target, protection: .read, allocation: nil) : .unmap,
          domain: KVA(0), iova: IOVA(iova), length: length),
        root: random(50) == 0 ? nil : roots[Int(random(5) / 4)], requester: nil)
    }
  }

  @Test(.timeLimit(.minutes(2)), arguments: [UInt64(1), 2, 3, 4]) func replaysAreThoseOfSinglePages(seed: UInt64) {
    let seed = SeededNumbers.run &+ seed << 48
    var numbers = SeededNumbers(seed: seed)
    var (overwrites, lefts, shared) = (0, 0, 0)
    for round in 0..<16 {
      let mode = Self.modes[Int.random(in: 0..<Self.modes.count, using: &numbers)]
      let calls = calls(mode, using: &numbers)
      var wrong = mode.geometry
      for _ in 0..<Int.random(in: 0...2, using: &numbers) {
        let shift = Int.random(in: Int.random(in: 0...9, using: &numbers) == 0 ? 0...63 : 12...57, using: &numbers)
        wrong = wrong.replacing(shift: shift, atLevel: Int.random(in: 0..<mode.levels, using: &numbers))
      }
      let geometry = wrong
      let isMixed = mode != .sv32 && Bool.random(using: &numbers)
      let profile: any DriverProfile = isMixed ? MixedLeavesDriver() : XuanTieDriver(signature: .pages)
      let wanted = PageByPageReplay(calls, profile: profile) { _ in geometry }
      let found = Replay(calls, profile: profile) { _ in geometry }
      let taken = Dictionary(
        uniqueKeysWithValues: found.overwritten.flatMap { range in
          (0..<range.pages).map {
            (Replay.Key(root: range.key.root, iova: range.key.iova + $0 * 4096), range.overwrittenBy)
          }
        })
      let isSame =
        ReplayTests.pages(found.live) == wanted.live && ReplayTests.pages(found.unmapped) == wanted.unmapped
        && taken == wanted.overwritten && found.overwrites == wanted.overwrites && found.victims == wanted.victims
        && found.leftOut == wanted.leftOut
      guard isSame else {
        Issue.record(
          """
          seed \(seed) round \(round) \(mode) \(geometry.levels) mixed \(isMixed): live \
          \(ReplayTests.pages(found.live) == wanted.live), unmapped \
          \(ReplayTests.pages(found.unmapped) == wanted.unmapped), overwritten \(taken == wanted.overwritten), \
          \(found.overwrites) for \(wanted.overwrites), victims \(found.victims == wanted.victims), left out \
          \(found.leftOut) for \(wanted.leftOut)
          """)
        return
      }
      overwrites += found.overwrites
      lefts += found.leftOut.count
      shared += found.victims.count
    }
    // The rounds reach what they are for.
    #expect(overwrites > 200 && lefts > 0 && shared > 10)
  }
}
