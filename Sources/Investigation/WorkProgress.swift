/// Long work's way to tell how far it is, and to learn that its rest is not wanted.
///
/// Work that was stopped returns what it has found so far and says that it is not all; where that would mislead, it throws.
public final class WorkProgress {
  /// What is being done, and how much of it is.
  public struct Step: Hashable, Sendable {
    /// The work, as a phrase: `comparing ranges`.
    public let work: String
    /// How many of its parts are done.
    public let done: Int
    /// How many there are; 0 where that is not known.
    public let total: Int

    /// `comparing ranges: 2048 of 40000`.
    public var description: String {
      "\(work)\(total > 0 ? ": \(done) of \(total)" : done > 0 ? ": \(done)" : "")"
    }
  }

  /// Whether somebody asked to stop.
  public private(set) var isStopped = false
  private let wantsEnd: (Step) -> Bool

  /// `wantsEnd` is told each step, some thousand parts apart; true ends the work.
  public init(_ wantsEnd: @escaping (Step) -> Bool) { self.wantsEnd = wantsEnd }

  /// Whether to stop before part `done` of `work`. Asks every 1024 parts.
  public func stops(_ work: String, at done: Int, of total: Int = 0) -> Bool {
    if isStopped { return true }
    return done & 1023 == 0 && asks(work, at: done, of: total)
  }

  /// The same, and asks every time: for work that counts larger parts.
  public func asks(_ work: String, at done: Int, of total: Int = 0) -> Bool {
    if !isStopped { isStopped = wantsEnd(Step(work: work, done: done, total: total)) }
    return isStopped
  }

  /// The error of work that cannot give part of its result.
  public static func interruption(_ work: String) -> InvestigationError {
    InvestigationError("Interrupted while \(work).")
  }
}
