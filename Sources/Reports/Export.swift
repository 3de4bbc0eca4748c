import Evidence
import IOMMUModel
public import Investigation

/// What a report is written as. The file's ending decides.
public struct Export: Sendable {
  private enum Form {
    case markdown(template: (text: String, name: String)?)
    case json
    case events(EventKind)
    case picture(Picture)
  }

  /// The rows of a CSV file.
  public enum EventKind: String, CaseIterable, Sendable {
    /// Map and unmap calls, with what was found right after each.
    case calls
    /// What the device was seen to translate.
    case translations
    /// The device's registers every time they were read.
    case registers
    /// Log lines that say something.
    case log
    /// What was found right after calls, with the first entry that was wrong.
    case verifications
  }

  /// What an SVG file shows.
  public enum Picture: String, CaseIterable, Sendable {
    /// The IOVAs: what is mapped, missing, led elsewhere.
    case map
    /// Where the tables should lead, and where they do.
    case walk
  }

  private let path: String
  private let form: Form

  /// A report in the file at `path`, which ends in `.md`, `.json`, `.csv` or `.svg`. A template is the name of a file, for
  /// Markdown; `events` are for CSV, `calls` unless said otherwise; `picture` is for SVG, `map` unless said otherwise.
  public init(to path: String, template: String? = nil, events: String? = nil, picture: String? = nil) throws {
    self.path = path
    let ending = path.split(separator: "/").last?.split(separator: ".", omittingEmptySubsequences: false).dropFirst()
      .last
    let options = [("md", "template", template), ("csv", "events", events), ("svg", "picture", picture)]
    for (its, option, value) in options where value != nil && ending.map(String.init) != its {
      throw ReportError("\(path): `\(option)` is for files that end in .\(its).")
    }
    switch ending {
    case "md": form = .markdown(template: try template.map { (try Self.text($0), $0) })
    case "json": form = .json
    case "csv": form = .events(try Self.choice("events", events, or: .calls))
    case "svg": form = .picture(try Self.choice("picture", picture, or: .map))
    default:
      throw ReportError(
        "\(path): a report is Markdown, JSON, CSV or SVG; name a file that ends in .md, .json, .csv or .svg.")
    }
    if case .markdown(let template?) = form { _ = try ReportTemplate(template.text, name: template.name) }
  }

  /// Writes what follows from `store`: `findings`, which are its own. An older file is replaced when all is written, and stays
  /// as it was when `progress` stops that.
  public func write(_ findings: Findings, of store: InvestigationStore, progress: WorkProgress? = nil) throws {
    let report = try Report(findings, store: store)
    try OutputFile.write(to: path) { file in
      var pieces = 0
      func put(_ text: String) throws {
        if progress?.asks("writing", at: pieces) == true {
          throw WorkProgress.interruption("writing \(path); nothing was written")
        }
        pieces += 1
        try file.write(text)
      }
      switch form {
      case .markdown(nil): try put(report.markdown())
      case .markdown(let template?): try put(report.markdown(template: template.text, name: template.name))
      case .json: try JSONText.write(report.value, emit: put)
      case .events(let kind):
        let rows = try report.rows(of: kind)
        guard rows.count > 0 else {
          throw ReportError("\(path) is not written: \(store.path) holds no \(kind.rawValue).")
        }
        try CSVText.write(rows, emit: put)
      case .picture(.map): try put(AddressMap(findings.check).svg)
      case .picture(.walk):
        guard let walk = report.exhibits.lazy.compactMap(\.exhibit.walk).first else {
          throw ReportError(
            "\(path) is not written: no call was recorded whose table is known, so there is no walk to show.")
        }
        try put(walk.svg)
      }
    }
  }

  private static func text(_ path: String) throws -> String {
    let bytes = try EvidenceFile.bytes(at: path)
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw ReportError("\(path) is no template: it is not text in UTF-8.")
    }
    return text
  }

  private static func choice<Choice: RawRepresentable<String> & CaseIterable>(
    _ option: String, _ text: String?, or usual: Choice
  ) throws(ReportError) -> Choice {
    guard let text else { return usual }
    guard let choice = Choice(rawValue: text) else {
      let known = Choice.allCases.map(\.rawValue).joined(separator: ", ")
      throw ReportError("`\(option)` is one of \(known), not '\(printable(String(text.prefix(40))))'.")
    }
    return choice
  }
}

extension Report {
  fileprivate func rows(of kind: Export.EventKind) throws -> ReportList {
    switch kind {
    case .calls: callRows
    case .translations: translationRows
    case .registers: try registerRows()
    case .log: logRows
    case .verifications: verificationRows
    }
  }
}
