extension Findings {
  /// The recorded call that shows what `hypothesis` is about: the first that it explains; nil when it is about no call.
  public func example(of hypothesis: Diagnosis.Hypothesis) -> RecordedCall? {
    if let event = hypothesis.accounts.map(\.event).min() { return calls.first { $0.id == event } }
    guard let range = hypothesis.ranges.min() else { return nil }
    let disagreements = check.disagreements
    return disagreements.indices.contains(range) ? disagreements[range].call : nil
  }
}
