import IOMMUModel
import PageTables

/// Calls that do part of what they are asked for, nothing, or the same again.
extension Symptoms {
  /// Ranges mapped in part, a signature of another era, progress that is not reported.
  func wrongRanges() -> [Diagnosis.Hypothesis] {
    cutRanges() + [otherSignature(), repeatedCalls()].compactMap { $0 }
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

  /// Whether the first page that is wrong is the one after the first `done` bytes, as far as the pages that were looked at
  /// can tell.
  static func ends(_ verified: Verified, after done: UInt64?) -> Bool {
    guard let done, let iova = verified.verification.iova, verified.verification.leaves > 0 else { return false }
    let offset = iova - verified.call.call.iova
    let pages = verified.call.call.length / 4096
    let looked = UInt64(verified.verification.leaves)
    let gap = max(1, pages / looked + (pages % looked == 0 ? 0 : 1)) &* 4096
    return offset >= done && offset - done < gap
  }

  /// The mistakes among `candidates` that explain calls in `cut`, each with these; `.part` with all where none does.
  static func explaining(
    _ cut: VerifiedCalls, _ candidates: [Diagnosis.RangeMistake]
  ) -> [(mistake: Diagnosis.RangeMistake, calls: VerifiedCalls)] {
    let tried = candidates.map { mistake in
      (mistake, cut.filter { ends($0, after: done(mistake, of: $0.call.call)) })
    }
    let fitting = tried.filter { !$0.1.isEmpty }
    guard let most = fitting.map(\.1.count).max() else { return [(.part, cut)] }
    // What explains only calls that another one explains with more is none.
    return fitting.filter { one in
      one.1.count == most
        || !fitting.contains { other in
          other.1.count > one.1.count && Set(one.1.map(\.call)).isSubset(of: other.1.map(\.call))
        }
    }
  }

  /// What would tell `mistake` from the others, when they explain the same calls.
  static func open(
    _ mistake: Diagnosis.RangeMistake, _ all: [(mistake: Diagnosis.RangeMistake, calls: VerifiedCalls)]
  ) -> String? {
    let count = all.first { $0.mistake == mistake }?.calls.count
    guard all.contains(where: { $0.mistake != mistake && $0.calls.count == count }) else { return nil }
    return mistake == .sizeIgnored || all.contains { $0.mistake == .sizeIgnored && $0.calls.count == count }
      ? "All of these calls have one large page: one with several would tell the explanations apart."
      : "All of these calls have pages of 4 KiB: one with larger pages would tell the explanations apart."
  }

  private func cutRanges() -> [Diagnosis.Hypothesis] {
    // Begun and not finished: the first wrong leaf is not the first of all, and it is missing.
    let cut = wrongMaps.filter { call, verification in
      guard case .missing = verification.verdict, let iova = verification.iova else { return false }
      return iova != call.call.iova && verification.agreeing > 0
    }
    guard !cut.isEmpty else { return [] }
    let all = Self.explaining(cut, [.countIgnored, .sizeIgnored, .firstPageOnly])
    return all.compactMap { mistake, fitting in
      guard let first = fitting.first else { return nil }
      let title =
        switch mistake {
        case .countIgnored: "pgcount is ignored: only the first page of a call is mapped"
        case .sizeIgnored: "pgsize is ignored: a call maps pgcount pages of 4 KiB"
        case .firstPageOnly: "only the first 4 KiB of a call are mapped"
        case .nothing, .part: "calls are mapped in part, by no rule that fits several"
        }
      let end = first.verification.iova ?? first.call.call.iova
      var hypothesis = Diagnosis.Hypothesis(
        cause: .rangeCut(mistake), title: title,
        support: Diagnosis.Support(explained: fitting.count, total: wrongMaps.count, unit: "wrong call"),
        evidence: [
          "Map #\(first.call.number) asks for \(first.call.call.extent) from \(first.call.call.iova) on; from \(end) on "
            + "nothing is mapped."
        ],
        remedy: place + "the bytes to map are pgsize * pgcount (map_pages, from 5.14), or size (map, before).",
        openQuestion: Self.open(mistake, all))
      contradict(&hypothesis) { call in Self.done(mistake, of: call.call).map { $0 < call.call.length } == true }
      credit(&hypothesis, calls: fitting)
      return hypothesis
    }
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
    credit(&hypothesis, calls: wrongMaps)
    hypothesis.precedence = 5
    return hypothesis
  }

  /// Three equal calls in a row for one domain are no accident: the core asks again for what it was not told is done.
  private func repeatedCalls() -> Diagnosis.Hypothesis? {
    var last: [KVA: (call: RecordedCall, run: Int)] = [:]
    var longest: [RecordedCall: Int] = [:]
    for next in history {
      let domain = next.call.domain
      guard next.call.isMap, let (first, run) = last[domain], first.call == next.call else {
        last[domain] = next.call.isMap ? (next, 1) : nil
        continue
      }
      last[domain] = (first, run + 1)
      if run + 1 >= 3 { longest[first] = run + 1 }
    }
    guard let (first, run) = longest.max(by: { ($0.value, $1.key.number) < ($1.value, $0.key.number) }) else {
      return nil
    }
    var hypothesis = Diagnosis.Hypothesis(
      cause: .progressNotReported,
      title: "the driver does not report what it has mapped: the core makes the same call again and again",
      support: Diagnosis.Support(
        explained: longest.values.reduce(0, +), total: history.count { $0.call.isMap }, unit: "map call"),
      evidence: [
        "Map #\(first.number) at \(first.call.iova) is made \(run) times with the same arguments and no unmap between."
      ],
      remedy: place + "add the bytes that were mapped to `*mapped` before returning 0.")
    hypothesis.precedence = 4
    return hypothesis
  }

  // MARK: Entries that are nowhere, or somewhere else

  /// Calls that left nothing where they should and that nothing else explains.
  func lostEntries(unless others: [Diagnosis.Hypothesis]) -> [Diagnosis.Hypothesis] {
    let lost = wrongMaps.filter { call, verification in
      guard case .missing = verification.verdict, verification.agreeing == 0 else { return false }
      // An entry that is there without V is not lost.
      let isThere = verification.samples.contains { Self.leaf($0, in: call) != nil }
      return !isThere && !isShifted(verification, by: others)
    }
    guard !lost.isEmpty else { return [] }
    let other = otherDomain(lost)
    let nowhere = other?.nowhere ?? lost
    guard let first = nowhere.first else { return other.map { [$0.hypothesis] } ?? [] }
    var hypothesis = Diagnosis.Hypothesis(
      cause: .entriesLost, title: "map returns and its entries are nowhere in the domain's table",
      support: Diagnosis.Support(explained: nowhere.count, total: wrongMaps.count, unit: "wrong call"),
      evidence: [
        "Map #\(first.call.number) at \(first.call.call.iova) left no entry, and no index shift puts one where it would be found."
      ],
      remedy: place + "does it write at all, and into the table that the domain's descriptor names?",
      openQuestion: "What the call returned: `iommu break map -limit 1`, `continue`, `finish`, then `p $a0`.")
    credit(&hypothesis, calls: nowhere)
    hypothesis.precedence = -1
    return (other.map { [$0.hypothesis] } ?? []) + [hypothesis]
  }

  /// The tables that are known beside the calls': the kernel's domains', and those that the device walks.
  private func knownRoots(memory: any PhysicalMemory) -> Set<TableRoot> {
    var roots = Set(history.compactMap(\.root)).union(context.state?.domains.compactMap(\.root) ?? [])
    if let registers = context.registers,
      let contexts = try? profile.device.contexts(registers: registers, memory: memory, limit: 64)
    {
      roots.formUnion(contexts.compactMap(\.firstStage))
    }
    return roots
  }

  /// The calls whose pages another table has, and those whose pages none has. What has been unmapped since cannot be told.
  private func otherDomain(_ lost: VerifiedCalls) -> (hypothesis: Diagnosis.Hypothesis, nowhere: VerifiedCalls)? {
    guard let memory = context.memory else { return nil }
    let roots = knownRoots(memory: memory).sorted { $0.address < $1.address }
    var asked: [EventID: CrossCheck.Line] = [:]
    for line in lines where line.expected != nil { if let id = line.call.id { asked[id] = asked[id] ?? line } }
    var elsewhere: [(call: Verified, root: TableRoot)] = []
    let nowhere = lost.filter { verified in
      guard let line = verified.call.id.flatMap({ asked[$0] }), let expected = line.expected else { return false }
      let holder = roots.first { root in
        root != verified.call.root
          && root.mode.geometry.walk(line.iova, root: root.address, in: memory).target == expected
      }
      if let holder { elsewhere.append((verified, holder)) }
      return holder == nil
    }
    guard let (first, root) = elsewhere.first else { return nil }
    var hypothesis = Diagnosis.Hypothesis(
      cause: .otherDomain, title: "entries are written into another domain's table",
      support: Diagnosis.Support(
        explained: elsewhere.count, total: elsewhere.count + nowhere.count, unit: "lost mapping"),
      evidence: [
        "Map #\(first.call.number) at \(first.call.call.iova) is in the table at \(root.address), not in its domain's at \(first.call.root?.address ?? root.address)."
      ],
      effects: [
        "The other domain's devices reach these pages, and what they had mapped at these IOVAs is overwritten."
      ],
      remedy: place + "the way from the domain argument to the table (container_of, not a global).")
    // What is unmapped or mapped in the one domain happens to the other.
    let owners = Set(elsewhere.compactMap(\.call.call.root)), holders = Set(elsewhere.map(\.root))
    let ids = Set(elsewhere.compactMap(\.call.call.id))
    hypothesis.accounts = Self.accounts(elsewhere.map(\.call.call), .place)
    let strays = IOVARanges(history.lazy.filter { $0.root.map(owners.contains) == true }.map(\.call))
    credit(&hypothesis) { line in
      line.tables != .agrees
        && (line.call.id.map(ids.contains) == true
          || line.call.root.map(holders.contains) == true && strays.contains(line.iova))
    }
    hypothesis.precedence = 3
    return (hypothesis, nowhere)
  }
}

/// The IOVAs of several calls.
private struct IOVARanges {
  /// Apart from each other, in order; first and last address.
  private var ranges: [(first: IOVA, last: IOVA)] = []

  init(_ calls: some Sequence<DriverCall>) {
    for call in calls.sorted(by: { $0.iova < $1.iova }) where call.length > 0 && call.last >= call.iova {
      if let last = ranges.last, call.iova <= last.last {
        ranges[ranges.count - 1].last = max(last.last, call.last)
      } else {
        ranges.append((call.iova, call.last))
      }
    }
  }

  func contains(_ iova: IOVA) -> Bool {
    var (low, high) = (0, ranges.count)
    while low < high {
      let middle = low + (high - low) / 2
      if ranges[middle].first <= iova { low = middle + 1 } else { high = middle }
    }
    return low > 0 && iova <= ranges[low - 1].last
  }
}
