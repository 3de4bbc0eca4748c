// The lazy dump of what stands in the tables, entry by entry.

/// An entry that is not zero, and where it stands.
public struct RawEntry: Hashable, Sendable, BitwiseCopyable {
  /// The table's level: 0 for leaf tables, counting up to the root.
  public let level: Int
  /// Where the table starts.
  public let table: GPA
  /// The entry's index in the table.
  public let index: Int
  /// The entry, valid or not.
  public let entry: PageTableEntry
  /// The first IOVA that the entry translates.
  public let iova: IOVA

  /// Entry `index` of `table`.
  public init(level: Int, table: GPA, index: Int, entry: PageTableEntry, iova: IOVA) {
    self.level = level
    self.table = table
    self.index = index
    self.entry = entry
    self.iova = iova
  }

  /// Where the entry lies.
  public var entryAddress: GPA { table + UInt64(truncatingIfNeeded: index) << UInt64(entry.format.bytes_lg2) }
  /// What the specification forbids about the entry; nil for a good or an invalid one.
  public var problem: PageTableEntry.Problem? { entry.problem(atLevel: level) }
}

/// What a dump of entries meets: a pointer comes before the entries of its table, a table's entries by their index.
public enum RawItem: Hashable, Sendable {
  /// An entry that is not zero.
  case entry(RawEntry)
  /// A page of a table at `level` that could not be read, and the IOVAs of the wanted range that it would have
  /// translated.
  case unreadable(UnreadableMemory, level: Int, iova: ClosedRange<IOVA>)
  /// The dump ends here, early; `at` is the first IOVA that was not looked at.
  case stopped(DumpStop, at: IOVA)
}

extension PagingMode {
  /// Every entry below `root` that is not zero, lazily; invalid and malformed ones too. Good pointers are followed.
  ///
  /// The filter's flags choose among all entries, pointers included: `required: [.read]` lists no pointers, but what they
  /// lead to. An entry that translates only partly into the range is listed. The other parameters are those of
  /// ``dump(root:in:filter:limit:poll:)``.
  public func entries(
    root: GPA, in memory: any PhysicalMemory, filter: DumpFilter = DumpFilter(), limit: Int = PagingMode.tableLimit,
    poll: (() -> Bool)? = nil
  ) -> RawEntries {
    RawEntries(mode: self, root: root, memory: memory, filter: filter, limit: limit, poll: poll)
  }
}

/// The entries below a root, see ``PagingMode/entries(root:in:filter:limit:poll:)``. Each iterator walks the tables anew.
public struct RawEntries: Sequence {
  let mode: PagingMode
  let root: GPA
  let memory: any PhysicalMemory
  let filter: DumpFilter
  let limit: Int
  let poll: (() -> Bool)?

  /// Starts a walk of the tables.
  public func makeIterator() -> Iterator {
    Iterator(
      traversal: TableTraversal(
        mode: mode, root: root, memory: memory, first: filter.first, last: filter.last, limit: limit, poll: poll,
        visitor: RawEntryCollector(filter: filter, format: mode.entryFormat)))
  }

  /// One walk of the tables. A copy shares the walk: use one of the two.
  public struct Iterator: IteratorProtocol {
    private var traversal: TableTraversal<RawEntryCollector>
    private var position = 0

    init(traversal: TableTraversal<RawEntryCollector>) { self.traversal = traversal }

    /// The next item; nil at the end.
    public mutating func next() -> RawItem? {
      while position >= traversal.visitor.items.count {
        if traversal.isFinished { return nil }
        traversal.visitor.items.removeAll(keepingCapacity: true)
        position = 0
        traversal.run()
      }
      position += 1
      return traversal.visitor.items[position - 1]
    }
  }
}

/// Keeps entries, a page's worth or two at a time.
struct RawEntryCollector: TableVisitor {
  var items: [RawItem] = []
  let filter: DumpFilter
  let format: PageTableEntry.Format

  init(filter: DumpFilter, format: PageTableEntry.Format) {
    self.filter = filter
    self.format = format
  }

  var hasRoom: Bool { items.count < 1024 }

  mutating func leafTable(_ page: TablePage, indices: Range<Int>, iova: IOVA) {
    for index in indices {
      let raw = page.word(index, format)
      guard raw != 0 else { continue }
      list(PageTableEntry(rawValue: raw, format: format), index, page, iova + UInt64(index) << 12)
    }
  }

  mutating func entry(
    _ entry: PageTableEntry, problem: PageTableEntry.Problem?, index: Int, of page: TablePage, iova: IOVA, last: IOVA
  ) {
    list(entry, index, page, iova)
  }

  mutating func unreadable(_ failure: UnreadableMemory, level: Int, iova: IOVA, last: IOVA) {
    guard let range = filter.clip(iova, last) else { return }
    items.append(.unreadable(failure, level: level, iova: range))
  }

  mutating func finish(_ reason: DumpStop?, at iova: IOVA) {
    if let reason { items.append(.stopped(reason, at: iova)) }
  }

  private mutating func list(_ entry: PageTableEntry, _ index: Int, _ page: TablePage, _ iova: IOVA) {
    guard filter.admits(entry.flags) else { return }
    items.append(
      .entry(
        RawEntry(level: page.level, table: page.table, index: page.firstIndex + index, entry: entry, iova: iova)))
  }
}
