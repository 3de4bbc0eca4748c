import Foundation
import Testing

@testable import Reports

/// The reports in docs/examples.
@Suite struct ExamplesTests {
  private static let top = GoldenFile.folder.appendingPathComponent("../../..")

  private func text(_ path: String) throws -> String {
    try String(contentsOf: Self.top.appendingPathComponent(path), encoding: .utf8)
  }

  /// The titles of a template or a report.
  private func titles(_ text: String) -> [String] {
    text.split(separator: "\n").filter { $0.hasPrefix("## ") }.map {
      String($0.prefix { $0 != "{" && !$0.isNumber && $0 != ":" })
    }
  }

  @Test func everyScenarioHasOneOfTheTemplateAsItIs() throws {
    let files = try text("lab/linux/scenarios") + text("lab/mainline/scenarios")
    let scenarios = files.split(separator: "\n").filter { !$0.hasPrefix("#") }.compactMap {
      $0.split(separator: "|").first.map { $0.trimmingCharacters(in: .whitespaces) }
    }
    #expect(scenarios.count > 20)
    let known = Set(titles(Report.template).map { $0.trimmingCharacters(in: .whitespaces) })
    let index = try text("docs/examples/README.md")
    for name in scenarios + ["guest-pgdir-shift", "guest-fixed"] {
      let report = try text("docs/examples/\(name).md")
      let headline = try #require(report.split(separator: "\n").first { $0.hasPrefix("**") })
      #expect(index.contains("| [\(name)](\(name).md) | \(headline.dropFirst(2).dropLast(2)) |"))
      for title in titles(report) {
        let title = title.trimmingCharacters(in: .whitespaces)
        #expect(known.contains(title) || title == "## Evidence for finding", "\(name)")
      }
    }
  }
}
