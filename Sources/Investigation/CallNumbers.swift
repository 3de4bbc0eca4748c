/// The numbers that a table of calls gives its rows, kept as a fact: they order what several files tell of one recording.
public struct CallNumbers: Hashable, Sendable {
  /// Consecutive rows with consecutive numbers.
  struct Run: Hashable, Sendable {
    let first: UInt64
    let line: Int
    var count: Int
  }

  /// The file.
  public let file: String
  var runs: [Run] = []

  /// Whether no row was added.
  public var isEmpty: Bool { runs.isEmpty }

  /// No rows of `file` yet.
  public init(file: String) { self.file = file }

  /// Adds the row in `line` with `number`. Lines come in ascending order.
  public mutating func add(_ number: UInt64, line: Int) {
    if let last = runs.last, last.first &+ UInt64(last.count) == number, last.line + last.count == line {
      runs[runs.count - 1].count += 1
    } else {
      runs.append(Run(first: number, line: line, count: 1))
    }
  }

  private static let prefix = "call numbers in "

  /// The fact that keeps them: `call numbers in calls.csv`.
  public var factName: String { Self.prefix + file }

  /// `0-119 from line 2; 200-210 from line 130`.
  public var factValue: String {
    runs.map { "\($0.first)-\($0.first &+ UInt64($0.count - 1)) from line \($0.line)" }.joined(separator: "; ")
  }

  /// Reads such a fact; nil for any other.
  init?(factName: String, value: String) {
    guard factName.hasPrefix(Self.prefix) else { return nil }
    self.init(file: String(factName.dropFirst(Self.prefix.count)))
    for text in value.split(separator: ";") {
      let words = text.split(separator: " ")
      guard words.count == 4, let line = Int(words[3]) else { return nil }
      let ends = words[0].split(separator: "-").map { UInt64($0) }
      guard ends.count == 2, let first = ends[0], let last = ends[1], first <= last, last - first < 1 << 32, line > 0
      else { return nil }
      runs.append(Run(first: first, line: line, count: Int(last - first) + 1))
    }
  }

  /// The number of the row in `line`; nil when it has none.
  func number(line: Int) -> UInt64? {
    for run in runs where line >= run.line && line - run.line < run.count {
      return run.first &+ UInt64(line - run.line)
    }
    return nil
  }
}

/// The recorded calls in the order in which they were made, as far as it is known.
public struct CallHistory: Sendable {
  /// The calls.
  public private(set) var calls: [RecordedCall] = []
  /// The numbers that texts gave them, by event.
  public private(set) var numbers: [EventID: UInt64] = [:]
  /// Calls read from texts without numbers that fit no numbered one: when they were made is not known.
  public private(set) var unplaced: [RecordedCall] = []

  /// Orders `recorded`, which are as they were stored, by the numbers in `facts`. What was read twice is taken once.
  public init(_ recorded: [RecordedCall], facts: [String: String]) {
    var byFile: [String: CallNumbers] = [:]
    for (name, value) in facts {
      if let numbers = CallNumbers(factName: name, value: value) { byFile[numbers.file] = numbers }
    }
    guard !byFile.isEmpty else {
      calls = recorded
      return
    }
    var numbered: [UInt64: RecordedCall] = [:]
    for call in recorded {
      guard let id = call.id, let number = Self.number(of: call, byFile) else { continue }
      numbers[id] = number
      if numbered[number] == nil { numbered[number] = call }
    }
    let known = Set(numbered.values.map(\.call))
    let block = numbered.sorted { $0.key < $1.key }.map(\.value)
    var isPlaced = false
    for call in recorded {
      if call.id.map({ numbers[$0] != nil }) == true {
        if !isPlaced { calls += block }
        isPlaced = true
      } else if call.origin == nil {
        calls.append(call)
      } else if !known.contains(call.call) {
        unplaced.append(call)
      }
    }
  }

  private static func number(of call: RecordedCall, _ files: [String: CallNumbers]) -> UInt64? {
    guard let origin = call.origin, let colon = origin.lastIndex(of: ":"), let line = Int(origin[colon...].dropFirst())
    else { return nil }
    return files[String(origin[..<colon])]?.number(line: line)
  }

  /// Numbers that no recorded call has, between those that some have.
  public var gaps: [ClosedRange<UInt64>] {
    let sorted = Set(numbers.values).sorted()
    return zip(sorted, sorted.dropFirst()).compactMap { $1 - $0 > 1 ? $0 + 1...$1 - 1 : nil }
  }

  /// The calls that had been carried out at `moment`, in order; all where that is not known.
  public func calls(at moment: CaptureMoment?) -> [RecordedCall] {
    guard let before = moment?.before else { return calls }
    return calls.filter { call in call.id.flatMap { numbers[$0] }.map { $0 < before } ?? true }
  }
}
