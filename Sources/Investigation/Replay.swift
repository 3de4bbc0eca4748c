public import IOMMUModel
public import PageTables

/// The recorded calls carried out again on paper: what should be mapped now, and what overwrote what.
///
/// The table's indices are those of a geometry, so that a hypothesis about the driver can be replayed: with a wrong shift
/// several IOVAs share one entry. Everything is kept by ranges: a call costs the ranges that it meets, not its pages.
public struct Replay: Sendable {
  /// A 4 KiB page of a call.
  public struct Page: Hashable, Sendable {
    /// The position of its call in the replayed calls.
    public let call: Int
    /// The run of the call's leaves, and the page within it: 0 for the run's first.
    public let run: Int, position: UInt64
  }

  /// A page of one domain.
  public struct Key: Hashable, Sendable {
    /// The domain's root table.
    public let root: GPA
    /// The IOVA, a multiple of 4096.
    public let iova: IOVA
  }

  /// Consecutive pages of one domain that one call mapped to consecutive pages of a run.
  public struct LiveRange: Hashable, Sendable {
    /// The first page.
    public let key: Key
    /// How many pages of 4 KiB.
    public let pages: UInt64
    /// What the first of them is in its call.
    public let page: Page
    /// The position of the call that took the pages' entries for other IOVAs; nil while they have them.
    public let overwrittenBy: Int?
  }

  /// Consecutive pages of one domain that one call unmapped.
  public struct UnmappedRange: Hashable, Sendable {
    /// The first page.
    public let key: Key
    /// How many pages of 4 KiB.
    public let pages: UInt64
    /// The position of the call.
    public let call: Int
  }

  /// How often a live page was overwritten, over the whole history.
  public private(set) var overwrites = 0
  /// The calls (positions) that lost at least one page to another.
  public private(set) var victims: Set<Int> = []
  /// The calls (positions) that ask for more than can be followed: garbage, or a driver gone mad.
  public private(set) var leftOut: [Int] = []

  /// What it is doing, for a person who waits.
  static let work = "following calls"

  private let calls: [RecordedCall]
  private let profile: any DriverProfile
  private var tables: [GPA: ReplayedTable] = [:]

  /// Replays `calls` in order. `geometry` gives the driver's indices for a root.
  ///
  /// A map call for more than its table can translate is left out, and so is one with which more than `limit` ranges of
  /// entries would be followed at a time. The right geometry stays far below that; one that is wrong at the leaf tables has
  /// a range for every page. Stopped by `progress`, the replay is of no use: it lacks the last calls.
  public init(
    _ calls: [RecordedCall], profile: any DriverProfile, limit: Int = 1 << 22, progress: WorkProgress? = nil,
    geometry: (TableRoot) -> TableGeometry = { $0.mode.geometry }
  ) {
    self.calls = calls
    self.profile = profile
    var spaces: [TableRoot: SlotSpaces] = [:]
    var losses = ReplayedTable.Losses()
    for (number, recorded) in calls.enumerated() {
      if progress?.stops(Self.work, at: number, of: calls.count) == true { break }
      guard let root = recorded.root else { continue }
      let known = spaces[root] ?? SlotSpaces(geometry(root))
      spaces[root] = known
      if recorded.call.isMap {
        let runs = profile.leaves(of: recorded.call, mode: root.mode)
        let isFollowed = tables[root.address, default: ReplayedTable(known)].map(
          runs, by: number, known, limit: UInt64(max(0, limit)), &losses)
        if !isFollowed { leftOut.append(number) }
      } else {
        tables[root.address, default: ReplayedTable(known)].unmap(
          recorded.call, by: number, known, wholeLeaves: profile.unmapsWholeLeaves, &losses)
      }
    }
    overwrites = losses.overwrites
    victims = losses.victims
  }

  /// The run of leaves that `page` is of; nil when it is no page of this replay.
  public func run(of page: Page) -> LeafRun? {
    var leaves = Leaves(self)
    return leaves.run(of: page)
  }

  /// Looks up runs of leaves, and keeps those of the last calls: one call may have thousands.
  struct Leaves {
    private let replay: Replay
    private var known: [Int: [LeafRun]] = [:]
    private var size = 0
    private static let room = 1 << 16

    init(_ replay: Replay) { self.replay = replay }

    /// The run that `page` is of; nil when it is no page of the replay.
    mutating func run(of page: Page) -> LeafRun? {
      if let runs = known[page.call] { return runs.indices.contains(page.run) ? runs[page.run] : nil }
      guard replay.calls.indices.contains(page.call), let root = replay.calls[page.call].root else { return nil }
      let runs = replay.profile.leaves(of: replay.calls[page.call].call, mode: root.mode)
      if size > Self.room {
        known.removeAll(keepingCapacity: true)
        size = 0
      }
      known[page.call] = runs
      size += runs.count + 1
      return runs.indices.contains(page.run) ? runs[page.run] : nil
    }
  }

  /// What is mapped after the last call, by root and IOVA.
  public var live: [LiveRange] {
    var found: [LiveRange] = []
    forEachRange { key, pages, state in
      if let page = state.page {
        found.append(LiveRange(key: key, pages: pages, page: page, overwrittenBy: state.overwrittenBy))
      }
    }
    return found
  }

  /// What was mapped and is no longer, by root and IOVA.
  public var unmapped: [UnmappedRange] {
    var found: [UnmappedRange] = []
    forEachRange { key, pages, state in
      if state.page == nil { found.append(UnmappedRange(key: key, pages: pages, call: state.call)) }
    }
    return found
  }

  /// Live ranges whose entries another IOVA's mapping took while they were mapped.
  public var overwritten: [LiveRange] { live.filter { $0.overwrittenBy != nil } }

  /// Calls `body` with every range in `iovas`, by root and IOVA. A page counts when one of its bytes is wanted.
  func forEachRange(
    in iovas: ClosedRange<IOVA> = IOVA(0)...IOVA(.max), _ body: (Key, UInt64, ReplayedTable.PageState) -> Void
  ) {
    let pages = iovas.lowerBound.rawValue >> 12..<(iovas.upperBound.rawValue >> 12) + 1
    for (root, table) in tables.sorted(by: { $0.key < $1.key }) {
      table.pages.forEach(from: pages.lowerBound, to: pages.upperBound) {
        body(Key(root: root, iova: IOVA($0.start << 12)), $0.count, $0.value)
      }
    }
  }
}
