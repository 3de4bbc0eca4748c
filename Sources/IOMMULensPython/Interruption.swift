internal import CPython
internal import Investigation

/// Work that a person waits for: watches for Ctrl-C, and tells how far it is once that takes more than a second.
final class Wait {
  /// What the work reports to.
  private(set) lazy var progress = WorkProgress { [unowned self] step in self.wantsEnd(step) }
  /// Shows a line in place of the last one; nil takes it away.
  private let show: ((String?) -> Void)?
  private let start = ContinuousClock.now
  private var shown: ContinuousClock.Instant?
  /// What a signal's handler raised that is no interruption.
  private var failure: (any Error)?

  private static let patience = Duration.seconds(1), pause = Duration.milliseconds(200)

  private init(show: ((String?) -> Void)?) { self.show = show }

  /// Runs `body`. What a signal's handler raised beside KeyboardInterrupt is thrown; an interruption is the body's to deal with.
  static func during<Result>(show: ((String?) -> Void)? = nil, _ body: (Wait) throws -> Result) throws -> Result {
    let wait = Wait(show: show)
    defer { wait.hide() }
    do {
      let result = try body(wait)
      if let failure = wait.failure { throw failure }
      return result
    } catch { throw wait.failure ?? error }
  }

  /// Runs `body` for somebody who wants all or nothing: an interruption is thrown as such.
  static func forAll<Result>(
    show: ((String?) -> Void)? = nil, _ body: (WorkProgress) throws -> Result
  ) throws -> Result {
    try during(show: show) { wait in
      do {
        let result = try body(wait.progress)
        if wait.progress.isStopped { throw Interrupted() }
        return result
      } catch { throw wait.progress.isStopped ? Interrupted() : error }
    }
  }

  /// Runs `body`, which may have to wait for another program that writes to the investigation's file.
  static func forFile<Result>(show: ((String?) -> Void)? = nil, _ body: () throws -> Result) throws -> Result {
    try forAll(show: show) { progress in
      // Asked by SQLite on this thread, while it waits within `body`.
      nonisolated(unsafe) let progress = progress
      let waiter = InvestigationStore.Waiter {
        progress.asks("waiting for another program that writes to the investigation", at: 0)
      }
      return try InvestigationStore.$waiter.withValue(waiter) { try body() }
    }
  }

  /// For a dump, which asks every 256 tables.
  func pollTables() -> () -> Bool {
    var tables = 0
    return { [progress] in
      tables += 256
      return progress.asks("walking tables", at: tables)
    }
  }

  /// Takes the line away, so that something else can be printed there.
  func hide() {
    guard shown != nil else { return }
    shown = nil
    show?(nil)
  }

  private func wantsEnd(_ step: WorkProgress.Step) -> Bool {
    do { try checkInterrupted() } catch {
      if !(error is Interrupted) { failure = error }
      return true
    }
    guard let show else { return false }
    let now = ContinuousClock.now
    if now - start > Self.patience, shown.map({ now - $0 > Self.pause }) ?? true {
      shown = now
      show(step.description)
    }
    return false
  }
}
