import IOMMUModel
import PageTables

/// Calls that do part of what they are asked for, nothing, or the same again.
extension Symptoms {
  /// Ranges mapped in part, a signature of another era, progress that is not reported.
  func wrongRanges() -> [Diagnosis.Hypothesis] {
    [cutRanges(), otherSignature(), repeatedCalls()].compactMap { $0 }
  }

  /// What part of a range a mistake leaves done, in bytes from its start.
  static func done(_ mistake: Diagnosis.RangeMistake, of call: DriverCall) -> UInt64? {
    switch mistake {
    case .nothing: 0
    case .countIgnored: call.pages?.size
    case .sizeIgnored: call.pages.map { $0.count &* 4096 }
    case .firstPageOnly: 4096
    case .part: nil
    }
  }

  private func cutRanges() -> Diagnosis.Hypothesis? {
    // Begun and not finished: the first wrong leaf is not the first of all, and it is missing.
    let cut = wrongMaps.filter { call, verification in
      guard case .missing = verification.verdict, let iova = verification.iova else { return false }
      return iova != call.call.iova && verification.agreeing > 0
    }
    guard !cut.isEmpty else { return nil }
    let candidates: [Diagnosis.RangeMistake] = [.countIgnored, .sizeIgnored, .firstPageOnly]
    let tried = candidates.map { mistake in
      (
        mistake,
        cut.filter { call, verification in
          verification.iova.map { $0 - call.call.iova } == Self.done(mistake, of: call.call)
        }
      )
    }
    let (mistake, fitting) = tried.max { $0.1.count < $1.1.count }.flatMap { $0.1.isEmpty ? nil : $0 } ?? (.part, cut)
    guard let first = fitting.first else { return nil }
    let title =
      switch mistake {
      case .countIgnored: "only the first of pgcount pages is mapped: pgcount is not seen"
      case .sizeIgnored: "pgcount pages of 4 KiB are mapped whatever pgsize says"
      case .firstPageOnly: "only the first 4 KiB of a range are mapped"
      case .nothing, .part: "ranges are mapped in part"
      }
    var hypothesis = Diagnosis.Hypothesis(
      cause: .rangeCut(mistake), title: title,
      support: Diagnosis.Support(explained: fitting.count, total: wrongMaps.count, unit: "wrong call"),
      evidence: [
        "Map #\(first.call.number) asks for \(first.call.call.extent) from \(first.call.call.iova) on; from "
          + "\(first.verification.iova ?? first.call.call.iova) on there is nothing."
      ],
      remedy: place + "the size to map is pgsize * pgcount (from 5.14), size before that.")
    let whole = maps.filter { call, verification in
      verification.agrees && Self.done(mistake, of: call.call).map { $0 < call.call.length } == true
    }
    if let call = whole.first {
      hypothesis.counterEvidence = [
        "\(counted(whole.count, "call")) should have been cut as well and \(whole.count == 1 ? "was" : "were") not, the first is map #\(call.call.number)."
      ]
    }
    hypothesis.present = share(ofCalls: fitting)
    return hypothesis
  }

  private func otherSignature() -> Diagnosis.Hypothesis? {
    guard let operation = context.state?.mapOperation, let problem = profile.mismatch(operation: operation) else {
      return nil
    }
    var hypothesis = Diagnosis.Hypothesis(
      cause: .otherSignature(operation), title: problem,
      support: Diagnosis.Support(explained: wrongMaps.count, total: wrongMaps.count, unit: "wrong call"),
      evidence: ["The kernel's operations table has the driver's function as `\(operation)`."],
      remedy: place + "give the function the parameters of `\(operation)` in this kernel's include/linux/iommu.h.")
    hypothesis.present = share(ofCalls: wrongMaps)
    hypothesis.precedence = 5
    return hypothesis
  }

  /// Three equal calls in a row are no accident: the core asks again for what it was not told is done.
  private func repeatedCalls() -> Diagnosis.Hypothesis? {
    var repeats = 0
    var first: RecordedCall?
    var run = 1
    for (previous, next) in zip(history, history.dropFirst()) {
      guard next.call.isMap, previous.call == next.call else {
        run = 1
        continue
      }
      run += 1
      if run == 3 { first = first ?? previous }
      if run >= 3 { repeats += 1 }
    }
    guard let first else { return nil }
    let total = history.count { $0.call.isMap }
    var hypothesis = Diagnosis.Hypothesis(
      cause: .progressNotReported,
      title: "the driver does not report what it has mapped: the core makes the same call again and again",
      support: Diagnosis.Support(explained: repeats + 2, total: total, unit: "call"),
      evidence: [
        "Map #\(first.number) at \(first.call.iova) is repeated with the same arguments, with no unmap between."
      ],
      remedy: place + "add the bytes that were mapped to `*mapped` before returning 0.")
    hypothesis.precedence = 4
    return hypothesis
  }

  // MARK: Entries that are nowhere, or somewhere else

  /// Calls that left nothing where they should and that nothing else explains.
  func lostEntries(unless others: [Diagnosis.Hypothesis]) -> [Diagnosis.Hypothesis] {
    let shifts = others.compactMap(\.wrongShift)
    let lost = wrongMaps.filter { _, verification in
      guard case .missing = verification.verdict, verification.agreeing == 0 else { return false }
      return !shifts.contains { Self.fits(verification, $0.level, $0.shifts) }
    }
    guard let first = lost.first else { return [] }
    var found: [Diagnosis.Hypothesis] = []
    if let other = otherDomain(lost) { found.append(other) }
    var nowhere = Diagnosis.Hypothesis(
      cause: .entriesLost, title: "map returns and its entries are nowhere in the domain's table",
      support: Diagnosis.Support(explained: lost.count, total: wrongMaps.count, unit: "wrong call"),
      evidence: [
        "Map #\(first.call.number) at \(first.call.call.iova) left no entry, and no index shift puts one where it would be found."
      ],
      remedy: place + "does it write at all, and into the table that the domain's descriptor names?",
      openQuestion: "What the call returned: `iommu break map -limit 1`, `continue`, `finish`, then `p $a0`.")
    nowhere.present = share(ofCalls: lost)
    nowhere.precedence = -1
    found.append(nowhere)
    return found
  }

  /// The calls whose pages another recorded table has.
  private func otherDomain(_ lost: [Verified]) -> Diagnosis.Hypothesis? {
    guard let memory = context.memory else { return nil }
    let roots = Set(history.compactMap(\.root))
    var example: (RecordedCall, TableRoot)?
    let elsewhere = lost.filter { call, _ in
      guard let target = call.call.target else { return false }
      let other = roots.first { root in
        root != call.root && root.mode.geometry.walk(call.call.iova, root: root.address, in: memory).target == target
      }
      if let other, example == nil { example = (call, other) }
      return other != nil
    }
    guard let (call, root) = example else { return nil }
    var hypothesis = Diagnosis.Hypothesis(
      cause: .otherDomain, title: "entries are written into another domain's table",
      support: Diagnosis.Support(explained: elsewhere.count, total: wrongMaps.count, unit: "wrong call"),
      evidence: [
        "Map #\(call.number) at \(call.call.iova) is in the table at \(root.address), not in its domain's at \(call.root?.address ?? root.address)."
      ],
      remedy: place + "see how the function gets from its domain argument to the table.")
    hypothesis.present = share(ofCalls: elsewhere)
    hypothesis.precedence = 3
    return hypothesis
  }
}
