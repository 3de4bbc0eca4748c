/// A line of the benchmark's table. Everything that prints such lines, scripts included, can have its place in it.
struct Row {
  /// The goal's number: `P1`.
  let id: String
  /// What was measured, on what.
  let what: String
  /// What came out, with its unit.
  let figure: String
  /// The same as a multiple of something measured beside it; empty where there is nothing.
  var ratio = ""
  let goal: String
  let verdict: Verdict
  /// What a reader needs to understand the figure.
  var note = ""

  enum Verdict: String {
    case pass
    case short
    /// Nothing to judge: not measured, or in a short run a time, which says more about the machine than about a change.
    case unjudged = "-"
  }

  /// The line, with tabs between its columns.
  var line: String { [id, what, figure, ratio, goal, verdict.rawValue, note].joined(separator: "\t") }
}

/// How much is measured, and what counts.
enum Extent {
  /// Everything, against the goals.
  case full
  /// A minute's worth, for continuous integration: ratios alone, and only far off ones.
  case short

  /// How far off a ratio of a short run may be.
  static let slack = 2.0

  /// Whether a ratio reaches its goal.
  func ratio(_ value: Double, atMost goal: Double) -> Row.Verdict {
    value <= (self == .full ? goal : goal * Self.slack) ? .pass : .short
  }

  /// Whether a ratio reaches its goal.
  func ratio(_ value: Double, atLeast goal: Double) -> Row.Verdict {
    value >= (self == .full ? goal : goal / Self.slack) ? .pass : .short
  }

  /// Whether a time or a rate reaches its goal.
  func time(_ isReached: Bool) -> Row.Verdict { self == .short ? .unjudged : isReached ? .pass : .short }
}
