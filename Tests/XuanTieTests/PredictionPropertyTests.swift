import IOMMUModel
import PageTables
import Randomness
import Testing

@testable import XuanTie

/// What is predicted of a call is what the driver leaves in memory: random calls over 4 GiB, any root shift.
@Suite struct PredictionPropertyTests {
  static func calls(
    _ kind: CallKind, _ iova: UInt64, _ target: UInt64, _ size: UInt64, _ count: UInt64, _ protection: UInt64
  )
    throws -> [(XuanTieDriver, DriverCall)]
  {
    try XuanTieDriver.Signature.allCases.map { signature in
      let driver = XuanTieDriver(signature: signature)
      let range = signature == .size ? [size * count] : [size, count]
      let arguments = kind == .map ? [1, iova, target] + range + [protection, 0xcc0, 2] : [1, iova] + range + [2]
      let function = try #require(driver.functions.first { $0.kind == kind })
      return (driver, try driver.call(function, arguments: arguments))
    }
  }

  /// The entries that `call` should have written and did not, and how many it should have.
  static func wrong(
    _ driver: XuanTieDriver, _ call: DriverCall, _ geometry: TableGeometry, _ simulation: DriverSimulation
  ) throws -> (wrong: [PredictedEntry], all: Int) {
    var wrong: [PredictedEntry] = []
    var all = 0
    for run in driver.leaves(of: call, mode: .sv39) {
      for position in 0..<run.count {
        let entries = try run.predictedEntries(
          position, geometry: geometry, root: GPA(simulation.root), in: simulation.memory)
        all += entries.count
        wrong += entries.filter { entry in
          guard let address = entry.entryAddress, let value = entry.value else { return true }
          return simulation.memory.words[address.rawValue] != value.rawValue
            || address.rawValue != (entry.table?.rawValue ?? 1) + UInt64(entry.index) * 8
        }
      }
    }
    return (wrong, all)
  }

  @Test func everyPredictedEntryIsWhatTheDriverWrote() throws {
    var overwritten = 0
    for round in 0..<15 {
      var random = SeededNumbers(round: round)
      let shift = round < 12 ? [30, 39, 48][round % 3] : random.below(64)
      let geometry = PagingMode.sv39.geometry.replacing(shift: shift, atLevel: 2)
      let simulation = DriverSimulation(rootShift: shift, using: &random)
      // Few places, so that calls meet.
      let places = (0..<6).map { _ in random.next() & 0xffff_f000 }
      var done: [(XuanTieDriver, DriverCall)] = []
      for _ in 0..<24 {
        let iova =
          min(
            random.pick(places) ^ UInt64(random.below(4)) << 30, 0x1_0000_0000 - 0x60_0000) + UInt64(random.below(4))
          << 12
        let (size, count) = random.pick([
          (4096, 1), (4096, 2), (4096, 7), (4096, 40), (512, 8), (8192, 3), (2_097_152, 1),
        ])
        let target = random.next() & 0xff_ffff_ffff_f000
        let protection = UInt64(random.below(64))
        if random.chance(20), let (_, call) = done.popLast() {
          simulation.unmap(call.iova.rawValue, bytes: call.length)
          let leaves = try Self.calls(.unmap, call.iova.rawValue, 0, call.length, 1, 0).map {
            $0.leaves(of: $1, mode: .sv39)
          }
          #expect(leaves == [[], []])
          for (driver, _) in try Self.calls(.map, 0, 0, 4096, 1, 7) {
            let left = try Self.wrong(driver, call, geometry, simulation)
            // Each leaf is gone; the pointers above it are not.
            #expect(left.wrong.count == left.all / 3 && left.wrong.allSatisfy { $0.level == 0 && $0.table != nil })
          }
          continue
        }
        #expect(simulation.map(iova, target, bytes: UInt64(size * count), protection: protection) == 0)
        for (driver, call) in try Self.calls(.map, iova, target, UInt64(size), UInt64(count), protection) {
          let (wrong, all) = try Self.wrong(driver, call, geometry, simulation)
          if !wrong.isEmpty || all != size * count / 4096 * 3 {
            let place = "seed \(SeededNumbers.run) round \(round) shift \(shift)"
            Issue.record("\(place) \(call): \(wrong.prefix(3)) of \(all)")
            return
          }
          if driver.signature == .pages { done.append((driver, call)) }
        }
      }
      if shift == 48 {
        for (driver, call) in done { overwritten += try Self.wrong(driver, call, geometry, simulation).wrong.count }
        #expect(simulation.memory.words.keys.count { $0 & ~0xfff == simulation.root } == 1)
      }
    }
    // The wrong shift makes calls of different GiB overwrite each other: the rounds have seen that.
    #expect(overwritten > 0)
  }

  /// Before the call its tables may be missing; then addresses are not known, and indices and leaves are.
  @Test func predictedBeforeTheTablesExist() throws {
    for shift in [30, 48] {
      var random = SeededNumbers(round: shift)
      let simulation = DriverSimulation(rootShift: shift, using: &random)
      let geometry = PagingMode.sv39.geometry.replacing(shift: shift, atLevel: 2)
      let (driver, call) = try Self.calls(.map, 0xffff_f000, 0x1_0617_2000, 4096, 1, 7)[1]
      let run = try #require(driver.leaves(of: call, mode: .sv39).first)
      let before = try run.predictedEntries(0, geometry: geometry, root: GPA(simulation.root), in: simulation.memory)
      let index = shift == 30 ? 3 : 0
      #expect(
        before == [
          PredictedEntry(
            level: 2, index: index, table: GPA(0x8000_0000), entryAddress: GPA(0x8000_0000 + UInt64(index) * 8),
            value: nil),
          PredictedEntry(level: 1, index: 511, table: nil, entryAddress: nil, value: nil),
          PredictedEntry(
            level: 0, index: 511, table: nil, entryAddress: nil, value: PageTableEntry(rawValue: 0x4185_c807)),
        ])
      _ = simulation.map(0xffff_f000, 0x1_0617_2000, bytes: 4096, protection: 7)
      let after = try run.predictedEntries(0, geometry: geometry, root: GPA(simulation.root), in: simulation.memory)
      #expect(after.map(\.index) == before.map(\.index))
      #expect(after.allSatisfy { $0.value != nil && $0.entryAddress != nil })
      #expect(simulation.tables == 3)
    }
  }

  @Test func sizesThatTheDriverRefusesLeaveNothing() throws {
    var random = SeededNumbers(round: 0)
    let simulation = DriverSimulation(rootShift: 30, using: &random)
    for size: UInt64 in [1, 4095, 4097, 6144] {
      #expect(simulation.map(0, 0x8000_0000, bytes: size, protection: 7) == -22)
      for (driver, call) in try Self.calls(.map, 0, 0x8000_0000, size, 1, 7) {
        #expect(driver.leaves(of: call, mode: .sv39) == [])
      }
    }
    #expect(simulation.memory.words.isEmpty)
  }
}
