public import IOMMUModel
public import PageTables

/// Verifies calls against a snapshot of the tables that was taken some calls later.
///
/// Only what should still be as the call left it can be verified: a call whose range no later call has touched, with no call
/// missing from the record in between. What the others left, the snapshot cannot tell.
public struct LaterVerification: Sendable {
  /// What was found, by call.
  public private(set) var verifications: [(call: EventID, verification: Verification)] = []
  /// Calls that the snapshot says nothing about.
  public private(set) var untold = 0

  /// Verifies the calls of `history` before `moment` against `memory`; those in `known` have a verification already.
  public init(
    _ history: CallHistory, moment: CaptureMoment, known: Set<EventID>, profile: any DriverProfile,
    memory: any PhysicalMemory
  ) {
    let verifier = Verifier(profile: profile, memory: memory)
    let done = history.calls(at: moment)
    let firstCertain = moment.before.flatMap { before in history.gaps.last { $0.lowerBound < before }?.upperBound } ?? 0
    var touched: [TableRoot: TouchedRanges] = [:]
    for call in done.reversed() where call.call.length > 0 {
      guard let id = call.id, let root = call.root else { continue }
      let isUntouched = touched[root, default: TouchedRanges()].insert(call.call.iova, call.call.last)
      if known.contains(id) || call.origin == nil { continue }
      let isCertain = history.numbers[id].map { $0 >= firstCertain } ?? (moment.before == nil)
      if isUntouched && isCertain {
        verifications.append((id, verifier.verify(call.call, root: root)))
      } else {
        untold += 1
      }
    }
    verifications.reverse()
  }
}

/// Ranges of IOVAs that later calls are about: sorted, apart from each other.
private struct TouchedRanges {
  private var ranges: [ClosedRange<IOVA>] = []

  /// Adds the range; whether none of it was there. A range that wraps around is taken up to the last address.
  mutating func insert(_ first: IOVA, _ end: IOVA) -> Bool {
    let last = max(first, end)
    var low = 0
    var high = ranges.count
    while low < high {
      let middle = (low + high) / 2
      if ranges[middle].upperBound < first { low = middle + 1 } else { high = middle }
    }
    var stop = low
    while stop < ranges.count, ranges[stop].lowerBound <= last { stop += 1 }
    guard stop > low else {
      ranges.insert(first...last, at: low)
      return true
    }
    let merged = min(first, ranges[low].lowerBound)...max(last, ranges[stop - 1].upperBound)
    ranges.replaceSubrange(low..<stop, with: [merged])
    return false
  }
}
