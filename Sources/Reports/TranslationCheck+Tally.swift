import Investigation

extension TranslationCheck {
  /// The runs on which something is wrong, and how often each was seen: a device that gets nothing asks for the same again and
  /// again.
  var tally: [(line: Line, count: Int)] {
    var positions: [Key: Int] = [:]
    var found: [(line: Line, count: Int)] = []
    for line in disagreements {
      let key = Key(line)
      if let known = positions[key] {
        found[known].count += 1
      } else {
        positions[key] = found.count
        found.append((line, 1))
      }
    }
    return found
  }

  /// What a reader cannot tell apart.
  private struct Key: Hashable {
    let iova, count, stride: UInt64
    let call: Int?
    let expected: UInt64?
    let verdict: String

    init(_ line: Line) {
      (iova, count, stride) = (line.translation.iova.rawValue, line.translation.count, line.translation.stride)
      (call, expected, verdict) = (line.call?.number, line.expected?.rawValue, line.description)
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
