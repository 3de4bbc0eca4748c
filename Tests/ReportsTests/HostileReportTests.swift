import Foundation
import FoundationXML
import IOMMUModel
import Investigation
import PageTables
import Randomness
import Simulation
import Testing

@testable import Reports

/// Whatever a target or somebody else's file says, a report keeps its form.
@Suite struct HostileReportTests {
  private static let marks = [
    "|", "`", "``", "```", "</td>", "<script>x</script>", "<!--", "-->", "<details>", "</details>", "[l](http://evil)",
    "![i](x)",
    "\n", "\r\n", "\u{2028}", "# head", "\n| a | b |\n|---|---|\n", "- item", "1. item", "    code", "> quote", "***",
    "~~~", "---",
    "\u{1b}[2J", "\u{202e}", "\u{0}", "\\", "\\|", "&lt;", "&#124;", "$x$", "{{#calls}}", "{{", "}}", "=1+2", "\"", ",",
    "'", "ä",
    "\u{1f600}", "e\u{301}", "a_b", "www.evil.example", "x", " ", "\t", String(repeating: "`|", count: 900),
  ]

  /// An investigation in which everything that comes from outside is `text`.
  private func report(_ text: String, _ workspace: Workspace, _ name: String) throws -> Report {
    let scenario = try Scenario(rootShift: 48, path: workspace.file(name))
    let store = try scenario.investigator.requireStore()
    for fact in [Fact.banner, Fact.debugger, Fact.memory, Fact.source, Fact.emulator, Fact.configuration, "x"] {
      try store.setFact(fact, text)
    }
    try store.append(note: text)
    let first = try #require(store.calls().first?.id)
    try store.add(callers: [text, text], to: first)
    try store.append([LogLine(origin: text, line: 1, time: nil, text: text, meaning: .watchdog)])
    let call = DriverCall(
      function: text, operation: .map(target: GPA(.max), protection: Protection(rawValue: .max), allocation: nil),
      domain: KVA(.max), iova: IOVA(.max), length: .max, pages: DriverCall.Pages(size: .max, count: .max))
    let stored = try store.append(
      RecordedCall(number: 0, call: call, root: nil, requester: nil, callers: [text], origin: text))
    try store.append(
      Verification(leaves: 1, agreeing: 0, verdict: .malformed(level: 0, text), iova: nil, shifts: []),
      of: try #require(stored.id))
    let asker = RecordedTranslation.Asker(device: text, operation: text, path: text, length: nil)
    _ = try store.append([
      RecordedTranslation(
        requester: Scenario.card, iova: IOVA(0xffff_f000), access: .read,
        answer: RecordedTranslation.Answer(address: GPA(0), mask: 0, access: .none), asker: asker)
    ])
    return try Report(Findings(offline: store, tenants: Scenario.tenants), store: store)
  }

  /// What a Markdown reader makes of each line: its block, and of a table's row how many cells it has.
  private func structure(_ markdown: String) -> [String] {
    markdown.split(separator: "\n", omittingEmptySubsequences: false).map { line in
      let outside = outsideCode(line)
      let block = outside.prefix { "#-|>".contains($0) }
      let tags = outside.matches(of: /<[^>]*>?/).map { String($0.output) }.joined()
      let fence = line.hasPrefix("```") ? "```" : ""
      return line.isEmpty ? "" : "\(fence)\(block.first == "|" ? "|" : block)\(outside.count { $0 == "|" }) \(tags)"
    }
  }

  /// A line without its escaped characters and with `c` for each code span (CommonMark 0.31, sections 2.4 and 6.1; spans here
  /// have one backtick at each end).
  private func outsideCode(_ line: Substring) -> String {
    var (outside, rest) = ("", line)
    while let next = rest.popFirst() {
      if next == "\\" {
        rest = rest.dropFirst()
      } else if next == "`", !line.hasPrefix("```"), let end = rest.firstIndex(of: "`") {
        rest = rest[rest.index(after: end)...]
        outside += "c"
      } else {
        outside.append(next)
      }
    }
    return outside
  }

  @Test func aReportKeepsItsForm() throws {
    let workspace = try Workspace()
    let plain = structure(try report("x", workspace, "plain").markdown())
    #expect(plain.contains("|8 ") && plain.contains { $0.contains("<details><summary>") })
    for round in 0..<6 {
      var numbers = SeededNumbers(round: round)
      let text = (0...numbers.below(12)).map { _ in numbers.pick(Self.marks) }.joined() + "x"
      let report = try report(text, workspace, "\(round)")
      let markdown = try report.markdown()
      let found = structure(markdown)
      #expect(found == plain, "seed \(numbers.seed), \(text.debugDescription)")
      #expect(markdown.unicodeScalars.allSatisfy { $0 == "\n" || isPrintable($0) })

      var json = ""
      try JSONText.write(report.value) { json += $0 }
      let parts = try #require(try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: Any])
      #expect(try (parts["notes"] as? [String]) == report.store.notes())
      #expect(json.unicodeScalars.allSatisfy { $0 == "\n" || isPrintable($0) })

      var csv = ""
      try CSVText.write(report.callRows) { csv += $0 }
      #expect(csv.split(separator: "\n").count == report.callRows.count + 1, "\(text.debugDescription)")
    }
  }

  @Test func picturesAreXML() throws {
    for shift in [30, 48] {
      let report = try Shown(rootShift: shift).report()
      let walk = try #require(report.exhibits.first?.exhibit.walk)
      for svg in [AddressMap(report.findings.check).svg, walk.svg] {
        #expect(XMLParser(data: Data(svg.utf8)).parse())
      }
    }
    var canvas = SVGCanvas(width: 10)
    canvas.text(0, 0, Self.marks.joined())
    canvas.rectangle(.infinity, -.infinity, 1e300, 0.005, fill: "none")
    #expect(XMLParser(data: Data(canvas.document(height: 10, title: Self.marks.joined()).utf8)).parse())
  }
}
