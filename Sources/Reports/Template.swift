import Investigation
import Mustache

/// A text in which a report is put: Mustache, as far as it is variables, sections and comments.
///
/// It cannot name another file, and nothing in it runs. What it inserts is Markdown that can hold no markup of its own,
/// whichever way it is inserted.
struct ReportTemplate {
  private let template: MustacheTemplate

  /// Bytes of a template, and sections within sections: parsing and rendering go one call deeper for each.
  private static let sizeLimit = 1 << 20, depthLimit = 32
  /// Characters of one tag that is no comment.
  private static let tagLimit = 200
  /// On a line of its own before the text: what is inserted is Markdown, and no HTML to be escaped again.
  private static let head = "{{% CONTENT_TYPE:TEXT}}\n"

  /// The template `text`; `name` is what an error calls it.
  init(_ text: String, name: String) throws(ReportError) {
    try Self.validate(text, name: name)
    do { template = try MustacheTemplate(string: Self.head + text) } catch {
      let parser = error as? MustacheTemplate.ParserError
      let line = max((parser?.context.lineNumber ?? 2) - 1, 1)
      throw ReportError("\(name):\(line): \(Self.problem(parser?.error ?? error))")
    }
  }

  /// The report as this template has it.
  func render(_ value: ReportValue) -> String { template.render(TemplateValue(value: value)) }

  /// Refuses what is not meant for templates, and what would take the parser too deep.
  private static func validate(_ text: String, name: String) throws(ReportError) {
    guard text.utf8.count <= sizeLimit else { throw ReportError("\(name) is larger than a template may be, 1 MiB.") }
    var depth = 0
    for (number, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      var rest = line[...]
      while let tag = rest.firstRange(of: "{{") {
        rest = rest[tag.upperBound...]
        let body = rest.prefix { $0 != "}" }
        func refuse(_ why: String) -> ReportError {
          ReportError("\(name):\(number + 1): {{\(printable(String(body.prefix(40))))}} \(why)")
        }
        switch rest.first {
        case "#", "^": depth += 1
        case "/": depth -= 1
        case "!":
          rest = rest[(rest.firstRange(of: "}}")?.upperBound ?? rest.endIndex)...]
          continue
        case ">", "<", "$": throw refuse("takes in another template, which a report's template cannot.")
        case "=", "%": throw refuse("changes how a template is read, which a report's template cannot.")
        default: break
        }
        guard depth <= depthLimit else {
          throw refuse("is a section within \(depthLimit) others, more than there may be.")
        }
        guard body.utf8.count <= tagLimit else { throw refuse("is longer than a name can be; is its }} missing?") }
      }
    }
  }

  private static func problem(_ error: any Error) -> String {
    switch error as? MustacheTemplate.Error {
    case .sectionCloseNameIncorrect: "this section ends with another name than it began, or was never begun."
    case .expectedSectionEnd: "a section is not ended: {{#name}} needs {{/name}}."
    // The parser's own error for a text that ends too early is not public.
    case .unfinishedName, nil: "a tag is not ended, or its name has a character that no name has: {{name}}."
    default: "this cannot be read as a template; a tag is {{name}}, a section {{#name}} to {{/name}}."
    }
  }
}

/// A part of a report as a template sees it.
///
/// A part that is not known ends the look-up: a name in a section never means another part of the same name around it.
private struct TemplateValue: MustacheParent, MustacheCustomRenderable {
  let value: ReportValue

  /// As Markdown.
  var renderText: String {
    switch value {
    case .sentence(let text): MarkdownText.prose(text, inTable: true)
    case .literal(let text): MarkdownText.code(text, inTable: true)
    case .word(let bits): "`0x\(String(bits, radix: 16))`"
    case .integer(let number): String(number)
    case .flag(let flag): flag ? "yes" : "no"
    case .markup(let text): text
    case .object, .list, .nothing: ""
    }
  }

  /// Whether a section of it is left out.
  var isNull: Bool {
    switch value {
    case .nothing, .integer(0): true
    case .sentence(let text), .literal(let text): text.isEmpty
    default: false
    }
  }

  /// A part by its name; of a list `x` also `x_count`, how many it has, and `x_more`, how many are not shown.
  func child(named name: String) -> Any? {
    guard case .object(let parts) = value else { return nil }
    if let part = parts.first(where: { $0.name == name }) {
      switch part.value {
      case .list(let list): return TemplateList(values: (0..<list.shown).map { TemplateValue(value: list[$0]) })
      case .flag(let flag): return flag
      default: return TemplateValue(value: part.value)
      }
    }
    for (suffix, count) in [("_count", \ReportList.count), ("_more", \ReportList.more)] where name.hasSuffix(suffix) {
      let list = parts.first { $0.name == name.dropLast(suffix.count) }
      if case .list(let list)? = list?.value { return TemplateValue(value: .number(list[keyPath: count])) }
    }
    return nil
  }
}

/// A list as a template sees it.
private struct TemplateList: MustacheSequence, MustacheCustomRenderable {
  let values: [TemplateValue]
  var renderText: String { values.map(\.renderText).joined(separator: ", ") }
  var isNull: Bool { values.isEmpty }
  func makeIterator() -> IndexingIterator<[TemplateValue]> { values.makeIterator() }
}

extension ReportList {
  /// How many are not shown.
  fileprivate var more: Int { count - shown }
}
