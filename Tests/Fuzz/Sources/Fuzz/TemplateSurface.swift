import Investigation

/// The input as the template of a report.
struct TemplateSurface: Surface {
  private let recorded: RecordedFile
  private let store: InvestigationStore
  private let findings: Findings
  private let template = ScratchFile("template")

  init() throws {
    recorded = try RecordedFile()
    try recorded.restore(recorded.bytes)
    store = try recorded.open()
    findings = try recorded.findings(store)
  }

  func feed(_ input: inout Input) throws {
    try template.write(input.rest())
    _ = try recorded.write(findings, store, "md", template: template.path)
  }
}
