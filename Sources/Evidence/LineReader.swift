/// Reads one kind of evidence. Which reader takes which lines is asked line by line, so that a text may hold all kinds.
protocol LineReader {
  /// What starts in line `start`; nil when it is not this reader's business.
  func read(at start: Int, of text: TextLines) -> Reading?
}

/// What a reader took.
struct Reading {
  /// The first line that it did not take.
  var end: Int
  /// What it read.
  var findings: [Finding]
  /// What it could not read.
  var refusals: [Refusal] = []
  /// What those of the lines are that nothing was read from.
  var noise: Noise

  /// Lines up to `end` and what they tell.
  init(end: Int, _ findings: [Finding], refusals: [Refusal] = [], noise: Noise = .other) {
    (self.end, self.findings, self.refusals, self.noise) = (end, findings, refusals, noise)
  }

  /// Lines that look like evidence and are none.
  init(refusing lines: Range<Int>, _ reason: String, in text: TextLines) {
    self.init(end: lines.upperBound, [], refusals: [Refusal(lines: text.numbers(lines), reason: reason)])
  }
}

extension TextLines {
  /// The numbers of the lines in `range`, which is not empty.
  func numbers(_ range: Range<Int>) -> ClosedRange<Int> {
    number(range.lowerBound)...number(max(range.lowerBound, range.upperBound - 1))
  }
}
