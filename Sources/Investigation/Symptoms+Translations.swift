import IOMMUModel
import PageTables

/// What the device was seen doing with addresses, where the tables do not explain it already.
extension Symptoms {
  /// Causes that follow from recorded translations; `others` are those that the tables gave.
  func translationCauses(after others: [Diagnosis.Hypothesis]) -> [Diagnosis.Hypothesis] {
    let seen = context.translations?.disagreements
    let total = context.translations?.lines.count ?? 0
    let explained = misledRuns.values.reduce(into: Set(takenApart().map(\.run))) { $0.formUnion($1) }
    func runs(_ isOf: (TranslationCheck.Verdict) -> Bool) -> [TranslationCheck.Line] {
      (seen?.filter(byVerdict: isOf)).map { runs in
        explained.isEmpty ? Array(runs) : runs.filter { !explained.contains($0) }
      } ?? []
    }
    let astray = runs { $0.wrongAddress != nil }
    let outdated = self.outdated(astray)
    var found: [Diagnosis.Hypothesis] = []
    func add(
      _ cause: Diagnosis.Cause, _ lines: [TranslationCheck.Line], title: (TranslationCheck.Line) -> String,
      evidence: [String] = [], remedy: String, question: String? = nil, precedence: Int, isConsequence: Bool = false
    ) {
      guard let first = lines.first else { return }
      var hypothesis = Diagnosis.Hypothesis(
        cause: cause, title: title(first),
        support: Diagnosis.Support(explained: lines.count, total: total, unit: "run"),
        evidence: Array(lines.prefix(3).map(\.sentence)) + evidence, remedy: remedy, openQuestion: question)
      // Seen, and nothing in the tables weighs against it.
      hypothesis.present = self.lines.isEmpty ? 0.5 : 0
      hypothesis.precedence = precedence
      if isConsequence { hypothesis.role = .consequence }
      found.append(hypothesis)
    }
    add(
      .staleCache, astray.filter { outdated[$0] != nil },
      title: {
        "the device answers \($0.translation.iova) from its cache: there map #\(outdated[$0]?.number ?? 0) had it before map #"
          + "\($0.call?.number ?? 0)"
      },
      evidence: ["Where it leads is what the earlier call asked for, to the byte."],
      remedy: "the address has to be invalidated once its entry is cleared.", precedence: 2,
      isConsequence: !others.isEmpty)
    add(
      .translatedElsewhere, astray.filter { outdated[$0] == nil },
      title: { "the device translates \($0.translation.iova) to another address than the call that maps it" },
      remedy: "walk the table there: `iommu walk IOVA -device-walk`.", precedence: 2, isConsequence: !others.isEmpty)
    // What unmap leaves behind in the tables is said there.
    let isLeftByUnmap = others.contains(where: \.cause.isWrongUnmapping)
    add(
      .reachedAfterUnmap, isLeftByUnmap ? [] : runs(\.isAfterUnmap),
      title: { "the device reaches \($0.translation.iova) after unmap #\($0.call?.number ?? 0) took it back" },
      remedy: "is the entry cleared, and the IOTLB invalidated behind it? `iommu walk IOVA -device-walk`.",
      precedence: 1, isConsequence: others.contains { $0.wrongShift != nil })
    let identity = identityDomains()
    add(
      .passesUntranslated, runs { $0 == .bypassed },
      title: { "the device's addresses pass untranslated: \($0.translation.iova) is answered with itself" },
      evidence: ["Memory is not protected from the device, and no error says so."] + identity,
      remedy: identity.isEmpty
        ? "is the device attached to a domain, and is its device table entry valid? `iommu devices`."
        : "a translated default domain: CONFIG_IOMMU_DMA in the kernel, and no iommu.passthrough on its command line.",
      precedence: 1,
      isConsequence: others.contains { $0.cause.leavesUntranslated })
    if !others.contains(where: { $0.cause == .latchedFault }) {
      add(
        .latchedFault, runs { if case .sticky = $0 { true } else { false } },
        title: { _ in "a fault that was never cleared makes the device refuse everything" },
        remedy: "\(profile.device.resumed(context.registers ?? RegisterValues()).how), once the cause is repaired.",
        precedence: 1, isConsequence: !others.isEmpty)
    }
    // A refusal that the tables explain is said there; without tables it is all that is known.
    if others.allSatisfy({ !$0.cause.makesFaults }) {
      add(
        .refusedThoughMapped, runs { $0 == .refusedThoughMapped },
        title: { "the device refuses \($0.translation.iova), which a recorded call maps" },
        evidence: context.deviceFaults.first.map { [$0.quoted] } ?? [],
        remedy: "compare the call's entries with the device's walk.",
        question: context.memory == nil || lines.isEmpty
          ? "What the tables hold there: `iommu check` with the guest, or captured pages." : nil,
        precedence: 0)
    }
    return found
  }

  /// The kernel's own decision to translate nothing, in a sentence.
  private func identityDomains() -> [String] {
    guard let state = context.state, !state.groups.isEmpty else { return [] }
    let identity = state.groups.filter { state.domain($0.domain)?.kind == "identity" }
    guard !identity.isEmpty else { return [] }
    return [
      "\(identity.count) of \(counted(state.groups.count, "group")) \(identity.count == 1 ? "is" : "are") in an identity domain: "
        + "the kernel asked for it, by iommu.passthrough, or because it is built without IOMMU_DMA."
    ]
  }

  /// Runs that went astray just as the tables say, by the position in ``lines`` of the range that says it.
  var misledRuns: [Int: [TranslationCheck.Line]] {
    guard let astray = context.translations?.lines.filter(byVerdict: { $0.wrongAddress != nil }), !astray.isEmpty else {
      return [:]
    }
    var ranges: [RequesterID?: ExtentMap<ListPosition>] = [:]
    for (position, line) in lines.enumerated() where line.tables.target != nil {
      ranges[line.call.requester, default: ExtentMap()]
        .set(line.iova, length: line.length, to: ListPosition(position))
    }
    var found: [Int: [TranslationCheck.Line]] = [:]
    for run in astray {
      let iova = run.translation.iova
      guard let position = ranges[run.translation.requester]?.value(at: iova.rawValue).value?.index,
        lines[position].tables.target.map({ $0 + (iova - lines[position].iova) }) == run.verdict.wrongAddress
      else { continue }
      found[position, default: []].append(run)
    }
    return found
  }

  /// A fault that was seen to outlive the repair of its entry.
  func outlivedRepair(after others: [Diagnosis.Hypothesis]) -> [Diagnosis.Hypothesis] {
    guard let repair = context.outlivedRepair else { return [] }
    let address = repair.fault.address.map { " at \($0)" } ?? ""
    var hypothesis = Diagnosis.Hypothesis(
      cause: .latchedFault,
      title:
        "a latched fault outlives the repair of the tables: cause \(repair.fault.cause) of \(repair.fault.requester)"
        + address,
      support: Diagnosis.Support(explained: 1, total: 1, unit: "repair"),
      evidence: [
        "\(repair.name) at \(repair.entry) became \(hex(repair.value)), which is valid, and the cause stayed latched "
          + "for \(counted(repair.readings, "reading")) after it."
      ],
      remedy: "\(profile.device.resumed(RegisterValues()).how): the driver's fault handler has to do it.")
    if repair.isClearedLater { hypothesis.evidence.append("The reading after these shows it cleared.") }
    if let line = context.log.last(where: { $0.meaning == .watchdog || $0.meaning == .adapterReset }) {
      hypothesis.evidence.append(line.quoted)
    }
    if others.contains(where: { $0.cause.makesFaults }) { hypothesis.role = .consequence }
    return [hypothesis]
  }
}

extension Verdict {
  /// Where the tables lead instead of where they should.
  fileprivate var target: GPA? {
    switch self {
    case .wrongAddress(let found), .overwritten(let found, _): found
    default: nil
    }
  }
}

extension TranslationCheck.Verdict {
  /// Where the device went instead of where it should.
  var wrongAddress: GPA? { if case .wrongAddress(let found) = self { found } else { nil } }
  /// Whether the device reached what an unmap call had taken back.
  var isAfterUnmap: Bool { if case .afterUnmap = self { true } else { false } }
}

extension TranslationCheck.Line {
  /// `0xfffff000: 4 translations in steps of 4, refused though mapped by map #1 to 0x106172000.`
  var sentence: String {
    let run =
      translation.count == 1 ? "1 translation" : "\(translation.count) translations in steps of \(translation.stride)"
    let mapping = call.flatMap { call in expected.map { " (map #\(call.number): \($0))" } } ?? ""
    return "\(translation.iova): \(run), \(verdict.description)\(mapping)\(isByPattern ? ", by the steps" : "")."
  }
}

extension Diagnosis.Cause {
  /// Whether it makes a device fault on what is mapped.
  var makesFaults: Bool {
    switch self {
    case .wrongShift, .entriesLost, .otherDomain, .rangeCut, .protectionMisread, .vanished, .otherTable,
      .superpageMisread,
      .latchedFault:
      true
    default: false
    }
  }

  /// Whether it leaves behind what an unmap call should have cleared.
  var isWrongUnmapping: Bool {
    switch self {
    case .unmapIncomplete, .unmapsAnother: true
    default: false
    }
  }

  /// Whether it leaves a device untranslated.
  var leavesUntranslated: Bool {
    switch self {
    case .noDefaultDomain, .bypassed, .notAttached: true
    default: false
    }
  }
}
