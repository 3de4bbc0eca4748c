import IOMMUModel
import Investigation
import PageTables

extension Report {
  /// What is wrong, how sure that is, what to change, who is hit.
  var summary: ReportValue {
    let diagnosis = findings.diagnosis
    let cause = diagnosis.hypotheses.first
    return .object([
      ("verdict", .text(verdict)), ("headline", .text(headline)), ("change", .text(cause?.remedy)),
      ("confidence", .text(cause.map(confidence))),
      (
        "hit",
        .list(
          ReportList(hit) {
            .object([("device", .code($0.device)), ("pages", .number($0.pages)), ("of", .number($0.of))])
          })
      ),
      ("stale_unmaps", .number(diagnosis.staleUnmaps)),
      (
        "others",
        .list(
          ReportList(Array(diagnosis.hypotheses.enumerated().dropFirst())) { position, other in
            .object([
              ("place", .number(position + 1)), ("title", .text(other.title)),
              ("support", .text(other.support.description)),
            ])
          })
      ),
    ])
  }

  private var verdict: String {
    let diagnosis = findings.diagnosis
    if !diagnosis.hypotheses.isEmpty { return "cause" }
    if !diagnosis.isClean { return "unexplained" }
    return diagnosis.calls == 0 ? "nothing recorded" : "agreement"
  }

  private var headline: String {
    let diagnosis = findings.diagnosis
    let check = findings.check
    if let cause = diagnosis.hypotheses.first { return sentence(cause.title) }
    if diagnosis.isClean && diagnosis.calls == 0 {
      return "No map call was recorded and verified, so nothing can be concluded."
    }
    if diagnosis.isClean {
      return "No cause to name: \(counted(diagnosis.calls, "recorded map call")) and the "
        + "\(counted(check.pages, "page")) they cover agree with the tables and with the device."
    }
    return "\(counted(check.disagreeingPages, "page")) of \(check.pages) "
      + "\(check.disagreeingPages == 1 ? "disagrees" : "disagree"), and no known cause explains it."
  }

  private func confidence(_ cause: Diagnosis.Hypothesis) -> String {
    var text = "it explains \(cause.support)"
    if !cause.counterEvidence.isEmpty { text += "; \(counted(cause.counterEvidence.count, "point")) against it" }
    if cause.openQuestion != nil { text += "; one question is open" }
    return text
  }

  /// By device, the pages that disagree, and how many were compared.
  private var hit: [(device: String, pages: UInt64, of: UInt64)] {
    var pages: [RequesterID?: (wrong: UInt64, all: UInt64)] = [:]
    for line in findings.check.lines {
      let count = line.length / 4096
      pages[line.call.requester, default: (0, 0)].all &+= count
      if line.worst != .agrees { pages[line.call.requester, default: (0, 0)].wrong &+= count }
    }
    return pages.filter { $0.value.wrong > 0 }.sorted { ($0.key?.rawValue ?? .max) < ($1.key?.rawValue ?? .max) }.map {
      ($0.key?.description ?? "no device", $0.value.wrong, $0.value.all)
    }
  }

  /// What the target and its surroundings are, as far as they are known.
  var environment: ReportValue {
    let facts = findings.facts
    var rows: [(String, ReportValue)] = [
      ("IOMMU driver", .text(findings.profile.name)), ("Driver source", .code(facts[Fact.source])),
      ("IOMMU device", .text(findings.profile.device.name)), ("Kernel", .code(facts[Fact.banner])),
    ]
    if let satp = facts[Fact.satp].flatMap({ UInt64($0.dropFirst(2), radix: 16) }) {
      rows.append(("CPU paging", .text("\(KernelPaging(satp: satp).mode?.name ?? "bare") (satp \(hex(satp)))")))
    }
    let modes = Set(findings.calls.lazy.compactMap { $0.root?.mode.name }).sorted().joined(separator: ", ")
    if !modes.isEmpty { rows.append(("I/O page tables", .text(modes))) }
    let requesters = Set(findings.calls.lazy.compactMap(\.requester)).sorted()
    if !requesters.isEmpty {
      let more = requesters.count > 20 ? " and \(requesters.count - 20) more" : ""
      rows.append(
        ("Devices", .text(requesters.prefix(20).map { "\($0) (rsid \($0.rsid))" }.joined(separator: ", ") + more)))
    }
    rows += [
      ("Configuration", .text(facts[Fact.configuration])), ("QEMU", .text(facts[Fact.emulator])),
      ("Debugger", .text(facts[Fact.debugger])), ("Guest memory", .text(facts[Fact.memory])),
      ("Recorded", .text(extent)),
    ]
    let known = rows.filter { if case .nothing = $0.1 { false } else { true } }
    return .list(ReportList(known) { .object([("name", .text($0.0)), ("value", $0.1)]) })
  }

  private var extent: String {
    let maps = findings.calls.lazy.count { $0.call.isMap }
    var parts = [counted(maps, "map call"), counted(findings.calls.count - maps, "unmap call")]
    let runs = findings.translations.lines.count
    if runs > 0 { parts.append("\(counted(runs, "run")) of translations") }
    if !findings.log.isEmpty { parts.append(counted(findings.log.count, "log line")) }
    return parts.joined(separator: ", ")
  }
}

/// `text` with a capital and a full stop.
func sentence(_ text: String) -> String {
  text.prefix(1).uppercased() + text.dropFirst() + (text.hasSuffix(".") ? "" : ".")
}
