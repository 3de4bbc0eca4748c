import IOMMUModel
public import Investigation
import LinuxKernel
import PageTables

/// An investigation as Markdown, to hand to a colleague.
public struct MarkdownReport {
  private let findings: Findings

  /// Ranges shown of the cross-check, and calls shown in the appendix.
  static let rangeLimit = 50, callLimit = 500

  /// A report on `findings`.
  public init(_ findings: Findings) { self.findings = findings }

  /// The report.
  public func text() -> String {
    var sections = ["# IOMMU investigation", summary(), environment()]
    if let exhibit { sections.append(evidence(exhibit)) }
    sections.append(checks())
    if findings.check.leftOut > 0 { sections.append(Terminal.leftOut(findings.check)) }
    if let seen = Terminal.translations(findings.translations, limit: Self.rangeLimit) {
      sections.append("## What the device was seen to translate\n\n```\n\(seen)\n```")
    }
    if let missed = Terminal.untranslated(findings.untranslated, limit: Self.rangeLimit) {
      sections.append("## What the device did not ask for\n\n```\n\(missed)\n```")
    }
    if !findings.remarks.isEmpty { sections.append(findings.remarks.map { "- \(prose($0))" }.joined(separator: "\n")) }
    if let registers = findings.registers { sections.append(registerTable(registers)) }
    if let state = findings.state, !state.devices.isEmpty { sections.append(deviceTable(state)) }
    if !findings.log.isEmpty { sections.append(logTable()) }
    if !findings.notes.isEmpty {
      sections.append("## Notes\n\n" + findings.notes.map { "- \(prose($0))" }.joined(separator: "\n"))
    }
    sections.append(appendix())
    return sections.joined(separator: "\n\n") + "\n"
  }

  // MARK: Sections

  private func summary() -> String {
    let diagnosis = findings.diagnosis
    var lines = ["## Summary", ""]
    if let cause = diagnosis.hypotheses.first {
      lines.append("**\(sentence(cause.title))**")
      lines.append("")
      lines.append("To change: \(prose(cause.remedy))")
      lines.append("")
      lines += (cause.evidence + cause.effects).map { "- \(prose($0))" }
      lines += cause.counterEvidence.map { "- Against: \(prose($0))" }
      if let question = cause.openQuestion { lines.append("- Open: \(prose(question))") }
      for (position, other) in diagnosis.hypotheses.dropFirst().enumerated() {
        lines.append(
          "- Explanation \(position + 2): \(prose(other.title)) (\(other.support)).")
      }
    } else if diagnosis.isClean && diagnosis.calls == 0 {
      lines.append("No map call was recorded and verified, so nothing can be concluded.")
    } else if diagnosis.isClean {
      lines.append(
        "**No cause to name: \(counted(diagnosis.calls, "recorded map call")) and the "
          + "\(counted(findings.check.pages, "page")) they cover agree with the tables and with the device.**")
    } else {
      lines.append(
        "**\(counted(findings.check.disagreeingPages, "page")) of \(findings.check.pages) "
          + "\(findings.check.disagreeingPages == 1 ? "disagrees" : "disagree"), and no known cause explains it;** "
          + "the cross-check below lists the ranges.")
    }
    if diagnosis.staleUnmaps > 0 {
      if lines.last?.hasPrefix("- ") != true { lines.append("") }
      lines.append("- \(counted(diagnosis.staleUnmaps, "unmap call")) left entries behind.")
    }
    return lines.joined(separator: "\n")
  }

  private func environment() -> String {
    var rows = [["Driver", cell(findings.profile.name)], ["Device", cell(findings.profile.device.name)]]
    let facts = findings.facts
    if let banner = facts[Fact.banner] { rows.append(["Kernel", codeCell(banner)]) }
    if let satp = facts[Fact.satp].flatMap({ UInt64($0.dropFirst(2), radix: 16) }) {
      let mode = KernelPaging(satp: satp).mode?.name ?? "bare"
      rows.append(["CPU paging", "\(mode) (satp `\(hex(satp))`)"])
    }
    let modes = Set(findings.calls.compactMap { $0.root?.mode.name }).sorted().joined(separator: ", ")
    if !modes.isEmpty { rows.append(["I/O page tables", modes]) }
    let requesters = Set(findings.calls.compactMap(\.requester)).sorted()
    if !requesters.isEmpty {
      let shown = requesters.prefix(20).map { "\($0) (rsid \($0.rsid))" }
      rows.append([
        "Requesters",
        shown.joined(separator: ", ") + (requesters.count > 20 ? " and \(requesters.count - 20) more" : ""),
      ])
    }
    if let debugger = facts[Fact.debugger] { rows.append(["Debugger", cell(debugger)]) }
    if let memory = facts[Fact.memory] { rows.append(["Guest memory", cell(memory)]) }
    return table(["what", "value"], rows, title: "## Environment")
  }

  /// The call that shows the trouble best: the first that disagrees; without one the first map call.
  private var exhibit: (call: RecordedCall, verification: Verification)? {
    let verified = findings.calls.compactMap { call in
      call.id.flatMap { findings.verifications[$0] }.map { (call: call, verification: $0) }
    }.filter { $0.call.call.isMap }
    return verified.first { !$0.verification.agrees } ?? verified.first
  }

  private func evidence(_ exhibit: (call: RecordedCall, verification: Verification)) -> String {
    let recorded = exhibit.call
    let call = recorded.call
    var rows = [
      ["iova", "`\(call.iova)` (\(call.iova.rawValue))"], ["size", call.extent],
      ["domain", "`\(call.domain)`"], ["requester", recorded.requester.map { "\($0) (rsid \($0.rsid))" } ?? "none"],
    ]
    if case .map(let target, let protection, let allocation) = call.operation {
      rows.insert(["paddr", "`\(target)` (\(target.rawValue))"], at: 1)
      rows.append(["prot", cell(protection.map { "\($0) (\($0.rawValue))" } ?? "not known")])
      if let allocation {
        let version = findings.facts[Fact.banner].flatMap(KernelVersion.init(banner:))
        rows.append(["gfp", cell(allocation.description(in: version))])
      }
    }
    var text = table(
      ["argument", "value"], rows, title: "## Evidence: \(recorded.title), \(code(call.function))")
    if !recorded.callers.isEmpty {
      text +=
        "\n\nCalled by " + recorded.callers.prefix(40).map(code).filter { !$0.isEmpty }.joined(separator: " ← ") + "."
    }
    guard let root = recorded.root else { return text }
    let geometry = root.mode.geometry
    let verification = exhibit.verification
    let walk = geometry.walk(call.iova, root: root.address, in: findings.memory)
    text += "\n\n" + walkTable(walk, title: "### Where \(root.mode.name) looks for \(call.iova)")
    if !verification.agrees {
      text +=
        "\n\nRight after the call: **\(prose(verification.verdict.description))** on "
        + "\(verification.leaves - verification.agreeing) of \(counted(verification.leaves, "page"))."
      if let cause = findings.diagnosis.hypotheses.first?.wrongShift {
        let shift = cause.assumed
        let written = geometry.replacing(shift: shift, atLevel: cause.level)
        text +=
          "\n\n"
          + walkTable(
            written.walk(call.iova, root: root.address, in: findings.memory),
            title: "### Where shift \(shift) at level \(cause.level) leads")
      }
    }
    if let requester = recorded.requester, let registers = findings.registers {
      let protection = call.protection ?? .read
      let translation = findings.profile.device.translate(
        call.iova, access: protection.contains(.read) ? .read : .write, requester: requester, registers: registers,
        memory: findings.memory)
      text += "\n\n\(prose(findings.profile.device.name)): this IOVA \(prose(translation.outcome))."
      for deviation in translation.deviations { text += " Differs from the specification: \(prose(deviation))." }
    }
    return text
  }

  private func walkTable(_ walk: Walk, title: String) -> String {
    let rows = walk.steps.map { step in
      ["\(step.level)", "\(step.index)", "`\(step.entryAddress)`", "`\(hex(step.entry.rawValue))`", cell(step.meaning)]
    }
    let end = sentence(words(walk.outcome))
    if rows.isEmpty { return "\(title)\n\n\(end)" }
    return table(["level", "slot", "entry at", "value", "meaning"], rows, title: title) + "\n\n\(end)"
  }

  private func checks() -> String {
    let check = findings.check
    let bad = check.disagreements
    if check.pages == 0 { return "## Cross-check\n\nNothing to compare: no recorded call covers a page." }
    if bad.isEmpty {
      return "## Cross-check\n\nAll \(counted(check.pages, "page")) agree: \(check.mappedPages) mapped, "
        + "\(check.unmappedPages) unmapped."
    }
    let neighbours = check.neighbours
    let shown = neighbours.prefix(Self.rangeLimit)
    let rows = shown.map { lines -> [String] in
      [
        "`\(lines.range)`", lines.target.map { "`\($0)`" } ?? lines.extent, lines.calls, cell(lines.tables),
        cell(lines.device),
      ]
    }
    let kinds = check.summary.map { "\($0.pages) \($0.verdict)" }.joined(separator: ", ")
    var text =
      "## Cross-check\n\n\(check.disagreeingPages) of \(counted(check.pages, "page")) disagree: \(kinds).\n\n"
      + table(["IOVA", "should lead to", "says", "tables", "device"], rows, title: "")
    let hidden = neighbours.dropFirst(shown.count).reduce(0) { $0 + $1.count }
    if hidden > 0 { text += "\n\n… and \(counted(hidden, "more range"))." }
    return text
  }

  private func registerTable(_ values: RegisterValues) -> String {
    let rows = findings.profile.device.registers.map { register in
      [
        "`\(hex(register.offset))`",
        cell(register.driverName.map { "\(register.name) (driver: \($0))" } ?? register.name),
        values[register.offset].map { "`\(hex($0))`" } ?? "unreadable",
        cell(values[register.offset].map(register.meaning) ?? ""),
      ]
    }
    return table(["offset", "register", "value", "meaning"], rows, title: "## Registers")
  }

  private func deviceTable(_ state: KernelState) -> String {
    let rows = state.devices.prefix(Self.rangeLimit).map { device -> [String] in
      let group = state.group(device.group)
      let domain = group.map { cell(state.domain($0.defaultDomain)?.kind ?? "none") } ?? ""
      let requester = device.requester.map { "\($0.rsid)" } ?? ""
      let operations = device.usesIOMMU.map { $0 ? "IOMMU" : "direct" } ?? ""
      return [
        codeCell(device.name), cell(device.bus), requester, codeCell(device.driver ?? ""),
        device.group.map { "\($0)" } ?? "none", domain, operations,
      ]
    }
    let text = table(
      ["device", "bus", "rsid", "driver", "group", "default domain", "DMA"], rows, title: "## Devices")
    let more = state.devices.count - rows.count
    return more > 0 ? "\(text)\n\n… and \(counted(more, "more device"))." : text
  }

  private func logTable() -> String {
    let shown = findings.log.prefix(Self.rangeLimit)
    let rows = shown.map { line -> [String] in
      let time = line.time.map { "\($0 / 1_000_000_000).\(padded($0 / 1000 % 1_000_000, 6))" } ?? ""
      return [cell("\(line.origin):\(line.line)"), time, codeCell(line.text), cell(line.meaning.rawValue)]
    }
    let text = table(["from", "time", "line", "tells"], rows, title: "## Log")
    let more = findings.log.count - shown.count
    return more > 0 ? "\(text)\n\n… and \(counted(more, "more line"))." : text
  }

  private func padded(_ number: UInt64, _ width: Int) -> String {
    let digits = String(number)
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
  }

  private func appendix() -> String {
    let rows = findings.calls.prefix(Self.callLimit).map { recorded in
      let call = recorded.call
      return [
        recorded.title, recorded.requester?.description ?? "-", "`\(call.iova)`", call.extent,
        call.target.map { "`\($0)`" } ?? "", cell(call.protection?.description ?? ""),
        cell(recorded.id.flatMap { findings.verifications[$0] }?.verdict.description ?? "not verified"),
      ]
    }
    if rows.isEmpty { return "## Appendix\n\nNo call was recorded." }
    var text =
      "<details><summary>\(counted(findings.calls.count, "recorded call"))</summary>\n\n"
      + table(["call", "requester", "IOVA", "size", "to", "prot", "right after"], rows, title: "")
    let more = findings.calls.count - rows.count
    if more > 0 { text += "\n\n… and \(counted(more, "more call")) in the investigation file." }
    return "## Appendix\n\n" + text + "\n\n</details>"
  }

  // MARK: Markdown

  /// A table of cells that are Markdown already.
  private func table(_ head: [String], _ rows: [[String]], title: String) -> String {
    var lines = title.isEmpty ? [] : [title, ""]
    lines.append("| " + head.joined(separator: " | ") + " |")
    lines.append("|" + head.map { _ in "---|" }.joined())
    for row in rows { lines.append("| " + row.joined(separator: " | ") + " |") }
    return lines.joined(separator: "\n")
  }

  /// A sentence of its own, with a capital and a full stop.
  private func sentence(_ text: String) -> String {
    prose(text.prefix(1).uppercased() + text.dropFirst() + (text.hasSuffix(".") ? "" : "."))
  }

  private func prose(_ text: String) -> String { MarkdownText.prose(text) }
  private func cell(_ text: String) -> String { MarkdownText.prose(text, inTable: true) }
  private func code(_ text: String) -> String { MarkdownText.code(text) }
  private func codeCell(_ text: String) -> String { MarkdownText.code(text, inTable: true) }
}

extension RecordedCall {
  /// `map #3`.
  fileprivate var title: String { "\(call.isMap ? "map" : "unmap") #\(number)" }
}

/// Text as Markdown (CommonMark with GitHub's tables) that can hold no markup of its own: much of it comes from the target
/// or from a file that somebody else wrote.
enum MarkdownText {
  /// Characters kept of one piece of text.
  static let limit = 400

  /// Plain text, with identifiers and what stands between backticks in code spans. Neither HTML, links, emphasis nor list
  /// or heading marks come through; a newline becomes a replacement character.
  static func prose(_ text: String, inTable: Bool = false) -> String {
    let parts = cut(text).split(separator: "`", omittingEmptySubsequences: false)
    var safe = ""
    for (position, part) in parts.enumerated() {
      let isClosed = position % 2 == 1 && position + 1 < parts.count
      if isClosed && !part.allSatisfy(\.isWhitespace) {
        add(code(String(part), inTable: inTable), to: &safe)
      } else {
        if position % 2 == 1 { safe += "\\`" }
        addWords(part, to: &safe)
        if isClosed { safe += "\\`" }
      }
    }
    return blockSafe(safe)
  }

  /// Code spans must not touch: two backticks in a row are another mark.
  private static func add(_ span: String, to safe: inout String) {
    if safe.last == "`" { safe += " " }
    safe += span
  }

  /// A code span.
  static func code(_ text: String, inTable: Bool = false) -> String {
    var inside = cut(text).replacing("`", with: "'").trimmingSpaces
    if inTable { inside = inside.replacing("|", with: "¦") }
    return inside.isEmpty ? "" : "`\(inside)`"
  }

  private static func cut(_ text: String) -> String {
    let safe = printable(text)
    return safe.count <= limit ? safe : safe.prefix(limit - 1) + "…"
  }

  /// Escapes; a word with an underscore in it is an identifier.
  private static func addWords(_ text: Substring, to safe: inout String) {
    var rest = text
    while let first = rest.first {
      let word = rest.prefix { $0.isLetter || $0.isNumber || $0 == "_" }
      rest = rest.dropFirst(max(word.count, 1))
      if word.isEmpty {
        safe += first == ":" && rest.hasPrefix("//") ? "\\:" : escaped(first)
      } else if word.allSatisfy({ $0 == "_" }) {
        safe += word.map { "\\\($0)" }.joined()
      } else if word.contains("_") {
        add("`\(word)`", to: &safe)
      } else {
        safe += word
        // GitHub makes links of bare addresses.
        if word.lowercased() == "www", rest.first == "." {
          safe += "\\."
          rest.removeFirst()
        }
      }
    }
  }

  private static func escaped(_ character: Character) -> String {
    switch character {
    case "\\", "*", "[", "]", "|", "~", "$": "\\\(character)"
    case "<": "&lt;"
    case "&": "&amp;"
    default: String(character)
    }
  }

  /// Takes the meaning from what would open a block at the start of a line: `#`, `>`, `-`, `1.`.
  private static func blockSafe(_ text: String) -> String {
    let text = text.trimmingSpaces
    guard let first = text.first else { return "" }
    if "#>-+=:".contains(first) { return "\\" + text }
    let digits = text.prefix { $0.isNumber }
    if !digits.isEmpty, let mark = text.dropFirst(digits.count).first, mark == "." || mark == ")" {
      return "\(digits)\\\(text.dropFirst(digits.count))"
    }
    return text
  }
}

extension String {
  fileprivate var trimmingSpaces: String {
    var part = self[...]
    while part.first?.isWhitespace == true { part.removeFirst() }
    while part.last?.isWhitespace == true { part.removeLast() }
    return String(part)
  }
}
