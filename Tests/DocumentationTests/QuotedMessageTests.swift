import Foundation
import Testing

/// The messages that docs/troubleshooting.md quotes can be printed.
@Suite struct QuotedMessageTests {
  /// A message is quoted in a heading, `…` standing for what differs. Each piece between must be in a source.
  @Test func everyQuotedMessageIsInASource() throws {
    let sources = try Self.sources()
    let messages = try Document("docs/troubleshooting.md").lines.filter { $0.hasPrefix("> ") }.map { $0.dropFirst(2) }
    #expect(messages.count >= 10)
    for message in messages {
      let pieces = message.split(separator: "…").map { $0.trimmingCharacters(in: .whitespaces) }.filter { $0.count > 3 }
      #expect(!pieces.isEmpty)
      for piece in pieces { #expect(sources.contains(piece), "No source says '\(piece)'.") }
    }
  }

  /// All sources in one text, in which a message that is written in several pieces is whole.
  private static func sources() throws -> String {
    var all = ""
    for folder in ["Sources", "gdb-scripts", "lab"] {
      let walk = FileManager.default.enumerator(atPath: Document.top + "/" + folder)
      while let path = walk?.nextObject() as? String {
        guard ["swift", "py", "", "c"].contains((path as NSString).pathExtension),
          let text = try? String(contentsOfFile: "\(Document.top)/\(folder)/\(path)", encoding: .utf8)
        else { continue }
        all += text
      }
    }
    return all.replacing(/"\s*\+?\s*\n\s*\+?\s*f?"/, with: "").replacing("\\\"", with: "\"")
  }
}
