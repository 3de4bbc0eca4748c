// From the entries of leaf tables to mappings: the inner loop of the dump.

/// Merges leaves into mappings and keeps them, a chunk at a time.
struct MappingCollector: TableVisitor {
  let chunk: Chunk<Mapping>
  /// Everything but mappings, each after so many of the chunk's mappings.
  private(set) var issues: [(end: Int, item: DumpItem)] = []

  private let filter: DumpFilter
  private let format: PageTableEntry.Format
  /// The mapping that may still go on; size 0 for none.
  private var open = Mapping(iova: IOVA(0), target: GPA(0), size: 0, flags: [])
  /// How many mappings the chunk has.
  private(set) var count = 0

  /// Each leaf of a page can end a mapping; the open mapping and an early end come on top.
  private var mappingsPerPage: Int { 1 << format.indexBits + 2 }

  init(filter: DumpFilter, format: PageTableEntry.Format) {
    self.filter = filter
    self.format = format
    // Small enough to stay in a processor's first cache.
    chunk = Chunk(capacity: 256 + 2 + 1 << format.indexBits)
  }

  mutating func reset() {
    count = 0
    issues.removeAll(keepingCapacity: true)
  }

  var hasRoom: Bool {
    count + mappingsPerPage <= chunk.capacity && issues.count + mappingsPerPage <= chunk.capacity
  }

  mutating func leafTable(_ page: TablePage, indices: Range<Int>, iova: IOVA) {
    switch format {
    case .rv64: leaves(page, indices, iova, as: UInt64.self)
    case .sv32: leaves(page, indices, iova, as: UInt32.self)
    }
  }

  mutating func entry(
    _ entry: PageTableEntry, problem: PageTableEntry.Problem?, index: Int, of page: TablePage, iova: IOVA, last: IOVA
  ) {
    if let problem {
      close()
      report(entry, problem, at: index, of: page, iova: iova, last: last)
    } else if entry.isLeaf {
      append(
        Mapping(
          iova: iova, target: entry.target(of: iova, atLevel: page.level), size: last - iova &+ 1, flags: entry.flags,
          pbmt: entry.pbmt))
    }
  }

  mutating func unreadable(_ failure: UnreadableMemory, level: Int, iova: IOVA, last: IOVA) {
    close()
    guard let range = filter.clip(iova, last) else { return }
    issues.append((count, .unreadable(failure, level: level, iova: range)))
  }

  mutating func finish(_ reason: DumpStop?, at iova: IOVA) {
    close()
    if let reason { issues.append((count, .stopped(reason, at: iova))) }
  }

  private mutating func report(
    _ entry: PageTableEntry, _ problem: PageTableEntry.Problem, at index: Int, of page: TablePage, iova: IOVA,
    last: IOVA
  ) {
    guard let range = filter.clip(iova, last) else { return }
    let address = page.table + UInt64(page.firstIndex + index) << UInt64(format.bytes_lg2)
    issues.append(
      (count, .malformed(level: page.level, entryAddress: address, entry: entry, problem: problem, iova: range)))
  }

  /// Adds a leaf to the open mapping, or closes that and opens another.
  private mutating func append(_ mapping: Mapping) {
    if open.size != 0 && open.iova + open.size == mapping.iova && open.target + open.size == mapping.target
      && open.flags == mapping.flags && open.pbmt == mapping.pbmt
    {
      open.size &+= mapping.size
    } else {
      close()
      open = mapping
    }
  }

  /// Puts what the filter leaves of the open mapping into the chunk.
  private mutating func close() {
    if open.size != 0, filter.admits(open.flags), let range = filter.clip(open.iova, open.last) {
      (chunk.elements + count).initialize(
        to: Mapping(
          iova: range.lowerBound, target: open.target + (range.lowerBound - open.iova),
          size: range.upperBound - range.lowerBound &+ 1, flags: open.flags, pbmt: open.pbmt))
      count &+= 1
    }
    open.size = 0
  }
}

// MARK: The inner loop

extension MappingCollector {
  /// The leaf table, block by block, with the same block of the following table asked for before each.
  ///
  /// A run of leaves, or of zeros, goes on as long as the next entry is the one expected, eight of which are compared at
  /// a time; only an entry that is something else is decoded. What a run needs is held in machine registers, and a run
  /// that nothing before can belong to is stored at once; the first of a page, and what is unusual, goes through
  /// ``append(_:)``.
  private mutating func leaves<Word: EntryWord>(
    _ page: TablePage, _ indices: Range<Int>, _ tableIOVA: IOVA, as type: Word.Type
  ) {
    let block = TablePage.block / MemoryLayout<Word>.size
    let isWhole = filter.isWhole(tableIOVA, pages: Word.bitWidth == 32 ? 1024 : 512)
    var storesAtOnce = false
    var output = chunk.elements + count
    // The run's first index and entry; -1 in a hole.
    var (start, first) = (-1, UInt64(0))
    var expected: UInt64 = 0
    var index = indices.lowerBound
    let bound = indices.upperBound
    while index < bound {
      let end = min(bound, (index | (block &- 1)) &+ 1)
      page.prefetchFollowing(at: (index & ~(block &- 1)) &* MemoryLayout<Word>.size)
      while index < end {
        let raw = loadEntry(page.bytes, index, as: type)
        if raw == expected {
          let begin = index
          if start < 0 {
            index = firstNonZero(page.bytes, from: index &+ 1, to: end, bound: bound, as: type)
          } else {
            index = firstMismatch(
              page.bytes, from: index &+ 1, to: end, bound: bound, expected: raw &+ 0x400, step: 0x400, as: type)
            expected = raw &+ UInt64(truncatingIfNeeded: index &- begin) &* 0x400
          }
          continue
        }
        let isUsual = raw < Self.lastPageNumbers(as: type) && (Self.usualLeaves >> (raw & 0xf)) & 1 != 0
        if isUsual && (raw ^ expected) & ~Self.softwareBits == 0 {
          expected = raw &+ 0x400
          index &+= 1
          continue
        }
        if start >= 0 {
          let run = Self.run(of: first, tableIOVA, from: start, to: index)
          if storesAtOnce {
            output.initialize(to: run)
            output += 1
          } else {
            count = output - chunk.elements
            append(run)
            close()
            output = chunk.elements + count
            storesAtOnce = isWhole
          }
        }
        if isUsual {
          (start, first, expected) = (index, raw, raw &+ 0x400)
          index &+= 1
          continue
        }
        (start, expected) = (-1, 0)
        if raw & 1 == 0 {
          index &+= 1
        } else {
          count = output - chunk.elements
          index = unusual(raw, at: index, of: page, tableIOVA, until: bound, as: type)
          output = chunk.elements + count
          storesAtOnce = false
        }
      }
    }
    count = output - chunk.elements
    if start >= 0 { append(Self.run(of: first, tableIOVA, from: start, to: index)) }
  }

  /// R, RW, X, RX and RWX with V: a bit for each value of an entry's low four bits.
  private static var usualLeaves: UInt64 { 0x8a88 }
  /// Bits 9:8, which do not count.
  private static var softwareBits: UInt64 { 0x300 }
  /// Entries from here on have bits above the page number, or may have one that carries into those within a table; they
  /// are looked at one by one.
  private static func lastPageNumbers<Word: EntryWord>(as type: Word.Type) -> UInt64 {
    1 << (Word.bitWidth == 32 ? 32 : 54) - 1024 << 10
  }

  /// The pages that go on from the leaf `first`.
  @inline(__always) private static func run(of first: UInt64, _ tableIOVA: IOVA, from index: Int, to end: Int)
    -> Mapping
  {
    Mapping(
      iova: tableIOVA + UInt64(truncatingIfNeeded: index) << 12, target: GPA((first >> 10) << 12),
      size: UInt64(truncatingIfNeeded: end &- index) << 12,
      flags: .init(rawValue: UInt8(truncatingIfNeeded: first)))
  }

  /// A valid entry that is malformed, contiguous, of a memory type or near the top, with all of its contiguous group that
  /// are equal; returns the index behind.
  @inline(never) private mutating func unusual<Word: EntryWord>(
    _ raw: UInt64, at index: Int, of page: TablePage, _ tableIOVA: IOVA, until end: Int, as type: Word.Type
  ) -> Int {
    let entry = PageTableEntry(rawValue: raw, format: format)
    let iova = tableIOVA + UInt64(truncatingIfNeeded: index) << 12
    if let problem = entry.problem(atLevel: 0) {
      close()
      report(entry, problem, at: index, of: page, iova: iova, last: iova + 0xfff)
      return index &+ 1
    }
    let group = entry.isContiguous ? min(end, (index | 15) &+ 1) : index &+ 1
    let next = firstMismatch(page.bytes, from: index &+ 1, to: group, expected: raw, step: 0, as: type)
    append(
      Mapping(
        iova: iova, target: entry.target(of: iova, atLevel: 0), size: UInt64(next &- index) << 12, flags: entry.flags,
        pbmt: entry.pbmt))
    return next
  }
}

extension DumpFilter {
  /// Whether all of `pages` pages from `iova` on are wanted, whatever their flags.
  fileprivate func isWhole(_ iova: IOVA, pages: UInt64) -> Bool {
    required.isEmpty && absent.isEmpty && first <= iova && iova + (pages << 12 - 1) <= last
  }
}
