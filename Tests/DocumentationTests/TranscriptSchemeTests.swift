import Foundation
import Testing

/// The scheme that the documents rest on notices what it should.
@Suite struct TranscriptSchemeTests {
  private static let document = """
    Words.

    ```console
    $ echo one; echo two
    one
    two
    $ gdb-multiarch -q
    (gdb) print 6 * 7
    $1 = 42
    ```

    More words.

    ```console
    (gdb) nonsense
    Undefined command: "nonsense".  Try "help".
    (gdb) echo a\\nb\\nc\\n
    a
    …
    c
    $ python3 -q
    >>> 6 * 7
    42
    >>> hex(id(None))
    '0x…'
    ```

    ```console lab
    $ false
    ```
    """

  /// The numbers of the lines below which what was printed is not what is shown.
  private func wrong(_ text: String) async throws -> [Int] {
    let transcript = try Transcript(of: Document(path: "text", text: text))
    let found = try await Player.play(transcript, emptying: "build/text", within: .seconds(60))
    return differences(transcript, found).map(\.step.range.lowerBound)
  }

  @Test func aTrueTranscriptPasses() async throws {
    #expect(try await wrong(Self.document) == [])
  }

  @Test(arguments: [
    ("two", "three", 4), ("= 42", "= 43", 8), ("c\n$", "d\n$", 17), ("\n42", "\n42.0", 22), ("'0x…'", "'1x…'", 24),
  ])
  func aChangedLineIsFound(old: String, new: String, line: Int) async throws {
    let text = try #require(Self.document.range(of: old, options: .backwards)).lowerBound
    let changed = Self.document[..<text] + Self.document[text...].replacing(old, with: new, maxReplacements: 1)
    #expect(try await wrong(String(changed)) == [line])
  }

  @Test func aMissingLineAndOneTooManyAreFound() async throws {
    #expect(try await wrong(Self.document.replacing("one\ntwo\n", with: "one\n")) == [4])
    #expect(try await wrong(Self.document.replacing("one\ntwo\n", with: "one\ntwo\nthree\n")) == [4])
    #expect(try await wrong(Self.document.replacing("$1 = 42\n", with: "")) == [8])
  }

  @Test func whatEndsEarlyIsAnError() async throws {
    let text = "```console\n$ gdb-multiarch -q\n(gdb) quit\n(gdb) print 1\n$1 = 1\n```"
    await #expect(throws: Transcript.Failure.self) { try await wrong(text) }
  }

  @Test func blocksBelongToSomething() {
    for text in ["```console\nout\n```", "```console\n(gdb) print 1\n```", "```console\n>>> 1\n```"] {
      #expect(throws: Transcript.Failure.self) { try Transcript(of: Document(path: "x", text: text)) }
    }
  }

  @Test func whatTheLabIsNeededForIsApart() throws {
    let steps = try Transcript(of: Document(path: "x", text: Self.document), needingLab: true).steps
    #expect(steps.map(\.command) == ["false"])
  }

  @Test(arguments: [
    (["a", "…", "z"], ["a", "z"], true), (["a", "…", "z"], ["a", "b", "c", "z"], true),
    (["…", "m", "…"], ["a", "m", "z"], true), (["…", "m", "…"], ["a", "z"], false), (["…"], [], true),
    (["a…c"], ["abc"], true), (["a…c"], ["ac"], false), (["a…b…c"], ["a1b2b3c"], true), (["a…c"], ["abcd"], false),
    ([], ["a"], false), (["a"], [], false),
  ])
  func elisions(shown: [String], found: [String], agree: Bool) {
    #expect(agrees(found[...], with: shown[...]) == agree)
  }
}
