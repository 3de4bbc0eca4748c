public import IOMMUModel
public import PageTables

/// What a user wants recorded, and where the guest should stop.
///
/// A rule names the kind of call it is about, but the calls of the other kind that touch its range are recorded as well:
/// they undo or redo what these did, and without them nothing could be judged.
public struct WatchRule: Sendable {
  /// When a rule stops the guest.
  public enum Stop: String, Sendable, CaseIterable {
    /// Never: it only records.
    case never
    /// At the entry of every call that it is about.
    case always
    /// After a call that it is about has left wrong entries: at the entry of the next call, before which the tables do not
    /// change.
    case mismatch
  }

  /// The kinds of call that it is about.
  public let kinds: Set<CallKind>
  /// IOVAs of interest; nil for all.
  public let iovas: ClosedRange<IOVA>?
  /// The requester of interest; nil for all.
  public let requester: RequesterID?
  /// When it stops the guest.
  public let stop: Stop
  /// After how many stops, or recorded calls where it never stops, it has done its work; nil for never.
  public let limit: Int?

  private(set) var count = 0

  /// A rule.
  public init(
    kinds: Set<CallKind>, iovas: ClosedRange<IOVA>? = nil, requester: RequesterID? = nil, stop: Stop, limit: Int? = nil
  ) {
    self.kinds = kinds
    self.iovas = iovas
    self.requester = requester
    self.stop = stop
    self.limit = limit
  }

  /// Whether it has done its work. A rule that stops goes on recording then.
  var isDone: Bool { limit.map { count >= $0 } ?? false }

  /// Whether it records `recorded`.
  func records(_ recorded: RecordedCall) -> Bool {
    guard stop != .never || !isDone else { return false }
    if let iovas, recorded.call.last < iovas.lowerBound || recorded.call.iova > iovas.upperBound { return false }
    return requester == nil || requester == recorded.requester
  }

  /// Whether it is about `recorded`: its kind, range and requester.
  func isAbout(_ recorded: RecordedCall) -> Bool { kinds.contains(recorded.call.kind) && records(recorded) }

  /// Counts a recorded call at its entry; whether the guest should stop for it, or for the `mismatch` of the call before.
  mutating func counts(_ recorded: RecordedCall, mismatch: RecordedCall?) -> Bool {
    if isDone { return false }
    switch stop {
    case .never:
      if isAbout(recorded) { count += 1 }
      return false
    case .always:
      guard isAbout(recorded) else { return false }
    case .mismatch:
      guard let mismatch, isAbout(mismatch) else { return false }
    }
    count += 1
    return true
  }
}
