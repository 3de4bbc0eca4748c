import IOMMUModel
import PageTables

/// Unmap calls that leave entries, or take out others' entries.
extension Symptoms {
  /// What went wrong with unmapping, unless something else explains it: unmap looks where map has written.
  func wrongUnmapping(unless others: [Diagnosis.Hypothesis]) -> [Diagnosis.Hypothesis] {
    let known = others.reduce(into: Set<Int>()) { $0.formUnion($1.ranges) }
    let vanished = vanishedRanges(unless: known)
    let shifts = others.compactMap(\.wrongShift)
    let targets = MappedTargets(shifts.isEmpty || wrongUnmaps.isEmpty ? [] : history)
    let left = wrongUnmaps.filter { !isAlias($0, of: shifts, targets) }
    let elsewhere = clearedElsewhere(left, vanished)
    var found: [Diagnosis.Hypothesis] = []
    if let elsewhere { found.append(elsewhere) }
    if !left.isEmpty { found += incomplete(left, unless: known, isElsewhere: elsewhere != nil) }
    if elsewhere == nil, let lost = lost(vanished) { found.append(lost) }
    return found
  }

  /// Whether what an unmap seems to have left is another page's leaf, which a wrong shift puts there.
  private func isAlias(_ unmap: Verified, of shifts: [Diagnosis.WrongShift], _ targets: MappedTargets) -> Bool {
    guard let root = unmap.call.root, let sample = unmap.verification.samples.first else { return false }
    let right = root.mode.geometry
    let target = PageTableEntry(rawValue: sample.found, format: root.mode.entryFormat).address
    return shifts.contains { shift in
      let wrong = right.replacing(shift: shift.assumed, atLevel: shift.level)
      return targets.iovas(of: target, root: root).contains { other in
        other != sample.iova.page
          && (0...right.rootLevel).allSatisfy {
            wrong.index(of: other, atLevel: $0) == right.index(of: sample.iova, atLevel: $0)
          }
      }
    }
  }

  private func isStale(_ line: CrossCheck.Line) -> Bool {
    if case .staleAfterUnmap = line.tables { true } else { false }
  }

  private func incomplete(
    _ unmaps: VerifiedCalls, unless known: Set<Int>, isElsewhere: Bool
  ) -> [Diagnosis.Hypothesis] {
    let all = Self.explaining(unmaps, [.nothing, .countIgnored, .sizeIgnored, .firstPageOnly])
    return all.map { mistake, fitting in
      let title =
        switch mistake {
        case .nothing: "unmap leaves its entries as they are"
        case .countIgnored: "unmap ignores pgcount: only the first page is cleared"
        case .sizeIgnored: "unmap ignores pgsize: pgcount pages of 4 KiB are cleared"
        case .firstPageOnly: "unmap clears only the first 4 KiB of a call"
        case .part: "unmap clears a part of its range, by no rule that fits several calls"
        }
      var hypothesis = Diagnosis.Hypothesis(
        cause: .unmapIncomplete(mistake), title: title,
        support: Diagnosis.Support(explained: fitting.count, total: wrongUnmaps.count, unit: "wrong unmap"),
        evidence: fitting.prefix(1).map { first in
          "Unmap #\(first.call.number) of \(first.call.call.extent) at \(first.call.call.iova) has returned, and "
            + "\(first.verification.iova ?? first.call.call.iova) is \(first.verification.verdict.description)."
        }, remedy: "the driver's unmap has to clear the leaf of every page of the range, then invalidate the IOTLB.",
        openQuestion: Self.open(mistake, all))
      let ids = Set(fitting.compactMap(\.call.id))
      let stale = lines.indices.filter { isStale(lines[$0]) && lines[$0].call.id.map(ids.contains) == true }
      let count = stale.reduce(0) { $0 + pages(lines[$1].length) }
      if count > 0 {
        hypothesis.effects = [
          "The device can still reach \(counted(count, "page")) after the unmap, whoever uses that memory now."
        ]
      }
      credit(&hypothesis, ranges: Set(stale).subtracting(known))
      hypothesis.accounts = Self.accounts(fitting.map(\.call), .cleared)
      // What was cleared in the wrong place explains what was left in the right one.
      if isElsewhere { hypothesis.role = .consequence }
      return hypothesis
    }
  }

  /// Ranges that were right when their call returned, are not now, and that nothing found so far accounts for.
  private func vanishedRanges(unless known: Set<Int>) -> [Int] {
    lines.indices.filter { position in
      let line = lines[position]
      return !known.contains(position) && line.tables != .agrees && line.expected != nil
        && line.call.id.map(rightMaps.contains) == true
    }
  }

  // MARK: Unmapping at a distance

  /// How well a distance at which unmap clears explains what was seen.
  private struct DistanceFit {
    /// Unmap calls whose outcome it predicts, of how many; ranges that are missing now, and that it takes out.
    var predicted = 0, unmaps = 0
    var taken: Set<Int> = []
    /// The first unmap that takes one out.
    var culprit: RecordedCall?

    var score: Int { predicted + taken.count }
  }

  /// Unmaps that leave their page and take one a fixed distance away: then others' mappings are missing, and an unmap may
  /// find its own page gone already.
  private func clearedElsewhere(_ left: VerifiedCalls, _ vanished: [Int]) -> Diagnosis.Hypothesis? {
    let missing = vanished.filter { if case .missing = lines[$0].tables { true } else { false } }
    let candidates = distances(left, missing)
    guard !left.isEmpty, !candidates.isEmpty else { return nil }
    // Where each unmap's first page that is left was seen; nil inside for none.
    var verified: [EventID: IOVA?] = [:]
    for (unmap, verification) in [left, rightUnmaps].joined() {
      if let id = unmap.id { verified.updateValue(verification.iova, forKey: id) }
    }
    // What an unmap does that clears part of its own range, and nothing of others'.
    let recent = recentHistory()
    let parts = [Diagnosis.RangeMistake.nothing, .countIgnored, .sizeIgnored, .firstPageOnly]
      .map { fit(0, part: $0, recent, verified, missing).score }
    let fits = candidates.map { ($0, fit($0, part: nil, recent, verified, missing)) }
    guard
      let (distance, best) = fits.max(by: {
        ($0.1.score, $1.0.magnitude) < ($1.1.score, $0.0.magnitude)
      }), best.score > parts.max() ?? 0
    else { return nil }
    let direction = "\(hex(distance.magnitude)) \(distance > 0 ? "above" : "below")"
    var hypothesis = Diagnosis.Hypothesis(
      cause: .unmapsAnother(by: distance), title: "unmap clears the entry \(direction) the one it is asked for",
      support: Diagnosis.Support(explained: best.predicted, total: best.unmaps, unit: "unmap"),
      evidence: [
        "\(counted(left.count, "unmap")) left \(left.count == 1 ? "its" : "their") own page, and "
          + "\(counted(best.taken.count, "range that was mapped is missing", "ranges that were mapped are missing")) just there."
      ], remedy: "the index that the driver's unmap computes for the first page of its range.")
    if let first = best.taken.min(), let culprit = best.culprit {
      hypothesis.evidence.append(
        "Unmap #\(culprit.number) at \(culprit.call.iova) left its page; the mapping of map #\(lines[first].call.number) at "
          + "\(lines[first].iova) was right when that call returned, and is not there.")
    }
    let ids = Set(left.compactMap(\.call.id))
    hypothesis.accounts = Self.accounts(left.map(\.call), .cleared)
    credit(
      &hypothesis,
      ranges: best.taken.union(
        lines.indices.filter { isStale(lines[$0]) && lines[$0].call.id.map(ids.contains) == true }))
    hypothesis.precedence = 2
    return hypothesis
  }

  /// Distances between pages that unmaps left and pages that are gone: missing now, or found gone by their own unmap.
  private func distances(_ left: VerifiedCalls, _ missing: [Int]) -> [Int64] {
    var votes: [Int64: Int] = [:]
    func vote(_ unmap: RecordedCall, _ iova: IOVA, _ root: TableRoot?) {
      let distance = Int64(bitPattern: iova - unmap.call.iova)
      if distance != 0 && unmap.root == root { votes[distance, default: 0] += 1 }
    }
    for (unmap, _) in left.suffix(128) {
      for position in missing.prefix(128) {
        let line = lines[position]
        vote(unmap, line.iova, line.call.root)
        if line.length > 4096 { vote(unmap, line.iova + (line.length &- 4096), line.call.root) }
      }
      for (other, _) in rightUnmaps.suffix(128) { vote(unmap, other.call.iova, other.root) }
    }
    return votes.sorted { ($1.value, $0.key.magnitude, $0.key) < ($0.value, $1.key.magnitude, $1.key) }.prefix(24)
      .map(\.key)
  }

  /// Plays the history with a driver whose unmap clears `part` of a range (nil for all of it), `distance` further on.
  private func fit(
    _ distance: Int64, part: Diagnosis.RangeMistake?, _ recent: ArraySlice<RecordedCall>, _ verified: [EventID: IOVA?],
    _ missing: [Int]
  ) -> DistanceFit {
    var fit = DistanceFit()
    var mapped: [TableRoot: Set<IOVA>] = [:]
    var taken: [TableRoot: [IOVA: RecordedCall]] = [:]
    for recorded in recent {
      guard let root = recorded.root else { continue }
      let call = recorded.call
      let starts = (0..<min(call.length / 4096, Self.followed)).map { call.iova + $0 &* 4096 }
      guard !call.isMap else {
        mapped[root, default: []].formUnion(starts)
        for iova in starts { taken[root]?[iova] = nil }
        continue
      }
      let done = part.flatMap { Self.done($0, of: call) } ?? call.length
      for iova in starts where iova - call.iova < done {
        let cleared = iova + UInt64(bitPattern: distance)
        if mapped[root]?.remove(cleared) != nil { taken[root, default: [:]][cleared] = recorded }
      }
      guard let seen = recorded.id.flatMap({ verified[$0] }) else { continue }
      fit.unmaps += 1
      if starts.first(where: { mapped[root]?.contains($0) == true }) == seen { fit.predicted += 1 }
    }
    for position in missing {
      let line = lines[position]
      guard let root = line.call.root, let culprit = taken[root]?[line.iova] else { continue }
      fit.taken.insert(position)
      fit.culprit = fit.culprit ?? culprit
    }
    return fit
  }

  /// The last calls: 65536 pages' worth, for they are played once for every distance.
  private func recentHistory() -> ArraySlice<RecordedCall> {
    var pages: UInt64 = 0
    var start = history.endIndex
    while start > history.startIndex, pages < 1 << 16 {
      start -= 1
      pages &+= min(history[start].call.length / 4096, Self.followed)
    }
    return history[start...]
  }

  /// Pages of one call that are followed: more of a range says no more about a distance.
  private static let followed: UInt64 = 1024

  // MARK: What nobody did

  private func lost(_ vanished: [Int]) -> Diagnosis.Hypothesis? {
    guard let first = vanished.first.map({ lines[$0] }) else { return nil }
    let count = vanished.reduce(0) { $0 + pages(lines[$1].length) }
    let areMissing = vanished.allSatisfy { if case .missing = lines[$0].tables { true } else { false } }
    var hypothesis = Diagnosis.Hypothesis(
      cause: .vanished,
      title: areMissing
        ? "entries that were right have been cleared by something that was not recorded"
        : "entries that were right have been changed by something that was not recorded",
      support: Diagnosis.Support(explained: count, total: check?.disagreeingPages ?? count, unit: "page"),
      evidence: [
        "Map #\(first.call.number) at \(first.iova) was right when it returned; now: \(first.tables.description)."
      ],
      remedy: "what else writes these tables: calls made while recording was off, another domain, the device?",
      openQuestion:
        "Who writes it: `watch *(unsigned long *)ADDRESS` on the entry that `iommu walk \(first.iova)` ends at.")
    credit(&hypothesis, ranges: Set(vanished))
    hypothesis.precedence = -1
    return hypothesis
  }
}

/// Which IOVAs calls have mapped to a guest-physical page.
private struct MappedTargets {
  private let history: [RecordedCall]
  /// Map calls by where they lead, and their positions.
  private let calls: [(start: GPA, position: Int)]
  private let longest: UInt64

  /// Neighbours looked at for one page: so many buffers may start within one call's length below it.
  private static let limit = 4096

  init(_ history: [RecordedCall]) {
    self.history = history
    calls = history.enumerated().compactMap { position, call in call.call.target.map { ($0, position) } }
      .sorted { $0.start < $1.start }
    longest = history.lazy.filter(\.call.isMap).map(\.call.length).max() ?? 0
  }

  func iovas(of page: GPA, root: TableRoot) -> [IOVA] {
    var (low, high) = (0, calls.count)
    while low < high {
      let middle = low + (high - low) / 2
      if calls[middle].start <= page { low = middle + 1 } else { high = middle }
    }
    var found: [IOVA] = []
    for (start, position) in calls[max(0, low - Self.limit)..<low].reversed() {
      guard page - start < longest else { break }
      let call = history[position]
      if call.root == root, page - start < call.call.length { found.append(call.call.iova + (page - start)) }
    }
    return found
  }
}
