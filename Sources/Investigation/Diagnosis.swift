public import IOMMUModel
import PageTables

/// What could have caused everything that was seen, best explanation first; empty when nothing disagrees.
///
/// Nothing here knows the answer beforehand: the shifts are solved from where the entries really are.
public struct Diagnosis: Sendable {
  /// One explanation.
  public struct Hypothesis: Hashable, Sendable {
    /// The cause in one line.
    public let title: String
    /// The level whose index is wrong.
    public let level: Int
    /// The shifts that explain it, and the one it is taken to be, if one can be told.
    public let shifts: ShiftSet, shift: Int?
    /// What the shift should be.
    public let expected: Int
    /// Map calls it explains, of how many.
    public let explained: Int, calls: Int
    /// What speaks for it and against it, a sentence each.
    public let evidence: [String], counterEvidence: [String]
    /// What it breaks, a sentence each.
    public let effects: [String]
    /// Where to look, and what to change.
    public let remedy: String
    /// What would narrow it down, and the command that finds out; nil when nothing is open.
    public let openQuestion: String?

    /// Whether no recorded call contradicts it.
    public var explainsAll: Bool { explained == calls }
  }

  /// Map calls with a verification, and how many of them disagree.
  public let calls: Int, disagreeing: Int
  /// Unmap calls that left entries behind.
  public let staleUnmaps: Int
  /// The explanations, best first.
  public let hypotheses: [Hypothesis]

  /// What is known beside the calls.
  public struct Context: Sendable {
    /// The CPU's paging; nil when it is not known.
    public var kernel: KernelPaging?
    /// The file and line of the driver's map function.
    public var source: String?

    /// A context.
    public init(kernel: KernelPaging? = nil, source: String? = nil) {
      self.kernel = kernel
      self.source = source
    }
  }

  /// Explains `calls`, each with what was found right after it, and `check`, the state now.
  public init(
    _ calls: some Sequence<(call: RecordedCall, verification: Verification)>, history: [RecordedCall],
    profile: any DriverProfile, check: CrossCheck?, context: Context
  ) {
    var (judged, disagreeing, staleUnmaps) = (0, 0, 0)
    for (call, verification) in calls {
      if !call.call.isMap {
        if !verification.agrees { staleUnmaps += 1 }
      } else if Self.isJudged(verification) {
        judged += 1
        if !verification.agrees { disagreeing += 1 }
      }
    }
    self.calls = judged
    self.disagreeing = disagreeing
    self.staleUnmaps = staleUnmaps
    var found: [Hypothesis] = []
    if disagreeing > 0 {
      let maps = calls.filter { $0.call.call.isMap && Self.isJudged($0.verification) }
      let modes = Set(maps.compactMap { $0.call.root?.mode }).sorted { $0.code < $1.code }
      for mode in modes {
        let isOnly = maps.allSatisfy { $0.call.root?.mode == mode }
        let group = isOnly ? maps : maps.filter { $0.call.root?.mode == mode }
        guard group.contains(where: { !$0.verification.agrees }) else { continue }
        for level in stride(from: mode.levels - 1, through: 0, by: -1) {
          if let hypothesis = Self.wrongShift(
            level, mode: mode, calls: group, history: history, profile: profile, check: check, context: context)
          {
            found.append(hypothesis)
          }
        }
      }
    }
    hypotheses = found.sorted {
      ($1.explained * $0.calls, $1.level) < ($0.explained * $1.calls, $0.level)
    }
  }

  /// Whether there is something to explain.
  private static func isJudged(_ verification: Verification) -> Bool {
    !verification.shifts.isEmpty && verification.leaves > 0
  }

  /// The hypothesis that the index at `level` uses another shift; nil when no other shift explains more calls than the
  /// right one.
  private static func wrongShift(
    _ level: Int, mode: PagingMode, calls: [(call: RecordedCall, verification: Verification)],
    history: [RecordedCall], profile: any DriverProfile, check: CrossCheck?, context: Context
  ) -> Hypothesis? {
    let expected = mode.shift(atLevel: level)
    var counts = [Int](repeating: 0, count: 64)
    for (_, verification) in calls where verification.shifts.indices.contains(level) {
      var bits = verification.shifts[level].rawValue
      while bits != 0 {
        counts[bits.trailingZeroBitCount] += 1
        bits &= bits - 1
      }
    }
    let best = counts.max() ?? 0
    guard best > counts[expected] else { return nil }
    let shifts = counts.indices.reduce(into: ShiftSet()) { if counts[$1] == best { $0.insert(ShiftSet($1)) } }
    let constants = context.kernel?.constants.filter { shifts.contains(ShiftSet($0.shift)) } ?? []
    // Any constant may have slipped into a root index; below it only one that stands alone is named.
    let isRoot = level == mode.levels - 1
    let named = isRoot || Set(constants.map(\.shift)).count == 1 ? constants.first : nil
    let shift = named?.shift ?? (shifts.shifts.count == 1 ? shifts.shifts.first : nil)
    let index = isRoot ? "the root is indexed" : "level \(level) is indexed"
    let correct = "this table is \(mode.name): \(expected)"
    var evidence = [
      "\(best) of \(calls.count) recorded map calls have their entries exactly where this shift puts them."
    ]
    var against: [String] = []
    var question: String?
    let title: String
    if let named, let cpu = context.kernel?.mode {
      title =
        "\(index) with shift \(named.shift), \(named.name)\(named.followsMode ? " of the CPU's \(cpu.name)" : ""); \(correct)"
      evidence.append(
        "The CPU runs \(cpu.name), where \(named.name) is \(named.shift)"
          + (named.followsMode ? "; it follows the CPU's mode and is right for this table only by luck." : "."))
    } else if let shift {
      title = "\(index) with shift \(shift); \(correct)"
      evidence.append(
        context.kernel?.mode.map { "No paging constant of the CPU's \($0.name) has that value." }
          ?? "The CPU's paging mode is not known, so no constant is named.")
    } else {
      title = "\(index) with a shift of \(shifts.description); \(correct)"
    }
    if shifts.shifts.count > 1 {
      let others = shift.map { shifts.subtracting(ShiftSet($0)) } ?? shifts
      evidence.append(
        "Shifts \(others.description) fit \(shift == nil ? "equally" : "as well"): no recorded IOVA has a bit that tells them apart."
      )
      let other = constants.dropFirst().filter { $0.shift != named?.shift }
      if let named, !other.isEmpty {
        against.append(
          other.map { "\($0.name) (\($0.shift))" }.joined(separator: " and ")
            + " would leave the same entries; \(named.name) is the constant that indexes a root.")
      }
      if context.kernel?.mode == nil {
        question =
          "PGDIR_SHIFT is 30 under Sv39, 39 under Sv48 and 48 under Sv57: `p/x $satp` at a stop in the kernel tells which."
      } else if named == nil {
        question = "More calls with higher IOVA bits set would narrow it down: `iommu record map`."
      }
    }
    if best < calls.count, let first = calls.first(where: { !fits($0.verification, level, shifts) }) {
      against.append(
        "\(calls.count - best) of \(calls.count) calls \(calls.count - best == 1 ? "is" : "are") not explained by it, the first is map #\(first.call.number) at \(first.call.call.iova)."
      )
    }
    let assumed = shift ?? shifts.shifts.first ?? expected
    return Hypothesis(
      title: title, level: level, shifts: shifts, shift: shift, expected: expected, explained: best, calls: calls.count,
      evidence: evidence, counterEvidence: against,
      effects: effects(assumed, level: level, mode: mode, history: history, profile: profile, check: check),
      remedy:
        "\(context.source.map { "\($0): " } ?? "")compute \(profile.indexName(atLevel: level)) with shift \(expected) (\(mode.name), "
        + "level \(level)), whatever mode the CPU runs; the same in unmap and iova_to_phys.",
      openQuestion: question)
  }

  private static func fits(_ verification: Verification, _ level: Int, _ shifts: ShiftSet) -> Bool {
    verification.shifts.indices.contains(level) && !verification.shifts[level].isDisjoint(with: shifts)
  }

  /// What a wrong shift breaks, counted.
  private static func effects(
    _ shift: Int, level: Int, mode: PagingMode, history: [RecordedCall], profile: any DriverProfile, check: CrossCheck?
  ) -> [String] {
    var effects: [String] = []
    if let check {
      let missing = check.lines.filter { if case .missing = $0.tables { true } else { false } }
      let pages = missing.reduce(0) { $0 + Int(truncatingIfNeeded: $1.length / 4096) }
      if pages > 0 {
        effects.append(
          "\(pages) of \(check.mappedPages) mapped pages are missing in the device's eyes: it faults on them.")
      }
    }
    let replay = Replay(history, profile: profile) { root in
      root.mode == mode ? root.mode.geometry.replacing(shift: shift, atLevel: level) : root.mode.geometry
    }
    if replay.overwrites > 0 {
      effects.append(
        "\(counted(replay.overwrites, "page")) of \(counted(replay.victims.count, "map call")) lost "
          + "\(replay.overwrites == 1 ? "its" : "their") entry to another IOVA while mapped: "
          + "addresses that differ only in bits which the wrong index leaves out share one entry.")
    }
    return effects
  }
}

/// `1 page`, `2 pages`.
private func counted(_ count: Int, _ noun: String) -> String { "\(count) \(noun)\(count == 1 ? "" : "s")" }
