import Foundation
import IOMMUModel
@testable import Investigation
import PageTables
import Simulation
import Testing

@testable import Reports

@Suite struct MarkdownTests {
  static let fixtures = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .appendingPathComponent("Fixtures/reports")

  /// The whole report against a file; IOMMULENS_RECORD=1 writes the file instead.
  private func compare(_ name: String, _ rootShift: Int) throws {
    let shown = try Shown(rootShift: rootShift)
    let text = MarkdownReport(shown.findings).text()
    #expect(text == MarkdownReport(try shown.scenario.investigator.findings(reason: "again")).text())
    let file = Self.fixtures.appendingPathComponent(name)
    if ProcessInfo.processInfo.environment["IOMMULENS_RECORD"] != nil {
      try text.write(to: file, atomically: true, encoding: .utf8)
    }
    let expected = try String(contentsOf: file, encoding: .utf8)
    for (line, (found, wanted)) in zip(text.split(separator: "\n"), expected.split(separator: "\n")).enumerated() {
      #expect(found == wanted, "\(name), line \(line + 1)")
    }
    #expect(text == expected)
  }

  @Test func theWrongShift() throws { try compare("pgdir-shift.md", 48) }
  @Test func theFixedDriver() throws { try compare("fixed.md", 30) }

  @Test func proseIsReadable() {
    let told = [
      "index S1_PTE_INVALID with PGDIR_SHIFT (48)": "index `S1_PTE_INVALID` with `PGDIR_SHIFT` (48)",
      "GFP_KERNEL|__GFP_ZERO (0xdc0)": "`GFP_KERNEL`\\|`__GFP_ZERO` (0xdc0)",
      "ask `p/x $satp` now": "ask `p/x $satp` now", "V R W -> 0x1000": "V R W -> 0x1000", "map #5": "map #5",
      "a_b_c's _": "`a_b_c`'s \\_", "": "", "plain": "plain", "12 of 13": "12 of 13",
    ]
    for (text, markdown) in told { #expect(MarkdownText.prose(text) == markdown) }
  }

  @Test func markupDoesNotComeThrough() {
    let told = [
      "<script>alert(1)</script>": "&lt;script>alert(1)&lt;/script>", "a & b &lt;": "a &amp; b &amp;lt;",
      "[x](http://evil)": "\\[x\\](http\\://evil)", "![x](y)": "!\\[x\\](y)", "see www.evil.com": "see www\\.evil.com",
      "<http://evil>": "&lt;http\\://evil>", "*b* **b** ~~s~~ $m$": "\\*b\\* \\*\\*b\\*\\* \\~\\~s\\~\\~ \\$m\\$",
      "a | b": "a \\| b", "a \\| b": "a \\\\\\| b", "# head": "\\# head", "> quote": "\\> quote", "- item": "\\- item",
      "+ item": "\\+ item", "1. item": "1\\. item", "12) item": "12\\) item", "=====": "\\=====", "    code": "code",
      "one`two": "one\\`two", "`": "\\`", "``": "\\`\\`", "` `": "\\` \\`", "a`b`c`d": "a`b`c\\`d",
      "two\nlines\r\nmore": "two\u{fffd}lines\u{fffd}\u{fffd}more",
      "\u{1b}[31mred\u{202e}": "\u{fffd}\\[31mred\u{fffd}",
      "`a|b`": "`a|b`", "`x`a_b`y`": "`x` `a_b` `y`", "a`b_c": "a\\` `b_c`",
    ]
    for (text, markdown) in told { #expect(MarkdownText.prose(text) == markdown, "\(text)") }
    #expect(MarkdownText.prose("`a|b` | `c`", inTable: true) == "`a¦b` \\| `c`")
    #expect(MarkdownText.code("a`b") == "`a'b`")
    #expect(MarkdownText.code(" \n ") == "`\u{fffd}`")
    #expect(MarkdownText.code("   ") == "")
    #expect(MarkdownText.code("a|b\\", inTable: true) == "`a¦b\\`")
    let long = String(repeating: "x", count: 100_000)
    #expect(MarkdownText.prose(long).count == 400 && MarkdownText.prose(long).hasSuffix("…"))
    #expect(MarkdownText.code(long).count == 402)
  }

  /// Everything that a target or a foreign file can put into a report, at once.
  @Test func aHostileInvestigationStaysAReport() throws {
    let workspace = try Workspace()
    let path = workspace.file("a.iommulens")
    let scenario = try Scenario(rootShift: 48, path: path)
    let store = try scenario.investigator.requireStore()
    let evil =
      "|`</td><script>x</script>[l](http://evil)\r\n# head\n| a | b |\n|---|---|\n\u{1b}[2J<img src=x onerror=y>\\|"
    for fact in [Fact.banner, Fact.debugger, Fact.memory, Fact.source] { try store.setFact(fact, evil) }
    try store.append(note: evil)
    try store.append(note: "")
    let first = try #require(store.calls().first?.id)
    try store.add(callers: [evil, String(repeating: "`|", count: 5000), ""], to: first)
    let call = DriverCall(
      function: evil, operation: .map(target: GPA(.max), protection: Protection(rawValue: .max), allocation: nil),
      domain: KVA(.max), iova: IOVA(.max), length: .max, pages: DriverCall.Pages(size: .max, count: .max))
    let stored = try store.append(RecordedCall(number: 0, call: call, root: nil, requester: nil, callers: [evil]))
    try store.append(
      Verification(leaves: 1, agreeing: 0, verdict: .malformed(level: 0, evil), iova: nil, shifts: []),
      of: try #require(stored.id))
    let honest = MarkdownReport(try Shown(rootShift: 48).findings).text().split(separator: "\n")
    let text = MarkdownReport(try Findings(offline: store, tenants: Scenario.tenants)).text()
    let lines = text.split(separator: "\n")
    // Two more rows and two more notes at most: nothing that was said made a line of its own.
    #expect(lines.count <= honest.count + 4)
    #expect(lines.filter { $0.hasPrefix("#") }.map(\.self) == honest.filter { $0.hasPrefix("#") }.map(\.self))
    let outside = text.replacing("\\`", with: "").replacing(/`[^`]*`/, with: "")
    for tag in ["<script", "</td", "<img", "http://"] { #expect(!outside.contains(tag), "\(tag)") }
    #expect(text.unicodeScalars.allSatisfy { $0 == "\n" || isPrintable($0) })
    var columns = 0
    for line in lines where line.hasPrefix("|") {
      let cells = line.replacing("\\\\", with: "").replacing("\\|", with: "").count { $0 == "|" }
      if line.hasPrefix("|---") { columns = cells }
    }
    #expect(columns == 8)
  }

  @Test func anEmptyInvestigationSaysSo() throws {
    let workspace = try Workspace()
    let store = try InvestigationStore(path: workspace.file("a.iommulens"), side: "test")
    try store.setFact(Fact.profile, "xuantie/pages")
    let findings = try Findings(offline: store, tenants: Scenario.tenants)
    #expect(
      MarkdownReport(findings).text() == """
        # IOMMU investigation

        ## Summary

        No map call was recorded and verified, so nothing can be concluded.

        ## Environment

        | what | value |
        |---|---|
        | Driver | xuantie-iommu, `map_pages` (6.x signature) |
        | Device | QEMU xmmuv1 |

        ## Cross-check

        Nothing to compare: no recorded call covers a page.

        ## Appendix

        No call was recorded.

        """)
  }
}
