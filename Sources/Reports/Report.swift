public import Investigation
import IOMMUModel
import PageTables

/// An investigation as a colleague gets it. Made once; every form of it says the same.
public struct Report {
  let findings: Findings
  let store: InvestigationStore
  /// Calls that show what the diagnosis says, each with the hypothesis that it stands for, 1 for the best; nil for none.
  let exhibits: [(finding: Int?, exhibit: Exhibit)]
  /// What happened, shortened.
  let story: Story

  /// What the form is called in JSON, and which version of `docs/report-schema.json` it follows.
  static let format = "iommulens-report", version = 1

  /// The report on `findings`, which are those of `store`.
  public init(_ findings: Findings, store: InvestigationStore) throws {
    self.findings = findings
    self.store = store
    exhibits = Self.exhibits(of: findings)
    story = try Story(store, device: findings.profile.device, version: findings.version)
  }

  /// The first call of each hypothesis; where there is none, the first that went wrong for the tables or for the device, or that
  /// is mapped still and shows that none did.
  private static func exhibits(of findings: Findings) -> [(finding: Int?, exhibit: Exhibit)] {
    var shown: Set<EventID> = []
    var exhibits: [(finding: Int?, exhibit: Exhibit)] = []
    for (position, hypothesis) in findings.diagnosis.hypotheses.enumerated() {
      guard let call = findings.example(of: hypothesis), let id = call.id, shown.insert(id).inserted else { continue }
      exhibits.append((position + 1, Exhibit(call, of: findings, for: hypothesis)))
    }
    if exhibits.isEmpty {
      let verified = findings.verifications.first { !$0.verification.agrees }?.call
      let refused = findings.translations.disagreements.first { $0.call != nil }?.call?.id
      // One that an unmap took back shows nothing of what is mapped now.
      let standing = findings.check.lines.lazy
        .filter { $0.expected != nil && $0.worst == .agrees && $0.iova == $0.call.call.iova }.compactMap(\.call.id)
        .min()
      let chosen = verified ?? refused ?? standing ?? findings.verifications.first?.call
      if let call = findings.calls.first(where: { $0.id == chosen }) {
        exhibits.append((nil, Exhibit(call, of: findings, for: findings.diagnosis.hypotheses.first)))
      }
    }
    return exhibits
  }

  /// The report's parts by name.
  var value: ReportValue {
    .object([
      ("format", .text(Self.format)), ("version", .number(Self.version)), ("summary", summary),
      ("environment", environment), ("findings", hypotheses), ("examples", examples), ("check", check),
      ("translated", translated), ("untranslated", untranslated), ("remarks", .texts(findings.remarks)),
      ("registers", registers), ("devices", devices), ("log", log), ("notes", .texts(findings.notes)),
      ("timeline", story.value), ("facts", facts), ("calls", calls), ("translations", translations),
    ])
  }
}

extension Findings {
  /// The kernel's version, as far as its banner tells it.
  var version: KernelVersion? { facts[Fact.banner].flatMap(KernelVersion.init(banner:)) }
}
