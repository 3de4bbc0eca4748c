// The lazy dump: every mapping below a root, merged and filtered while the tables are walked.

/// A contiguous range of IOVAs that goes to a contiguous range of guest-physical addresses with the same flags.
public struct Mapping: Hashable, Sendable, BitwiseCopyable {
  /// The first IOVA.
  public var iova: IOVA
  /// Where the first IOVA goes.
  public var target: GPA
  /// The length in bytes, at least 1; less than 2^64 in every mode.
  public var size: UInt64
  /// Bits 7:0 of the leaves.
  public var flags: PageTableEntry.Flags
  /// The leaves' page-based memory type, 0 to 3.
  public var pbmt: UInt8

  /// The mapping of `size` bytes from `iova` on to those from `target` on.
  public init(iova: IOVA, target: GPA, size: UInt64, flags: PageTableEntry.Flags, pbmt: UInt8 = 0) {
    self.iova = iova
    self.target = target
    self.size = size
    self.flags = flags
    self.pbmt = pbmt
  }

  /// The last IOVA (inclusive).
  public var last: IOVA { iova + (size &- 1) }
  /// Where the last IOVA goes (inclusive).
  public var targetLast: GPA { target + (size &- 1) }
}

/// What a dump is limited to. Applied while walking: tables that translate nothing in the range are not read.
public struct DumpFilter: Hashable, Sendable {
  /// The first IOVA wanted; need not be canonical or aligned.
  public var first: IOVA
  /// The last IOVA wanted (inclusive). Nothing is wanted when it lies before `first`.
  public var last: IOVA
  /// Only leaves with all of these flags.
  public var required: PageTableEntry.Flags
  /// Only leaves with none of these flags.
  public var absent: PageTableEntry.Flags

  /// Everything, unless limited.
  public init(
    first: IOVA = IOVA(0), last: IOVA = IOVA(.max), required: PageTableEntry.Flags = [],
    absent: PageTableEntry.Flags = []
  ) {
    self.first = first
    self.last = last
    self.required = required
    self.absent = absent
  }

  /// Whether an entry with these flags is wanted.
  @inline(__always) public func admits(_ flags: PageTableEntry.Flags) -> Bool {
    flags.rawValue & (required.rawValue | absent.rawValue) == required.rawValue
      && required.rawValue & absent.rawValue == 0
  }

  /// The part of `first...last` that is wanted; nil for none.
  func clip(_ first: IOVA, _ last: IOVA) -> ClosedRange<IOVA>? {
    let (low, high) = (max(first, self.first), min(last, self.last))
    return low <= high ? low...high : nil
  }
}

/// Why a dump ended before it had seen everything.
public enum DumpStop: Hashable, Sendable, CustomStringConvertible {
  /// As many tables as allowed, given here, were visited: the tables are very many, or they form a cycle.
  case tableLimit(Int)
  /// The caller's `poll` said so.
  case interrupted

  /// A phrase that fits after "stopped: ".
  public var description: String {
    switch self {
    case .tableLimit(let limit): "more than \(limit) tables"
    case .interrupted: "interrupted"
    }
  }
}

/// What a dump meets, in ascending order of IOVA as an unsigned number.
public enum DumpItem: Hashable, Sendable {
  /// A mapping, as long as it can be.
  case mapping(Mapping)
  /// A valid entry that breaks a rule, and the IOVAs of the wanted range that it would have translated.
  case malformed(
    level: Int, entryAddress: GPA, entry: PageTableEntry, problem: PageTableEntry.Problem, iova: ClosedRange<IOVA>)
  /// A page of a table at `level` that could not be read, and the IOVAs of the wanted range that it would have
  /// translated; those of a sign-extended mode's root have the gap between its halves in their middle.
  case unreadable(UnreadableMemory, level: Int, iova: ClosedRange<IOVA>)
  /// The dump ends here, early; `at` is the first IOVA that was not looked at.
  case stopped(DumpStop, at: IOVA)
}

extension PagingMode {
  /// The most tables that a dump visits unless told otherwise: 2^22, a full 8 TiB of 4 KiB leaves.
  public static var tableLimit: Int { 1 << 22 }

  /// Every mapping below `root`, lazily.
  ///
  /// Mappings are merged where IOVA and target go on and flags and PBMT are equal, across tables and leaf sizes; bits for
  /// software do not count. Malformed entries and unreadable tables are items of their own, whatever the filter's flags.
  /// The dump is a mode's, not a ``TableGeometry``'s: with a wrong shift several entries translate one IOVA and
  /// "every mapping" means nothing; walk single IOVAs there.
  ///
  /// - Parameters:
  ///   - root: the root table. A second stage's has four pages.
  ///   - memory: who has the tables. Pages are read up to 64 at a time, ahead of their use, and may change while read.
  ///   - filter: the range and the flags wanted.
  ///   - limit: the most tables to visit; a cycle of tables ends there.
  ///   - poll: asked every 256 tables; true ends the dump.
  public func dump(
    root: GPA, in memory: any PhysicalMemory, filter: DumpFilter = DumpFilter(), limit: Int = PagingMode.tableLimit,
    poll: (() -> Bool)? = nil
  ) -> Dump {
    Dump(mode: self, root: root, memory: memory, filter: filter, limit: limit, poll: poll)
  }
}

/// The mappings below a root, see ``PagingMode/dump(root:in:filter:limit:poll:)``. Each iterator walks the tables anew.
public struct Dump: Sequence {
  let mode: PagingMode
  let root: GPA
  let memory: any PhysicalMemory
  let filter: DumpFilter
  let limit: Int
  let poll: (() -> Bool)?

  /// Starts a walk of the tables.
  public func makeIterator() -> Iterator { Iterator(traversal: traversal()) }

  /// The mappings in chunks of up to about a thousand, for a caller that has millions of them; everything else, at its
  /// place in the order, goes to `other`. Much faster than the iterator where nothing merges.
  public func forEach<Failure>(
    mappings: (Span<Mapping>) throws(Failure) -> Void, other: (DumpItem) throws(Failure) -> Void
  ) throws(Failure) {
    let traversal = traversal()
    while !traversal.isFinished {
      traversal.visitor.reset()
      traversal.run()
      var position = 0
      for (end, item) in traversal.visitor.issues {
        if position < end { try mappings(traversal.visitor.chunk.buffer(position..<end).span) }
        position = end
        try other(item)
      }
      let end = traversal.visitor.count
      if position < end { try mappings(traversal.visitor.chunk.buffer(position..<end).span) }
    }
  }

  private func traversal() -> TableTraversal<MappingCollector> {
    TableTraversal(
      mode: mode, root: root, memory: memory, first: filter.first, last: filter.last, limit: limit, poll: poll,
      visitor: MappingCollector(filter: filter, format: mode.entryFormat))
  }

  /// One walk of the tables. A copy shares the walk: use one of the two.
  public struct Iterator: IteratorProtocol {
    private let traversal: TableTraversal<MappingCollector>
    private let chunk: Chunk<Mapping>
    private var position = 0
    private var stop = 0
    private var issue = 0

    init(traversal: TableTraversal<MappingCollector>) {
      self.traversal = traversal
      chunk = traversal.visitor.chunk
    }

    /// The next item; nil at the end.
    public mutating func next() -> DumpItem? {
      while true {
        if position < stop {
          position &+= 1
          return .mapping(chunk[position &- 1])
        }
        if issue < traversal.visitor.issues.count {
          let (end, item) = traversal.visitor.issues[issue]
          if position < end {
            stop = end
            continue
          }
          issue += 1
          return item
        }
        if position < traversal.visitor.count {
          stop = traversal.visitor.count
          continue
        }
        if traversal.isFinished { return nil }
        traversal.visitor.reset()
        (position, stop, issue) = (0, 0, 0)
        traversal.run()
      }
    }
  }
}

/// Merges leaves into mappings and keeps them, a chunk at a time.
struct MappingCollector: TableVisitor {
  let chunk: Chunk<Mapping>
  /// Everything but mappings, each after so many of the chunk's mappings.
  private(set) var issues: [(end: Int, item: DumpItem)] = []

  private let filter: DumpFilter
  private let format: PageTableEntry.Format
  private var output: MappingOutput

  /// A page of Sv32 has 1024 leaves, each of which can end a mapping; the open mapping and an early end come on top.
  private static var mappingsPerPage: Int { 1024 + 2 }

  init(filter: DumpFilter, format: PageTableEntry.Format) {
    self.filter = filter
    self.format = format
    chunk = Chunk(capacity: 2 * Self.mappingsPerPage)
    output = MappingOutput(filter: filter, elements: chunk.elements)
  }

  /// How many mappings the chunk has.
  var count: Int { output.count }

  mutating func reset() {
    output.count = 0
    issues.removeAll(keepingCapacity: true)
  }

  var hasRoom: Bool {
    count + Self.mappingsPerPage <= chunk.capacity && issues.count + Self.mappingsPerPage <= chunk.capacity
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
      output.close()
      report(entry, problem, at: index, of: page, iova: iova, last: last)
    } else if entry.isLeaf {
      output.append(
        Mapping(
          iova: iova, target: entry.target(of: iova, atLevel: page.level), size: last - iova &+ 1, flags: entry.flags,
          pbmt: entry.pbmt))
    }
  }

  mutating func unreadable(_ failure: UnreadableMemory, level: Int, iova: IOVA, last: IOVA) {
    output.close()
    guard let range = filter.clip(iova, last) else { return }
    issues.append((count, .unreadable(failure, level: level, iova: range)))
  }

  mutating func finish(_ reason: DumpStop?, at iova: IOVA) {
    output.close()
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

  /// The leaf table. Three states go through one loop, each with what the next entry should be: behind a mapped page
  /// the entry of the next page, inside a contiguous group the same entry, in a hole zero. Only an entry that is
  /// something else is decoded.
  private mutating func leaves<Word>(
    _ page: TablePage, _ indices: Range<Int>, _ tableIOVA: IOVA, as type: Word.Type
  ) where Word: FixedWidthInteger & UnsignedInteger & BitwiseCopyable {
    // A local copy lives in machine registers.
    var output = self.output
    defer { self.output = output }
    let bytes = page.bytes
    let end = indices.upperBound
    var index = indices.lowerBound
    var (expected, step, size) = (UInt64(0), UInt64(0), UInt64(0))
    var bound = end
    let openEnd = output.open.target + output.open.size
    if output.open.size != 0, output.open.iova + output.open.size == tableIOVA + UInt64(index) << 12,
      openEnd.rawValue < 1 << 56
    {
      expected = openEnd.rawValue >> 2 | UInt64(output.open.flags.rawValue) | UInt64(output.open.pbmt) << 61
      (step, size) = (0x400, 0x1000)
      bound = min(end, index + leavesBeforeTop(openEnd))
    }
    while true {
      let begin = index
      index = firstMismatch(bytes, from: index, to: bound, expected: expected, step: step, as: type)
      output.open.size &+= UInt64(truncatingIfNeeded: index &- begin) &* size
      guard index < end else { return }

      // The entry may have changed since it was compared, to anything.
      let raw = loadEntry(bytes, index, as: type)
      let iova = tableIOVA + UInt64(truncatingIfNeeded: index) << 12
      bound = end
      index &+= 1
      // R, RW, X, RX and RWX are the leaves; anything in bits 63:54 needs a closer look.
      if raw >> 54 == 0 && (0x8a88 >> (raw & 0xf)) & 1 != 0 {
        let target = GPA((raw >> 10) << 12)
        output.append(
          Mapping(iova: iova, target: target, size: 0x1000, flags: .init(rawValue: UInt8(truncatingIfNeeded: raw))))
        (expected, step, size) = (raw &+ 0x400, 0x400, 0x1000)
        if target.rawValue >= (1 << 56) - (1024 << 12) {
          bound = min(end, index &+ leavesBeforeTop(target + 0x1000))
        }
        continue
      }
      (expected, step, size) = (0, 0, 0)
      guard raw & 1 != 0 else { continue }
      let entry = PageTableEntry(rawValue: raw, format: format)
      if let problem = entry.problem(atLevel: 0) {
        output.close()
        self.output.count = output.count
        report(entry, problem, at: index &- 1, of: page, iova: iova, last: iova + 0xfff)
        continue
      }
      output.append(
        Mapping(
          iova: iova, target: entry.target(of: iova, atLevel: 0), size: 0x1000, flags: entry.flags, pbmt: entry.pbmt))
      if entry.isContiguous {
        (expected, step, size) = (raw, 0, 0x1000)
        bound = min(end, (index &+ 15) & ~15)
      } else {
        (expected, step, size) = (raw &+ 0x400, 0x400, 0x1000)
        bound = min(end, index &+ leavesBeforeTop(entry.address + 0x1000))
      }
    }
  }
}

/// The mapping that may still go on, and where finished ones are put. Plain values only, for the inner loop.
private struct MappingOutput: BitwiseCopyable {
  /// Size 0 for none.
  var open = Mapping(iova: IOVA(0), target: GPA(0), size: 0, flags: [])
  var count = 0

  private let elements: UnsafeMutablePointer<Mapping>
  private let first: UInt64
  private let last: UInt64
  private let tested: UInt8
  private let required: UInt8

  init(filter: DumpFilter, elements: UnsafeMutablePointer<Mapping>) {
    self.elements = elements
    // A flag cannot be both required and absent: the empty range admits nothing.
    let isPossible = filter.required.isDisjoint(with: filter.absent)
    first = isPossible ? filter.first.rawValue : .max
    last = isPossible ? filter.last.rawValue : 0
    tested = filter.required.union(filter.absent).rawValue
    required = filter.required.rawValue
  }

  /// Adds a leaf to the open mapping, or closes that and opens another.
  @inline(__always) mutating func append(_ mapping: Mapping) {
    if open.size != 0 && open.iova + open.size == mapping.iova && open.target + open.size == mapping.target
      && open.flags.rawValue == mapping.flags.rawValue && open.pbmt == mapping.pbmt
    {
      open.size &+= mapping.size
    } else {
      close()
      open = mapping
    }
  }

  /// Puts what the filter leaves of the open mapping into the chunk.
  @inline(__always) mutating func close() {
    let low = max(open.iova.rawValue, first)
    let high = min(open.last.rawValue, last)
    if open.size != 0 && low <= high && open.flags.rawValue & tested == required {
      let skipped = low &- open.iova.rawValue
      (elements + count).initialize(
        to: Mapping(
          iova: IOVA(low), target: open.target + skipped, size: high &- low &+ 1, flags: open.flags, pbmt: open.pbmt))
      count &+= 1
    }
    open.size = 0
  }
}

/// How many pages fit between `address` and the top of what a page number can name, 2^56, at most a table's worth. A
/// run must not be expected to go on there: the carry would look like a reserved bit.
@inline(__always) private func leavesBeforeTop(_ address: GPA) -> Int {
  Int(truncatingIfNeeded: min((1 << 56 &- min(address.rawValue, 1 << 56)) >> 12, 1024))
}

/// Memory for a fixed number of plain values, handed out again and again.
final class Chunk<Element: BitwiseCopyable> {
  let capacity: Int
  let elements: UnsafeMutablePointer<Element>

  init(capacity: Int) {
    self.capacity = capacity
    elements = .allocate(capacity: capacity)
  }

  deinit { elements.deallocate() }

  @inline(__always) subscript(position: Int) -> Element { elements[position] }

  func buffer(_ positions: Range<Int>) -> UnsafeBufferPointer<Element> {
    UnsafeBufferPointer(start: elements + positions.lowerBound, count: positions.count)
  }
}
