public import IOMMUModel
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
    public var remarks: [String]
  }

  /// The texts, in order.
  public let texts: [Text]
  /// How many events of each kind were added, by the store's names for them.
  public let added: [String: Int]
  /// What a diagnosis would still need of the investigation, a phrase each, with how to get it.
  public let missing: [String]

  /// Adds `extractions`, read with `profiles`, to `store`. What is there already is not added again.
  ///
  /// Texts of one import are taken together: numbered calls of several files are put in the order of their numbers, captured
  /// pages are joined with the notes of the same name, and the calls are verified against them.
  public init(
    _ extractions: [Extraction], into store: InvestigationStore, profiles: [any DriverProfile]
  ) throws(InvestigationError) {
    // All or nothing: of half an import nobody would know which half.
    (texts, added, missing) = try store.together { () throws(InvestigationError) in
      let before = try store.counts()
      var run = ImportRun(try Self.texts(extractions, in: store), into: store, profiles: profiles)
      try run.run()
      var counts = try store.counts()
      counts["fact", default: 0] -= run.bookkeeping
      let added = counts.reduce(into: [String: Int]()) { added, count in
        let new = count.value - (before[count.key] ?? 0)
        if new > 0 { added[count.key] = new }
      }
      return (run.texts, added, try Self.missing(in: store))
    }
  }

  private static func texts(
    _ extractions: [Extraction], in store: InvestigationStore
  ) throws(InvestigationError) -> [Text] {
    let facts = try store.facts()
    var texts: [Text] = []
    for extraction in extractions {
      let known = facts[Fact.importedFile(extraction.name)]
      var text = Text(extraction: extraction, isKnown: known == hex(extraction.fingerprint), remarks: [])
      if known != nil, !text.isKnown,
        extraction.findings.contains(where: { if case .translations = $0.evidence { true } else { false } })
      {
        text.remarks.append("It was imported before with other content: translations in both are there twice.")
      }
      texts.append(text)
    }
    return texts
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
