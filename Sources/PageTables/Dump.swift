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
public struct DumpFilter: Hashable, Sendable, BitwiseCopyable {
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
  /// The most tables that a dump visits unless told otherwise: 2^20, a full 2 TiB of 4 KiB leaves. Tables that lead to each other
  /// keep a dump busy for some seconds with it, not for longer.
  public static var tableLimit: Int { 1 << 20 }

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
    var traversal = traversal()
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
    private var traversal: TableTraversal<MappingCollector>
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
