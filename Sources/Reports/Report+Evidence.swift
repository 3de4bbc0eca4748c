import IOMMUModel
import Investigation
import LinuxKernel
import PageTables

extension Report {
  /// The explanations, best first, each with what speaks for it and against it.
  var hypotheses: ReportValue {
    .list(
      ReportList(Array(findings.diagnosis.hypotheses.enumerated())) { position, hypothesis in
        .object([
          ("place", .number(position + 1)), ("title", .text(hypothesis.title)),
          ("explained", .number(hypothesis.support.explained)), ("total", .number(hypothesis.support.total)),
          ("unit", .text(hypothesis.support.unit)), ("support", .text(hypothesis.support.description)),
          ("evidence", .texts(hypothesis.evidence)), ("against", .texts(hypothesis.counterEvidence)),
          ("effects", .texts(hypothesis.effects)), ("remedy", .text(hypothesis.remedy)),
          ("open_question", .text(hypothesis.openQuestion)),
        ])
      })
  }

  /// Calls as evidence; the first walk has a picture.
  var examples: ReportValue {
    let pictured = exhibits.firstIndex { $0.exhibit.walk != nil }
    return .list(
      ReportList(Array(exhibits.enumerated())) { position, example in
        self.example(example.exhibit, for: example.finding, isPictured: position == pictured)
      })
  }

  private func example(_ exhibit: Exhibit, for finding: Int?, isPictured: Bool) -> ReportValue {
    let recorded = exhibit.recorded
    let call = recorded.call
    return .object([
      ("finding", .number(finding)), ("call", .text("\(call.kind.rawValue) #\(recorded.number)")),
      ("function", .code(call.function)),
      ("arguments", arguments(recorded)), ("callers", .list(ReportList(recorded.callers, limit: 40) { .code($0) })),
      ("origin", .code(recorded.origin)), ("right_after", exhibit.verification.map(rightAfter) ?? .nothing),
      ("walk", exhibit.walk.map { walk($0, isPictured: isPictured) } ?? .nothing),
      ("device", exhibit.translation.map { device($0, of: call.iova) } ?? .nothing),
    ])
  }

  /// The arguments by name, in words and with their raw values.
  private func arguments(_ recorded: RecordedCall) -> ReportValue {
    let call = recorded.call
    var rows: [(String, ReportValue, String)] = [("iova", .bits(call.iova.rawValue), "\(call.iova.rawValue)")]
    if case .map(let target, let protection, let allocation) = call.operation {
      rows.append(("paddr", .bits(target.rawValue), "\(target.rawValue)"))
      rows.append(("size", .number(call.length), call.extent))
      rows.append(("prot", .bits(protection.map { UInt64($0.rawValue) }), protection?.description ?? "not known"))
      if let allocation {
        rows.append(("gfp", .bits(allocation.rawValue), allocation.description(in: findings.version)))
      }
    } else {
      rows.append(("size", .number(call.length), call.extent))
    }
    rows.append(("domain", .bits(call.domain.rawValue), ""))
    if let requester = recorded.requester {
      rows.append(("requester", .code("\(requester)"), "rsid \(requester.rsid)"))
    }
    return .list(
      ReportList(rows) { .object([("name", .text($0.0)), ("value", $0.1), ("meaning", .text($0.2))]) })
  }

  private func rightAfter(_ verification: Verification) -> ReportValue {
    .object([
      ("verdict", .text(verification.verdict.description)), ("agrees", .flag(verification.agrees)),
      ("pages", .number(verification.leaves)), ("wrong", .number(verification.leaves - verification.agreeing)),
      (
        "entries",
        .list(
          ReportList(verification.samples) { sample in
            .object([
              ("iova", .bits(sample.iova.rawValue)), ("level", .number(sample.level)), ("found", .bits(sample.found)),
              ("leaf_expected", .bits(sample.expected)),
            ])
          })
      ),
    ])
  }

  /// Both walks side by side.
  private func walk(_ walk: WalkComparison, isPictured: Bool) -> ReportValue {
    .object([
      ("iova", .bits(walk.iova.rawValue)), ("mode", .text(walk.root.mode.name)),
      ("root", .bits(walk.root.address.rawValue)),
      ("right_shift", .number(walk.wrong.map { walk.root.mode.shift(atLevel: $0.level) })),
      ("wrong_shift", .number(walk.wrong?.shift)), ("wrong_level", .number(walk.wrong?.level)),
      (
        "levels",
        .list(
          ReportList(walk.rows) { row in
            .object([
              ("level", .number(row.level)), ("slot", .number(row.slot)), ("entry", .bits(row.address?.rawValue)),
              ("value", .bits(row.entry?.rawValue)),
              ("meaning", .text(row.entry?.meaning(atLevel: row.level) ?? "no table to look in")),
              ("expected", .bits(row.expected?.rawValue)),
              (
                "expected_meaning",
                .text(row.expected?.meaning(atLevel: row.level) ?? (walk.leaf == nil ? nil : "a table"))
              ),
              ("used_slot", .number(row.used?.index)), ("used_entry", .bits(row.used?.entryAddress.rawValue)),
              ("used_value", .bits(row.used?.entry.rawValue)), ("used_meaning", .text(row.used?.meaning)),
            ])
          })
      ),
      ("outcome", .text(words(walk.right.outcome))), ("used_outcome", .text(walk.wrong.map { words($0.walk.outcome) })),
      ("picture", isPictured ? .markup(walk.mermaid) : .nothing),
    ])
  }

  private func device(_ translation: DeviceTranslation, of iova: IOVA) -> ReportValue {
    .object([
      ("name", .text(findings.profile.device.name)), ("outcome", .text(translation.outcome)),
      ("target", .bits(translation.target(of: iova)?.rawValue)), ("latched", .text(translation.latched?.description)),
      ("deviations", .texts(translation.deviations)),
      (
        "words",
        .list(
          ReportList(translation.words) { word in
            .object([
              ("name", .text(word.name)), ("address", .bits(word.address.rawValue)), ("value", .bits(word.value)),
            ])
          })
      ),
    ])
  }
}
