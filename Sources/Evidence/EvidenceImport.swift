import IOMMUModel
public import Investigation
import PageTables

/// Evidence from texts, put into an investigation.
public struct EvidenceImport: Sendable {
  /// One text and what became of it.
  public struct Text: Sendable {
    /// What was read.
    public let extraction: Extraction
    /// Whether the same text was taken in before, so that nothing of it was added.
    public let isKnown: Bool
    /// What must be said about it, a sentence each.
    public let remarks: [String]
  }

  /// The texts, in order.
  public let texts: [Text]
  /// How many events of each kind were added, by the store's names for them.
  public let added: [String: Int]
  /// What a diagnosis would still need of the investigation, a phrase each, with how to get it.
  public let missing: [String]

  /// Adds `extractions` to `store`. What is there already is not added again.
  public init(_ extractions: [Extraction], into store: InvestigationStore) throws(InvestigationError) {
    let before = try store.counts()
    var texts: [Text] = []
    var configuration: KernelConfiguration?
    for extraction in extractions {
      let facts = try store.facts()
      let known = facts[Fact.importedFile(extraction.name)]
      let fingerprint = hex(extraction.fingerprint)
      if known == fingerprint {
        texts.append(Text(extraction: extraction, isKnown: true, remarks: []))
        continue
      }
      var remarks = try Self.add(extraction, to: store)
      if known != nil,
        extraction.findings.contains(where: { if case .translations = $0.evidence { true } else { false } })
      {
        remarks.append("It was imported before with other content: translations in both are there twice.")
      }
      for case .configuration(let next) in extraction.findings.map(\.evidence) {
        configuration = configuration?.merged(with: next) ?? next
      }
      try store.setFact(Fact.importedFile(extraction.name), fingerprint)
      texts.append(Text(extraction: extraction, isKnown: false, remarks: remarks))
    }
    if let configuration { try store.setFact(Fact.configuration, configuration.summary) }
    self.texts = texts
    var counts = try store.counts()
    // That a file was taken in is a fact of its own, which nobody asked for.
    counts["fact", default: 0] -= texts.count { !$0.isKnown }
    added = counts.reduce(into: [:]) { added, count in
      let new = count.value - (before[count.key] ?? 0)
      if new > 0 { added[count.key] = new }
    }
    missing = try Self.missing(in: store)
  }

  /// Adds what one text tells; what must be said about it.
  private static func add(_ extraction: Extraction, to store: InvestigationStore) throws(InvestigationError) -> [String]
  {
    var remarks: [String] = []
    var known: Set<RecordedCall.Place> = []
    for call in try store.calls() where call.origin != nil { known.insert(call.place) }
    var logs: [LogLine] = []
    var translations: [RecordedTranslation] = []
    var profiles: [String] = []
    for finding in extraction.findings {
      switch finding.evidence {
      case .call(let call, let profile):
        if let profile, !profiles.contains(profile) { profiles.append(profile) }
        if known.insert(call.place).inserted { _ = try store.append(call) }
      case .translations(let runs): translations += runs
      case .log(let line): logs.append(line)
      case .cookie(let request):
        if try !store.cookieRequests().contains(where: { $0.isSame(as: request) }) { try store.append(request) }
      case .registers(let values): try store.append(values)
      case .sourceIndex(let index): try store.setFact(index.factName, index.factValue)
      case .fact(let name, let value): try store.setFact(name, value)
      case .release(let release):
        if try store.facts()[Fact.banner] == nil {
          try store.setFact(Fact.banner, "Linux version \(release) (as a warning names it)")
        }
      case .configuration, .otherBacktrace: break
      }
    }
    if !logs.isEmpty { try store.append(logs) }
    if !translations.isEmpty { _ = try store.append(translations) }
    if let profile = profiles.first {
      let recorded = try store.facts()[Fact.profile]
      if recorded == nil { try store.setFact(Fact.profile, profile) }
      let others = profiles.filter { $0 != recorded ?? profile }
      if !others.isEmpty {
        remarks.append(
          "The investigation is of the driver `\(recorded ?? profile)`; calls here have the signature of "
            + others.map { "`\($0)`" }.joined(separator: ", ") + ".")
      }
    }
    return remarks
  }

  private static func missing(in store: InvestigationStore) throws(InvestigationError) -> [String] {
    let calls = try store.calls()
    let translations = try store.translations()
    guard !calls.isEmpty || !translations.isEmpty else { return [] }
    var missing: [String] = []
    if !calls.contains(where: { $0.call.isMap }) {
      missing.append("a map call: a backtrace at the entry of the driver's map function")
    }
    if try store.facts()[Fact.satp] == nil {
      missing.append("the CPU's paging mode: `p/x $satp` at a stop in the kernel")
    }
    if try store.registers() == nil {
      missing.append("the device's registers: `iommu regs`, or `monitor xp /1gx` of each")
    }
    if try store.snapshot().isEmpty {
      missing.append("the tables' pages: `iommu check` with the guest, or its memory (`dump-guest-memory`)")
    }
    return missing
  }
}

extension RecordedCall {
  /// Where a call was read and what it is.
  fileprivate struct Place: Hashable {
    let origin: String?
    let call: DriverCall
  }

  fileprivate var place: Place { Place(origin: origin, call: call) }
}

extension CookieRequest {
  /// Whether both say the same, whenever they were stored.
  fileprivate func isSame(as other: CookieRequest) -> Bool {
    domain == other.domain && held == other.held && callers == other.callers
  }
}
