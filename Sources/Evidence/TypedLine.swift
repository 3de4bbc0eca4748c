/// A line in which somebody wrote an entry of a table down: `root[3] = 0x…`, `root[0].level1[511] = 0x…`,
/// `  level1[0] = 0x…  pointer, level 0 has 512 valid 4 KiB entries, first [0] = 0x…`.
struct TypedLine {
  /// One step on the way from the root to the entry.
  struct Step: Hashable {
    /// The table's level; nil for the root.
    let level: UInt64?
    /// Which of the table's entries.
    let index: UInt64

    /// `root[3]`, `level1[128]`.
    var name: String { (level.map { "level\($0)" } ?? "root") + "[\(index)]" }
  }

  /// The way to the entry; it starts at the root or goes on from an entry in a line before.
  let steps: [Step]
  /// The entry; nil where no number stands.
  let value: UInt64?
  /// The table that the entry points to, as far as the line summarizes it: its level, and the first valid entry in it.
  let below: (step: Step, value: UInt64)?
  /// The page number that the line tells beside the value, in bytes; nil when it does not.
  let page: UInt64?
  /// Whether the line says no more than a root's entry.
  let isPlainRoot: Bool

  /// Reads a line; nil for one that names no entry of a table.
  init?(_ line: ArraySlice<UInt8>) {
    var scanner = Scanner(line.prefix(512))
    scanner.skipSpaces()
    var steps: [Step] = []
    repeat {
      guard let step = Self.step(&scanner) else { return nil }
      steps.append(step)
    } while scanner.take(".")
    scanner.skipSpaces()
    guard scanner.take("="), scanner.next != 0x3d else { return nil }
    scanner.skipSpaces()
    let value = scanner.number()
    self.steps = steps
    self.value = scanner.isAtWordEnd ? value : nil
    scanner.skipSpaces()
    isPlainRoot = steps.count == 1 && steps[0].level == nil && scanner.isAtEnd
    var tail = scanner
    page = tail.skip(past: "ppn<<12 ") ? tail.number() : nil
    below = Self.below(scanner)
  }

  /// The entry's name as the line has it.
  var name: String { steps.map(\.name).joined(separator: ".") }

  private static func step(_ scanner: inout Scanner) -> Step? {
    var level: UInt64?
    if scanner.take("level") {
      guard let number = scanner.number() else { return nil }
      level = number
    } else if !scanner.take("root") {
      return nil
    }
    guard scanner.take("["), let index = scanner.number(), scanner.take("]") else { return nil }
    return Step(level: level, index: index)
  }

  /// `pointer, level 0 has 511 valid 4 KiB entries, first [1] = 0x…`
  private static func below(_ tail: Scanner) -> (step: Step, value: UInt64)? {
    var scanner = tail
    guard scanner.take("pointer, level "), let level = scanner.number(), scanner.skip(past: "first ["),
      let index = scanner.number(), scanner.take("] = "), let value = scanner.number()
    else { return nil }
    return (Step(level: level, index: index), value)
  }
}
