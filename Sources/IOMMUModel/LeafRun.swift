public import PageTables

/// Leaves that a driver writes for consecutive IOVAs in one table level: what a map call should leave behind.
///
/// One call may need several runs: mixed leaf sizes, contiguous groups.
public struct LeafRun: Hashable, Sendable {
  /// The first IOVA.
  public let iova: IOVA
  /// The leaves' level; 0 for 4 KiB.
  public let level: Int
  /// How many leaves.
  public let count: UInt64
  /// The first leaf.
  public let first: PageTableEntry
  /// What the next leaf adds that is another one: 1 << 10 for consecutive pages, 16 times that for groups of 64 KiB.
  public let step: UInt64
  /// How many leaves that follow each other have one value; at least 1. A contiguous group is 16 equal leaves.
  public let repeats: UInt64
  /// The bytes that one leaf covers of the IOVA range.
  public let span: UInt64
  /// Whether the call was seen with its protection; else nothing is expected of the leaves' flags but V.
  public let permissionsAreKnown: Bool

  /// `count` leaves from `iova` on.
  public init(
    iova: IOVA, level: Int, count: UInt64, first: PageTableEntry, step: UInt64, repeats: UInt64 = 1, span: UInt64,
    permissionsAreKnown: Bool = true
  ) {
    self.iova = iova
    self.level = level
    self.count = count
    self.first = first
    self.step = step
    self.repeats = max(1, repeats)
    self.span = span
    self.permissionsAreKnown = permissionsAreKnown
  }

  /// The flags of every leaf; nil when they are not known.
  public var flags: PageTableEntry.Flags? { permissionsAreKnown ? first.flags : nil }

  /// The IOVA of leaf `position`.
  public func iova(_ position: UInt64) -> IOVA { iova + position &* span }

  /// Leaf `position`.
  public func leaf(_ position: UInt64) -> PageTableEntry {
    PageTableEntry(rawValue: first.rawValue &+ position / repeats &* step, format: first.format)
  }
}

/// An entry that a map call should write, and where it lies in memory as far as its tables exist.
public struct PredictedEntry: Hashable, Sendable {
  /// The entry's level.
  public let level: Int
  /// Its index.
  public let index: Int
  /// Its table; nil while the driver has yet to allocate it.
  public let table: GPA?
  /// Its address; nil together with the table.
  public let entryAddress: GPA?
  /// The value; nil for a pointer to a table that does not exist yet.
  public let value: PageTableEntry?

  /// A predicted entry.
  public init(level: Int, index: Int, table: GPA?, entryAddress: GPA?, value: PageTableEntry?) {
    self.level = level
    self.index = index
    self.table = table
    self.entryAddress = entryAddress
    self.value = value
  }
}

extension LeafRun {
  /// The entries that leaf `position` needs, root first: pointers as memory has them now, then the leaf as the driver
  /// should write it. Another `geometry` replays another hypothesis about the driver's indices.
  public func predictedEntries(
    _ position: UInt64, geometry: TableGeometry, root: GPA, in memory: some PhysicalMemory
  ) throws(UnreadableMemory) -> [PredictedEntry] {
    var entries: [PredictedEntry] = []
    var table: GPA? = root
    for level in stride(from: geometry.rootLevel, to: self.level, by: -1) {
      let index = geometry.index(of: iova(position), atLevel: level)
      let address = table.map { geometry.entryAddress(table: $0, index: index) }
      let found = try entry(at: address, geometry: geometry, in: memory)
      entries.append(
        PredictedEntry(level: level, index: index, table: table, entryAddress: address, value: found))
      table = found?.address
    }
    let index = geometry.index(of: iova(position), atLevel: level)
    entries.append(
      PredictedEntry(
        level: level, index: index, table: table,
        entryAddress: table.map { geometry.entryAddress(table: $0, index: index) }, value: leaf(position)))
    return entries
  }

  private func entry(
    at address: GPA?, geometry: TableGeometry, in memory: some PhysicalMemory
  ) throws(UnreadableMemory) -> PageTableEntry? {
    guard let address else { return nil }
    let entry = try memory.entry(at: address, format: geometry.mode.entryFormat)
    return entry.isPointer ? entry : nil
  }
}

extension LeafRun {
  /// How many 4 KiB pages one leaf covers; at least 1.
  public var pagesPerLeaf: UInt64 { max(span >> 12, 1) }

  /// How many 4 KiB pages are cleared together: those of a leaf, or of a contiguous group.
  public var pagesCleared: UInt64 { first.isContiguous && level == 0 ? 16 : pagesPerLeaf }

  /// How many 4 KiB pages the run covers; the largest number when it is larger.
  public var pages: UInt64 {
    let (pages, overflow) = count.multipliedReportingOverflow(by: pagesPerLeaf)
    return overflow ? .max : pages
  }

  /// Where the run's 4 KiB page `position` leads when its leaf is as it should be, and how many pages from it on lead to
  /// the addresses that follow, at least 1; the end of the run is not looked at.
  public func target(ofPage position: UInt64) -> (address: GPA, contiguous: UInt64) {
    let (number, page) = position.quotientAndRemainder(dividingBy: pagesPerLeaf)
    let entry = leaf(number)
    if entry.isContiguous {
      // A group of 64 KiB, whatever the lowest bits of its page number (Svnapot, table 5.1).
      let inGroup = (iova(number).rawValue >> 12 &+ page) & 0xf
      let address = GPA(entry.address.rawValue & ~0xffff | inGroup << 12)
      guard repeats == 16, step == 16 << 10 else { return (address, 16 - inGroup) }
      return (address, (1 << 44) - address.rawValue >> 12)
    }
    let address = entry.address + page << 12
    guard repeats == 1, step == pagesPerLeaf << 10 else { return (address, pagesPerLeaf - page) }
    // Page numbers have 44 bits and start again at 0.
    return (address, (1 << 44) - (address.rawValue >> 12 & 0xfff_ffff_ffff))
  }
}
