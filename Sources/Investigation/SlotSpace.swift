import PageTables

/// The entries of one table as a line of numbers, and which of them a geometry gives to a page.
///
/// A 4 KiB page's slot is made of its indices, the root's above all others. Within an aligned block of pages, neighbours in
/// the one are neighbours in the other; how large the blocks are is up to the geometry: the right one has a single block,
/// one with a wrong shift at the root of an Sv39 table blocks of 1 GiB, one that is wrong below it blocks of a table.
struct SlotSpace: Equatable, Sendable {
  private struct Index: Equatable, Sendable {
    let shift: UInt64
    let mask: UInt64
    let place: UInt64
  }

  private let indices: [Index]
  /// log2 of the pages of a block.
  let block_lg2: UInt64

  /// The slots of leaves at `level`. A leaf above level 0 holds its pages in the order of their addresses, whatever the
  /// driver's indices below it.
  init(_ geometry: TableGeometry, leavesAt level: Int) {
    var indices: [Index] = []
    // The page-number bit behind each bit of the slot; negative where it lies within the page.
    var sources: [Int] = []
    for (number, own) in geometry.levels.enumerated() {
      let shift = number < level ? geometry.mode.shift(atLevel: number) : own.shift
      indices.append(
        Index(shift: UInt64(shift), mask: (1 << UInt64(own.indexBits)) - 1, place: UInt64(sources.count)))
      sources += (shift..<shift + own.indexBits).map { $0 - 12 }
    }
    let contiguous = (0...sources.count).last { size in
      sources[..<size].enumerated().allSatisfy { $0.offset == $0.element }
        && sources[size...].allSatisfy { !(0..<size).contains($0) }
    }
    self.indices = indices
    block_lg2 = UInt64(contiguous ?? 0)
  }

  /// The slot of the page with this number.
  func slot(_ page: UInt64) -> UInt64 {
    indices.reduce(0) { $0 | ((page << 12) >> $1.shift & $1.mask) << $1.place }
  }

  /// Calls `body` with the pages from `first` on, a block's at a time: their first, and how many.
  func forEachBlock(_ first: UInt64, count: UInt64, _ body: (UInt64, UInt64) -> Void) {
    var (page, rest) = (first, count)
    while rest > 0 {
      let size = min(rest, (1 << block_lg2) - page & ((1 << block_lg2) - 1))
      body(page, size)
      page &+= size
      rest -= size
    }
  }

  /// How many blocks that are.
  func blocks(_ first: UInt64, count: UInt64) -> UInt64 {
    count == 0 ? 0 : ((first &+ count - 1) >> block_lg2) - (first >> block_lg2) + 1
  }
}

/// The slots of one table under one geometry, for leaves of every level.
struct SlotSpaces: Sendable {
  let mode: PagingMode
  /// Whether the geometry is the mode's own: then no two canonical addresses share a slot.
  let isRight: Bool
  private let spaces: [SlotSpace]
  /// Whether leaves of all levels lie in the same slots.
  let isUniform: Bool

  init(_ geometry: TableGeometry) {
    mode = geometry.mode
    isRight = geometry == geometry.mode.geometry
    let spaces = geometry.levels.indices.map { SlotSpace(geometry, leavesAt: $0) }
    self.spaces = spaces
    isUniform = spaces.allSatisfy { $0 == spaces.first }
  }

  /// The slots of leaves at `level`.
  subscript(level: Int) -> SlotSpace { spaces[min(max(level, 0), spaces.count - 1)] }

  /// Whether all these pages are canonical addresses: then a right geometry gives each a slot of its own. The pages must
  /// not be more than the table can translate.
  func areCanonical(_ first: UInt64, count: UInt64) -> Bool {
    let geometry = mode.geometry
    return geometry.isCanonical(IOVA(first << 12)) && geometry.isCanonical(IOVA((first &+ count &- 1) << 12))
  }
}
