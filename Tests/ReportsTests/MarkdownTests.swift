import Foundation
import IOMMUModel
@testable import Investigation
import PageTables
import Simulation
import Testing

@testable import Reports

@Suite struct MarkdownTests {
  private func compare(_ name: String, _ rootShift: Int) throws {
    let shown = try Shown(rootShift: rootShift)
    let text = try shown.report().markdown()
    #expect(try shown.report().markdown() == text)
    try GoldenFile.compare(GoldenFile.untimed(text), name)
  }

  @Test func theWrongShift() throws { try compare("pgdir-shift.md", 48) }
  @Test func theFixedDriver() throws { try compare("fixed.md", 30) }

  /// The call that stands for all is one that can be looked up now, not the first, whose entries are gone.
  @Test func theCallThatIsShownIsStillMapped() throws {
    let shown = try Shown(rootShift: 30)
    _ = try shown.scenario.unmap(0xffff_f000)
    shown.scenario.investigator.targetRan()
    try shown.scenario.investigator.verifyPending()
    let text = try Report(shown.scenario.investigator.findings(reason: "test"), store: shown.store()).markdown()
    #expect(text.contains("## Evidence: map #2, `xt_iommu_map`"))
    #expect(text.contains("- The tables: maps to 0x106173000"))
  }

  @Test func proseIsReadable() {
    let told = [
      "index S1_PTE_INVALID with PGDIR_SHIFT (48)": "index `S1_PTE_INVALID` with `PGDIR_SHIFT` (48)",
      "GFP_KERNEL|__GFP_ZERO (0xdc0)": "`GFP_KERNEL`\\|`__GFP_ZERO` (0xdc0)",
      "ask `p/x $satp` now": "ask `p/x $satp` now", "V R W -> 0x1000": "V R W -> 0x1000", "map #5": "map #5",
      "a_b_c's _": "`a_b_c`'s \\_", "xt_iommu.root_shift=30 lab.mode=net": "`xt_iommu.root_shift=30` lab.mode=net",
      "see /sys/kernel/debug/devices_deferred.": "see `/sys/kernel/debug/devices_deferred`.",
      "10001000.virtio_mmio, __iommu_map(0x1)": "`10001000.virtio_mmio`, `__iommu_map`(0x1)", "": "", "plain": "plain",
      "12 of 13": "12 of 13",
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

  @Test func numbersAreCounted() {
    #expect(Reports.counted(1, "access") == "1 access")
    #expect(Reports.counted(2, "access") == "2 accesses")
    #expect(Reports.counted(2, "page") == "2 pages")
  }

  @Test func anEmptyInvestigationSaysSo() throws {
    let workspace = try Workspace()
    let store = try InvestigationStore(path: workspace.file("a.iommulens"), side: "test")
    try store.setFact(Fact.profile, "xuantie/pages")
    let findings = try Findings(offline: store, tenants: Scenario.tenants)
    #expect(
      try Report(findings, store: store).markdown() == """
        # IOMMU investigation

        ## Summary

        **No map call was recorded and verified, so nothing can be concluded.**


        ## Environment

        | what | value |
        |---|---|
        | IOMMU driver | xuantie-iommu, `map_pages` (6.x signature) |
        | IOMMU device | QEMU xmmuv1 |
        | Recorded | 0 map calls, 0 unmap calls |

        ## Cross-check

        Nothing to compare: no recorded call covers a page.

        ## Appendix: raw values

        No call was recorded.

        <details><summary>1 facts about the target</summary>

        | name | value |
        |---|---|
        | `profile` | `xuantie/pages` |

        </details>

        """)
  }
}
