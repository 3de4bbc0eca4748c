import Foundation
import Testing

/// What the documents show is what happens: their transcripts are played and compared.
///
/// With IOMMULENS_RECORD=1 in the environment, output that differs is written into the document, to be read, elided and
/// committed.
@Suite(.serialized, .timeLimit(.minutes(10))) struct TranscriptTests {
  static let documents = [
    "README.md", "docs/tutorial.md", "docs/troubleshooting.md", "docs/python.md", "docs/investigation-file.md",
  ]

  @Test(arguments: documents) func saysWhatHappens(path: String) async throws {
    try await expectTrue(Document(path), needingLab: false, within: .seconds(300))
  }
}

/// The same for what needs the lab.
@Suite(.enabled(if: ProcessInfo.processInfo.environment["IOMMULENS_LAB"] == "1", "needs the lab: make test-lab"))
struct TranscriptLabTests {
  @Test func saysWhatHappens() async throws {
    try await expectTrue(Document("docs/tutorial.md"), needingLab: true, within: .seconds(900))
  }
}

private func expectTrue(_ document: Document, needingLab: Bool, within limit: Duration) async throws {
  let transcript = try Transcript(of: document, needingLab: needingLab)
  let found = try await Player.play(transcript, emptying: document.folder, within: limit)
  let wrong = differences(transcript, found)
  if ProcessInfo.processInfo.environment["IOMMULENS_RECORD"] == "1" {
    var lines = document.lines
    // From the end on, so that the places before keep their numbers.
    for (step, found) in wrong.reversed() { lines.replaceSubrange(step.range, with: found) }
    try lines.joined(separator: "\n").write(
      toFile: Document.top + "/" + document.path, atomically: true, encoding: .utf8)
    return
  }
  for (step, found) in wrong {
    Issue.record(
      """
      \(document.path):\(step.range.lowerBound): `\(step.command)` prints
      \(found.joined(separator: "\n"))
      and not
      \(step.printed.joined(separator: "\n"))
      """)
  }
}

/// The steps that do not print what is shown, with what they do print.
func differences(_ transcript: Transcript, _ found: [[String]]) -> [(step: Transcript.Step, found: [String])] {
  zip(transcript.steps, found).filter { step, found in !agrees(found[...], with: trimmed(step.printed)) }
    .map { (step: $0.0, found: $0.1) }
}

/// Without blank lines at the end, as what was printed has none.
private func trimmed(_ lines: [String]) -> ArraySlice<String> {
  lines.prefix((lines.lastIndex { !$0.isEmpty } ?? -1) + 1)
}
