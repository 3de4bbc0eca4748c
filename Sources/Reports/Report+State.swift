import IOMMUModel
import Investigation
import LinuxKernel
import PageTables

extension Report {
  /// Everything that was asked for, against the tables and the device.
  var check: ReportValue {
    let check = findings.check
    return .object([
      ("pages", .number(check.pages)), ("mapped", .number(check.mappedPages)),
      ("unmapped", .number(check.unmappedPages)),
      ("disagreeing", .number(check.disagreeingPages)), ("left_out", .number(check.leftOut)),
      (
        "kinds",
        .list(ReportList(check.summary) { .object([("verdict", .text($0.verdict)), ("pages", .number($0.pages))]) })
      ),
      (
        "ranges",
        .list(
          ReportList(check.neighbours) { lines in
            .object([
              ("range", .code(lines.range)), ("pages", .number(lines.pages)), ("target", .bits(lines.target?.rawValue)),
              ("extent", .text(lines.extent)), ("calls", .text(lines.calls)), ("tables", .text(lines.tables)),
              ("device", .text(lines.device)),
            ])
          })
      ),
    ])
  }

  /// What the device was seen to translate and should not have, or should have; nothing when nothing was seen.
  var translated: ReportValue {
    let check = findings.translations
    guard !check.lines.isEmpty else { return .nothing }
    return .object([
      ("summary", .text(check.summary)),
      (
        "disagreements",
        .list(
          ReportList(check.groups) { group in
            let (line, translation) = (group.line, group.line.translation)
            return .object([
              ("iova", .bits(translation.iova.rawValue)), ("count", .number(translation.count)),
              ("stride", .number(translation.stride)), ("access", .text(translation.access?.words)),
              ("call", .text(line.call.map { "\($0.call.kind.rawValue) #\($0.number)" })),
              ("target", .bits(line.expected?.rawValue)), ("verdict", .text(line.description)),
              ("times", .number(group.runs)), ("range", .code(group.range)), ("extent", .text(group.extent)),
            ])
          })
      ),
    ])
  }

  /// What was mapped and not asked for; nothing when nothing is known of that.
  var untranslated: ReportValue {
    guard let mappings = findings.untranslated else { return .nothing }
    return .object([
      ("summary", .texts(Terminal.untranslatedSummary(mappings, hint: ""))),
      (
        "ranges",
        .list(
          ReportList(mappings.neighbours) { lines in
            .object([
              ("range", .code(lines.range)), ("pages", .number(lines.pages)), ("calls", .text(lines.calls)),
              ("device", .code(lines.first?.requester?.description)),
            ])
          })
      ),
    ])
  }

  /// The device's registers, with both names where driver and device disagree.
  var registers: ReportValue {
    guard let values = findings.registers else { return .list(ReportList([Register]()) { _ in .nothing }) }
    return .list(
      ReportList(findings.profile.device.registers) { register in
        let value = values[register.offset]
        return .object([
          ("offset", .bits(register.offset)), ("name", .text(register.name)),
          ("driver_name", .text(register.driverName)),
          ("value", .bits(value)), ("meaning", .text(value.map(register.meaning) ?? "not known")),
        ])
      })
  }

  /// How the kernel had set up its devices.
  var devices: ReportValue {
    let state = findings.state
    return .list(
      ReportList(state?.devices ?? []) { device in
        let group = state?.group(device.group)
        return .object([
          ("device", .code(device.name)), ("bus", .text(device.bus)), ("rsid", .number(device.requester?.rsid)),
          ("driver", .code(device.driver)), ("group", .number(device.group)),
          ("default_domain", .text(group.map { state?.domain($0.defaultDomain)?.kind ?? "none" })),
          ("dma", .text(device.usesIOMMU.map { $0 ? "IOMMU" : "direct" })),
        ])
      })
  }
}
