import IOMMUModel
import PageTables

/// Unmap calls that leave entries, or take out others' entries.
extension Symptoms {
  /// What went wrong with unmapping, unless a wrong index explains it: unmap looks where map has written.
  func wrongUnmapping(unless others: [Diagnosis.Hypothesis]) -> [Diagnosis.Hypothesis] {
    let vanished = vanishedLines(unless: others)
    let distance = clearedElsewhere(vanished)
    var found: [Diagnosis.Hypothesis] = []
    if let distance { found.append(distance) }
    if !wrongUnmaps.isEmpty { found.append(incomplete(isElsewhere: distance != nil)) }
    if distance == nil, let lost = lost(vanished) { found.append(lost) }
    return found
  }

  private func incomplete(isElsewhere: Bool) -> Diagnosis.Hypothesis {
    let candidates: [Diagnosis.RangeMistake] = [.nothing, .countIgnored, .sizeIgnored, .firstPageOnly]
    let tried = candidates.map { mistake in
      (
        mistake,
        wrongUnmaps.filter { call, verification in
          verification.iova.map { $0 - call.call.iova } == Self.done(mistake, of: call.call)
        }
      )
    }
    let best = tried.reduce((Diagnosis.RangeMistake.part, [Verified]())) { $0.1.count >= $1.1.count ? $0 : $1 }
    let (mistake, fitting) = best.1.isEmpty ? (.part, wrongUnmaps) : best
    let title =
      switch mistake {
      case .nothing: "unmap leaves its entries as they are"
      case .countIgnored: "unmap clears only the first of pgcount pages"
      case .sizeIgnored: "unmap clears pgcount pages of 4 KiB whatever pgsize says"
      case .firstPageOnly: "unmap clears only the first 4 KiB of a range"
      case .part: "unmap clears its range in part"
      }
    var evidence: [String] = []
    if let first = fitting.first {
      let iova = first.verification.iova ?? first.call.call.iova
      evidence.append(
        "Unmap #\(first.call.number) of \(first.call.call.extent) at \(first.call.call.iova) has returned, and \(iova) is "
          + "\(first.verification.verdict.description).")
    }
    let stale = lines.filter { if case .staleAfterUnmap = $0.tables { true } else { false } }
    var hypothesis = Diagnosis.Hypothesis(
      cause: .unmapIncomplete(mistake), title: title,
      support: Diagnosis.Support(explained: fitting.count, total: wrongUnmaps.count, unit: "wrong unmap"),
      evidence: evidence, remedy: "clear the leaf of every page of the range in the driver's unmap, then invalidate.")
    if !stale.isEmpty {
      let count = stale.reduce(0) { $0 + pages($1.length) }
      hypothesis.effects = [
        "\(counted(count, "page")) can still be reached by the device after the unmap."
      ]
    }
    hypothesis.present = share { if case .staleAfterUnmap = $0.tables { true } else { false } }
    // What was cleared in the wrong place explains what was left in the right one.
    hypothesis.isConsequence = isElsewhere
    return hypothesis
  }

  /// Ranges that were right when their call returned, are missing now, and that no wrong index accounts for.
  private func vanishedLines(unless others: [Diagnosis.Hypothesis]) -> [CrossCheck.Line] {
    guard !others.contains(where: { $0.wrongShift != nil }) else { return [] }
    return lines.filter { line in
      guard case .missing = line.tables, let id = line.call.id else { return false }
      return rightMaps.contains(id)
    }
  }

  /// Unmaps that left their page and took one a fixed distance away.
  private func clearedElsewhere(_ vanished: [CrossCheck.Line]) -> Diagnosis.Hypothesis? {
    var distances: [Int64: Int] = [:]
    for (_, verification) in wrongUnmaps.prefix(512) {
      guard let iova = verification.iova else { continue }
      for line in vanished.prefix(512) {
        for place in [line.iova, line.iova + (line.length &- 4096)] {
          distances[Int64(bitPattern: place - iova), default: 0] += 1
          if line.length == 4096 { break }
        }
      }
    }
    guard let (distance, count) = distances.max(by: { ($0.value, $1.key.magnitude) < ($1.value, $0.key.magnitude) }),
      distance != 0, let first = vanished.first
    else { return nil }
    let step = hex(distance.magnitude)
    var hypothesis = Diagnosis.Hypothesis(
      cause: .unmapsAnother(by: distance),
      title: "unmap clears the entry \(step) \(distance > 0 ? "above" : "below") the one it is asked for",
      support: Diagnosis.Support(
        explained: min(count, wrongUnmaps.count), total: wrongUnmaps.count, unit: "wrong unmap"),
      evidence: [
        "\(counted(count, "page")) \(count == 1 ? "is" : "are") missing \(step) \(distance > 0 ? "above" : "below") a page that an unmap left.",
        "The mapping of map #\(first.call.number) at \(first.iova) was right when the call returned.",
      ],
      remedy: "see which entry the driver's unmap computes for its first page.")
    hypothesis.present = share { line in
      if case .staleAfterUnmap = line.tables { return true }
      return vanished.contains(line)
    }
    hypothesis.precedence = 2
    return hypothesis
  }

  private func lost(_ vanished: [CrossCheck.Line]) -> Diagnosis.Hypothesis? {
    guard let first = vanished.first else { return nil }
    let count = vanished.reduce(0) { $0 + pages($1.length) }
    var hypothesis = Diagnosis.Hypothesis(
      cause: .vanished, title: "mappings that were right are gone, and no recorded unmap took them out",
      support: Diagnosis.Support(explained: count, total: check?.disagreeingPages ?? count, unit: "page"),
      evidence: ["Map #\(first.call.number) at \(first.iova) was right when it returned; the entry is not valid now."],
      remedy: "what else writes these tables: calls made while recording was off, another domain, the device?",
      openQuestion:
        "Who clears it: `watch *(unsigned long *)ADDRESS` on the entry that `iommu walk \(first.iova)` ends at.")
    hypothesis.present = share { vanished.contains($0) }
    hypothesis.precedence = -1
    return hypothesis
  }
}
