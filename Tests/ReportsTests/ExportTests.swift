import Foundation
import IOMMUModel
import Investigation
import PageTables
import Simulation
import Testing

@testable import Reports

/// What a file's ending makes of a report.
@Suite(.serialized) struct ExportTests {
  // Recorded once; serialized, because an investigation is for one thread.
  nonisolated(unsafe) private static let recorded = Result { try Shown(rootShift: 48) }
  let workspace: Workspace
  let shown: Shown

  init() throws {
    workspace = try Workspace()
    shown = try Self.recorded.get()
  }

  private func text(_ name: String) throws -> String {
    try String(contentsOfFile: workspace.file(name), encoding: .utf8)
  }

  private func export(
    _ name: String, template: String? = nil, events: String? = nil, picture: String? = nil
  ) throws -> String {
    try Export(to: workspace.file(name), template: template, events: events, picture: picture)
      .write(shown.findings, of: shown.store())
    return try text(name)
  }

  @Test func markdown() throws { #expect(try export("a.b.md") == shown.report().markdown()) }

  @Test func json() throws {
    try GoldenFile.compare(GoldenFile.untimed(export("a.json")), "pgdir-shift.json")
  }

  /// The documented schema says what is written, of every kind of investigation, and nothing else.
  @Test func jsonFollowsItsSchema() throws {
    let file = GoldenFile.folder.appendingPathComponent("../../../docs/report-schema.json")
    let schema = try JSONSchema(contentsOf: file)
    var text = try export("a.json")
    #expect(try schema.problems(of: text) == [])
    let old = text
    for (part, other) in [
      ("\"0xfffff000\"", "4294963200"), ("\"format\"", "\"fromat\""), ("\"pages\": 13", "\"pages\": \"13\""),
    ] {
      #expect(text.contains(part))
      #expect(try !schema.problems(of: old.replacing(part, with: other)).isEmpty)
    }
    for store in [try fixed(), try empty(), try translated()] {
      text = ""
      let findings = try Findings(offline: store, tenants: Scenario.tenants)
      try JSONText.write(Report(findings, store: store).value) { text += $0 }
      #expect(try schema.problems(of: text) == [])
    }
  }

  private func fixed() throws -> InvestigationStore {
    try Scenario(rootShift: 30, path: workspace.file("fixed.iommulens")).investigator.requireStore()
  }

  private func empty() throws -> InvestigationStore {
    let store = try InvestigationStore(path: workspace.file("empty.iommulens"), side: "test")
    try store.append(note: "")
    return store
  }

  /// With what a kernel, a log and a device's side add.
  private func translated() throws -> InvestigationStore {
    let store = try Scenario(rootShift: 48, path: workspace.file("translated.iommulens")).investigator.requireStore()
    try store.append([
      LogLine(origin: "dmesg", line: 7, time: 1_500_000_000, text: "NETDEV WATCHDOG", meaning: .watchdog)
    ])
    _ = try store.append([
      RecordedTranslation(
        requester: Scenario.card, iova: IOVA(0xffff_f000), access: .read,
        answer: RecordedTranslation.Answer(address: GPA(0), mask: 0, access: .none),
        before: RegisterValues(byOffset: [0x20: 0]), after: RegisterValues(byOffset: [0x20: 1, 0x28: 2]),
        asker: RecordedTranslation.Asker(
          device: "e1000e", operation: "e1000e_start_xmit", path: "pci_dma_read", length: 16))
    ])
    return store
  }

  /// A table without the events' numbers, which a run's facts and readings shift.
  private func unnumbered(_ table: String) -> String { table.replacing(#/(^|\n)[0-9]+,/#) { "\($0.output.1)N," } }

  private func head(_ table: String, _ lines: Int) -> String {
    unnumbered(table).split(separator: "\n").prefix(lines).joined(separator: "\n")
  }

  @Test func csv() throws {
    let calls = try head(export("a.csv"), 3)
    #expect(
      calls == """
        event,kind,number,function,domain,iova,length,page_size,page_count,extent,target,prot,protection,gfp,requester,root,mode,callers,origin,verdict,finding,pages_checked,pages_right
        N,map,1,xt_iommu_map,0xff60000000b770d8,0xfffff000,4096,4096,1,1 x 4 KiB,0x106172000,7,READ|WRITE|CACHE,0xdc0,0000:00:01.0,0x80b78000,sv39,__iommu_map <- iommu_map <- iommu_dma_alloc <- dma_alloc_attrs <- e1000_alloc_ring_dma <- e1000e_setup_tx_resources <- e1000e_open,,missing,missing at level 2,1,0
        N,map,2,xt_iommu_map,0xff60000000b770d8,0xffffe000,4096,4096,1,1 x 4 KiB,0x106173000,7,READ|WRITE|CACHE,0xdc0,0000:00:01.0,0x80b78000,sv39,,,missing,missing at level 2,1,0
        """)
    #expect(
      try head(export("b.csv", events: "verifications"), 2) == """
        call,kind,number,pages_checked,pages_right,verdict,finding,iova,entry_iova,entry_level,entry_found,leaf_expected
        N,map,1,1,0,missing,missing at level 2,0xfffff000,0xfffff000,2,0x0,0x4185c807
        """)
    #expect(
      try export("c.csv", events: "registers").contains(
        ",0x20,IOMMUCAUSE,0x8000000000080010,pending: 0000:00:01.0 cause 16 (S1_PTE_INVALID)\n"))
    let store = try translated()
    let findings = try Findings(offline: store, tenants: Scenario.tenants)
    func rows(_ events: String) throws -> String {
      try Export(to: workspace.file("d.csv"), events: events).write(findings, of: store)
      return try unnumbered(text("d.csv"))
    }
    #expect(
      try rows("log") == "origin,line,time_ns,time,text,tells\ndmesg,7,1500000000,1.500000,NETDEV WATCHDOG,watchdog\n")
    #expect(
      try rows("translations") == """
        event,requester,iova,count,stride,access,target,mask,permission,refused,device,operation,path,length,before,after
        N,0000:00:01.0,0xfffff000,1,0,read,0x0,0x0,probe,true,e1000e,e1000e_start_xmit,pci_dma_read,16,IOMMUCAUSE=0x0,IOMMUCAUSE=0x1 FTVAL=0x2

        """)
  }

  @Test func cells() throws {
    func row(_ value: ReportValue) throws -> String {
      var text = ""
      try CSVText.write(ReportList([value]) { .object([("x", $0)]) }) { text += $0 }
      return String(text.dropFirst(2).dropLast())
    }
    #expect(try row(.text("a,\"b\"")) == "\"a,\"\"b\"\"\"")
    #expect(try row(.code("=1+2")) == "'=1+2")
    #expect(try row(.text("a\nb")) == "a\u{fffd}b")
    #expect(try row(.number(Int64.min)) == "-9223372036854775808")
  }

  @Test func pictures() throws {
    try GoldenFile.compare(export("a.svg"), "pgdir-shift-map.svg")
    try GoldenFile.compare(export("b.svg", picture: "walk"), "pgdir-shift-walk.svg")
    #expect(try export("c.svg", picture: "map") == text("a.svg"))
  }

  @Test func aTemplateIsRead() throws {
    let template = try workspace.write("mine.mustache", Array("{{#summary}}{{verdict}}{{/summary}}!".utf8))
    #expect(try export("a.md", template: template) == "cause!")
  }

  @Test func whatCannotBeWritten() throws {
    let old = try workspace.write("old.csv", Array("old".utf8))
    func refused(_ sentence: String, _ body: () throws -> String) {
      #expect(throws: (any Error).self) { try body() }
      do { _ = try body() } catch { #expect("\(error)".replacing(workspace.path + "/", with: "") == sentence) }
    }
    let endings = "a report is Markdown, JSON, CSV or SVG; name a file that ends in .md, .json, .csv or .svg."
    for name in ["a.txt", "a", "md", ".", "a.md.", "b.csv/a"] { refused("\(name): \(endings)") { try export(name) } }
    refused("a.md: `events` is for files that end in .csv.") { try export("a.md", events: "calls") }
    refused("a.svg: `template` is for files that end in .md.") { try export("a.svg", template: "x") }
    refused("`picture` is one of map, walk, not 'x'.") { try export("a.svg", picture: "x") }
    refused("`events` is one of calls, translations, registers, log, verifications, not 'x\u{fffd}'.") {
      try export("a.csv", events: "x\u{1b}")
    }
    refused("none.mustache does not exist.") { try export("a.md", template: workspace.file("none.mustache")) }
    let broken = try workspace.write("broken.mustache", Array("\n{{#a}}".utf8))
    refused("broken.mustache:2: a section is not ended: {{#name}} needs {{/name}}.") {
      try export("a.md", template: broken)
    }
    let store = try shown.store().path.split(separator: "/").suffix(2).joined(separator: "/")
    #expect(throws: (any Error).self) { try export("old.csv", events: "translations") }
    do { _ = try export("old.csv", events: "translations") } catch {
      #expect(
        "\(error)".hasPrefix("\(old) is not written: ") && "\(error)".hasSuffix("\(store) holds no translations."))
    }
    #expect(try text("old.csv") == "old")
    refused("none/a.md cannot be written: No such file or directory.") { try export("none/a.md") }
    try FileManager.default.createDirectory(atPath: workspace.file("folder.md"), withIntermediateDirectories: false)
    refused("folder.md cannot be written: Is a directory.") { try export("folder.md") }
    #expect(
      try FileManager.default.contentsOfDirectory(atPath: workspace.path).sorted()
        == ["broken.mustache", "folder.md", "old.csv"])
  }
}
