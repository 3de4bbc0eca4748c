import IOMMUModel
public import Investigation
import PageTables

/// An investigation as Markdown, to hand to a colleague.
public struct MarkdownReport {
  private let findings: Findings

  /// A report on `findings`.
  public init(_ findings: Findings) { self.findings = findings }

  /// The report.
  public func text() -> String {
    var sections = ["# IOMMU investigation", summary(), environment()]
    if let exhibit { sections.append(evidence(exhibit)) }
    sections.append(checks())
    if let registers = findings.registers { sections.append(registerTable(registers)) }
    if !findings.notes.isEmpty {
      sections.append("## Notes\n\n" + findings.notes.map { "- \(escaped($0))" }.joined(separator: "\n"))
    }
    sections.append(appendix())
    return sections.joined(separator: "\n\n") + "\n"
  }

  // MARK: Sections

  private func summary() -> String {
    let diagnosis = findings.diagnosis
    var lines = ["## Summary", ""]
    if let cause = diagnosis.hypotheses.first {
      lines.append("**\(escaped(cause.title)).**")
      lines.append("")
      lines += (cause.evidence + cause.effects).map { "- \(escaped($0))" }
      lines += cause.counterEvidence.map { "- Against: \(escaped($0))" }
      lines.append("- What to change: \(escaped(cause.remedy))")
      if let question = cause.openQuestion { lines.append("- Open: \(escaped(question))") }
      for (position, other) in diagnosis.hypotheses.dropFirst().enumerated() {
        lines.append(
          "- Explanation \(position + 2): \(escaped(other.title)) (\(other.explained) of \(other.calls) calls).")
      }
    } else if diagnosis.calls == 0 {
      lines.append("No map call was recorded and verified, so nothing can be concluded.")
    } else if diagnosis.disagreeing == 0 && findings.check.disagreements.isEmpty {
      lines.append(
        "**No cause to name: \(counted(diagnosis.calls, "recorded map call")) and the \(counted(findings.check.pages, "page")) "
          + "they cover agree with the tables and with the device.**")
    } else {
      lines.append(
        "\(counted(findings.check.disagreements.count, "range")) disagree, and no known hypothesis explains them; see the cross-check."
      )
    }
    return lines.joined(separator: "\n")
  }

  private func environment() -> String {
    var rows = [("Driver", findings.profile.name), ("Device", findings.profile.device.name)]
    let facts = findings.facts
    if let banner = facts[Fact.banner] { rows.append(("Kernel", banner)) }
    if let satp = facts[Fact.satp].flatMap({ UInt64($0.dropFirst(2), radix: 16) }) {
      let mode = KernelPaging(satp: satp).mode?.name ?? "bare"
      rows.append(("CPU paging", "\(mode) (satp \(hex(satp)))"))
    }
    let modes = Set(findings.calls.compactMap { $0.root?.mode.name }).sorted().joined(separator: ", ")
    if !modes.isEmpty { rows.append(("I/O page tables", modes)) }
    let requesters = Set(findings.calls.compactMap(\.requester)).sorted().map { "\($0) (rsid \($0.rsid))" }
    if !requesters.isEmpty { rows.append(("Requesters", requesters.joined(separator: ", "))) }
    if let debugger = facts[Fact.debugger] { rows.append(("Debugger", debugger)) }
    if let memory = facts[Fact.memory] { rows.append(("Guest memory", memory)) }
    return table(["", ""], rows.map { [$0.0, $0.1] }, title: "## Environment")
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
      rows.append(["prot", "\(protection) (\(protection.rawValue))"])
      if let allocation {
        let version = findings.facts[Fact.banner].flatMap(KernelVersion.init(banner:))
        rows.append(["gfp", allocation.description(in: version)])
      }
    }
    var text = table(
      ["argument", "value"], rows,
      title: "## Evidence: \(call.isMap ? "map" : "unmap") #\(recorded.number), `\(call.function)`", code: false)
    if !recorded.callers.isEmpty {
      text += "\n\nCalled by " + recorded.callers.map { "`\(escapedCode($0))`" }.joined(separator: " ← ") + "."
    }
    guard let root = recorded.root else { return text }
    let geometry = root.mode.geometry
    let verification = exhibit.verification
    text +=
      "\n\n"
      + walkTable(
        geometry.walk(call.iova, root: root.address, in: findings.memory),
        title: "### Where \(root.mode.name) looks for \(call.iova)")
    if !verification.agrees {
      text +=
        "\n\nVerdict right after the call: **\(escaped(verification.verdict.description))** on "
        + "\(verification.leaves - verification.agreeing) of \(counted(verification.leaves, "page"))."
      if let cause = findings.diagnosis.hypotheses.first, let shift = cause.shift ?? cause.shifts.shifts.first {
        text +=
          "\n\n"
          + walkTable(
            geometry.replacing(shift: shift, atLevel: cause.level).walk(
              call.iova, root: root.address, in: findings.memory),
            title: "### Where the entry really is (shift \(shift) at level \(cause.level))")
      }
    }
    if let requester = recorded.requester, let registers = findings.registers {
      let protection = call.protection ?? .read
      let translation = findings.profile.device.translate(
        call.iova, access: protection.contains(.read) ? .read : .write, requester: requester, registers: registers,
        memory: findings.memory)
      text += "\n\nThe device (\(findings.profile.device.name)): this IOVA \(escaped(translation.outcome))."
      for deviation in translation.deviations { text += " Differs from the specification: \(escaped(deviation))." }
    }
    return text
  }

  private func walkTable(_ walk: Walk, title: String) -> String {
    let rows = walk.steps.map { step in
      ["\(step.level)", "\(step.index)", "`\(step.entryAddress)`", "`\(hex(step.entry.rawValue))`", step.meaning]
    }
    return table(["level", "slot", "entry at", "value", "meaning"], rows, title: title, code: false)
      + "\n\n\(words(walk.outcome))."
  }

  private func checks() -> String {
    let check = findings.check
    let bad = check.disagreements
    if bad.isEmpty { return "## Cross-check\n\nAll \(counted(check.pages, "page")) agree." }
    let shown = bad.prefix(50)
    let rows = shown.map { line in
      [
        "`\(range(line.iova, line.length))`", line.expected.map { "`\($0)`" } ?? "unmapped",
        "\(line.call.call.isMap ? "map" : "unmap") #\(line.call.number)", line.tables.description,
        line.device.description + (line.cause.map { " (cause \($0))" } ?? ""),
      ]
    }
    var text = table(
      ["IOVA", "should lead to", "by", "tables", "device"], rows, title: "## Cross-check", code: false)
    if bad.count > shown.count { text += "\n\n… and \(bad.count - shown.count) more ranges." }
    return text + "\n\n\(check.disagreeingPages) of \(counted(check.pages, "page")) disagree."
  }

  private func registerTable(_ values: RegisterValues) -> String {
    let rows = findings.profile.device.registers.map { register in
      [
        "`\(hex(register.offset))`", register.driverName.map { "\(register.name) (driver: \($0))" } ?? register.name,
        values[register.offset].map { "`\(hex($0))`" } ?? "unreadable",
        values[register.offset].map(register.meaning) ?? "",
      ]
    }
    return table(["offset", "register", "value", "meaning"], rows, title: "## Registers", code: false)
  }

  private func appendix() -> String {
    let rows = findings.calls.prefix(500).map { recorded in
      let call = recorded.call
      return [
        "\(call.isMap ? "map" : "unmap") #\(recorded.number)", recorded.requester?.description ?? "-",
        "`\(call.iova)`", call.extent, call.target.map { "`\($0)`" } ?? "", call.protection?.description ?? "",
        recorded.id.flatMap { findings.verifications[$0] }?.verdict.description ?? "not verified",
      ]
    }
    var text =
      "<details><summary>\(counted(findings.calls.count, "recorded call"))</summary>\n\n"
      + table(["call", "requester", "IOVA", "size", "to", "prot", "right after"], rows, title: "", code: false)
    if findings.calls.count > 500 { text += "\n\n… and \(findings.calls.count - 500) more in the investigation file." }
    return "## Appendix\n\n" + text + "\n\n</details>"
  }

  // MARK: Safety

  private func table(_ head: [String], _ rows: [[String]], title: String, code: Bool = true) -> String {
    var lines = title.isEmpty ? [] : [title, ""]
    lines.append("| " + head.joined(separator: " | ") + " |")
    lines.append("|" + head.map { _ in "---|" }.joined())
    for row in rows { lines.append("| " + row.map { code ? escaped($0) : cell($0) }.joined(separator: " | ") + " |") }
    return lines.joined(separator: "\n")
  }

  /// A cell that may hold code spans of our own; text from the target is escaped, code spans hold numbers only.
  private func cell(_ text: String) -> String { text.hasPrefix("`") ? text : escaped(text) }

  /// Text that may come from the target, safe in a table, a list or a paragraph.
  private func escaped(_ text: String) -> String {
    var safe = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "|", "`", "*", "_", "[", "]", "<", ">", "\\", "#": safe += "\\\(scalar)"
      case "&": safe += "&amp;"
      case _ where scalar.properties.generalCategory == .control: safe += "\u{fffd}"
      default: safe.unicodeScalars.append(scalar)
      }
    }
    return safe
  }

  /// A name from the target inside a code span.
  private func escapedCode(_ text: String) -> String {
    String(
      text.unicodeScalars.filter { $0 != "`" && $0 != "|" && $0.properties.generalCategory != .control }.map(
        Character.init))
  }
}
