import Foundation
import Testing

/// Files that outputs are compared with; IOMMULENS_RECORD=1 writes them instead.
enum GoldenFile {
  static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("Fixtures/reports")

  /// Compares `text` with the file `name`, line by line.
  static func compare(_ text: String, _ name: String, _ location: SourceLocation = #_sourceLocation) throws {
    let file = folder.appendingPathComponent(name)
    if ProcessInfo.processInfo.environment["IOMMULENS_RECORD"] != nil {
      try text.write(to: file, atomically: true, encoding: .utf8)
    }
    let expected = try String(contentsOf: file, encoding: .utf8)
    for (line, (found, wanted)) in zip(text.split(separator: "\n"), expected.split(separator: "\n")).enumerated() {
      #expect(found == wanted, "\(name), line \(line + 1)", sourceLocation: location)
    }
    #expect(text == expected, sourceLocation: location)
  }

  /// `text` without times, which are those of the run.
  static func untimed(_ text: String) -> String {
    text.replacing(#/\b[0-9]+\.[0-9]{6}\b/#, with: "0.000000").replacing(#/"time_ns": [0-9]+/#, with: "\"time_ns\": 0")
  }
}
