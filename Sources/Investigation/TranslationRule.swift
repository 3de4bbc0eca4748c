public import IOMMUModel
public import PageTables

/// Which of the device's translations a user wants recorded, and at which QEMU should stop.
public struct TranslationRule: Sendable {
  /// IOVAs of interest; nil for all.
  public let iovas: ClosedRange<IOVA>?
  /// The requester of interest; nil for all.
  public let requester: RequesterID?
  /// When it stops QEMU: at the entry of the first translation of a run, or where one has got an answer that it should not
  /// have got.
  public let stop: WatchRule.Stop
  /// After how many stops, or recorded runs where it never stops, it has done its work; nil for never.
  public let limit: Int?

  private(set) var count = 0

  /// A rule.
  public init(
    iovas: ClosedRange<IOVA>? = nil, requester: RequesterID? = nil, stop: WatchRule.Stop, limit: Int? = nil
  ) {
    (self.iovas, self.requester, self.stop, self.limit) = (iovas, requester, stop, limit)
  }

  /// Whether it has done its work. A rule that stops goes on recording then.
  var isDone: Bool { limit.map { count >= $0 } ?? false }

  /// Whether a translation is one of those that it is about.
  func covers(_ iova: IOVA, _ requester: RequesterID?) -> Bool {
    iovas?.contains(iova) ?? true && (self.requester == nil || self.requester == requester)
  }

  /// Whether it wants a translation recorded.
  func records(_ iova: IOVA, _ requester: RequesterID?) -> Bool {
    covers(iova, requester) && (stop != .never || !isDone)
  }

  /// Counts the first translation of a run; whether QEMU should stop at its entry.
  mutating func countsEntry(_ iova: IOVA, _ requester: RequesterID?) -> Bool {
    guard stop != .mismatch, covers(iova, requester), !isDone else { return false }
    count += 1
    return stop == .always
  }

  /// Counts a translation with a wrong answer; whether QEMU should stop.
  mutating func countsMismatch(_ iova: IOVA, _ requester: RequesterID?) -> Bool {
    guard stop == .mismatch, covers(iova, requester), !isDone else { return false }
    count += 1
    return true
  }
}
