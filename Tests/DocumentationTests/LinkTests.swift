import Foundation
import Testing

/// Links from document to document lead somewhere.
@Suite struct LinkTests {
  static let documents =
    TranscriptTests.documents + [
      "docs/commands.md", "notebooks/README.md", "lab/README.md", "lab/guest/README.md", "lab/linux/README.md",
      "lab/mainline/README.md", "lab/qemu/README.md",
    ]

  @Test(arguments: documents) func everyLinkLeadsSomewhere(path: String) throws {
    let document = try Document(path)
    let folder = URL(filePath: Document.top + "/" + path).deletingLastPathComponent()
    let text = document.lines.joined(separator: "\n")
    for link in text.matches(of: /\]\(([^):\s]+)\)/).map({ String($0.output.1) }) {
      let parts = link.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
      let target = parts[0].isEmpty ? URL(filePath: Document.top + "/" + path) : folder.appending(path: parts[0])
      #expect(FileManager.default.fileExists(atPath: target.path), "\(path): \(link) is not there.")
      guard parts.count == 2, let linked = try? String(contentsOf: target, encoding: .utf8) else { continue }
      let anchors = linked.components(separatedBy: "\n").filter { $0.hasPrefix("#") }.map(Self.anchor)
      #expect(anchors.contains(parts[1]), "\(path): \(link) names no heading.")
    }
  }

  /// A heading's anchor as GitHub makes it.
  private static func anchor(_ heading: String) -> String {
    heading.drop { $0 == "#" || $0 == " " }.lowercased().filter { $0.isLetter || $0.isNumber || " -_".contains($0) }
      .replacing(" ", with: "-")
  }
}
