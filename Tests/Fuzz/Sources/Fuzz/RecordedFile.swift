import Evidence
import Glibc
import IOMMUModel
import Investigation
import Reports
import Simulation
import XuanTie

/// A file as a recording leaves it, its write-ahead log taken in, and all that can be made of a damaged copy.
struct RecordedFile {
  let file = ScratchFile("recorded.iommulens")
  let bytes: [UInt8]
  /// What brings rows into the tables that a recording leaves empty.
  private static let texts = [
    "cookie/qemu-translate-results.csv", "cookie/xt_iommu_domain_alloc-first-2-stops.txt",
    "pgdir-shift/live-repair-console.log", "pgdir-shift/live-repair-of-root-table.txt",
  ]
  private let tenants: [any Tenant.Type] = [XuanTie.self]

  init() throws {
    let original = ScratchFile("original.iommulens")
    for suffix in ["", "-wal", "-shm"] { unlink(original.path + suffix) }
    // The last connection that closes takes the log into the file.
    do {
      let store = try Scenario(rootShift: 48, path: original.path).investigator.requireStore()
      let reader = EvidenceReader(profiles: XuanTie.profiles)
      let texts = try Self.texts.map { reader.read(try EvidenceFile.bytes(at: "Tests/Fixtures/\($0)"), name: $0) }
      _ = try EvidenceImport(texts, into: store, profiles: XuanTie.profiles)
    }
    bytes = try original.read()
  }

  /// The copy at ``file`` anew, without a log of an earlier one.
  func restore(_ bytes: [UInt8]) throws {
    for suffix in ["-wal", "-shm"] { unlink(file.path + suffix) }
    try file.write(bytes)
  }

  func open() throws -> InvestigationStore { try InvestigationStore(existing: file.path, side: "fuzz") }

  func findings(_ store: InvestigationStore) throws -> Findings { try Findings(offline: store, tenants: tenants) }

  /// Every command that reads an investigation, with one kind of export; an error of one is no reason not to try the next.
  func readAll(_ store: InvestigationStore, export: Int) throws {
    _ = try? Terminal.opened(store)
    try? Terminal.timeline(of: store, tenants: tenants) { _ in }
    for call in (try? store.calls()) ?? [] { _ = Terminal.call(call, version: nil) }
    let findings = try findings(store)
    _ = Terminal.check(of: findings, limit: nil)
    _ = Terminal.diagnosis(of: findings)
    switch export {
    case 0: _ = try write(findings, store, "md")
    case 1: _ = try write(findings, store, "json")
    case 2...6: _ = try write(findings, store, "csv", events: Export.EventKind.allCases[export - 2].rawValue)
    case 7: _ = try write(findings, store, "svg", picture: Export.Picture.map.rawValue)
    default: _ = try write(findings, store, "svg", picture: Export.Picture.walk.rawValue)
    }
  }

  /// Writes an export and returns its text.
  func write(
    _ findings: Findings, _ store: InvestigationStore, _ form: String, template: String? = nil, events: String? = nil,
    picture: String? = nil
  ) throws -> String {
    let output = ScratchFile("report.\(form)")
    try Export(to: output.path, template: template, events: events, picture: picture).write(findings, of: store)
    return String(decoding: try output.read(), as: UTF8.self)
  }
}
