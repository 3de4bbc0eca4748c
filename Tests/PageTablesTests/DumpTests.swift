import PageTables
import Testing

@Suite struct DumpTests {
  private func mapping(
    _ iova: UInt64, _ target: UInt64, _ size: UInt64, _ flags: UInt8 = 7, pbmt: UInt8 = 0
  ) -> DumpItem {
    .mapping(Mapping(iova: IOVA(iova), target: GPA(target), size: size, flags: .init(rawValue: flags), pbmt: pbmt))
  }

  private func leaf(_ target: UInt64, _ flags: UInt64 = 7) -> UInt64 { target >> 2 | flags }

  private func dump(_ tables: TestTables, _ filter: DumpFilter = DumpFilter()) -> [DumpItem] {
    Array(PagingMode.sv39.dump(root: tables.root, in: tables.memory, filter: filter))
  }

  // page      0    1    2    3    4    5    6
  // target    10   11   12   14   15   16   17
  // flags     RW   RW   R    R    R    R    R       pbmt 1 on page 5, software bits on page 6 (of pbmt 1)
  @Test func mergesWhatIsContiguousWithEqualFlags() {
    var tables = TestTables(pages: 3)
    for (page, target, flags) in [
      (0, 0x10, 7), (1, 0x11, 7), (2, 0x12, 3), (3, 0x14, 3), (4, 0x15, 3), (5, 0x16, 3 | 1 << 61),
      (6, 0x17, 0x303 | 1 << 61),
    ] as [(UInt64, UInt64, UInt64)] {
      tables.set(page << 12, leaf(target << 12, flags))
    }
    #expect(
      dump(tables) == [
        mapping(0, 0x10000, 0x2000), mapping(0x2000, 0x12000, 0x1000, 3), mapping(0x3000, 0x14000, 0x2000, 3),
        mapping(0x5000, 0x16000, 0x2000, 3, pbmt: 1),
      ])
  }

  @Test func mergesAcrossTablesAndLeafSizes() {
    var tables = TestTables(pages: 8)
    // 4 KiB pages up to 2 MiB, then a 2 MiB leaf, then a 64 KiB group, then 4 KiB again, all one run.
    for page in 500..<512 { tables.set(UInt64(page) << 12, leaf(0x4000_0000 + UInt64(page) << 12)) }
    tables.set(0x20_0000, leaf(0x4020_0000), level: 1)
    for page in 0..<16 { tables.set(0x40_0000 + UInt64(page) << 12, 1 << 63 | leaf(0x4040_8000)) }
    tables.set(0x41_0000, leaf(0x4041_0000))
    #expect(dump(tables) == [mapping(0x1f_4000, 0x401f_4000, 0x21_d000)])
  }

  @Test func contiguousGroupWithMissingEntriesMapsTheRest() {
    var tables = TestTables(pages: 3)
    for page in 0..<16 where page != 5 { tables.set(UInt64(page) << 12, 1 << 63 | leaf(0x10_8000)) }
    #expect(dump(tables) == [mapping(0, 0x10_0000, 0x5000), mapping(0x6000, 0x10_6000, 0xa000)])
  }

  @Test func twoGroupsToOneTargetDoNotMerge() {
    var tables = TestTables(pages: 3)
    for page in 0..<32 { tables.set(UInt64(page) << 12, 1 << 63 | leaf(0x10_8000)) }
    #expect(dump(tables) == [mapping(0, 0x10_0000, 0x10000), mapping(0x10000, 0x10_0000, 0x10000)])
  }

  /// The run's next page number would carry into bit 54.
  @Test func runEndsAtTheTopOfThePageNumbers() {
    var tables = TestTables(pages: 3)
    tables.set(0, leaf(0xff_ffff_ffff_f000))
    tables.set(0x1000, 1 << 54 | 7)
    let items = dump(tables)
    #expect(items.first == mapping(0, 0xff_ffff_ffff_f000, 0x1000))
    #expect(
      items.last
        == .malformed(
          level: 0, entryAddress: GPA(0x8000_2008), entry: PageTableEntry(rawValue: 1 << 54 | 7),
          problem: .reservedBits(1 << 54), iova: IOVA(0x1000)...IOVA(0x1fff)))
  }

  @Test func upperHalfComesLastAndReachesTheTop() {
    var tables = TestTables(pages: 1)
    tables.set(0x3f_c000_0000, leaf(0x4000_0000), level: 2)
    tables.set(0xffff_ffc0_0000_0000, leaf(0x8000_0000), level: 2)
    tables.set(0xffff_ffff_c000_0000, leaf(0xc000_0000), level: 2)
    #expect(
      dump(tables) == [
        mapping(0x3f_c000_0000, 0x4000_0000, 0x4000_0000), mapping(0xffff_ffc0_0000_0000, 0x8000_0000, 0x4000_0000),
        mapping(0xffff_ffff_c000_0000, 0xc000_0000, 0x4000_0000),
      ])
    #expect(
      dump(tables, DumpFilter(first: IOVA(.max))) == [mapping(.max, 0xffff_ffff, 1)])
  }

  @Test func everyLeafOfTheLargestModeIsOneMappingEach() {
    // Five levels, every root entry a 256 TiB leaf to the next 256 TiB: as far as a target goes, then again from 0.
    let memory = FakeMemory(pages: 4)
    for index in 0..<2048 { memory.store(UInt64(index % 256) << 46 | 7, at: memory.base + UInt64(index) * 8) }
    let items = Array(PagingMode.sv57x4.dump(root: GPA(memory.base), in: memory))
    #expect(items == (0..<8).map { mapping($0 << 56, 0, 1 << 56) })
  }

  @Test func clipsToTheRange() {
    var tables = TestTables(pages: 3)
    tables.set(0x20_0000, leaf(0x4020_0000), level: 1)
    #expect(
      dump(tables, DumpFilter(first: IOVA(0x20_1234), last: IOVA(0x20_5fff))) == [
        mapping(0x20_1234, 0x4020_1234, 0x4dcc)
      ])
    #expect(dump(tables, DumpFilter(first: IOVA(0x40_0000))) == [])
    #expect(dump(tables, DumpFilter(first: IOVA(2), last: IOVA(1))) == [])
    #expect(dump(tables, DumpFilter(first: IOVA(0x40_0000_0000), last: IOVA(0x7f_ffff_ffff))) == [])
    #expect(tables.memory.accesses.filter { $0 != .resident(tables.root) && $0 != .resident(GPA(0x8000_1000)) } == [])
  }

  /// Every pair of bounds from the edges of the halves, of the gap between them and of leaves, aligned or not.
  @Test(arguments: PagingMode.allCases) func boundsAnywhereCutTheSameMappings(_ mode: PagingMode) {
    let memory = FakeMemory(pages: 4)
    let oracle = Oracle(mode: mode.rawValue, root: memory.base, words: [:], pages: [])
    let width = oracle.widths[0]
    let low = oracle.inputBits - width
    var leaves: [ClosedRange<UInt64>] = []
    for index in [0, 1, 1 << (width - 1) - 1, 1 << (width - 1), 1 << width - 1] as [UInt64] {
      memory.store(
        0x3 | (index & 1) << 2, at: memory.base + index * (mode == .sv32 ? 4 : 8), bytes: mode == .sv32 ? 4 : 8)
      let first = oracle.canonical(index << UInt64(low))
      leaves.append(first...(first + (1 << UInt64(low) - 1)))
    }
    let top = UInt64(1) << UInt64(oracle.inputBits)
    let edges = [0, top / 2, top, 0 &- top, 0 &- top / 2, 1 << 63, 1 << UInt64(low)]
    let bounds = edges.flatMap { [$0 &- 1, $0, $0 &+ 1, $0 &+ 0x12345] }
    for first in bounds {
      for last in bounds {
        let wanted = leaves.filter { first <= last && $0.overlaps(first...last) }.map { $0.clamped(to: first...last) }
        let filter = DumpFilter(first: IOVA(first), last: IOVA(last))
        let found = mode.dump(root: GPA(memory.base), in: memory, filter: filter).map { item in
          guard case .mapping(let mapping) = item else { return UInt64.max...UInt64.max }
          return mapping.iova.rawValue...mapping.last.rawValue
        }
        if found != wanted { Issue.record("\(mode) \(hex(first)) to \(hex(last)): \(found), not \(wanted)") }
      }
    }
  }

  @Test func filtersByFlags() {
    var tables = TestTables(pages: 3)
    tables.set(0x1000, leaf(0x1000, 0x3))
    tables.set(0x2000, leaf(0x2000, 0x7))
    tables.set(0x3000, leaf(0x3000, 0x47))
    #expect(dump(tables, DumpFilter(required: [.write])).count == 2)
    #expect(dump(tables, DumpFilter(absent: [.write])) == [mapping(0x1000, 0x1000, 0x1000, 3)])
    #expect(dump(tables, DumpFilter(required: [.write], absent: [.accessed])) == [mapping(0x2000, 0x2000, 0x1000)])
    #expect(dump(tables, DumpFilter(required: [.write], absent: [.write])) == [])
  }

  @Test func readsOnlyTablesInTheRange() {
    var tables = TestTables(pages: 140, style: .copying)
    for table in 0..<130 { tables.set(UInt64(table) << 21, leaf(0x1000)) }
    _ = dump(tables, DumpFilter(first: IOVA(7 << 21), last: IOVA((9 << 21) - 1)))
    let (root, middle) = (tables.tables[0], tables.tables[1])
    #expect(
      tables.memory.accesses == [.batch([root]), .batch([middle]), .batch([tables.tables[9], tables.tables[10]])])
  }

  @Test func asksForATablesChildrenTogetherInTableOrder() {
    var tables = TestTables(pages: 140, style: .copying)
    for table in (0..<130).reversed() { tables.set(UInt64(table) << 21, leaf(UInt64(table) << 13)) }
    #expect(dump(tables).count == 130)
    let children = Array(tables.tables[2...].reversed())
    #expect(
      tables.memory.accesses == [
        .batch([tables.root]), .batch([tables.tables[1]]), .batch(Array(children[..<64])),
        .batch(Array(children[64..<128])), .batch(Array(children[128...])),
      ])
  }

  @Test func residentPagesAreNotCopied() {
    var tables = TestTables(pages: 5)
    for table in 0..<3 { tables.set(UInt64(table) << 21, leaf(0x1000)) }
    _ = dump(tables)
    #expect(tables.memory.accesses == tables.tables.map { .resident($0) })
  }

  @Test func readsNothingBeforeTheFirstItemIsAskedFor() {
    let tables = TestTables(pages: 1)
    _ = PagingMode.sv39.dump(root: tables.root, in: tables.memory).makeIterator()
    #expect(tables.memory.accesses == [])
  }

  @Test(arguments: FakeMemory.Style.allCases) func reportsTheUnreadableChildAndGoesOn(_ style: FakeMemory.Style) {
    var tables = TestTables(pages: 8, style: style, holes: [0x8000_3000, 0x8000_5000])
    for table in 0..<5 { tables.set(UInt64(table) << 21, table == 1 || table == 3 ? 0 : leaf(UInt64(table) << 21)) }
    func hole(_ address: UInt64, _ iova: UInt64) -> DumpItem {
      .unreadable(
        UnreadableMemory(address: GPA(address), reason: "a hole"), level: 0, iova: IOVA(iova)...IOVA(iova + 0x1f_ffff))
    }
    #expect(
      dump(tables) == [
        mapping(0, 0, 0x1000), hole(0x8000_3000, 0x20_0000), mapping(0x40_0000, 0x40_0000, 0x1000),
        hole(0x8000_5000, 0x60_0000), mapping(0x80_0000, 0x80_0000, 0x1000),
      ])
  }

  @Test func stopsAtTheLimitAndGoesOnFromThere() {
    var tables = TestTables(pages: 8)
    for table in 0..<5 { tables.set(UInt64(table) << 21, leaf(UInt64(table) << 13)) }
    let mode = PagingMode.sv39
    let items = Array(mode.dump(root: tables.root, in: tables.memory, limit: 4))
    #expect(
      items == [
        mapping(0, 0, 0x1000), mapping(0x20_0000, 0x2000, 0x1000), .stopped(.tableLimit(4), at: IOVA(0x40_0000)),
      ])
    #expect(dump(tables, DumpFilter(first: IOVA(0x40_0000))).count == 3)
    for limit in [0, -1, Int.min] {
      let items = Array(mode.dump(root: tables.root, in: tables.memory, limit: limit))
      #expect(items == [.stopped(.tableLimit(limit), at: IOVA(0))])
    }
    #expect(DumpStop.tableLimit(4).description == "more than 4 tables")
    #expect(DumpStop.interrupted.description == "interrupted")
  }

  @Test func aCycleEndsAtTheLimit() {
    let memory = FakeMemory(pages: 1)
    for index in 0..<512 { memory.store(memory.base >> 2 | 1, at: memory.base + UInt64(index) * 8) }
    var iterator = PagingMode.sv57.dump(root: GPA(memory.base), in: memory, limit: 1000).makeIterator()
    var last: DumpItem?
    var count = 0
    while let item = iterator.next() {
      last = item
      count += 1
    }
    // Four tables lead to the first leaf table; each of 996 has 512 pointers where there is no further level.
    #expect(count == 996 * 512 - 1 * 512 + 1)
    guard case .stopped(.tableLimit(1000), _)? = last else {
      Issue.record("\(String(describing: last))")
      return
    }
    #expect(iterator.next() == nil)
  }

  @Test func pollEndsTheDump() {
    let memory = FakeMemory(pages: 1)
    for index in 0..<512 { memory.store(memory.base >> 2 | 1, at: memory.base + UInt64(index) * 8) }
    var asked = 0
    let dump = PagingMode.sv57.dump(root: GPA(memory.base), in: memory) {
      asked += 1
      return asked == 4
    }
    var last: DumpItem?
    for item in dump { last = item }
    guard case .stopped(.interrupted, _)? = last else {
      Issue.record("\(String(describing: last))")
      return
    }
    #expect(asked == 4)
    #expect(memory.accesses.count < 4 * 256 + 4 * 64)
  }

  @Test func rawEntriesInPreOrder() {
    var tables = TestTables(pages: 8, holes: [0x8000_3000])
    tables.set(0x1000, leaf(0x1000))
    tables.set(0x5000, 0x1234_5678 & ~1)
    tables.set(0x20_0000, 0)
    tables.set(0x60_0000, 0x5, level: 1)
    let items = PagingMode.sv39.entries(root: tables.root, in: tables.memory).map { item in
      switch item {
      case .entry(let raw):
        "\(raw.level) \(raw.table)[\(raw.index)] \(raw.entryAddress) = \(hex(raw.entry.rawValue)) \(raw.iova) "
          + (raw.problem.map { "\($0)" } ?? "ok")
      case .unreadable(let failure, let level, let iova):
        "\(level) \(failure.address) \(iova.lowerBound)-\(iova.upperBound)"
      case .stopped(let reason, let at): "\(reason) \(at)"
      }
    }
    #expect(
      items == [
        "2 0x80000000[0] 0x80000000 = 0x20000401 0x0 ok",
        "1 0x80001000[0] 0x80001000 = 0x20000801 0x0 ok",
        "0 0x80002000[1] 0x80002008 = 0x407 0x1000 ok",
        "0 0x80002000[5] 0x80002028 = 0x12345678 0x5000 ok",
        "1 0x80001000[1] 0x80001008 = 0x20000c01 0x200000 ok",
        "0 0x80003000 0x200000-0x3fffff",
        "1 0x80001000[3] 0x80001018 = 0x5 0x600000 W without R",
      ])
    let readable = PagingMode.sv39.entries(
      root: tables.root, in: tables.memory, filter: DumpFilter(last: IOVA(0x1fff), required: [.read]))
    #expect(
      readable.map { $0 } == [
        .entry(
          RawEntry(
            level: 0, table: GPA(0x8000_2000), index: 1, entry: PageTableEntry(rawValue: 0x407), iova: IOVA(0x1000)))
      ])
    let stopped = Array(PagingMode.sv39.entries(root: tables.root, in: tables.memory, limit: 2))
    #expect(stopped.last == .stopped(.tableLimit(2), at: IOVA(0)))
  }

  @Test func rawEntriesOfASecondStageRootCountOnThroughItsPages() {
    let memory = FakeMemory(pages: 4, style: .mixed)
    memory.store(0x2, at: memory.base + 1537 * 8)
    #expect(
      Array(PagingMode.sv39x4.entries(root: GPA(memory.base), in: memory)) == [
        .entry(
          RawEntry(
            level: 2, table: GPA(memory.base), index: 1537, entry: PageTableEntry(rawValue: 2),
            iova: IOVA(1537 << 30)))
      ])
  }
}
