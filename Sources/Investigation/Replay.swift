public import IOMMUModel
public import PageTables

/// The recorded calls carried out again on paper: what should be mapped now, and what overwrote what.
///
/// The table's indices are those of a geometry, so that a hypothesis about the driver can be replayed: with a wrong shift
/// several IOVAs share one entry.
public struct Replay: Sendable {
  /// One 4 KiB piece of a mapping.
  public struct Page: Hashable, Sendable {
    /// The position of its call in the replayed calls.
    public let call: Int
    /// The run of the call's leaves, and the leaf within it.
    public let run: Int, position: UInt64
  }

  /// A page of one domain.
  public struct Key: Hashable, Sendable {
    /// The domain's root table.
    public let root: GPA
    /// The IOVA, a multiple of 4096.
    public let iova: IOVA
  }

  /// What is mapped after the last call, by IOVA.
  public private(set) var live: [Key: Page] = [:]
  /// What was mapped and is no longer: the call that unmapped it.
  public private(set) var unmapped: [Key: Int] = [:]
  /// Pages whose entry another IOVA's mapping took while they were mapped, with the position of the taking call.
  public private(set) var overwritten: [Key: Int] = [:]
  /// How often a live page was overwritten, over the whole history.
  public private(set) var overwrites = 0
  /// The calls (positions) that lost at least one page to another.
  public private(set) var victims: Set<Int> = []
  /// The calls (positions) that ask for more pages than can be followed: garbage, or a driver gone mad.
  public private(set) var leftOut: [Int] = []
  /// The calls' leaves, by position.
  public private(set) var runs: [[LeafRun]] = []

  private struct Slot: Hashable {
    let root: GPA
    let indices: UInt64
  }

  /// Replays `calls` in order. `geometry` gives the driver's indices for a root; a call with which more than `limit` pages
  /// (16 GiB) would be mapped at a time is left out.
  public init(
    _ calls: [RecordedCall], profile: any DriverProfile, limit: Int = 1 << 22,
    geometry: (TableRoot) -> TableGeometry = { $0.mode.geometry }
  ) {
    var owner: [Slot: Key] = [:]
    for (number, recorded) in calls.enumerated() {
      guard let root = recorded.root else {
        runs.append([])
        continue
      }
      let indices = geometry(root)
      func slot(_ iova: IOVA) -> Slot {
        var packed: UInt64 = 0
        for level in 0...indices.rootLevel {
          packed |= UInt64(indices.index(of: iova, atLevel: level)) << UInt64(level * 11)
        }
        return Slot(root: root.address, indices: packed)
      }
      let leaves = profile.leaves(of: recorded.call, mode: root.mode)
      runs.append(leaves)
      guard leaves.allSatisfy({ $0.count <= UInt64(max(0, limit - live.count)) }) else {
        leftOut.append(number)
        continue
      }
      for (order, run) in leaves.enumerated() {
        for position in 0..<run.count {
          let key = Key(root: root.address, iova: run.iova(position))
          if let previous = owner[slot(key.iova)], previous != key, let page = live[previous] {
            overwritten[previous] = number
            overwrites += 1
            victims.insert(page.call)
          }
          owner[slot(key.iova)] = key
          overwritten[key] = nil
          unmapped[key] = nil
          live[key] = Page(call: number, run: order, position: position)
        }
      }
      if !recorded.call.isMap {
        for key in keys(of: recorded.call, root: root.address) {
          if live.removeValue(forKey: key) != nil {
            overwritten[key] = nil
            unmapped[key] = number
          }
          if let previous = owner.removeValue(forKey: slot(key.iova)), previous != key, let page = live[previous] {
            overwritten[previous] = number
            overwrites += 1
            victims.insert(page.call)
          }
        }
      }
    }
  }

  /// The pages that an unmap clears, in order: one that was never mapped may share its entry with one that is.
  private func keys(of call: DriverCall, root: GPA) -> [Key] {
    // A garbage length must not be counted out page by page.
    if call.length / 4096 > 1 << 20 {
      return live.keys.filter { $0.root == root && call.covers($0.iova) }.sorted {
        $0.iova - call.iova < $1.iova - call.iova
      }
    }
    return (0..<call.length / 4096).map { Key(root: root, iova: call.iova + $0 &* 4096) }
  }
}
