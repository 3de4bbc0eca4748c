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

  /// How many pages there are.
  var pages: UInt64 { reduce(0) { $0 &+ $1.length } / 4096 }

  /// How many pages there are, or that nothing should be.
  var extent: String {
    guard let first else { return "" }
    if count == 1 { return first.expected?.description ?? "unmapped" }
    return "\(first.expected == nil ? "unmapped, " : "")\(pages) pages"
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
  private var length: UInt64 {
    guard let first, let last = map({ $0.iova + ($0.length &- 1) }).max() else { return 0 }
    return (last - first.iova) &+ 1
  }

  /// The first and the last byte.
  var range: String { first.map { Reports.range($0.iova, length) } ?? "" }

  /// How many pages there are.
  var pages: UInt64 { (length &- 1) / 4096 + 1 }

  /// `map #3`, or `map #1 to #3`.
  var calls: String {
    let numbers = map(\.number)
    let (low, high) = (numbers.min() ?? 0, numbers.max() ?? 0)
    return "map #\(low)\(low == high ? "" : " to #\(high)")"
  }

  /// The range, how many pages it has, the calls that mapped it, for whom.
  var cells: [String] {
    guard let first else { return [] }
    return [
      range, counted(Int(clamping: pages), "page"), calls, first.requester?.description ?? "no requester known",
      "not asked for",
    ]
  }
}
