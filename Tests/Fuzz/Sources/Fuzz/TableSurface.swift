import PageTables

/// Page tables of every mode over ``HostileMemory``: the dump, the entries and the runs, held against single walks.
struct TableSurface: Surface {
  func feed(_ input: inout Input) {
    let mode = input.pick(PagingMode.allCases)
    let limit = 1 + input.below(16)
    let offset = input.below(8) == 0 ? input.number() : 0
    let root = input.pick(HostileMemory.places) + offset
    let probes = (0..<8).map { _ in IOVA(input.number() &- UInt64(input.below(2))) }
    let filter = DumpFilter(first: min(probes[0], probes[1]), last: max(probes[0], probes[1]))
    let memory = HostileMemory(&input, format: mode.entryFormat)
    let tables = Tables(mode: mode, root: root, memory: memory, limit: limit)
    let items = tables.dump(DumpFilter())
    tables.compare(items, probes)
    tables.compareRuns(probes)
    tables.compareEntries(stop: items.last)
    tables.compare(tables.dump(filter), probes.filter { filter.first <= $0 && $0 <= filter.last })
  }
}

private struct Tables {
  let mode: PagingMode, root: GPA, memory: HostileMemory, limit: Int

  private func walk(_ iova: IOVA) -> Walk.Outcome { mode.geometry.walk(iova, root: root, in: memory).outcome }

  /// What a dump finds, told in both its ways. Its work is bounded: no more tables are asked for than allowed, save one
  /// batch a level that is read ahead.
  func dump(_ filter: DumpFilter) -> [DumpItem] {
    let before = memory.requests
    let dump = mode.dump(root: root, in: memory, filter: filter, limit: limit)
    let items = Array(dump)
    require(memory.requests - before <= limit + mode.levels * 64 + 8, "a dump reads no more tables than it may")
    var pieces: [DumpItem] = []
    dump.forEach(
      mappings: { for index in $0.indices { pieces.append(.mapping($0[index])) } }, other: { pieces.append($0) })
    require(pieces == items, "a dump is the same one by one and in chunks")
    return items
  }

  /// Every item is what walks find there, in order; what a walk finds is in the dump.
  func compare(_ items: [DumpItem], _ probes: [IOVA]) {
    var (end, stop): (IOVA?, IOVA?) = (nil, nil)
    // All of a few, some of many.
    let stride = 1 + items.count / 256
    for (position, item) in items.enumerated() {
      require(stop == nil, "nothing follows a stop")
      let range: ClosedRange<IOVA>
      switch item {
      case .mapping(let mapping):
        require(mapping.size > 0 && mapping.iova <= mapping.last, "a mapping does not wrap")
        range = mapping.iova...mapping.last
        if position % stride == 0 { for iova in [mapping.iova, mapping.last] { compare(mapping, iova) } }
      case .malformed(let level, _, _, let problem, let iovas):
        range = iovas
        if position % stride == 0 {
          require(walk(iovas.lowerBound) == .malformed(level: level, problem), "a walk finds the malformed entry")
        }
      case .unreadable(_, _, let iovas):
        range = iovas
        // A root that does not begin with a page may be readable in part; what is wanted may begin in the gap of a
        // sign-extended mode.
        switch walk(iovas.lowerBound) {
        case .unreadable, .notCanonical: break
        case let other: require(root.pageOffset != 0, "a walk finds the hole at \(iovas.lowerBound), not \(other)")
        }
      case .stopped(_, let place):
        stop = place
        continue
      }
      if let end { require(end < range.lowerBound, "items ascend and do not overlap") }
      end = range.upperBound
    }
    for iova in probes where iova < stop ?? IOVA(.max) {
      let found = items.contains { item in
        if case .mapping(let mapping) = item { mapping.iova <= iova && iova <= mapping.last } else { false }
      }
      if case .mapped = walk(iova) {
        require(found || root.pageOffset != 0, "what a walk finds is in the dump")
      } else {
        require(!found, "what no walk finds is not in the dump")
      }
    }
  }

  private func compare(_ mapping: Mapping, _ iova: IOVA) {
    guard case .mapped(let address, _, let flags) = walk(iova) else {
      return require(false, "a mapping is walked")
    }
    require(address == mapping.target + (iova - mapping.iova) && flags == mapping.flags, "a mapping is as walked")
  }

  /// What a run tells of its first and its last page is what walks find.
  func compareRuns(_ probes: [IOVA]) {
    for memory in [memory as any PhysicalMemory, ResidentPages(of: memory, limit: 2)] {
      let walker = RunWalker(mode: mode, root: root, in: memory)
      for iova in probes.sorted() {
        let run = walker.run(at: iova, limit: 1 << 30)
        require(run.pages > 0, "a run has a page")
        let last = (run.pages - 1) << 12
        require(walk(iova) == run.outcome, "a run begins as walked")
        var outcome = run.outcome
        if case .mapped(let address, let size, let flags) = outcome {
          outcome = .mapped(address + last, size: size, flags: flags)
        }
        require(walk(iova + last) == outcome, "a run ends as walked")
      }
    }
  }

  /// Entries are what stands in memory, and their dump ends where that of the mappings does.
  func compareEntries(stop: DumpItem?) {
    var end: (DumpStop, IOVA)?
    for (position, item) in mode.entries(root: root, in: memory, limit: limit).enumerated() {
      switch item {
      case .entry(let entry):
        require(entry.entry.rawValue != 0, "no entry is zero")
        guard position % 16 == 0 else { continue }
        let stored = try? memory.entry(at: entry.entryAddress, format: mode.entryFormat)
        require(stored == entry.entry, "an entry is in memory")
      case .unreadable: break
      case .stopped(let reason, let place): end = (reason, place)
      }
    }
    if case .stopped(let reason, let place)? = stop {
      require(end.map { $0 == (reason, place) } == true, "both dumps end alike")
    } else {
      require(end == nil, "both dumps come to the end")
    }
  }
}
