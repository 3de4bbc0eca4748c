import Randomness
import Simulation
import Testing

@testable import Reports

/// Templates of users: what they see, and what is wrong with one.
@Suite(.serialized) struct TemplateTests {
  nonisolated(unsafe) private static let recorded = Result { try Shown(rootShift: 48) }
  let report: Report
  init() throws { report = try Self.recorded.get().report() }

  private func render(_ template: String) throws -> String {
    try report.markdown(template: template, name: "mine.mustache")
  }

  @Test func partsOfAReport() throws {
    #expect(
      try render(
        """
        {{! mine }}
        {{#summary}}
        {{verdict}}: {{{headline}}}
        {{#hit}}{{device}} {{pages}}/{{of}}{{^last()}}, {{/last()}}{{/hit}}
        {{/summary}}
        {{calls_count}} calls{{#calls_more}}, {{calls_more}} not shown{{/calls_more}}
        {{#findings}}{{place}} {{/findings}}{{^findings}}none{{/findings}}
        {{#nothing}}never{{/nothing}}{{^nothing}}no such part{{/nothing}}
        """) == """
          cause: The root is indexed with shift 48, `PGDIR_SHIFT` of the CPU's Sv57; this table is Sv39: 30.
          `0000:00:01.0` 4 of 4
          """.replacing("4 of 4", with: "4/4, `0000:00:02.0` 8/8") + "\n7 calls\n1 2 \nno such part")
  }

  @Test func aPartThatIsNotKnownIsNotLookedForFurtherOut() throws {
    #expect(try render("{{#summary}}{{format}}{{/summary}}") == "iommulens-report")
    #expect(try render("{{calls}}{{summary}}{{.}}") == ", , , , , , ")
    let value = ReportValue.object([("a", .text("outer")), ("b", .object([("a", .nothing), ("c", .number(0))]))])
    let template = try ReportTemplate("{{a}}{{#b}}[{{a}}{{#a}}a{{/a}}{{#c}}c{{/c}}{{c}}]{{/b}}", name: "x")
    #expect(try template.render(value) == "outer[0]")
  }

  /// A small template over a small list, a hundred thousand times over in its sections, is more than memory holds.
  @Test func sectionsWithinSectionsHaveALimit() throws {
    let list = ReportValue.object([("l", .nothing)])
    func nested(_ depth: Int) -> ReportValue {
      .object([("l", depth == 0 ? .nothing : .list(ReportList(0..<50) { _ in nested(depth - 1) }))])
    }
    func error(_ template: String, _ value: ReportValue) -> ReportError? {
      do throws(ReportError) {
        _ = try ReportTemplate(template, name: "mine").render(value)
        return nil
      } catch { return error }
    }
    let sections =
      String(repeating: "{{#l}}", count: 6) + String(repeating: "x", count: 1 << 14)
      + String(repeating: "{{/l}}", count: 6)
    let limit = ReportError("mine would make a report of more than 256 MiB: repeat less in its sections.")
    #expect(error(sections, nested(6)) == limit)
    #expect(error(sections, nested(2)) == nil)
    #expect(error("{{#l}}" + String(repeating: "x", count: 1 << 19) + "{{#l}}x{{/l}}{{/l}}", nested(2)) == limit)
    let long = ReportValue.object([("t", .markup(String(repeating: "x", count: 1 << 20)))])
    #expect(error(String(repeating: "{{t}}", count: 300), long) == limit)
    #expect(error("{{#l}}x{{/l}}", list) == nil)
  }

  @Test func whatIsWrongIsSaidWithItsLine() {
    let told = [
      "a\n{{#calls}}\n{{/cals}}": "3: this section ends with another name than it began, or was never begun.",
      "a\nb\n{{#calls}}": "3: a section is not ended: {{#name}} needs {{/name}}.",
      "{{headline": "1: a tag is not ended, or its name has a character that no name has: {{name}}.",
      "\n{{a b}}": "2: a tag is not ended, or its name has a character that no name has: {{name}}.",
      "{{/a}}": "1: this section ends with another name than it began, or was never begun.",
      "\n\n{{>/etc/passwd}}": "3: {{>/etc/passwd}} takes in another template, which a report's template cannot.",
      "{{< a}}{{/a}}": "1: {{< a}} takes in another template, which a report's template cannot.",
      "{{=<% %>=}}": "1: {{=<% %>=}} changes how a template is read, which a report's template cannot.",
      "{{% CONTENT_TYPE:HTML}}":
        "1: {{% CONTENT_TYPE:HTML}} changes how a template is read, which a report's template cannot.",
      String(repeating: "{{#a}}", count: 100_000): "1: {{#a}} is a section within 32 others, more than there may be.",
      "{{" + String(repeating: "a(", count: 100_000):
        "1: {{a(a(a(a(a(a(a(a(a(a(a(a(a(a(a(a(a(a(a(a(}} is longer than a name can be; is its }} missing?",
    ]
    for (template, error) in told {
      #expect(throws: ReportError("mine.mustache:\(error)")) { try render(template) }
    }
    #expect(throws: ReportError("mine.mustache is larger than a template may be, 1 MiB.")) {
      try render(String(repeating: "a", count: 1 << 20 + 1))
    }
  }

  /// Any text is a template, or an error.
  @Test func anyText() throws {
    let pieces = [
      "{{", "}}", "{{{", "}}}", "#", "/", "^", "!", "&", "calls", "summary", ".", "()", "(", ")", "first", "last",
      "count", "reversed",
      "\n", " ", "\r\n", "\u{301}", "é", "=", "%", ">", "<", "$", "a", "{{#calls}}", "{{/calls}}", "{{#timeline}}",
      "{{/timeline}}",
      "capitalized", "index", "even", "empty", "sorted", "plusone", "equals(0)",
    ]
    for round in 0..<400 {
      var numbers = SeededNumbers(round: round)
      let text = (0..<numbers.below(14)).map { _ in numbers.pick(pieces) }.joined()
      do { _ = try render(text) } catch let error as ReportError {
        #expect(error.description.hasPrefix("mine.mustache"))
      }
    }
  }
}
