public import Evidence
public import IOMMUModel
public import Investigation
import LinuxKernel
import PageTables

extension Terminal {
  /// Takes the texts at `paths` into an investigation, and tells what they gave. The investigation is opened, or made, once
  /// they all could be read; stopped by `progress` before that, nothing is added.
  public static func imported(
    _ paths: [String], tenants: [any Tenant.Type], progress: WorkProgress? = nil,
    into open: () throws(InvestigationError) -> InvestigationStore
  ) throws(InvestigationError) -> String {
    let profiles = tenants.flatMap { $0.profiles }
    let reader = EvidenceReader(profiles: profiles)
    var extractions: [Extraction] = []
    func read(_ path: String, leavingOut followed: [ClosedRange<Int>] = []) throws(InvestigationError) -> Extraction {
      let found = reader.read(
        try EvidenceFile.bytes(at: path), name: path, leavingOut: followed, progress: progress)
      if progress?.isStopped == true { throw WorkProgress.interruption("reading \(path); nothing was added") }
      return found
    }
    for path in paths { extractions.append(try read(path)) }
    let store = try open()
    for (position, path) in paths.enumerated() {
      let followed = try FollowedLog(path, in: store)
      if !followed.lines.isEmpty { extractions[position] = try read(path, leavingOut: followed.lines) }
    }
    let result = try EvidenceImport(extractions, into: store, profiles: profiles)
    return imported(result, into: store, devices: profiles.map(\.device))
  }

  /// What texts gave, in a table a text, and what a diagnosis still needs.
  public static func imported(
    _ result: EvidenceImport, into store: InvestigationStore, devices: [any DeviceModel]
  ) -> String {
    var sections = result.texts.map { extraction($0, devices: devices) }
    let added = result.added.sorted { $0.key < $1.key }.map { counted($0.value, eventNames[$0.key] ?? $0.key) }
    sections.append(
      added.isEmpty
        ? "Nothing new for \(store.path)." : "Added to \(store.path): \(added.joined(separator: ", ")).")
    if !result.missing.isEmpty {
      sections.append(
        "Not known yet:\n" + result.missing.map { "  \($0)" }.joined(separator: "\n"))
    }
    return sections.joined(separator: "\n")
  }

  private static let eventNames = ["log": "log line", "cookie": "cookie request", "registers": "register reading"]

  /// Rows of one kind that are shown one by one, and refusals that are shown.
  private static let rowLimit = 4, refusalLimit = 40

  private static func extraction(_ text: EvidenceImport.Text, devices: [any DeviceModel]) -> String {
    let extraction = text.extraction
    var lines = ["\(printable(extraction.name)): \(counted(extraction.lineCount, "line"))"]
    if text.isKnown { return lines[0] + ", imported before; nothing of it was added." }
    var rows: [[String]] = []
    var kinds: [String] = []
    var findings: [String: [Finding]] = [:]
    for finding in extraction.findings {
      let kind = finding.evidence.kind
      if findings[kind] == nil { kinds.append(kind) }
      findings[kind, default: []].append(finding)
    }
    for kind in kinds {
      guard let group = findings[kind], let first = group.first, let last = group.last else { continue }
      let details = group.map { $0.evidence.detail(devices: devices) }
      if group.count > rowLimit {
        rows.append([
          kind, "\(first.lines.lowerBound)-\(last.lines.upperBound)", "\(group.count), the first: \(details[0])",
        ])
        rows.append(["", "", "the last: \(details[details.count - 1])"])
      } else {
        for (position, finding) in group.enumerated() {
          rows.append([position == 0 ? kind : "", span(finding.lines), details[position]])
        }
      }
      let remarks = group.flatMap { finding in finding.remarks.map { "line \(finding.lines.lowerBound): \($0)" } }
      for remark in remarks.prefix(rowLimit) { rows.append(["", "", "but \(remark)"]) }
      if remarks.count > rowLimit { rows.append(["", "", "and \(remarks.count - rowLimit) remarks like these"]) }
    }
    lines += aligned(rows)
    if rows.isEmpty { lines.append("  no evidence that can be read") }
    if !extraction.refusals.isEmpty {
      lines.append("  not read:")
      lines += aligned(
        extraction.refusals.prefix(refusalLimit).map { [span($0.lines), $0.reason] }, indent: "    ")
      if extraction.refusals.count > refusalLimit {
        lines.append("    and \(extraction.refusals.count - refusalLimit) places more.")
      }
    }
    lines += text.remarks.map { "  note: \(printable($0))" }
    let noise = Noise.allCases.compactMap { kind in extraction.noise[kind].map { "\($0) \(kind.rawValue)" } }
    if !noise.isEmpty {
      let total = extraction.noise.values.reduce(0, +)
      lines.append("  \(counted(total, "line")) tell\(total == 1 ? "s" : "") nothing: \(noise.joined(separator: ", "))")
    }
    return lines.joined(separator: "\n")
  }

  private static func span(_ lines: ClosedRange<Int>) -> String {
    lines.count == 1 ? "\(lines.lowerBound)" : "\(lines.lowerBound)-\(lines.upperBound)"
  }
}

extension Evidence {
  /// What a table of findings calls it.
  fileprivate var kind: String {
    switch self {
    case .call(let call, let profile):
      (call.call.isMap ? "map call" : "unmap call") + (profile == nil ? ", traced" : "")
    case .translations: "translations"
    case .log(let line): "log: \(line.meaning.rawValue)"
    case .cookie: "cookie request"
    case .registers: "registers"
    case .configuration: "configuration"
    case .sourceIndex: "source index"
    case .release: Fact.banner
    case .fact(let name, _): name
    case .otherBacktrace: "other backtrace"
    case .pages: "pages of tables"
    case .capture: "notes of tables"
    case .table: "written-out tables"
    case .state: "kernel state"
    }
  }

  /// What it is, in one line.
  fileprivate func detail(devices: [any DeviceModel]) -> String {
    switch self {
    case .call(let recorded, _):
      let call = recorded.call
      let target = call.target.map { " -> \($0)" } ?? ""
      let protection = call.isMap ? " \(call.protection?.description ?? "prot not known")" : ""
      return "\(call.iova) \(call.extent)\(target)\(protection)   "
        + RecordedCallHeader.chain(call.function, callers: recorded.callers)
    case .translations(let runs):
      let shown = runs.prefix(3).map(\.summary).joined(separator: "; ")
      return runs.count > 3 ? "\(counted(runs.count, "run")): \(shown); …" : shown
    case .log(let line):
      if let timeout = TransmitTimeout(line.text) { return timeout.summary }
      return shortened(line.text)
    case .cookie(let request):
      return "domain \(request.domain) \(request.isSecond ? "has one already" : "has none")"
        + (request.callers.first.map { "   <- \($0)" } ?? "")
    case .registers(let values): return Self.registers(values, devices)
    case .configuration(let configuration): return shortened(configuration.summary)
    case .sourceIndex(let index): return "\(index.name) = (\(index.operand) >> \(index.shift)) & \(index.mask)"
    case .release(let release): return "\(release), as a warning names it"
    case .fact(_, let value): return shortened(value)
    case .pages(let pages):
      let addresses = pages.keys.sorted()
      return "\(counted(pages.count, "page"))" + (addresses.first.map { ", the first at \($0)" } ?? "")
    case .capture(let capture): return Self.capture(capture)
    case .table(let table): return Self.table(table)
    case .state(let state): return Self.state(state)
    case .otherBacktrace(let functions): return shortened(functions.prefix(4).joined(separator: " <- "))
    }
  }

  /// `the Sv39 table at 0x…, 0000:00:01.0: 8 entries, and 6 more where walks end`.
  private static func table(_ table: TypedTable) -> String {
    let owner = [table.root.map { "the \($0.mode.name) table at \($0.address)" }, table.requester?.description]
      .compactMap { $0 }.joined(separator: ", ")
    let values = table.entries.count { if case .value = $0.content { true } else { false } }
    let ends = table.entries.count - values
    return (owner.isEmpty ? "" : owner + ": ") + (values == 1 ? "1 entry" : "\(values) entries")
      + (ends == 0 ? "" : ", and \(ends) more where walks end")
  }

  /// `domain 0x… has the Sv39 table at 0x…; 318 calls seen`.
  private static func capture(_ capture: TableCapture) -> String {
    var parts: [String] = []
    if let root = capture.root {
      let table = "the \(root.mode.name) table at \(root.address)"
      parts.append(capture.domain.map { "domain \($0) has \(table)" } ?? table)
    }
    if let requester = capture.requester { parts.append("\(requester)") }
    if let seen = capture.callsSeen { parts.append("\(seen) calls seen") }
    if !capture.maps.isEmpty { parts.append("\(counted(capture.maps.count, "map call")) listed") }
    return parts.isEmpty ? "registers" : parts.joined(separator: ", ")
  }

  /// `0000:00:01.0 in group 1: no default domain, no domain`.
  private static func state(_ state: KernelState) -> String {
    shortened(
      state.devices.map { device in
        guard let group = state.group(device.group) else { return device.name }
        return "\(device.name) in group \(group.id): "
          + (group.defaultDomain.map { "default domain \($0)" } ?? "no default domain") + ", "
          + (group.domain.map { "domain \($0)" } ?? "no domain") + (device.usesIOMMU == false ? ", direct DMA" : "")
      }.joined(separator: "; "))
  }

  private static func registers(_ values: RegisterValues, _ devices: [any DeviceModel]) -> String {
    let device = devices.first { device in
      values.byOffset.keys.allSatisfy { offset in device.registers.contains { $0.offset == offset } }
    }
    return values.byOffset.sorted { $0.key < $1.key }.filter { $0.value != 0 || values.byOffset.count == 1 }.map {
      offset, value in
      "\(device?.registers.first { $0.offset == offset }?.name ?? hex(offset)) \(hex(value))"
    }.joined(separator: ", ")
  }
}

extension RecordedTranslation {
  /// `4 from 0xfffff000 in steps of 4, refused`.
  fileprivate var summary: String {
    var text = count == 1 ? "\(iova)" : "\(count) from \(iova) in steps of \(stride)"
    switch access {
    case .read?: text = "read \(text)"
    case .write?: text = "write \(text)"
    case .readWrite?: text = "read and write \(text)"
    case Access.none?: text = "probe \(text)"
    case nil: break
    }
    if let answer {
      text += answer.access == .none ? ", refused" : " -> \(answer.address)"
    }
    if let asker {
      let length = asker.length.map { ", \(counted(Int(truncatingIfNeeded: $0), "byte"))" } ?? ""
      text += "   \(asker.device): \(asker.operation), \(asker.path)\(length)"
    }
    return text
  }
}

extension TransmitTimeout {
  /// `eth0 (e1000e): transmit queue 0 stuck for 9960 ms`.
  fileprivate var summary: String {
    "\(interface) (\(driver)): transmit queue \(queue) stuck" + (milliseconds.map { " for \($0) ms" } ?? "")
  }
}

/// At most 140 characters of `text`.
private func shortened(_ text: String) -> String { text.count <= 140 ? text : text.prefix(139) + "…" }
