import PageTables
import Testing

@Suite struct WalkTests {
  @Test func modesAsTheSpecificationSpellsThem() {
    let table = PagingMode.allCases.map { "\($0.name) \($0.code) \($0.levels) \($0.inputBits)" }
    #expect(
      table == [
        "Sv32 1 2 32", "Sv39 8 3 39", "Sv48 9 4 48", "Sv57 10 5 57", "Sv39x4 8 3 41", "Sv48x4 9 4 50", "Sv57x4 10 5 59",
      ])
    #expect(
      (0..<16).map { PagingMode(firstStageCode: $0)?.name } == [
        nil, "Sv32", nil, nil, nil, nil, nil, nil, "Sv39", "Sv48", "Sv57", nil, nil, nil, nil, nil,
      ])
  }

  /// The first and the last index of every level, one at a time, in every mode: the walk must look exactly there.
  @Test(arguments: PagingMode.allCases) func readsOneEntryALevelAtTheRightIndex(_ mode: PagingMode) {
    let widths = Oracle.fields[mode.rawValue] ?? []
    let entryBytes: UInt64 = mode == .sv32 ? 4 : 8
    for place in widths.indices {
      let size = 1 << widths[place]
      for index in [0, 1, size / 2 - 1, size / 2, size - 2, size - 1] {
        let memory = FakeMemory(pages: 4 + widths.count, style: .copying)
        var input: UInt64 = 0
        var table = memory.base
        var reads: [FakeMemory.Access] = []
        for (level, width) in widths.enumerated() {
          let here = level == place ? index : 0
          input = input << UInt64(width) | UInt64(here)
          let address = table + UInt64(here) * entryBytes
          reads.append(.read(GPA(address), count: Int(entryBytes)))
          table = memory.base + UInt64(4 + level) * 4096
          memory.store(level == widths.count - 1 ? 0x4803 : table >> 2 | 1, at: address, bytes: Int(entryBytes))
        }
        let oracle = Oracle(mode: mode.rawValue, root: memory.base, words: [:], pages: [])
        let iova = oracle.canonical(input << 12 | 0xabc)
        let walk = mode.geometry.walk(IOVA(iova), root: GPA(memory.base), in: memory)
        #expect(walk.outcome == .mapped(GPA(0x12abc), size: 4096, flags: [.valid, .read]))
        #expect(walk.steps.map(\.level) == Array((0..<widths.count).reversed()))
        #expect(memory.accesses == reads)
      }
    }
  }

  @Test(arguments: PagingMode.allCases) func canonicalEdges(_ mode: PagingMode) {
    let memory = FakeMemory(pages: 4, style: .copying)
    let bits = UInt64(mode.inputBits)
    let isExtended = !mode.isSecondStage && mode != .sv32
    let lastOfLower = (UInt64(1) << (isExtended ? bits - 1 : bits)) - 1
    let good = [0, lastOfLower] + (isExtended ? [~lastOfLower, .max] : [])
    let bad = [lastOfLower + 1, 1 << 63] + (isExtended ? [~lastOfLower - 1] : [.max, ~lastOfLower])
    for iova in good {
      let walk = mode.geometry.walk(IOVA(iova), root: GPA(memory.base), in: memory)
      #expect(walk.outcome == .notMapped(level: mode.levels - 1))
    }
    memory.accesses = []
    for iova in bad {
      let walk = mode.geometry.walk(IOVA(iova), root: GPA(memory.base), in: memory)
      #expect(walk.outcome == .notCanonical && walk.steps.isEmpty && walk.target == nil)
    }
    #expect(memory.accesses.isEmpty)
  }

  /// The entry captured from Linux 7.2: sixteen of it map 64 KiB at 0x80b00000.
  @Test func contiguousEntryKeepsTheLowBitsOfTheIOVA() {
    var tables = TestTables(pages: 3)
    for page in 0..<16 { tables.set(0xffff_0000 + UInt64(page) << 12, 0x8000_0000_202c_20df) }
    for (iova, target) in [(0xffff_0000, 0x80b0_0000), (0xffff_8123, 0x80b0_8123), (0xffff_ffff, 0x80b0_ffff)]
      as [(UInt64, UInt64)]
    {
      let walk = PagingMode.sv39.geometry.walk(IOVA(iova), root: tables.root, in: tables.memory)
      #expect(walk.outcome == .mapped(GPA(target), size: 0x10000, flags: .init(rawValue: 0xdf)))
    }
  }

  /// The field notes' bug: the driver put the entry where Sv57's root shift says.
  @Test func anotherRootShiftFindsWhatTheDriverWrote() {
    var tables = TestTables(pages: 3)
    tables.set(0x3fff_f000, 0x4185_c807)
    let right = PagingMode.sv39.geometry
    #expect(right.walk(IOVA(0xffff_f000), root: tables.root, in: tables.memory).outcome == .notMapped(level: 2))
    let wrong = right.replacing(shift: 48, atLevel: 2)
    #expect(wrong.walk(IOVA(0xffff_f000), root: tables.root, in: tables.memory).target == GPA(0x1_0617_2000))
  }

  @Test func unreadableTableIsTheOutcome() {
    var tables = TestTables(pages: 3, holes: [0x8000_2000])
    tables.set(0x1000, 0x3)
    let walk = PagingMode.sv39.geometry.walk(IOVA(0x1000), root: tables.root, in: tables.memory)
    guard case .unreadable(let failure) = walk.outcome else {
      Issue.record("\(walk.outcome)")
      return
    }
    #expect(failure.description == "Cannot read guest-physical address 0x80002008: a hole.")
    #expect(walk.steps.map(\.entryAddress) == [GPA(0x8000_0000), GPA(0x8000_1000)])
  }

  @Test func bytesOfNoLength() throws {
    let memory = FakeMemory(pages: 1)
    #expect(try memory.bytes(at: GPA(0), count: 0) == [])
    #expect(try memory.bytes(at: GPA(0), count: -1) == [])
    #expect(try memory.bytes(at: GPA(memory.base), count: 2) == [0, 0])
  }
}
