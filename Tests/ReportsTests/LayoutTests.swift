import Randomness
import Testing

@testable import Reports

/// Texts for a terminal of so many columns.
struct LayoutTests {
  private let rows = [
    ["device", "rsid", "driver", "translation"],
    ["0000:00:01.0 (first of its kind)", "8", "e1000e", "Sv39 root 0x864cd000 and a second stage at 0x80000000"],
    ["0000:00:02.0", "16", "-", "bypassed: DTE not valid"],
  ]

  @Test func tablesWrapTheirCells() {
    func table(_ width: Int?) -> String {
      Layout.$width.withValue(width) { aligned(rows, indent: "").joined(separator: "\n") }
    }
    #expect(
      table(nil) == """
        device                            rsid  driver  translation
        0000:00:01.0 (first of its kind)  8     e1000e  Sv39 root 0x864cd000 and a second stage at 0x80000000
        0000:00:02.0                      16    -       bypassed: DTE not valid
        """)
    #expect(
      table(80) == """
        device                            rsid  driver  translation
        0000:00:01.0 (first of its kind)  8     e1000e  Sv39 root 0x864cd000 and a
                                                        second stage at 0x80000000
        0000:00:02.0                      16    -       bypassed: DTE not valid
        """)
    #expect(
      table(60) == """
        device                  rsid  driver  translation
        0000:00:01.0 (first of  8     e1000e  Sv39 root 0x864cd000
        its kind)                             and a second stage at
                                              0x80000000
        0000:00:02.0            16    -       bypassed: DTE not
                                              valid
        """)
  }

  /// A short row's last cell runs over the columns behind it, to the end of the line.
  @Test func shortRowsUseTheWholeLine() {
    let rows = [
      ["device", "level 2 [  3]", "0x864cd018 = 0x0"], ["cause", "the root is indexed with shift 48, not 30"],
    ]
    Layout.$width.withValue(40) {
      #expect(
        aligned(rows).joined(separator: "\n") == """
            device  level 2 [  3]  0x864cd018 =
                                   0x0
            cause   the root is indexed with shift
                    48, not 30
          """)
    }
  }

  @Test func sentencesAreBrokenBetweenWords() {
    let text = """
      short
        The record has a sentence that is longer than a terminal of forty columns has room for.
      0x0123456789abcdef0123456789abcdef0123456789abcdef is whole
      """
    #expect(Layout.folded(text) == text)
    Layout.$width.withValue(40) {
      #expect(
        Layout.folded(text) == """
          short
            The record has a sentence that is
              longer than a terminal of forty
              columns has room for.
          0x0123456789abcdef0123456789abcdef0123456789abcdef
            is whole
          """)
    }
    Layout.$width.withValue(1) {
      #expect(Layout.folded("less than forty columns are no width") == "less than forty columns are no width")
    }
  }

  /// Nothing is lost, nothing is longer than it may be unless a word is, and no table is wider than it was.
  @Test func anyTableInAnyWidth() {
    for round in 0..<300 {
      var numbers = SeededNumbers(round: round)
      let width = Int.random(in: 40..<140, using: &numbers)
      func cell() -> String {
        let words = (0..<Int.random(in: 0..<9, using: &numbers)).map { _ in
          String(repeating: "x", count: Int.random(in: 1..<9, using: &numbers))
        }
        return words.joined(separator: " ")
      }
      let rows = (0..<Int.random(in: 1..<6, using: &numbers)).map { _ in
        (0..<Int.random(in: 1..<5, using: &numbers)).map { _ in cell() }
      }
      let lines = Layout.$width.withValue(width) { aligned(rows) }
      let letters = lines.joined().count { $0 == "x" }
      #expect(letters == rows.joined().joined().count { $0 == "x" }, "seed \(numbers.seed)")
      #expect(lines.allSatisfy { $0.count <= width }, "seed \(numbers.seed)")
    }
  }
}
