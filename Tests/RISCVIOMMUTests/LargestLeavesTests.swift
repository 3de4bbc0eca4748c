import IOMMUModel
import PageTables
import Randomness
import Testing

@testable import RISCVIOMMU

/// The leaves that generic_pt writes: against captured tables, entry by entry, and against the plainest way to choose sizes.
@Suite struct LargestLeavesTests {
  // MARK: Captured tables

  /// All 90 map calls of the main run: each wrote as many bytes as are predicted, and what the last of them left is in the
  /// captured table.
  @Test func everyCallOfTheMainRun() throws {
    var last: [IOVA: PageTableEntry] = [:]
    var calls = 0
    for row in try DriverEvidence.rows("main-map-unmap.csv") {
      let (iova, length) = (try DriverEvidence.number(row["iova"]), try DriverEvidence.number(row["len"]))
      guard row["op"] == "map" else {
        for page in 0..<length / 4096 { last[IOVA(iova) + page * 4096] = nil }
        continue
      }
      let call = try DriverEvidence.map(
        iova, DriverEvidence.number(row["paddr"]), length, DriverEvidence.number(row["prot"]))
      let leaves = DriverEvidence.leaves(of: call)
      let mapped = try DriverEvidence.number(row["mapped"])
      #expect(UInt64(leaves.count) * 4096 == mapped)
      for (iova, leaf) in leaves {
        #expect(leaf.level == 0)
        last[iova] = leaf.entry
      }
      calls += 1
    }
    #expect(calls == 90)
    var found = 0
    for row in try DriverEvidence.rows("main-leaves.csv") {
      let iova = IOVA(try DriverEvidence.number(row["iova"]))
      // Mappings made before and after the recorded calls are in the table as well.
      guard let entry = last[iova] else { continue }
      let pte = try DriverEvidence.number(row["pte"])
      #expect(row["level"] == "0" && entry.rawValue == pte, "\(iova)")
      found += 1
    }
    #expect(found == 61)
  }

  /// Every leaf of the main run is what a call for that page alone writes.
  @Test func everyLeafOfTheMainRun() throws {
    let memory = try DriverEvidence.pages("main-pages.json")
    let geometry = PagingMode.sv57.geometry
    let rows = try DriverEvidence.rows("main-leaves.csv")
    for row in rows {
      let call = try DriverEvidence.map(
        DriverEvidence.number(row["iova"]), DriverEvidence.number(row["pa"]), 4096, 6)
      let entry = try #require(DriverEvidence.leaves(of: call)[call.iova]).entry
      let pte = try DriverEvidence.number(row["pte"])
      #expect(entry.rawValue == pte)
      let walk = geometry.walk(call.iova, root: DriverEvidence.root, in: memory)
      #expect(walk.steps.last?.entry == entry && walk.target == call.target)
    }
    #expect(rows.count == 258)
  }

  /// The calls of the superpage run, made from GDB.
  static let large: [(iova: UInt64, target: UInt64, length: UInt64, protection: UInt64, leaves: Int)] = [
    (0x4000_0000, 0x9000_0000, 0x20_0000, 3, 1), (0x5000_1000, 0x9000_1000, 0x3f_f000, 7, 512),
    (0x6000_0000, 0x9000_0000, 0x1_0000, 1, 16), (0x8000_0000, 0x8000_0000, 0x4000_0000, 0x13, 1),
    (0x6100_0000, 0x9000_0000, 0x1000, 0xb, 1),
  ]

  @Test(arguments: large.indices) func everyLeafOfTheSuperpages(_ index: Int) throws {
    let (iova, target, length, protection, count) = Self.large[index]
    try expect(
      try DriverEvidence.map(iova, target, length, protection), in: "superpages-pages.json", leaves: count)
  }

  @Test func everyLeafOfTheContiguousRing() throws {
    let call = try DriverEvidence.map(0xffff_0000, 0x80b0_0000, 0x1_0000, 7)
    #expect(DriverEvidence.driver.leaves(of: call, mode: .sv57).map(\.first.rawValue) == [0x8000_0000_202c_20df])
    try expect(call, in: "napot-pages.json", leaves: 16)
  }

  private func expect(_ call: DriverCall, in capture: String, leaves count: Int) throws {
    let memory = try DriverEvidence.pages(capture)
    let geometry = PagingMode.sv57.geometry
    let leaves = DriverEvidence.leaves(of: call)
    #expect(leaves.count == count)
    for (iova, leaf) in leaves {
      let walk = geometry.walk(iova, root: DriverEvidence.root, in: memory)
      #expect(walk.steps.last?.level == leaf.level && walk.steps.last?.entry == leaf.entry, "\(iova)")
      #expect(walk.target == call.target.map { $0 + (iova - call.iova) }, "\(iova)")
    }
    // What the runs say of pages is what the walk says.
    for run in DriverEvidence.driver.leaves(of: call, mode: .sv57) {
      for page in stride(from: 0, to: run.pages, by: max(1, Int(run.pages / 300))) {
        let iova = run.iova + page << 12
        #expect(run.target(ofPage: page).address == geometry.walk(iova, root: DriverEvidence.root, in: memory).target)
      }
    }
  }

  // MARK: Flags

  @Test(
    arguments: [
      (1, 0x5b), (5, 0x5b), (2, 0xdf), (3, 0xdf), (6, 0xdf), (7, 0xdf), (0xb, 0xd7), (9, 0x53), (0x13, 0xdf),
      (0x3f, 0xd7),
    ] as [(UInt64, UInt8)])
  func flags(_ protection: UInt64, _ flags: UInt8) throws {
    let call = try DriverEvidence.map(0x1000, 0x8000_0000, 0x1000, protection)
    #expect(DriverEvidence.driver.leaves(of: call, mode: .sv39).map(\.flags?.rawValue) == [flags])
  }

  /// Seen without its protection, a call says nothing of flags; one without READ and WRITE is refused.
  @Test func callsWithoutProtection() throws {
    let unknown = DriverCall(
      function: "f", operation: .map(target: GPA(0x8000_0000), protection: nil, allocation: nil), domain: KVA(1),
      iova: IOVA(0x1000), length: 0x1000)
    let run = try #require(DriverEvidence.driver.leaves(of: unknown, mode: .sv39).first)
    #expect(run.flags == nil && run.first.isLeaf && run.first.address == GPA(0x8000_0000))
    for protection: UInt64 in [0, 4, 8, 0x14] {
      #expect(
        DriverEvidence.driver.leaves(of: try DriverEvidence.map(0, 0, 0x1000, protection), mode: .sv39).isEmpty)
    }
  }

  // MARK: What is refused

  @Test(
    arguments: [
      (0x800, 0, 0x1000), (0, 0x800, 0x1000), (0, 0, 0x800), (0, 0, 0), (0x1000, 0, 0x1800),
      // Across the gap between the halves, into it, out of the address space.
      (0x3f_ffff_f000, 0, 0x2000), (0x40_0000_0000, 0, 0x1000), (0xffff_ffbf_ffff_f000, 0, 0x1000),
      (0xffff_ffff_ffff_f000, 0, 0x2000), (0, 0, .max & ~0xfff),
      // Physical addresses have 56 bits.
      (0, 1 << 56, 0x1000), (0, (1 << 56) - 0x1000, 0x2000), (0, .max & ~0xfff, 0x1000),
    ] as [(UInt64, UInt64, UInt64)])
  func whatIsRefused(_ iova: UInt64, _ target: UInt64, _ length: UInt64) throws {
    #expect(DriverEvidence.driver.leaves(of: try DriverEvidence.map(iova, target, length, 3), mode: .sv39).isEmpty)
  }

  @Test func theEndsThatAreNot() throws {
    for (iova, target) in [
      (0x3f_ffff_f000, 0), (0xffff_ffc0_0000_0000, 0), (0xffff_ffff_ffff_f000, 0), (0, (1 << 56) - 0x1000),
    ] as [(UInt64, UInt64)] {
      #expect(DriverEvidence.leaves(of: try DriverEvidence.map(iova, target, 0x1000, 3), mode: .sv39).count == 1)
    }
    #expect(LargestLeaves(mode: .sv32) == nil && LargestLeaves(mode: .sv48x4) == nil)
  }

  // MARK: Sizes

  /// The bitmaps that Linux 7.2 gives domains of each mode; the one of Sv57 was captured.
  @Test func sizesOfTheModes() {
    #expect(LargestLeaves.pageSizes(of: .sv39) == 0x4021_1000)
    #expect(LargestLeaves.pageSizes(of: .sv48) == 0x80_4021_1000)
    #expect(LargestLeaves.pageSizes(of: .sv57) == 0x1_0080_4021_1000)
  }

  @Test func largestOfAll() throws {
    let call = try DriverEvidence.map(1 << 48, 0, 1 << 48, 3)
    let runs = DriverEvidence.driver.leaves(of: call, mode: .sv57)
    #expect(runs.map(\.level) == [4] && runs.map(\.count) == [1] && runs.map(\.span) == [1 << 48])
  }

  /// A whole half of the address space in few runs, also where only groups of 64 KiB fit.
  @Test func hugeCallsAreFewRuns() throws {
    let shifted = try DriverEvidence.map(0, 0x1_0000, (1 << 55), 3)
    let runs = DriverEvidence.driver.leaves(of: shifted, mode: .sv57)
    #expect(runs.count == 1 && runs[0].count == 1 << 43 && runs[0].repeats == 16)
    #expect(runs[0].target(ofPage: 1 << 40).address == GPA(1 << 52 + 0x1_0000))
    let pages = try DriverEvidence.map(0, 0x1000, (1 << 55), 3)
    #expect(DriverEvidence.driver.leaves(of: pages, mode: .sv57).map(\.count) == [1 << 43])
  }

  /// Leaf by leaf: at every place all sizes are tried, the largest first.
  static func plainLeaves(of call: DriverCall, sizes: [UInt64]) -> [(iova: UInt64, entry: UInt64, level: Int)]? {
    var leaves: [(iova: UInt64, entry: UInt64, level: Int)] = []
    var done: UInt64 = 0
    let target = call.target?.rawValue ?? 0
    while done < call.length {
      let (iova, address) = (call.iova.rawValue + done, target + done)
      guard
        let size = sizes.sorted(by: >).first(where: {
          iova % $0 == 0 && address % $0 == 0 && done + $0 <= call.length
        })
      else { return nil }
      if size == 0x1_0000 {
        for entry in 0..<16 as Range<UInt64> {
          leaves.append((iova + entry << 12, 1 << 63 | ((address >> 12) | 8) << 10 | 0xdf, 0))
        }
      } else {
        leaves.append(
          (iova, (address >> 12) << 10 | 0xdf, [0x1000: 0, 0x20_0000: 1, 0x4000_0000: 2, 1 << 39: 3][size] ?? 4))
      }
      done += size
    }
    return leaves
  }

  @Test func agreesWithThePlainestWay() throws {
    var mixed = 0
    for round in 0..<400 {
      var random = SeededNumbers(round: round)
      let mode = random.pick([PagingMode.sv39, .sv48, .sv57])
      let sizes = ([0x1000, 0x1_0000, 0x20_0000, 0x4000_0000] as [UInt64]).filter { $0 == 0x1000 || random.chance(80) }
      let bitmap = sizes.reduce(0, |)
      // Addresses that agree in many of their low bits, near the edges of large leaves.
      let alignment = UInt64(1) << UInt64(12 + random.below(20))
      let edge = UInt64(random.below(8)) << 30 + UInt64(random.below(64)) << 21
      let iova = edge &+ UInt64(random.below(40)) << 12
      let distance = UInt64(random.below(1 << 10)) &* alignment
      let length =
        random.chance(30)
        ? UInt64(1 + random.below(64)) << 12 : UInt64(1 + random.below(6)) << 20 + UInt64(random.below(520)) << 12
      let call = try DriverEvidence.map(iova, (iova &+ distance) & 0xff_ffff_ffff_f000, length, 7)
      let plain = try #require(Self.plainLeaves(of: call, sizes: sizes))
      var found: [(iova: UInt64, entry: UInt64, level: Int)] = []
      let runs = try #require(LargestLeaves(mode: mode, pageSizes: bitmap)).leaves(of: call)
      for run in runs {
        for position in 0..<run.count {
          found.append((run.iova(position).rawValue, run.leaf(position).rawValue, run.level))
        }
        var page: UInt64 = 0
        while page < run.pages {
          let (address, count) = run.target(ofPage: page)
          let offset = run.iova - call.iova + page << 12
          #expect(address == call.target.map { $0 + offset } && count >= min(16, run.pages - page) || run.count == 1)
          page += max(1, min(count, run.pages - page))
        }
      }
      let place = "seed \(SeededNumbers.run) round \(round): \(call)"
      #expect(found.elementsEqual(plain) { $0 == $1 }, "\(place)")
      // Runs end only where sizes change.
      #expect(
        zip(runs, runs.dropFirst()).allSatisfy { $0.0.span != $0.1.span || $0.0.repeats != $0.1.repeats }, "\(place)")
      if runs.count > 2 { mixed += 1 }
    }
    #expect(mixed > 20)
  }
}
