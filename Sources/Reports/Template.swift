import Investigation
import Mustache

/// A text in which a report is put: Mustache, as far as it is variables, sections and comments.
///
/// It cannot name another file, and nothing in it runs. What it inserts is Markdown that can hold no markup of its own,
/// whichever way it is inserted.
struct ReportTemplate {
  private let template: MustacheTemplate
  private let name: String
  /// Bytes of the template itself.
  private let size: Int

  /// Bytes of a template, and sections within sections: parsing and rendering go one call deeper for each.
  private static let sizeLimit = 1 << 20, depthLimit = 32
  /// Characters of one tag that is no comment.
  private static let tagLimit = 200
  /// Bytes that a report may have, as far as its sections and what they insert go.
  static let reportLimit = 256 << 20
  /// On a line of its own before the text: what is inserted is Markdown, and no HTML to be escaped again.
  private static let head = "{{% CONTENT_TYPE:TEXT}}\n"

  /// The template `text`; `name` is what an error calls it.
  init(_ text: String, name: String) throws(ReportError) {
    try Self.validate(text, name: name)
    (self.name, size) = (name, text.utf8.count)
    do { template = try MustacheTemplate(string: Self.head + text) } catch {
      let parser = error as? MustacheTemplate.ParserError
      let line = max((parser?.context.lineNumber ?? 2) - 1, 1)
      throw ReportError("\(name):\(line): \(Self.problem(parser?.error ?? error))")
    }
  }

  /// The report as this template has it.
  func render(_ value: ReportValue) throws(ReportError) -> String {
    let room = TemplateRoom(Self.reportLimit, section: size)
    let text = template.render(TemplateValue(value: value, room: room))
    if room.isUsedUp {
      throw ReportError(
        "\(name) would make a report of more than \(Self.reportLimit >> 20) MiB: repeat less in its sections.")
    }
    return text
  }

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

/// How much may still be written: sections within sections multiply.
private final class TemplateRoom {
  private var bytes: Int
  private let section: Int
  private(set) var isUsedUp = false

  /// Room for `bytes`; a section once is `section` of them, whichever it is.
  init(_ bytes: Int, section: Int) { (self.bytes, self.section) = (bytes, section) }

  /// Whether there is room for a section once more.
  func takesSection() -> Bool { takes(section) }

  /// `text`, or nothing where there is no room for it.
  func admitted(_ text: String) -> String { takes(text.utf8.count) ? text : "" }

  private func takes(_ count: Int) -> Bool {
    isUsedUp = isUsedUp || count > bytes
    if !isUsedUp { bytes -= count }
    return !isUsedUp
  }
}

/// A part of a report as a template sees it.
///
/// A part that is not known ends the look-up: a name in a section never means another part of the same name around it.
private struct TemplateValue: MustacheParent, MustacheCustomRenderable {
  let value: ReportValue
  let room: TemplateRoom

  /// As Markdown.
  var renderText: String { room.admitted(markdown) }

  private var markdown: String {
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
      case .list(let list): return TemplateList(list: list, room: room)
      case .flag(let flag): return flag
      default: return TemplateValue(value: part.value, room: room)
      }
    }
    for (suffix, count) in [("_count", \ReportList.count), ("_more", \ReportList.more)] where name.hasSuffix(suffix) {
      let list = parts.first { $0.name == name.dropLast(suffix.count) }
      if case .list(let list)? = list?.value { return TemplateValue(value: .number(list[keyPath: count]), room: room) }
    }
    return nil
  }
}

/// A list as a template sees it.
private struct TemplateList: MustacheSequence, MustacheCustomRenderable {
  let list: ReportList
  let room: TemplateRoom
  var renderText: String { map(\.renderText).joined(separator: ", ") }
  var isNull: Bool { list.shown == 0 }

  func makeIterator() -> AnyIterator<TemplateValue> {
    var positions = (0..<list.shown).makeIterator()
    return AnyIterator {
      guard let position = positions.next(), room.takesSection() else { return nil }
      return TemplateValue(value: list[position], room: room)
    }
  }
}

extension ReportList {
  /// How many are not shown.
  fileprivate var more: Int { count - shown }
}
