import IOMMUModel
import Investigation
import PageTables

extension TranslationCheck {
  /// Runs on one page that came to the same: a device that gets nothing asks for the same again and again, and one that is
  /// refused at one word asks for the next.
  struct Group {
    /// The one with the lowest address.
    fileprivate(set) var line: Line
    /// How many runs there are.
    fileprivate(set) var runs = 1
    /// How many translations they have together.
    fileprivate(set) var translations: UInt64
    /// The highest address.
    fileprivate(set) var last: IOVA
    /// Whether each run asks for the same as the first.
    fileprivate(set) var isRepetition = true

    fileprivate init(_ line: Line) {
      self.line = line
      (translations, last) = (line.translation.count, line.translation.last)
    }

    fileprivate mutating func add(_ line: Line) {
      let (run, known) = (line.translation, self.line.translation)
      runs += 1
      translations &+= run.count
      last = max(last, run.last)
      if (run.iova, run.count, run.stride) != (known.iova, known.count, known.stride) { isRepetition = false }
      if run.iova < known.iova { self.line = line }
    }

    /// The addresses: `0xfffff190-0xfffff3fc`, or the first one of a run.
    var range: String { "\(line.translation.iova)" + (isRepetition ? "" : "-\(last)") }

    /// How many there are: `1 translation`, `16 in steps of 1, 3 times`, `84 translations in 21 runs`.
    var extent: String {
      guard isRepetition else { return "\(translations) translations in \(runs) runs" }
      let run = line.translation
      return (run.count == 1 ? "1 translation" : "\(run.count) in steps of \(run.stride)")
        + (runs == 1 ? "" : ", \(runs) times")
    }
  }

  /// The runs on which something is wrong, those of a page that came to the same together.
  var groups: [Group] {
    var positions: [Key: Int] = [:]
    var found: [Group] = []
    for line in disagreements {
      let key = Key(line)
      if let known = positions[key] {
        found[known].add(line)
      } else {
        positions[key] = found.count
        found.append(Group(line))
      }
    }
    return found
  }

  /// A page, and what came of it.
  private struct Key: Hashable {
    let page: IOVA
    let requester: RequesterID?
    let call: Int?
    /// From the address to where it should lead.
    let distance: UInt64?
    let verdict: Verdict
    let isByPattern: Bool

    init(_ line: Line) {
      let iova = line.translation.iova
      (page, requester, call) = (iova.page, line.translation.requester, line.call?.number)
      distance = line.expected.map { $0.rawValue &- iova.rawValue }
      // Where it leads differs from address to address of a page that is mistaken for another.
      verdict = if case .wrongAddress(let found) = line.verdict { .wrongAddress(found.page) } else { line.verdict }
      isByPattern = line.isByPattern
    }
  }

  /// `12 runs of translations: 3 refused though mapped; 9 agrees.`
  var summary: String {
    var counts: [(name: String, count: Int)] = []
    for verdict in lines.verdicts {
      if let known = counts.firstIndex(where: { $0.name == verdict.name }) {
        counts[known].count += 1
      } else {
        counts.append((verdict.name, 1))
      }
    }
    return "\(counted(lines.count, "run")) of translations: "
      + counts.map { "\($0.count) \($0.name)" }.joined(separator: "; ") + "."
  }
}

extension TranslationCheck.Line {
  /// The verdict, and where it comes from.
  var description: String { verdict.description + (isByPattern ? ", by its steps" : "") }
}
