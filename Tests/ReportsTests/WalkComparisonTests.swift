import IOMMUModel
@testable import Investigation
import PageTables
import Simulation
import Testing

@testable import Reports

/// The right walk beside the wrong one, level by level.
@Suite struct WalkComparisonTests {
  private let memory = SimulatedMemory()
  private let root = TableRoot(address: GPA(0x8000_0000), mode: .sv39)

  private func comparison(_ iova: UInt64, level: Int = 0, shift: Int? = nil) -> WalkComparison {
    let leaf = LeafRun(
      iova: IOVA(iova), level: level, count: 1, first: PageTableEntry(rawValue: 0x8100_0000 >> 2 | 7), step: 1 << 10,
      span: 4096)
    let wrong = shift.map { Diagnosis.WrongShift(level: 2, shifts: ShiftSet($0), shift: $0, expected: 30) }
    return WalkComparison(IOVA(iova), root: root, leaf: leaf, shift: wrong, memory: memory)
  }

  /// `level [slot] holds, expected`, and the slot used.
  private func told(_ comparison: WalkComparison) -> [String] {
    comparison.rows.map { row in
      "\(row.level) [\(row.slot)] \(row.entry.map { hex($0.rawValue) } ?? "-") \(row.expected.map { hex($0.rawValue) } ?? "-")"
        + (row.used.map { " [\($0.index)] \(hex($0.entry.rawValue))" } ?? "")
    }
  }

  @Test func aWrongShift() {
    memory[0x8000_0000] = 0x8000_1000 >> 2 | 1
    memory[0x8000_1ff8] = 0x8000_2000 >> 2 | 1
    memory[0x8000_2ff8] = 0x8100_0000 >> 2 | 7
    #expect(
      told(comparison(0xffff_f000, shift: 48)) == [
        "2 [3] 0x0 - [0] 0x20000401", "1 [511] - - [511] 0x20000801", "0 [511] - 0x20400007 [511] 0x20400007",
      ])
    #expect(told(comparison(0xffff_f000)) == ["2 [3] 0x0 -", "1 [511] - -", "0 [511] - 0x20400007"])
    #expect(
      told(comparison(0x3fff_f000)) == [
        "2 [0] 0x20000401 -", "1 [511] 0x20000801 -", "0 [511] 0x20400007 0x20400007",
      ])
  }

  /// A leaf of 2 MiB where one of 4 KiB was expected leads to the same place.
  @Test func aLargerLeaf() {
    memory[0x8000_0000] = 0x8000_1000 >> 2 | 1
    memory[0x8000_1008] = 0x8100_0000 >> 2 | 7
    #expect(told(comparison(0x20_0000)) == ["2 [0] 0x20000401 -", "1 [1] 0x20400007 0x20400007"])
    memory[0x8000_1008] = 0x8100_0000 >> 2 | 3
    #expect(
      told(comparison(0x20_0000)) == ["2 [0] 0x20000401 -", "1 [1] 0x20400003 -", "0 [0] - 0x20400007"])
  }

  @Test func whatCannotBeWalked() {
    memory.unreadable = [GPA(0x8000_0000)]
    #expect(told(comparison(0x1000)) == ["2 [0] - -", "1 [0] - -", "0 [1] - 0x20400007"])
    #expect(told(comparison(1 << 40)) == ["2 [0] - -", "1 [0] - -", "0 [0] - 0x20400007"])
    for comparison in [comparison(0x1000, shift: 48), comparison(1 << 40, level: 1)] {
      #expect(comparison.svg.hasSuffix("</svg>\n") && comparison.mermaid.hasPrefix("flowchart LR\n"))
    }
  }
}
