import IOMMUModel
import PageTables

/// One root table as a replay keeps it: its pages, and who has which of its entries.
struct ReplayedTable: Sendable {
  /// What is said of a page: which call mapped it, or which call unmapped it.
  struct PageState: ExtentValue {
    private let number: Int32
    /// -1 for an unmapped page.
    private let run: Int32
    private var position: UInt64
    /// -1 for none.
    private var taker: Int32 = -1
    /// The level of the run's leaves.
    let level: UInt8
    /// log2 of the pages that one leaf, or one group of them, maps.
    let leafPages_lg2: UInt8

    /// Page `position` of `run` of the call `number`, whose leaves are at `level`.
    init(call number: Int, run: Int, position: UInt64, level: Int, leafPages: UInt64 = 1) {
      leafPages_lg2 = UInt8(truncatingIfNeeded: leafPages.trailingZeroBitCount)
      self.number = Int32(truncatingIfNeeded: number)
      self.run = Int32(truncatingIfNeeded: run)
      self.position = position
      self.level = UInt8(truncatingIfNeeded: level)
    }

    /// A page unmapped by the call `number`.
    init(unmappedBy number: Int) { self.init(call: number, run: -1, position: 0, level: 0) }

    func advanced(by count: UInt64) -> Self {
      var state = self
      if isLive { state.position &+= count }
      return state
    }

    var isLive: Bool { run >= 0 }
    /// The call that mapped it or, for an unmapped page, unmapped it.
    var call: Int { Int(number) }
    /// The page in its call; nil for an unmapped one.
    var page: Replay.Page? { isLive ? Replay.Page(call: call, run: Int(run), position: position) : nil }
    /// The call that took a live page's entry for another IOVA.
    var overwrittenBy: Int? {
      get { taker < 0 ? nil : Int(taker) }
      set { taker = Int32(truncatingIfNeeded: newValue ?? -1) }
    }
  }

  /// The page that an entry was last written for.
  private struct Owner: ExtentValue {
    var page: UInt64
    func advanced(by count: UInt64) -> Self { Owner(page: page &+ count) }
  }

  /// What calls took from each other, in all tables.
  struct Losses {
    var overwrites = 0
    var victims: Set<Int> = []
  }

  /// By page number: the IOVA without its lowest 12 bits.
  private(set) var pages = ExtentMap<PageState>()
  /// By slot. Not kept as long as every page that was touched has a slot of its own.
  private var owners = ExtentMap<Owner>()
  private var sharesSlots = false
  private let first: SlotSpaces

  /// Page numbers there are.
  private static let end: UInt64 = 1 << 52
  /// An unmap of more pages looks for mapped ones only; those that never were mapped may share their entries with some
  /// that are, but a garbage length must not be counted out.
  private static let largeUnmap: UInt64 = 1 << 20

  /// An empty table that is first written with the indices of `spaces`.
  init(_ spaces: SlotSpaces) { first = spaces }

  /// Maps the leaves of one call; false when they are more than the table can translate or than `limit` allows.
  mutating func map(
    _ runs: [LeafRun], by number: Int, _ spaces: SlotSpaces, limit: UInt64, _ losses: inout Losses
  ) -> Bool {
    let room: UInt64 = 1 << UInt64(spaces.mode.inputBits - 12)
    var total: UInt64 = 0
    for run in runs {
      guard run.pages <= room - total else { return false }
      total += run.pages
    }
    for run in runs { Self.forEachPart(run.iova, run.pages) { noteTouched($0, $1, spaces) } }
    if sharesSlots {
      var blocks: UInt64 = 0
      for run in runs { Self.forEachPart(run.iova, run.pages) { blocks += spaces[run.level].blocks($0, count: $1) } }
      guard UInt64(owners.count) + blocks <= limit else { return false }
    }
    for (order, run) in runs.enumerated() {
      let state = PageState(
        call: number, run: order, position: 0, level: run.level, leafPages: run.pagesCleared)
      let start = run.iova.rawValue >> 12
      Self.forEachPart(run.iova, run.pages) { first, count in
        let state = state.advanced(by: (first &- start) & (Self.end - 1))
        guard sharesSlots else { return pages.set(first, count: count, to: state) }
        let space = spaces[run.level]
        space.forEachBlock(first, count: count) { page, size in
          take(space.slot(page), size, for: page, by: number, &losses)
          owners.set(space.slot(page), count: size, to: Owner(page: page))
          pages.set(page, count: size, to: state.advanced(by: page - first))
        }
      }
    }
    return true
  }

  /// Unmaps what `call` covers; with `wholeLeaves` the rest of the last leaf as well, and nothing from inside one on.
  mutating func unmap(
    _ call: DriverCall, by number: Int, _ spaces: SlotSpaces, wholeLeaves: Bool, _ losses: inout Losses
  ) {
    var count = call.length >> 12
    if wholeLeaves, count > 0 {
      let first = call.iova.rawValue >> 12
      if leafPages(at: first) > 1, first & (leafPages(at: first) - 1) != 0 { return }
      let (last, wraps) = first.addingReportingOverflow(count - 1)
      if !wraps, last < Self.end { count += (0 &- (last + 1)) & (leafPages(at: last) - 1) }
    }
    guard count > Self.largeUnmap else {
      Self.forEachPart(call.iova, count) {
        noteTouched($0, $1, spaces)
        clear($0, $1, by: number, spaces, &losses)
      }
      return
    }
    var found: [(first: UInt64, count: UInt64)] = []
    Self.forEachPart(call.iova, count) { first, count in
      pages.forEach(from: first, to: first + count) { if $0.value.isLive { found.append(($0.start, $0.count)) } }
    }
    for range in found { clear(range.first, range.count, by: number, spaces, &losses) }
  }

  /// How many pages the live leaf at `page` maps, its whole group where it is of one; 1 where none is.
  private func leafPages(at page: UInt64) -> UInt64 {
    guard let state = pages.value(at: page).value, state.isLive else { return 1 }
    return 1 << UInt64(min(state.leafPages_lg2, 51))
  }

  /// From here on several pages may share a slot. Until now each had its own, so that every live page has its entry.
  private mutating func noteTouched(_ page: UInt64, _ count: UInt64, _ spaces: SlotSpaces) {
    guard !sharesSlots,
      !first.isRight || !spaces.isRight || spaces.mode != first.mode || !spaces.areCanonical(page, count: count)
    else { return }
    sharesSlots = true
    pages.forEach { extent in
      guard extent.value.isLive else { return }
      let space = first[Int(extent.value.level)]
      space.forEachBlock(extent.start, count: extent.count) {
        owners.set(space.slot($0), count: $1, to: Owner(page: $0))
      }
    }
  }

  private mutating func clear(
    _ first: UInt64, _ count: UInt64, by number: Int, _ spaces: SlotSpaces, _ losses: inout Losses
  ) {
    guard sharesSlots, !spaces.isUniform else {
      return clear(first, count, by: number, in: spaces[0], &losses)
    }
    // The driver finds a large leaf where it put it.
    var ranges: [(first: UInt64, count: UInt64, level: Int)] = []
    var next = first
    pages.forEach(from: first, to: first + count) { extent in
      guard extent.value.isLive, extent.value.level > 0 else { return }
      if extent.start > next { ranges.append((next, extent.start - next, 0)) }
      ranges.append((extent.start, extent.count, Int(extent.value.level)))
      next = extent.end
    }
    if next < first + count { ranges.append((next, first + count - next, 0)) }
    for range in ranges { clear(range.first, range.count, by: number, in: spaces[range.level], &losses) }
  }

  private mutating func clear(
    _ first: UInt64, _ count: UInt64, by number: Int, in space: SlotSpace, _ losses: inout Losses
  ) {
    let unmapped = PageState(unmappedBy: number)
    func unmap(_ page: UInt64, _ size: UInt64) {
      pages.update(page, count: size) { state, _ in if state.isLive { state = unmapped } }
    }
    guard sharesSlots else { return unmap(first, count) }
    space.forEachBlock(first, count: count) { page, size in
      unmap(page, size)
      take(space.slot(page), size, for: page, by: number, &losses)
      owners.set(space.slot(page), count: size, to: nil)
    }
  }

  /// Takes the entries of `count` slots for the pages from `page` on: other pages that have them and are mapped lose them.
  private mutating func take(
    _ slot: UInt64, _ count: UInt64, for page: UInt64, by number: Int, _ losses: inout Losses
  ) {
    var taken: [(page: UInt64, count: UInt64)] = []
    owners.forEach(from: slot, to: slot + count) {
      if $0.value.page != page &+ ($0.start - slot) { taken.append(($0.value.page, $0.count)) }
    }
    for (page, count) in taken {
      pages.update(page, count: count) { state, size in
        guard state.isLive else { return }
        state.overwrittenBy = number
        losses.overwrites += Int(truncatingIfNeeded: size)
        losses.victims.insert(state.call)
      }
    }
  }

  /// Calls `body` with the page numbers of `count` pages from `iova` on, in two parts where they go on at 0; at most all
  /// pages there are.
  private static func forEachPart(_ iova: IOVA, _ count: UInt64, _ body: (UInt64, UInt64) -> Void) {
    let first = iova.rawValue >> 12
    let count = min(count, end)
    let upper = min(count, end - first)
    if upper > 0 { body(first, upper) }
    if count > upper { body(0, count - upper) }
  }
}
