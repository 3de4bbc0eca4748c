import IOMMUModel
import Investigation
import PageTables

/// Puts entries that somebody wrote down in their places, and holds against them how walks are said to end there.
struct TypedTableBuilder {
  /// What is wrong with a line: a sentence.
  struct Problem: Error { let reason: String }

  /// Whose tables they are; nil where the text does not say it.
  private let root: TableRoot?
  /// Where the root is, for want of its mode.
  private let rootAddress: GPA?
  /// The entries, in the order of the lines, and the line of each.
  private(set) var entries: [TypedEntry] = []
  private var known: [GPA: (entry: TypedEntry, line: Int)] = [:]
  /// The last entry of every level, and the table below it, nil when it points to none.
  private var last: [Int: (name: String, table: GPA?)] = [:]
  /// Roots whose address no text tells are told apart from others by nothing but their index.
  private var unplaced: [UInt64: (value: UInt64, line: Int)] = [:]

  init(root: TableRoot?, address: GPA?) {
    self.root = root
    rootAddress = root?.address ?? address
  }

  private static let pageNumbers: UInt64 = (1 << 44) - 1

  /// The root's level; without its mode that of Sv39.
  private var rootLevel: Int { (root?.mode.levels ?? PagingMode.sv39.levels) - 1 }
  private var tableName: String { root.map { "an \($0.mode.name) table" } ?? "a table of three levels" }

  // MARK: Entries

  /// Adds the entry of a line.
  mutating func add(_ line: TypedLine, line number: Int) throws(Problem) {
    var steps = line.steps
    guard let first = steps.first else { return }
    var level = try level(of: first)
    var table = rootAddress
    var name = ""
    var isPlaced = true
    if first.level != nil {
      guard let parent = last[level + 1] else {
        throw Problem(reason: "\(first.name) stands below no entry of level \(level + 1) that was read.")
      }
      (name, table) = ("\(parent.name).", try below(parent))
    } else {
      isPlaced = rootAddress != nil
    }
    // The way down to the entry, over entries that are known.
    while steps.count > 1 {
      let step = steps.removeFirst()
      try check(step)
      let next = try self.level(of: steps[0])
      guard next == level - 1 else {
        throw Problem(reason: "\(steps[0].name) does not follow \(step.name): below it is level \(level - 1).")
      }
      let entry = "\(name)\(step.name)"
      guard let known = last[level], known.name == entry else {
        throw Problem(reason: "\(line.name) stands below \(entry), which no line before it gives.")
      }
      (name, table, level, isPlaced) = ("\(entry).", try below(known), next, true)
    }
    let step = steps[0]
    try check(step)
    guard let value = line.value else { throw Problem(reason: "\(line.name) has no number of 64 bits as its value.") }
    if let page = line.page, page != (value >> 10 & Self.pageNumbers) << 12 {
      throw Problem(
        reason: "\(line.name) is \(hex(value)), whose page is \(hex((value >> 10 & Self.pageNumbers) << 12)), not "
          + "\(hex(page)).")
    }
    name += step.name
    let pointer = PageTableEntry(rawValue: value)
    last = last.filter { $0.key > level }
    last[level] = (name, pointer.isPointer ? pointer.address : nil)
    if let table, isPlaced {
      try add(TypedEntry(address: table + step.index * 8, content: .value(value), name: name), line: number)
    } else if let before = unplaced.updateValue((value, number), forKey: step.index), before.value != value {
      throw Problem(reason: Self.twice(name, value, before.value, before.line))
    }
    if let (step, value) = line.below { try add(step, value, below: name, pointer, at: level, line: number) }
    if !isPlaced {
      throw Problem(reason: "\(name) is an entry of a root table, but the text does not say where that table is.")
    }
  }

  /// Adds the entry of the table below that the line of `name` tells as well.
  private mutating func add(
    _ step: TypedLine.Step, _ value: UInt64, below name: String, _ pointer: PageTableEntry, at level: Int, line: Int
  ) throws(Problem) {
    guard try self.level(of: step) == level - 1 else {
      throw Problem(reason: "\(name) is said to point to level \(step.level ?? 0): below it is level \(level - 1).")
    }
    try check(step)
    guard pointer.isPointer else {
      throw Problem(reason: "\(name) is \(hex(pointer.rawValue)), which points to no table.")
    }
    try add(
      TypedEntry(address: pointer.address + step.index * 8, content: .value(value), name: "\(name).\(step.name)"),
      line: line)
  }

  private func level(of step: TypedLine.Step) throws(Problem) -> Int {
    guard let number = step.level else { return rootLevel }
    guard number < UInt64(rootLevel) else {
      let names = (0..<rootLevel).reversed().map(String.init).joined(separator: " and ")
      throw Problem(reason: "\(step.name) is out of range: below the root of \(tableName) are levels \(names).")
    }
    return Int(number)
  }

  private func check(_ step: TypedLine.Step) throws(Problem) {
    guard step.index < 512 else {
      throw Problem(reason: "\(step.name) is out of range: a table has 512 entries, 0 to 511.")
    }
  }

  private func below(_ parent: (name: String, table: GPA?)) throws(Problem) -> GPA {
    guard let table = parent.table else { throw Problem(reason: "\(parent.name) points to no table.") }
    return table
  }

  private mutating func add(_ entry: TypedEntry, line: Int) throws(Problem) {
    if let (before, place) = known[entry.address] {
      guard !entry.contradicts(before) else {
        throw Problem(reason: Self.twice(entry.name, entry.entry.rawValue, before.entry.rawValue, place))
      }
      return
    }
    known[entry.address] = (entry, line)
    entries.append(entry)
  }

  private static func twice(_ name: String, _ value: UInt64, _ before: UInt64, _ line: Int) -> String {
    "\(name) is given twice with different values: \(hex(before)) in line \(line), \(hex(value)) here."
  }

  // MARK: Walks

  /// Adds what the end of a walk tells of the entry that it ended at.
  mutating func add(_ walk: TypedWalk, line number: Int) throws(Problem) {
    guard let root else { throw Problem(reason: "The text does not say which table this walk starts in.") }
    guard let end = walk.end else { throw Problem(reason: "The walk ends in a way that is not known here.") }
    guard walk.length != nil else {
      throw Problem(reason: "\(walk.count) pages of \(walk.size) bytes are no range that can be mapped.")
    }
    let geometry = root.mode.geometry
    var table = root.address
    var path: [String] = []
    for level in stride(from: geometry.rootLevel, through: 0, by: -1) {
      let index = geometry.index(of: walk.iova, atLevel: level)
      path.append((path.isEmpty ? "root" : "level\(level)") + "[\(index)]")
      let name = path.joined(separator: ".")
      let address = geometry.entryAddress(table: table, index: index)
      let seen = known[address]
      if let entry = seen?.entry.entry, entry.isPointer, level > 0 {
        if case .invalid(let shift, _) = end, shift == UInt64(root.mode.shift(atLevel: level)) {
          throw Problem(
            reason: "The walk ends at \(name), which line \(seen?.line ?? 0) gives as \(hex(entry.rawValue)).")
        }
        table = entry.address
        continue
      }
      let told: TypedEntry
      switch end {
      case .invalid(let shift, let position):
        guard shift == UInt64(root.mode.shift(atLevel: level)), position == UInt64(index) else {
          throw Problem(reason: "The walk should end at \(name): no line gives the table behind it.")
        }
        told = TypedEntry(address: address, content: .invalid, name: name)
      case .target(let target):
        if let entry = seen?.entry.entry, entry.isLeaf, level > 0 {
          guard entry.target(of: walk.iova, atLevel: level) == target else {
            throw Problem(reason: contradiction(name, seen))
          }
          return
        }
        guard level == 0 || seen != nil else {
          throw Problem(reason: "The walk passes \(name), which no line gives.")
        }
        guard target.pageOffset == walk.iova.pageOffset else {
          throw Problem(reason: "The walk ends at \(target), which is at another place in its page than \(walk.iova).")
        }
        told = TypedEntry(address: address, content: .leaf(target.page), name: name)
      }
      if let seen, told.contradicts(seen.entry) { throw Problem(reason: contradiction(name, seen)) }
      try add(told, line: number)
      return
    }
  }

  private func contradiction(_ name: String, _ seen: (entry: TypedEntry, line: Int)?) -> String {
    "The walk contradicts \(name), which line \(seen?.line ?? 0) gives as \(hex(seen?.entry.entry.rawValue ?? 0))."
  }
}
