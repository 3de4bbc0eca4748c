import IOMMUModel
import PageTables

/// Translations that a device keeps although the tables no longer have them.
extension Symptoms {
  /// Calls with one distance between IOVA and target that are looked at, the last ones.
  private static let distanceLimit = 64

  /// Those of `astray` that lead where an earlier call mapped the address than the one that maps it now, each with that call.
  func outdated(_ astray: [TranslationCheck.Line]) -> [TranslationCheck.Line: RecordedCall] {
    guard !astray.isEmpty else { return [:] }
    var calls: [UInt64: [Int]] = [:]
    for (position, call) in history.enumerated() {
      guard let target = call.call.target else { continue }
      calls[target.rawValue &- call.call.iova.rawValue, default: []].append(position)
    }
    var found: [TranslationCheck.Line: RecordedCall] = [:]
    for run in astray {
      guard let now = run.call, let id = now.id, let answer = run.translation.answer?.address else { continue }
      let iova = run.translation.iova
      let earlier = calls[answer.rawValue &- iova.rawValue]?.suffix(Self.distanceLimit).last { position in
        let call = history[position]
        return call.id.map { $0 < id } == true && call.call.covers(iova) && call.call.domain == now.call.domain
      }
      if let earlier { found[run] = history[earlier] }
    }
    return found
  }

  /// What the device may still answer from its cache: addresses that it was seen to translate, of which the entries are gone
  /// and that it was not told to forget since. Nothing is concluded where no invalidation was recorded at all.
  func staleCauses(after others: [Diagnosis.Hypothesis]) -> [Diagnosis.Hypothesis] {
    guard let memory = context.memory, !context.invalidations.isEmpty else { return [] }
    let kept = keptTranslations
    let walked = ResidentPages(of: memory)
    var stale: [(run: TranslationCheck.Line, end: Walk.Step?)] = []
    for run in kept {
      guard let root = run.call?.root else { continue }
      let walk = root.mode.geometry.walk(run.translation.last, root: root.address, in: walked)
      if case .notMapped = walk.outcome { stale.append((run, walk.steps.last)) }
    }
    guard let first = stale.first else { return [] }
    let page = first.run.translation.last.page
    let told = context.invalidations.count { $0.invalidation.covers(page) }
    var hypothesis = Diagnosis.Hypothesis(
      cause: .staleCache,
      title:
        "the device can still reach \(page) through its cache: the entry is gone, and nothing has invalidated it since",
      support: Diagnosis.Support(explained: stale.count, total: kept.count, unit: "page"),
      evidence: stale.prefix(3).map(\.run.sentence),
      effects: ["Memory that was taken back stays within the device's reach, and no fault tells of it."],
      remedy: "the address has to be invalidated once its entry is cleared.",
      openQuestion: "Whether the trace goes on to where the tables were read: what came after its end is not in it.")
    if let end = first.end {
      hypothesis.evidence.append(
        "The entry at \(end.entryAddress), level \(end.level), is \(hex(end.entry.rawValue)) now.")
    }
    hypothesis.evidence.append(
      "Of \(counted(context.invalidations.count, "invalidation")) \(told == 0 ? "none is" : "\(told) \(told == 1 ? "is" : "are")") "
        + "of that page\(told == 0 ? "" : ", all before it was answered last").")
    hypothesis.present = lines.isEmpty ? 0.5 : 0
    hypothesis.precedence = 1
    if others.contains(where: { $0.cause == .vanished || $0.cause == .entriesLost }) { hypothesis.role = .consequence }
    return [hypothesis]
  }

  /// For each page the run that the device answered last, where it translated and was not told to forget the page since.
  private var keptTranslations: [TranslationCheck.Line] {
    var last: [IOVA: TranslationCheck.Line] = [:]
    for line in context.translations?.lines ?? .init() {
      let page = line.translation.last.page
      if let known = last[page]?.translation.id, let own = line.translation.id, own < known { continue }
      last[page] = line
    }
    var forgotten: [IOVA: EventID] = [:]
    var everything: EventID?
    for invalidation in context.invalidations {
      if let iovas = invalidation.invalidation.iovas, iovas.lowerBound.page == iovas.upperBound.page {
        forgotten[iovas.lowerBound.page] = invalidation.id
      } else {
        // Of larger ranges there are none in today's drivers; each counts for all.
        everything = invalidation.id
      }
    }
    return last.values.filter { line in
      guard let answered = line.translation.id, line.translation.isRefused == false else { return false }
      let told = [forgotten[line.translation.last.page], everything].compactMap { $0 }.max()
      return told.map { $0 < answered } ?? true
    }.sorted { $0.translation.iova < $1.translation.iova }
  }
}
