import IOMMUModel
import PageTables

/// Indices taken with the wrong shift.
extension Symptoms {
  /// One hypothesis for every mode and level at which another shift explains calls that disagree.
  func wrongShifts() -> [Diagnosis.Hypothesis] {
    var found: [Diagnosis.Hypothesis] = []
    let modes = Set(wrongMaps.compactMap { $0.call.root?.mode }).sorted { $0.code < $1.code }
    for mode in modes {
      let group = maps.filter { $0.call.root?.mode == mode }
      for level in stride(from: mode.levels - 1, through: 0, by: -1) {
        if let hypothesis = wrongShift(level, mode: mode, calls: group) { found.append(hypothesis) }
      }
    }
    return found
  }

  /// The hypothesis that the index at `level` uses another shift; nil when no other shift explains more of the calls that
  /// disagree than the right one.
  private func wrongShift(_ level: Int, mode: PagingMode, calls: VerifiedCalls) -> Diagnosis.Hypothesis? {
    let expected = mode.shift(atLevel: level)
    var wrong = [Int](repeating: 0, count: 64)
    var all = wrong
    // Many calls in a row have the same set.
    var (set, same, sameWrong) = (ShiftSet(), 0, 0)
    func count() {
      guard same > 0 else { return }
      for shift in set.shifts {
        all[shift] += same
        wrong[shift] += sameWrong
      }
    }
    for verification in calls.verifications where verification.shifts.indices.contains(level) {
      if verification.shifts[level] != set {
        count()
        (set, same, sameWrong) = (verification.shifts[level], 0, 0)
      }
      same += 1
      if !verification.agrees { sameWrong += 1 }
    }
    count()
    // Those that explain most of what is wrong, and of these the ones that contradict least of what is right.
    let most = wrong.max() ?? 0
    guard most > wrong[expected] else { return nil }
    let best = all.indices.filter { wrong[$0] == most }.map { all[$0] }.max() ?? 0
    let shifts = all.indices.reduce(into: ShiftSet()) {
      if wrong[$1] == most && all[$1] == best { $0.insert(ShiftSet($1)) }
    }
    let fitting = calls.filter(byVerification: { Self.fits($0, level, shifts) })
    let ousted = ousted(level, mode: mode, shifts: shifts, calls: calls)
    var hypothesis = describe(level, mode: mode, shifts: shifts, explained: best, ousted: ousted, calls: calls)
    credit(&hypothesis, calls: fitting + ousted.map(\.call))
    hypothesis.ousted = Set(ousted.compactMap(\.call.call.id))
    // An entry of 64 bits at the place where a shift puts it is no accident; a pattern in what entries hold is weaker.
    hypothesis.precedence = 10 + level
    return hypothesis
  }

  /// A call whose entries a later one took.
  private typealias Ousted = (call: Verified, found: GPA, taker: RecordedCall)

  /// The calls that were looked at later and whose entries lead where another call maps that, with these shifts, has the
  /// same entries.
  private func ousted(_ level: Int, mode: PagingMode, shifts: ShiftSet, calls: VerifiedCalls) -> [Ousted] {
    let suspects = calls.filter(byVerification: { found in
      if case .wrongAddress = found.verdict { !Self.fits(found, level, shifts) } else { false }
    })
    guard !suspects.isEmpty, let shift = shifts.shifts.first else { return [] }
    let replay = Replay(history, profile: profile) { root in
      root.mode == mode ? root.mode.geometry.replacing(shift: shift, atLevel: level) : root.mode.geometry
    }
    var takers: [EventID: Set<Int>] = [:]
    for range in replay.overwritten {
      guard history.indices.contains(range.page.call), let id = history[range.page.call].id else { continue }
      if let taker = range.overwrittenBy, history.indices.contains(taker) { takers[id, default: []].insert(taker) }
    }
    return suspects.compactMap { suspect in
      guard case .wrongAddress(let found) = suspect.verification.verdict, let id = suspect.call.id else { return nil }
      let taker = takers[id]?.sorted().map { history[$0] }.first { taker in
        taker.call.target.map { found >= $0 && found - $0 < taker.call.length } ?? false
      }
      return taker.map { (suspect, found, $0) }
    }
  }

  private func describe(
    _ level: Int, mode: PagingMode, shifts: ShiftSet, explained: Int, ousted: [Ousted], calls: VerifiedCalls
  ) -> Diagnosis.Hypothesis {
    let expected = mode.shift(atLevel: level)
    let constants = context.kernel?.constants.filter { shifts.contains(ShiftSet($0.shift)) } ?? []
    // Any constant may have slipped into a root index; below it only one that stands alone is named.
    let isRoot = level == mode.levels - 1
    let named = isRoot || Set(constants.map(\.shift)).count == 1 ? constants.first : nil
    let shift = named?.shift ?? (shifts.shifts.count == 1 ? shifts.shifts.first : nil)
    let index = isRoot ? "the root is indexed" : "level \(level) is indexed"
    let correct = "this table is \(mode.name): \(expected)"
    var evidence = [
      "\(explained) of \(calls.count) recorded map calls have their entries exactly where this shift puts them."
    ]
    if let (victim, found, taker) = ousted.first {
      evidence.append(
        "\(counted(ousted.count, "other call")) lost \(ousted.count == 1 ? "its" : "their") entries to a later one, which this "
          + "shift puts into the same place: \(victim.verification.iova ?? victim.call.call.iova) of map "
          + "#\(victim.call.number) leads to \(found), which map #\(taker.number) maps at \(taker.call.iova).")
    }
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
    against += unexplained(
      calls.filter { call in !ousted.contains { $0.call.call == call.call } }, of: calls.count, level, shifts)
    let cause = Diagnosis.WrongShift(level: level, shifts: shifts, shift: shift, expected: expected)
    return Diagnosis.Hypothesis(
      cause: .wrongShift(cause), title: title,
      support: Diagnosis.Support(explained: explained + ousted.count, total: calls.count, unit: "call"),
      evidence: evidence,
      counterEvidence: against, effects: effects(cause, mode: mode),
      remedy: place
        + "compute \(profile.indexName(atLevel: level)) with shift \(expected) (\(mode.name), level \(level)), "
        + "whatever mode the CPU runs; the same in unmap and iova_to_phys.",
      openQuestion: question)
  }

  /// The calls that the shifts do not explain. Where all of them came after all that they do, the driver was changed.
  private func unexplained(_ calls: VerifiedCalls, of total: Int, _ level: Int, _ shifts: ShiftSet) -> [String] {
    let others = calls.filter(byVerification: { !Self.fits($0, level, shifts) })
    guard let first = others.first else { return [] }
    let lastWrong = wrongMaps.last { Self.fits($0.verification, level, shifts) }?.call.number ?? 0
    if others.allSatisfy(\.verification.agrees) && first.call.number > lastWrong {
      return ["From map #\(first.call.number) on entries are where they should be: the driver was changed before it."]
    }
    let are = others.count == 1 ? "is" : "are"
    return [
      "\(others.count) of \(total) calls \(are) not explained by it, the first is map #\(first.call.number) at \(first.call.call.iova)."
    ]
  }

  static func fits(_ verification: Verification, _ level: Int, _ shifts: ShiftSet) -> Bool {
    verification.shifts.indices.contains(level) && !verification.shifts[level].isDisjoint(with: shifts)
  }

  /// What a wrong shift breaks, counted.
  private func effects(_ cause: Diagnosis.WrongShift, mode: PagingMode) -> [String] {
    var effects: [String] = []
    if let check {
      let missing = check.lines.filter { if case .missing = $0.tables { true } else { false } }
      let count = missing.reduce(0) { $0 + pages($1.length) }
      if count > 0 {
        effects.append(
          "\(count) of \(check.mappedPages) mapped pages are missing in the device's eyes: it faults on them.")
      }
    }
    let replay = Replay(history, profile: profile) { root in
      root.mode == mode
        ? root.mode.geometry.replacing(shift: cause.assumed, atLevel: cause.level) : root.mode.geometry
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
