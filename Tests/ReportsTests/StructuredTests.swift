import Foundation
import IOMMUModel
import Investigation
import PageTables
import Randomness
import Simulation
import Testing

@testable import Reports

/// Answers for programs.
@Suite(.serialized) struct StructuredTests {
  @Test func everyKindOfValue() {
    let value: Structured = [
      "nothing": nil, "yes": true, "number": -5, "address": .address(.max), "text": "a", "list": [1, "b", nil],
      "object": [:],
    ]
    #expect(
      value.jsonLine
        == #"{"nothing": null, "yes": true, "number": -5, "address": "0xffffffffffffffff", "text": "a", "list": [1, "b", null], "object": {}}"#
    )
  }

  /// What fits on a line is on one; numbers always are.
  @Test func documentsAreForPeopleAsWell() {
    let value: Structured = [
      "short": ["a": 1], "numbers": .list((0..<60).map { .number($0) }),
      "long": .list((0..<3).map { ["name": .text(String(repeating: "x", count: 30 + $0))] }),
    ]
    let numbers = (0..<60).map(String.init).joined(separator: ", ")
    #expect(
      value.json == """
        {
          "short": {"a": 1},
          "numbers": [\(numbers)],
          "long": [
            {"name": "\(String(repeating: "x", count: 30))"},
            {"name": "\(String(repeating: "x", count: 31))"},
            {"name": "\(String(repeating: "x", count: 32))"}
          ]
        }
        """)
  }

  /// Foundation reads what is written, whatever the text, in both forms; nothing in it moves a terminal's cursor.
  @Test func anyTextSurvives() throws {
    for round in 0..<200 {
      var numbers = SeededNumbers(round: round)
      let scalars = (0..<40).compactMap { _ in
        Unicode.Scalar(
          numbers.chance(50)
            ? UInt32.random(in: 0..<0x80, using: &numbers) : UInt32.random(in: 0..<0x11_0000, using: &numbers))
      }
      let text = String(String.UnicodeScalarView(scalars))
      let value: Structured = [text: .list([.text(text), .object([(text, .text(text))])])]
      for json in [value.json, value.jsonLine] {
        let read = try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: [Any]]
        #expect(read?[text]?.first as? String == text, "seed \(numbers.seed)")
        #expect((read?[text]?.last as? [String: String])?[text] == text, "seed \(numbers.seed)")
        #expect(json.unicodeScalars.allSatisfy { $0 == "\n" || isPrintable($0) }, "seed \(numbers.seed)")
      }
    }
  }

  /// A dump has the items of the lazy walk, malformed and unreadable ones too.
  @Test func dumpsHaveAllItems() throws {
    let memory = SimulatedMemory()
    memory[0x8000_0000] = 0x8000_1000 >> 2 | 1
    memory[0x8000_0008] = 0x9000_0000 >> 2 | 1
    memory[0x8000_1000] = 0x4000_0000 >> 2 | 7
    memory[0x8000_1008] = 0x4000_1000 >> 2 | 7
    let root = TableRoot(address: GPA(0x8000_0000), mode: .sv39)
    var lines: [String] = []
    try Structured.dump(root, memory: memory, filter: DumpFilter(), raw: false) { lines.append($0.jsonLine) }
    #expect(lines.count == root.mode.dump(root: root.address, in: memory).map { $0 }.count)
    #expect(
      lines.first
        == #"{"kind": "mapping", "iova": "0x0", "last": "0x1fffff", "target": "0x40000000", "size": 2097152, "flags": "V R W", "pbmt": 0}"#
    )
    #expect(lines.contains { $0.contains(#""kind": "malformed", "iova": "0x200000""#) })
    var entries: [String] = []
    try Structured.dump(root, memory: memory, filter: DumpFilter(), raw: true, poll: { true }) {
      entries.append($0.jsonLine)
    }
    #expect(entries == [#"{"kind": "stopped", "iova": "0x0", "reason": "interrupted"}"#])
  }
}
