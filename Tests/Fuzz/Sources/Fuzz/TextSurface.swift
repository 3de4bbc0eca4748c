import Evidence
import Investigation
import Reports
import XuanTie

/// The input as a text that somebody pasted: read, told, and taken into a new investigation if anything was found.
struct TextSurface: Surface {
  private let file = ScratchFile("text.iommulens")
  private let reader = EvidenceReader(profiles: XuanTie.profiles)
  /// An investigation without events, to begin with.
  private let empty: [UInt8]

  init() throws {
    _ = try InvestigationStore(path: file.path, side: "fuzz")
    empty = try file.read()
  }

  func feed(_ input: inout Input) throws {
    let bytes = input.rest()
    let extraction = reader.read(bytes, name: bytes.first == UInt8(ascii: "{") ? "text-pages.json" : "text")
    let lines = extraction.findings.map(\.lines) + extraction.refusals.map(\.lines)
    require(
      lines.allSatisfy { 1 <= $0.lowerBound && $0.upperBound <= max(extraction.lineCount, 1) },
      "what is told of a text is on its lines")
    guard !extraction.findings.isEmpty else { return }
    try file.write(empty)
    let store = try InvestigationStore(path: file.path, side: "fuzz")
    _ = try EvidenceImport([extraction], into: store, profiles: XuanTie.profiles)
    let again = try EvidenceImport([extraction], into: store, profiles: XuanTie.profiles)
    require(again.added.isEmpty, "the same text is not added again")
    let findings = try Findings(offline: store, tenants: [XuanTie.self])
    _ = Terminal.check(of: findings, limit: 20)
    _ = Terminal.diagnosis(of: findings)
  }
}
