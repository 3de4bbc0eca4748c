import Foundation
import PageTables
import Randomness
import Testing

private let seed = SeededNumbers.run

/// How many tables of each mode are dumped by ``PropertyTests/dumpsOfManyTablesAgreeWithTheOracle(_:)``. The environment
/// says how many of all modes together: `make test-million`.
private let tablesPerMode: Int = {
  let modes = PagingMode.allCases.count
  let wanted = ProcessInfo.processInfo.environment["IOMMULENS_TABLES"].flatMap { Int($0) } ?? 200 * modes
  return (max(wanted, modes) + modes - 1) / modes
}()

/// Random tables of every mode against the oracle.
@Suite struct PropertyTests {
  @Test(arguments: PagingMode.allCases) func walkAgreesWithTheOracle(_ mode: PagingMode) {
    for round in 0..<400 {
      var random = SeededNumbers(seed: seed &+ UInt64(round))
      let tables = RandomTables(mode, using: &random)
      let memory = tables.memory(random.pick(FakeMemory.Style.allCases))
      for _ in 0..<8 {
        var input = tables.input(using: &random) | UInt64(random.below(4096))
        if random.chance(20) { input ^= 1 << UInt64(random.below(64)) }
        let isCanonical = random.chance(95)
        let iova = isCanonical ? tables.oracle.canonical(input) : input
        let walk = mode.geometry.walk(IOVA(iova), root: tables.root, in: memory)
        if !agrees(walk, tables.oracle.translate(iova)) {
          Issue.record(
            "seed \(seed) round \(round) \(mode) \(walk.iova): \(walk.outcome), not \(tables.oracle.translate(iova))")
          return
        }
      }
    }
  }

  @Test(arguments: PagingMode.allCases) func runsAgreeWithSingleWalks(_ mode: PagingMode) {
    var (runs, pages) = (0, 0)
    for round in 0..<60 {
      var random = SeededNumbers(seed: seed &+ 0x4_0000 &+ UInt64(round))
      let tables = RandomTables(mode, using: &random)
      let source = tables.memory(random.pick(FakeMemory.Style.allCases))
      let memory: any PhysicalMemory = random.chance(50) ? source : ResidentPages(of: source, limit: random.below(8))
      let walker = RunWalker(mode: mode, root: tables.root, in: memory)
      for _ in 0..<12 {
        var iova = tables.oracle.canonical(tables.input(using: &random))
        if random.chance(15) { iova = random.pick([0, 1 << 63, ~0 << 20, 1 << 38, 1 << 32, iova | 0x123]) &- 0x3000 }
        let limit = random.pick([1, 3, 600, 600, 1 << 20, .max] as [UInt64])
        // Now and then from the middle of the last run.
        for _ in 0..<3 {
          let run = walker.run(at: IOVA(iova), limit: limit)
          runs += 1
          let inRun: [UInt64] = Array(0..<min(run.pages, 40)) + [run.pages / 2, run.pages - 1]
          for page in inRun {
            pages += 1
            let address = iova &+ page << 12
            let wanted = mode.geometry.walk(IOVA(address), root: tables.root, in: source).outcome
            var found = run.outcome
            if case .mapped(let target, let size, let flags) = found {
              found = .mapped(target + page << 12, size: size, flags: flags)
            }
            guard found == wanted, run.pages <= limit, run.pages - 1 <= (UInt64.max - iova) >> 12 else {
              Issue.record("seed \(seed) round \(round) \(mode) \(hex(iova)) page \(page): \(run), not \(wanted)")
              return
            }
          }
          iova &+= (random.chance(50) ? run.pages : run.pages / 2) << 12
        }
      }
    }
    #expect(pages > 3 * runs)
  }

  private func agrees(_ walk: Walk, _ answer: Oracle.Answer) -> Bool {
    let levels = walk.geometry.mode.levels
    switch (walk.outcome, answer) {
    case (.mapped(let target, let size, let flags), .page(let wanted, let wantedFlags, let pbmt, let size_lg2)):
      return target.rawValue == wanted && UInt64(flags.rawValue) == wantedFlags && size == 1 << UInt64(size_lg2)
        && UInt64(walk.steps.last?.entry.pbmt ?? 9) == pbmt && walk.target == target
    case (.notMapped(let level), .hole(let wanted)):
      return level == wanted && walk.steps.count == levels - level
    case (.malformed(let level, let problem), .wrong(let wanted, let address, let entry, let phrases, _)):
      return level == wanted && phrases.contains(problem.description) && walk.steps.count == levels - level
        && walk.steps.last?.entryAddress.rawValue == address && walk.steps.last?.entry.rawValue == entry
        && walk.steps.last?.level == level
    case (.unreadable(let failure), .unreadable(let level, let page, _)):
      return failure.address.page.rawValue == page && walk.steps.count == levels - 1 - level
    case (.notCanonical, .notCanonical):
      return walk.steps.isEmpty
    default:
      return false
    }
  }

  @Test(arguments: PagingMode.allCases) func dumpAgreesWithTheOraclePageByPage(_ mode: PagingMode) {
    for round in 0..<60 {
      var random = SeededNumbers(seed: seed &+ 0x1_0000 &+ UInt64(round))
      let tables = RandomTables(mode, using: &random)
      let memories = FakeMemory.Style.allCases.map { tables.memory($0) }
      for _ in 0..<3 {
        let window = Window(tables, using: &random)
        let wanted = window.expected(tables.oracle)
        for memory in memories {
          guard agrees(window, wanted, tables, memory, "round \(round)") else { return }
        }
        // Every leaf entry of the window is a raw entry too.
        for case .wrong(let level, let address, let entry, _, let region) in wanted {
          let raw = mode.entries(root: tables.root, in: memories[0], filter: window.filter).contains {
            guard case .entry(let raw) = $0 else { return false }
            return raw.entryAddress.rawValue == address && raw.entry.rawValue == entry && raw.level == level
              && raw.iova.rawValue <= region.lowerBound
          }
          if !raw && window.filter.admits(.init(rawValue: UInt8(entry & 0xff))) {
            Issue.record("seed \(seed) round \(round) \(mode): no raw entry at \(hex(address))")
          }
        }
      }
    }
  }

  /// One look at each of very many tables.
  @Test(arguments: PagingMode.allCases) func dumpsOfManyTablesAgreeWithTheOracle(_ mode: PagingMode) {
    for round in 0..<tablesPerMode {
      var random = SeededNumbers(seed: seed &+ 0x5_0000_0000 &+ UInt64(round))
      let tables = RandomTables(mode, using: &random)
      let window = Window(tables, using: &random)
      let memory = tables.memory(random.pick(FakeMemory.Style.allCases))
      guard agrees(window, window.expected(tables.oracle), tables, memory, "table \(round)") else { return }
    }
  }

  /// Whether the dump finds what the oracle wants, both item by item and in chunks; records an issue where not.
  private func agrees(
    _ window: Window, _ wanted: [Window.Item], _ tables: RandomTables, _ memory: FakeMemory, _ place: String
  ) -> Bool {
    let dump = tables.mode.dump(root: tables.root, in: memory, filter: window.filter)
    let items = Array(dump)
    guard items.count == wanted.count, zip(items, wanted).allSatisfy({ $1.isSame(as: $0) }) else {
      Issue.record(
        """
        seed \(seed) \(place) \(tables.mode) \(memory.style) \(window.filter):
        \(items.map { "\($0)" }.joined(separator: "\n"))
        instead of
        \(wanted.map { "\($0)" }.joined(separator: "\n"))
        """)
      return false
    }
    guard items == inChunks(dump) else {
      Issue.record("seed \(seed) \(place) \(tables.mode): chunks differ")
      return false
    }
    return true
  }

  /// The whole space: what is in the dump is true and as long as it can be, and what is mapped is in the dump.
  @Test(arguments: PagingMode.allCases) func wholeDumpAgreesWithTheOracle(_ mode: PagingMode) {
    for round in 0..<25 {
      var random = SeededNumbers(seed: seed &+ 0x2_0000 &+ UInt64(round))
      let tables = RandomTables(mode, using: &random)
      let oracle = tables.oracle
      let items = Array(
        mode.dump(root: tables.root, in: tables.memory(random.pick(FakeMemory.Style.allCases)), limit: 300))
      var end: IOVA?
      var ranges: [(ClosedRange<IOVA>, isMapping: Bool)] = []
      for (position, item) in items.enumerated() {
        switch item {
        case .mapping(let mapping):
          ranges.append((mapping.iova...mapping.last, true))
          guard random.chance(10) else { continue }
          for (iova, target) in [(mapping.iova, mapping.target), (mapping.last, mapping.targetLast)] {
            if let page = page(oracle.translate(iova.rawValue)), page.0 == target.rawValue,
              page.1 == UInt64(mapping.flags.rawValue), page.2 == UInt64(mapping.pbmt)
            {
              continue
            }
            Issue.record("seed \(seed) round \(round) \(mode): \(mapping) is not so")
          }
          if let before = page(oracle.translate(mapping.iova.rawValue &- 1)), before.0 == mapping.target.rawValue &- 1,
            before.1 == UInt64(mapping.flags.rawValue), before.2 == UInt64(mapping.pbmt)
          {
            Issue.record("seed \(seed) round \(round) \(mode): \(mapping) begins too late")
          }
        case .malformed(_, _, _, _, let iova), .unreadable(_, _, let iova): ranges.append((iova, false))
        case .stopped(let reason, let at):
          end = at
          #expect(reason == .tableLimit(300) && position == items.count - 1)
        }
      }
      for (left, right) in zip(ranges, ranges.dropFirst()) where left.0.upperBound >= right.0.lowerBound {
        Issue.record("seed \(seed) round \(round) \(mode): \(left.0) before \(right.0)")
      }
      for _ in 0..<20 {
        let iova = IOVA(oracle.canonical(tables.input(using: &random)))
        if let end, iova >= end { continue }
        let found = ranges.first { $0.0.contains(iova) }?.isMapping
        let wanted: Bool?
        switch oracle.translate(iova.rawValue) {
        case .page: wanted = true
        case .wrong, .unreadable: wanted = false
        case .hole, .notCanonical: wanted = nil
        }
        if found != wanted {
          Issue.record("seed \(seed) round \(round) \(mode) \(iova): \(String(describing: found))")
        }
      }
    }
  }

  private func page(_ answer: Oracle.Answer) -> (UInt64, UInt64, UInt64)? {
    guard case .page(let target, let flags, let pbmt, _) = answer else { return nil }
    return (target, flags, pbmt)
  }

  @Test func tablesThatChangeWhileReadDoNoHarm() {
    for round in 0..<20 {
      var random = SeededNumbers(seed: seed &+ 0x3_0000 &+ UInt64(round))
      let tables = RandomTables(random.pick(PagingMode.allCases), using: &random)
      let memory = tables.memory(.mixed)
      memory.beforeAccess = { [unowned memory] in
        let address = memory.base + UInt64(random.below(12 * 512)) * 8
        memory.store(random.chance(50) ? random.next() : (memory.base >> 2) | 1, at: address)
      }
      let items = Array(tables.mode.dump(root: tables.root, in: memory, limit: 500))
      if case .stopped(.tableLimit(500), _)? = items.last { continue }
      #expect(items.count < 500 * 1024)
    }
  }
}

/// A dump's items by way of ``Dump/forEach(mappings:other:)``.
func inChunks(_ dump: Dump) -> [DumpItem] {
  var items: [DumpItem] = []
  dump.forEach(
    mappings: { mappings in for position in mappings.indices { items.append(.mapping(mappings[position])) } },
    other: { items.append($0) })
  return items
}

/// Some dozens of pages and flags to dump, and what the oracle says about them one after the other.
private struct Window {
  enum Item {
    case mapping(Mapping)
    case wrong(level: Int, address: UInt64, entry: UInt64, phrases: Set<String>, region: ClosedRange<UInt64>)
    case unreadable(level: Int, page: UInt64, region: ClosedRange<UInt64>)

    func isSame(as item: DumpItem) -> Bool {
      switch (self, item) {
      case (.mapping(let left), .mapping(let right)): left == right
      case (
        .wrong(let level, let address, let entry, let phrases, let region),
        .malformed(let itsLevel, let itsAddress, let itsEntry, let problem, let iova)
      ):
        level == itsLevel && address == itsAddress.rawValue && entry == itsEntry.rawValue
          && phrases.contains(problem.description) && region == iova.lowerBound.rawValue...iova.upperBound.rawValue
      case (.unreadable(let level, let page, let region), .unreadable(let failure, let itsLevel, let iova)):
        level == itsLevel && page == failure.address.rawValue
          && region == iova.lowerBound.rawValue...iova.upperBound.rawValue
      default: false
      }
    }
  }

  /// The window's pages, canonical.
  let pages: [UInt64]
  let filter: DumpFilter

  init(_ tables: RandomTables, using random: inout SeededNumbers) {
    let total = UInt64(1) << UInt64(tables.oracle.inputBits)
    let around = tables.input(using: &random)
    let first = around > 0x20000 && random.chance(70) ? around - UInt64(random.below(32)) << 12 : around
    pages = stride(from: first, to: min(first + UInt64(1 + random.below(70)) << 12, total), by: 4096)
      .map { tables.oracle.canonical($0) }
    let flags: [UInt8] = [0, 0, 0, 1, 2, 4, 0x40, 0x80, 6]
    var from = UInt64(0)
    var through = UInt64(0xfff)
    if random.chance(30) {
      from = UInt64(random.below(2048))
      through = 2048 + UInt64(random.below(2048))
    }
    filter = DumpFilter(
      first: IOVA((pages.first ?? 0) + from), last: IOVA((pages.last ?? 0) + through),
      required: .init(rawValue: random.pick(flags)),
      absent: .init(rawValue: random.chance(30) ? random.pick(flags) : 0))
  }

  func expected(_ oracle: Oracle) -> [Item] {
    var items: [Item] = []
    var regions: [ClosedRange<UInt64>] = []
    for page in pages {
      let start = max(page, filter.first.rawValue)
      let size = min(page + 0xfff, filter.last.rawValue) - start + 1
      var region: ClosedRange<UInt64>?
      switch oracle.translate(start) {
      case .page(let target, let flags, let pbmt, _):
        let wanted = bits(UInt64(filter.required.rawValue))
        let unwanted = bits(UInt64(filter.absent.rawValue))
        let has = bits(flags)
        guard (0..<8).allSatisfy({ (!wanted[$0] || has[$0]) && (!unwanted[$0] || !has[$0]) }) else { continue }
        let piece = Mapping(
          iova: IOVA(start), target: GPA(target), size: size, flags: .init(rawValue: UInt8(flags)), pbmt: UInt8(pbmt))
        if case .mapping(var open)? = items.last, open.iova + open.size == piece.iova,
          open.target + open.size == piece.target, open.flags == piece.flags, open.pbmt == piece.pbmt
        {
          open.size += size
          items[items.count - 1] = .mapping(open)
        } else {
          items.append(.mapping(piece))
        }
      case .wrong(let level, let address, let entry, let phrases, let its) where regions.last != its:
        region = its
        items.append(.wrong(level: level, address: address, entry: entry, phrases: phrases, region: clipped(its)))
      case .unreadable(let level, let page, let its) where regions.last != its:
        region = its
        items.append(.unreadable(level: level, page: page, region: clipped(its)))
      default: break
      }
      if let region { regions.append(region) }
    }
    return items
  }

  private func clipped(_ region: ClosedRange<UInt64>) -> ClosedRange<UInt64> {
    region.clamped(to: filter.first.rawValue...filter.last.rawValue)
  }
}
