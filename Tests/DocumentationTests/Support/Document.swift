import Foundation
import Testing

/// A Markdown document of this project, and the fenced blocks in it.
struct Document: Sendable, CustomTestStringConvertible {
  /// Its path in the checkout: `docs/tutorial.md`.
  let path: String
  var lines: [String]

  /// The checkout.
  static let top = URL(filePath: #filePath).appending(path: "../../../..").standardizedFileURL.path

  init(_ path: String) throws {
    self.init(path: path, text: try String(contentsOfFile: Self.top + "/" + path, encoding: .utf8))
  }

  init(path: String, text: String) {
    self.path = path
    lines = text.components(separatedBy: "\n")
  }

  var testDescription: String { path }

  /// Where the document's transcripts write: `build/tutorial`.
  var folder: String { "build/" + URL(filePath: path).deletingPathExtension().lastPathComponent.lowercased() }

  /// A fenced block.
  struct Block: Sendable {
    /// The words behind the opening fence: `console`, perhaps `lab`.
    let words: [String]
    /// Its lines, as places in the document counted from 0.
    let range: Range<Int>
    let lines: ArraySlice<String>
  }

  /// The fenced blocks in order.
  var blocks: [Block] {
    var found: [Block] = []
    var start: (line: Int, words: [String])?
    for (number, line) in lines.enumerated() where line.hasPrefix("```") {
      if let open = start {
        let range = open.line + 1..<number
        found.append(Block(words: open.words, range: range, lines: lines[range]))
        start = nil
      } else {
        start = (number, line.dropFirst(3).split(separator: " ").map(String.init))
      }
    }
    return found
  }
}
