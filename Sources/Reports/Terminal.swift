public import Evidence
public import IOMMUModel
public import Investigation
public import PageTables

/// What commands print. Every function returns lines without a newline at the end.
public enum Terminal {
  // MARK: Calls

  /// A call's head and its arguments.
  public static func call(_ recorded: RecordedCall, version: KernelVersion?) -> String {
    let call = recorded.call
    let number = recorded.number > 0 ? " #\(recorded.number)" : ""
    let who = recorded.requester.map { "\($0) (rsid \($0.rsid))" } ?? "no requester"
    var lines = [
      "\(call.isMap ? "map" : "unmap")\(number)   \(who)   "
        + RecordedCallHeader.chain(call.function, callers: recorded.callers)
    ]
    var details = "  iova   \(call.iova) (\(call.iova.rawValue))   \(call.extent)"
    if case .map(let target, let protection, let allocation) = call.operation {
      details += "   ->  \(target)   \(protection?.description ?? "prot not known")"
      if let allocation { details += "   \(allocation.description(in: version))" }
    }
    lines.append(details)
    return lines.map(printable).joined(separator: "\n")
  }

  /// The entries that a call should write, before it has run or on paper.
  public static func prediction(
    _ call: DriverCall, runs: [LeafRun], geometry: TableGeometry, root: TableRoot, memory: any PhysicalMemory
  ) throws(UnreadableMemory) -> String {
    guard let run = runs.first else { return "  writes nothing: the driver refuses this size" }
    var rows: [[String]] = []
    for (position, entry) in try run.predictedEntries(0, geometry: geometry, root: root.address, in: memory)
      .enumerated()
    {
      rows.append([
        position == 0 ? "expects" : "", "level \(entry.level) [\(right(entry.index, 3))]",
        predictedValue(entry, isLeaf: entry.level == run.level),
      ])
    }
    let leaves = runs.reduce(0) { $0 &+ $1.count }
    if leaves > 1, let last = runs.last {
      let end = last.count - 1
      let index = geometry.index(of: last.iova(end), atLevel: last.level)
      rows.append([
        "", "level \(last.level) [\(right(index, 3))]", "= \(hex(last.leaf(end).rawValue))   last of \(leaves) leaves",
      ])
    }
    return aligned(rows).joined(separator: "\n")
  }

  private static func predictedValue(_ entry: PredictedEntry, isLeaf: Bool) -> String {
    let place = entry.entryAddress.map { "\($0) " } ?? ""
    guard let value = entry.value else { return "\(place)= new table" }
    let meaning = isLeaf ? "\(value.flags.description) -> \(value.address)" : "table \(value.address)"
    return "\(place)= \(hex(value.rawValue))   \(meaning)"
  }

  /// What a call left in the tables, what the device makes of it, and the likeliest cause of a disagreement.
  public static func outcome(
    _ recorded: RecordedCall, verification: Verification, device: DeviceTranslation?, diagnosis: Diagnosis?,
    memory: any PhysicalMemory
  ) -> String {
    guard let root = recorded.root else { return "  the domain's table could not be read" }
    let iova = recorded.call.iova
    var rows: [[String]] = []
    let geometry = root.mode.geometry
    let hypothesis = diagnosis?.hypotheses.first
    let shift = hypothesis?.wrongShift
    let written: TableGeometry? =
      verification.agrees
      ? geometry
      : shift.map { geometry.replacing(shift: $0.assumed, atLevel: $0.level) }
    if recorded.call.isMap {
      if let written {
        for (position, step) in written.walk(iova, root: root.address, in: memory).steps.enumerated() {
          rows.append([position == 0 ? "wrote" : ""] + step.cells)
        }
      } else {
        rows.append(["wrote", "its entries are not where any single index shift would put them"])
      }
    }
    if let device {
      let last = device.steps.last
      rows.append(["device"] + (last?.cells ?? ["no entry read"]))
      rows.append(["", "this IOVA \(device.outcome)"])
      for deviation in device.deviations { rows.append(["", "but \(deviation)"]) }
    } else if let step = geometry.walk(iova, root: root.address, in: memory).steps.last, !verification.agrees {
      rows.append(["tables"] + step.cells)
    }
    if !verification.agrees {
      rows.append([
        "verdict",
        "\(verification.verdict.description): \(verification.leaves - verification.agreeing) of \(counted(verification.leaves, "page"))",
      ])
      if let hypothesis {
        rows.append(["cause", "\(hypothesis.title)   (\(hypothesis.support); `iommu diagnose`)"])
      }
    }
    return aligned(rows).joined(separator: "\n")
  }

  // MARK: Walks and dumps

  /// A walk, step by step.
  public static func walk(_ walk: Walk, requester: RequesterID?) -> String {
    var lines = [
      "walk \(walk.iova)   \(walk.geometry.mode.name) root \(walk.root)\(requester.map { "   \($0)" } ?? "")"
    ]
    lines += aligned(walk.steps.map(\.cells))
    lines.append("  \(words(walk.outcome))")
    return lines.joined(separator: "\n")
  }

  /// What the device does with an access, word by word.
  public static func deviceWalk(_ translation: DeviceTranslation, name: String, access: Access) -> String {
    var rows = translation.words.map { [$0.name, "\($0.address) = \(hex($0.value))", ""] }
    rows += translation.steps.map(\.cells)
    var lines = ["device walk, \(name), \(access.writes ? access.reads ? "read and write" : "write" : "read")"]
    lines += aligned(rows)
    lines.append("  this IOVA \(translation.outcome)")
    if let cause = translation.latched, !translation.outcome.hasPrefix("faults") {
      lines.append("  latched: cause \(cause)")
    }
    lines += translation.deviations.map { "  differs from the specification: \($0)" }
    return lines.joined(separator: "\n")
  }

  /// One line of a dump.
  public static func line(_ item: DumpItem) -> String {
    switch item {
    case .mapping(let mapping):
      "\(mapping.iova)-\(mapping.last) -> \(mapping.target)  \(size(mapping.size))  \(mapping.flags.description)"
    case .malformed(let level, let address, let entry, let problem, let iovas):
      "\(iovas.lowerBound)-\(iovas.upperBound) malformed at level \(level): \(problem.description) (\(address) = \(hex(entry.rawValue)))"
    case .unreadable(let failure, let level, let iovas):
      "\(iovas.lowerBound)-\(iovas.upperBound) level \(level) table: \(failure.description)"
    case .stopped(let reason, let place): "stopped at \(place): \(reason.description)"
    }
  }

  /// One line of a raw dump.
  public static func line(_ item: RawItem) -> String {
    switch item {
    case .entry(let entry):
      "\(right(entry.iova, 18))  level \(entry.level) [\(right(entry.index, 3))]  \(entry.entryAddress) = "
        + "\(hex(entry.entry.rawValue))  \(entry.entry.isValid ? entry.problem?.description ?? entry.entry.flags.description : "not valid")"
    case .unreadable(let failure, let level, let iovas):
      "\(iovas.lowerBound)-\(iovas.upperBound) level \(level) table: \(failure.description)"
    case .stopped(let reason, let place): "stopped at \(place): \(reason.description)"
    }
  }

  /// Writes a table's mappings, or its entries, as lines; `emit` gets them in pieces of some 60 KiB. `poll` as
  /// `PagingMode.dump` takes it.
  public static func dump(
    _ root: TableRoot, memory: any PhysicalMemory, filter: DumpFilter, raw: Bool, poll: (() -> Bool)? = nil,
    emit: (String) throws -> Void
  ) throws {
    var lines = LineBuffer(capacity: 60_000)
    if raw {
      for item in root.mode.entries(root: root.address, in: memory, filter: filter, poll: poll) {
        try lines.add(line: line(item), emit: emit)
      }
    } else {
      try root.mode.dump(root: root.address, in: memory, filter: filter, poll: poll).forEach(
        mappings: { try lines.add($0, emit: emit) }, other: { try lines.add(line: line($0), emit: emit) })
    }
    if lines.isUnused { try lines.add(line: raw ? "No entries." : "Nothing is mapped.", emit: emit) }
    try lines.flush(emit)
  }

  // MARK: What is known

  /// What an investigation holds.
  public static func opened(_ store: InvestigationStore) throws(InvestigationError) -> String {
    let counts = try store.counts()
    let calls = (counts["map"] ?? 0, counts["unmap"] ?? 0)
    let translations = counts["translation"].map { "\(counted($0, "translation")), " } ?? ""
    let readOnly = store.readOnly.map { " It is read-only, because \($0)." } ?? ""
    if calls == (0, 0) && translations.isEmpty && counts["note"] == nil {
      return "Investigation \(store.path): new.\(readOnly)"
    }
    return "Investigation \(store.path): \(counted(calls.0, "map")), \(counted(calls.1, "unmap")), \(translations)"
      + "\(counted(counts["note"] ?? 0, "note")).\(readOnly)"
  }

  /// What is known of everything; what cannot be found out says why.
  public static func status(_ investigator: Investigator, log: TraceFollower? = nil) -> String {
    func told(_ body: () throws -> String) -> String { do { return try body() } catch { return "\(error)" } }
    var rows: [[String]] = []
    if (try? investigator.profile()) != nil { rows.append(["side", "the kernel's"]) }
    rows.append([
      "driver",
      told {
        let profile = try investigator.profile()
        return "\(profile.name): \(profile.recognition)"
      },
    ])
    if let banner = try? investigator.target.string("linux_banner") {
      rows.append(["kernel", String(banner.split(separator: "\n").first ?? "")])
    }
    if let (satp, paging) = investigator.kernelPaging() {
      rows.append([
        "paging",
        paging.mode.map { mode in
          "\(mode.name), satp \(hex(satp)): "
            + paging.constants.prefix(2).map { "\($0.name) \($0.shift)" }.joined(separator: ", ")
        } ?? "off: the CPU's MMU is not on yet",
      ])
    }
    rows.append(["memory", told { try investigator.memory().explanation }])
    rows.append([
      "device",
      told {
        let values = try investigator.registers()
        let profile = try investigator.profile()
        return "\(profile.device.name) at \(try investigator.registerBlock()), "
          + "\(values.byOffset.count) of \(profile.device.registers.count) registers read"
      },
    ])
    if let log { rows.append(["log", state(log)]) }
    rows.append([
      "file",
      told { try investigator.store.map { try opened($0) } ?? "none open: `iommu open [FILE]`" },
    ])
    return aligned(rows, indent: "").joined(separator: "\n")
  }

  // MARK: The device

  /// The registers, with both names where driver and device disagree.
  public static func registers(_ values: RegisterValues, device: any DeviceModel, block: GPA) -> String {
    var rows: [[String]] = []
    for register in device.registers {
      let name = register.driverName.map { "\(register.name) (the driver calls it \($0))" } ?? register.name
      guard let value = values[register.offset] else {
        rows.append([hex(register.offset), name, "-", "cannot be read"])
        continue
      }
      rows.append([hex(register.offset), name, hex(value), register.meaning(value)])
    }
    return (["\(device.name) registers at \(block)"] + aligned(rows)).joined(separator: "\n")
  }

  // MARK: Conclusions

  /// The verdicts, worst first, then how many pages disagree in which way: at most `limit` of them, neighbours of which the
  /// same is to be said as one, or every range by itself without a limit.
  public static func check(_ check: CrossCheck, limit: Int?) -> String {
    var lines = [ranges(check, limit: limit)]
    if check.leftOut > 0 { lines.append(leftOut(check)) }
    if check.isPartial { lines.append("The comparison was interrupted: other pages were not looked at.") }
    return lines.joined(separator: "\n")
  }

  /// What a comparison could not take in.
  static func leftOut(_ check: CrossCheck) -> String {
    "Left out: \(counted(check.leftOut, "map call")) for more than a table can translate."
  }

  private static func ranges(_ check: CrossCheck, limit: Int?) -> String {
    let bad = check.disagreements
    if check.pages == 0 {
      return check.isPartial ? "Nothing compared." : "Nothing to check: no recorded call covers it."
    }
    if bad.isEmpty {
      return "All \(counted(check.pages, "page")) agree: \(check.mappedPages) mapped, \(check.unmappedPages) unmapped."
    }
    let rows = limit == nil ? bad.map { [$0] } : check.neighbours
    var lines = aligned(
      rows.prefix(limit ?? .max).map { lines in
        [lines.range, lines.target.map { "-> \($0)" } ?? lines.extent, lines.calls, verdicts(lines)]
      }, indent: "")
    let hidden = rows.dropFirst(limit ?? .max).reduce(0) { $0 + $1.count }
    if hidden > 0 {
      lines.append("… \(counted(hidden, "more range")): `iommu check -all`.")
    } else if rows.count < bad.count {
      lines.append("Neighbours are together: `iommu check -all` lists each of \(counted(bad.count, "range")).")
    }
    let kinds = check.summary.map { "\($0.pages) \($0.verdict)" }.joined(separator: ", ")
    lines.append("\(check.disagreeingPages) of \(counted(check.pages, "page")) disagree: \(kinds).")
    return lines.joined(separator: "\n")
  }

  private static func verdicts(_ lines: [CrossCheck.Line]) -> String {
    guard let first = lines.first else { return "" }
    if first.tables == first.device || lines.tables == lines.device { return lines.device }
    if first.device == .agrees { return lines.tables }
    if first.tables == .agrees { return "device: \(lines.device)" }
    return "\(lines.tables); device: \(lines.device)"
  }

  /// What the device was seen to translate, worst first, at most `limit` runs of it; nil when nothing was seen.
  static func translations(_ check: TranslationCheck, limit: Int) -> String? {
    if check.lines.isEmpty { return nil }
    let bad = check.groups
    var lines = aligned(
      bad.prefix(limit).map { group in
        let line = group.line
        let mapping =
          line.call.flatMap { call in line.expected.map { "map #\(call.number) -> \($0)" } } ?? "no map call"
        return [group.range, group.extent, mapping, line.description]
      }, indent: "")
    if bad.count > limit { lines.append("… \(bad.count - limit) more: `iommu check -all`.") }
    lines.append(check.summary)
    return lines.map(printable).joined(separator: "\n")
  }

  /// What was mapped while translations were recorded and not asked for: a summary, and at most `limit` ranges before it, those
  /// that touch each other as one; nil when nothing is known of that.
  static func untranslated(_ mappings: UntranslatedMappings?, limit: Int) -> String? {
    guard let mappings else { return nil }
    let rows = limit > 0 ? mappings.neighbours.map(\.cells) : []
    var lines = aligned(Array(rows.prefix(limit)), indent: "")
    if rows.count > lines.count { lines.append("… \(rows.count - lines.count) more: `iommu check -all`.") }
    lines += untranslatedSummary(
      mappings, hint: limit == 0 && !mappings.lines.isEmpty ? " `iommu check -all` lists the ranges." : "")
    return lines.isEmpty ? nil : lines.joined(separator: "\n")
  }

  /// How much was mapped and not asked for, with a `hint` where that can be seen, and what cannot be judged.
  static func untranslatedSummary(_ mappings: UntranslatedMappings, hint: String) -> [String] {
    var lines: [String] = []
    if !mappings.tallies.isEmpty {
      let parts = mappings.tallies.map { tally in
        let requester = tally.requester.map { "for \($0)" } ?? "for no known requester, by any device"
        return "\(tally.untranslatedRanges) of \(counted(tally.ranges, "range")) "
          + "(\(tally.untranslatedPages) of \(counted(Int(clamping: tally.pages), "page"))) \(requester)"
      }
      lines.append(
        "Mapped and not asked for while translations were recorded: \(parts.joined(separator: "; ")).\(hint)")
    }
    var unjudged: [String] = []
    if mappings.unwatched > 0 {
      unjudged.append("\(counted(mappings.unwatched, "range")) not mapped then, or not watched")
    }
    if mappings.untimed > 0 {
      unjudged.append("\(counted(mappings.untimed, "range")) of texts, which do not say when")
    }
    if !unjudged.isEmpty {
      lines.append("Cannot be judged: \(unjudged.joined(separator: "; ")).")
    }
    return lines
  }

  /// Groups of ranges that a comparison shows where nobody asked for all.
  public static let worstRanges = 20

  /// Everything that a comparison says, of all or of what lies in `iovas`: of tables and device, of what the device was seen to
  /// translate, and of the record.
  public static func check(of findings: Findings, in iovas: ClosedRange<IOVA>? = nil, limit: Int?) -> String {
    let check = iovas.map(findings.check(in:)) ?? findings.check
    let seen = iovas.map(findings.translations.restricted(to:)) ?? findings.translations
    // What the remarks then say of the calls is the reason.
    let isUntold =
      iovas == nil && check.pages == 0 && check.leftOut == 0 && !check.isPartial && !findings.calls.isEmpty
      && !findings.remarks.isEmpty
    let untranslated = iovas.map(findings.untranslated(in:)) ?? findings.untranslated
    let parts = [
      isUntold ? "Nothing to compare with the tables." : self.check(check, limit: limit),
      translations(seen, limit: limit ?? .max), self.untranslated(untranslated, limit: limit == nil ? .max : 0),
      running(findings), remarks(findings),
    ]
    return parts.compactMap { $0 }.joined(separator: "\n")
  }

  /// The hypotheses; where no call could be verified, or not all of each, what must be said about the record as well.
  public static func diagnosis(of findings: Findings) -> String {
    let text = diagnosis(findings.diagnosis)
    guard findings.diagnosis.calls == 0 || findings.check.unrecordedPages > 0, let remarks = remarks(findings) else {
      return text
    }
    return "\(text)\n\(remarks)"
  }

  /// What must be said about the record; nil for nothing.
  static func remarks(_ findings: Findings) -> String? {
    findings.remarks.isEmpty ? nil : findings.remarks.map(printable).joined(separator: "\n")
  }

  /// Which calls are left out because they have not returned; nil for none.
  public static func running(_ findings: Findings) -> String? {
    let names = findings.running.map { "\($0.call.kind.rawValue) #\($0.number)" }
    if names.isEmpty { return nil }
    return
      "\(names.joined(separator: " and ")) \(names.count == 1 ? "has not returned and is" : "have not returned and are") left out."
  }

  /// The hypotheses, best first.
  public static func diagnosis(_ diagnosis: Diagnosis) -> String {
    if diagnosis.isClean && !diagnosis.isPartial {
      if diagnosis.calls == 0 {
        return "Nothing to diagnose: no map call has been recorded and verified. `iommu record map` records them."
      }
      return "No cause to name: all \(counted(diagnosis.calls, "recorded map call")) left the tables as they should."
    }
    var lines: [String] = []
    for (position, hypothesis) in diagnosis.hypotheses.enumerated() {
      lines += Layout.folded("\(position + 1). \(hypothesis.title)   (\(hypothesis.support))", hanging: 3)
      var rows = hypothesis.evidence.map { ["for", $0] }
      rows += hypothesis.counterEvidence.map { ["against", $0] }
      rows += hypothesis.effects.map { ["breaks", $0] }
      rows.append(["look at", hypothesis.remedy])
      if let question = hypothesis.openQuestion { rows.append(["open", question]) }
      lines += aligned(rows, indent: "   ")
    }
    if diagnosis.isPartial {
      lines.append("The search was interrupted: there may be more causes, and better ones.")
    } else if diagnosis.hypotheses.isEmpty {
      lines.append(
        "\(diagnosis.disagreeing) of \(counted(diagnosis.calls, "recorded map call")) and "
          + "\(counted(diagnosis.disagreeingPages, "page")) disagree, and no cause known here explains it. "
          + "`iommu check` lists them.")
    }
    return lines.map(printable).joined(separator: "\n")
  }
}
