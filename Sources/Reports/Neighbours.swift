import Investigation
import PageTables

extension CrossCheck {
  /// The ranges that disagree, worst first; neighbours of which the same is to be said, whatever they lead to, together.
  var neighbours: [[Line]] {
    disagreements.reduce(into: []) { groups, line in
      if let last = groups.last?.last, last.iova + last.length == line.iova, last.call.root == line.call.root,
        (last.expected == nil) == (line.expected == nil), last.tables.gist == line.tables.gist,
        last.device.gist == line.device.gist, last.cause == line.cause
      {
        groups[groups.count - 1].append(line)
      } else {
        groups.append([line])
      }
    }
  }
}

/// What is to be said of neighbours; of one range alone with its addresses.
extension [CrossCheck.Line] {
  /// The first and the last byte.
  var range: String {
    first.map { first in Reports.range(first.iova, reduce(0) { $0 &+ $1.length }) } ?? ""
  }

  /// Where a range alone should lead; nil for several, and after an unmap.
  var target: GPA? { count == 1 ? first?.expected : nil }

  /// How many pages there are, or that nothing should be.
  var extent: String {
    guard let first else { return "" }
    if count == 1 { return first.expected?.description ?? "unmapped" }
    return "\(first.expected == nil ? "unmapped, " : "")\(reduce(0) { $0 &+ $1.length } / 4096) pages"
  }

  /// `map #3`, or `map #1 to #3`.
  var calls: String {
    guard let first else { return "" }
    let numbers = map(\.call.number)
    let (low, high) = (numbers.min() ?? 0, numbers.max() ?? 0)
    return "\(first.call.call.kind.rawValue) #\(low)\(low == high ? "" : " to #\(high)")"
  }

  /// What the tables say against the calls.
  var tables: String { first.map { count == 1 ? $0.tables.description : $0.tables.gist } ?? "" }

  /// What the device says against the calls.
  var device: String {
    guard let first else { return "" }
    return count == 1 || first.device.gist == first.device.description ? first.deviceDescription : first.device.gist
  }
}

extension UntranslatedMappings {
  /// The ranges that were not asked for, by requester and IOVA; those that touch each other together.
  var neighbours: [[Line]] {
    var groups: [[Line]] = []
    var end = IOVA(0)
    for line in lines {
      let last = line.iova + (line.length &- 1)
      if let before = groups.last?.last, before.requester == line.requester,
        line.iova <= end || line.iova.rawValue == end.rawValue &+ 1
      {
        groups[groups.count - 1].append(line)
        end = max(end, last)
      } else {
        groups.append([line])
        end = last
      }
    }
    return groups
  }
}

/// What is to be said of neighbours that were not asked for.
extension [UntranslatedMappings.Line] {
  /// The range, how many pages it has, the calls that mapped it, for whom.
  var cells: [String] {
    guard let first, let last = map({ $0.iova + ($0.length &- 1) }).max() else { return [] }
    let length = (last - first.iova) &+ 1
    let numbers = map(\.number)
    let (low, high) = (numbers.min() ?? 0, numbers.max() ?? 0)
    return [
      Reports.range(first.iova, length), counted(Int(clamping: (last - first.iova) / 4096 + 1), "page"),
      "map #\(low)\(low == high ? "" : " to #\(high)")", first.requester?.description ?? "no requester known",
      "not asked for",
    ]
  }
}
