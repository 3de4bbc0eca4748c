import Glibc

/// The lines of a log that were recorded while they were written. A later import of the log leaves them out.
public struct FollowedLog: Hashable, Sendable {
  /// The log, by the path that leads to it without links.
  public let path: String
  /// The lines, 1 for the first, in order.
  public private(set) var lines: [ClosedRange<Int>] = []
  /// How many files of that name were followed, this one included: each has lines of its own.
  public private(set) var file = 1
  /// Whether it was followed before.
  private var isKnown = false

  /// The log at `path`, of which nothing was followed.
  public init(path: String) {
    let resolved = realpath(path, nil)
    defer { free(resolved) }
    self.path = resolved.map { String(cString: $0) } ?? path
  }

  /// What `store` knows of the log at `path`.
  public init(_ path: String, in store: InvestigationStore) throws(InvestigationError) {
    self.init(path: path)
    // `file 2, lines 3-560, 700-912`.
    guard let known = try store.facts()[factName] else { return }
    isKnown = true
    for word in known.split(separator: ",") {
      let parts = word.split(separator: " ")
      if parts.first == "file", let number = parts.last.flatMap({ Int($0) }), 1..<Int.max ~= number { file = number }
      if parts.first != "file", let range = parts.last.flatMap(Self.range) { lines.append(range) }
    }
  }

  /// What tells its lines from those of other files of that name: `trace.log`, `trace.log (file 2)`.
  public var name: String { file == 1 ? path : "\(path) (file \(file))" }

  /// Goes on with the file that has so many lines now. It is another one where it was cut since, or where a session that
  /// was ended at once has left no word of what it read.
  public mutating func resume(at lineCount: Int) {
    guard isKnown else { return }
    if lines.last.map({ $0.upperBound > lineCount }) ?? true { restart() }
  }

  /// Adds lines that follow those that are there.
  public mutating func add(_ new: ClosedRange<Int>) {
    if let last = lines.last, last.upperBound + 1 >= new.lowerBound, last.lowerBound <= new.lowerBound {
      lines[lines.count - 1] = last.lowerBound...max(last.upperBound, new.upperBound)
    } else {
      lines.append(new)
    }
  }

  /// Forgets the lines: the file is another one.
  public mutating func restart() { (lines, file) = ([], file + 1) }

  /// The fact that keeps it: `followed /srv/guest/trace.log`.
  public var factName: String { "followed \(path)" }

  /// `file 1, lines 3-560, 700-912`; `file 1, no line`.
  public var factValue: String {
    let ranges = lines.map { "\($0.lowerBound)-\($0.upperBound)" }
    return "file \(file), \(ranges.isEmpty ? "no line" : "lines \(ranges.joined(separator: ", "))")"
  }

  private static func range(_ word: Substring) -> ClosedRange<Int>? {
    let ends = word.split(separator: "-").map { Int($0) }
    guard ends.count == 2, let first = ends[0], let last = ends[1], 1 <= first, first <= last, last < .max else {
      return nil
    }
    return first...last
  }
}
