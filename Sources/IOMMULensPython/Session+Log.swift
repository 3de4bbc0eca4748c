internal import Evidence
internal import IOMMUModel
internal import Investigation
internal import PageTables
internal import Reports

// QEMU's log, followed beside the driver's calls.

extension Session {
  /// Follows the log at `path`, or the one that QEMU was started with, from now on; says so.
  func follow(_ path: String?, _ scope: TranslationWatch.Scope) throws -> String {
    let store = try investigator.requireStore()
    try store.requireWritable()
    let device = try investigator.profile().device
    try TraceFollower.requireTrace(of: device)
    let found = try path ?? investigator.emulatorLog()
    try endLog()
    let log = try waiting { try TraceFollower(found, device: device, scope: scope, progress: $0.progress) }
    // From here on it counts, so that nothing is said to be recorded that is not.
    try log.take(into: store)
    self.log = log
    return Terminal.following(log, traceIsOff: investigator.traceIsOff() ?? false)
  }

  /// Stores what QEMU has written into its log since.
  func takeLog() throws {
    guard let log, let store = investigator.store else { return }
    try Wait.forAll { try log.take(into: store, progress: $0) }
  }

  /// Does `body` after what QEMU has written into its log: whatever it takes note of happened later. It is done also where the
  /// log's rest is not wanted, or cannot be had.
  func afterLog<Result>(_ body: () throws -> Result) throws -> Result {
    let taken = Swift.Result { try takeLog() }
    let result = try body()
    try taken.get()
    return result
  }

  /// Follows the log no longer; false when none was.
  @discardableResult
  func endLog() throws -> Bool {
    guard let log else { return false }
    self.log = nil
    if let store = investigator.store { try Wait.forAll { try log.end(in: store, progress: $0) } }
    return true
  }
}

var logMethods: [CFunction] {
  [
    {
      session(
        $0, $1, $2, "follow_log(path=None, first=None, last=None, device=None)",
        """
        Records what QEMU's device does from its log, by default the one that QEMU was started with: from now on, until
        unwatch(). Says so.
        """
      ) { session, arguments in
        let scope = TranslationWatch.Scope(iovas: try arguments.iovas(), requester: try arguments.device())
        return .string(Layout.folded(try session.follow(try arguments.optionalPath("path"), scope)))
      }
    },
    {
      session(
        $0, $1, $2, "take_log()",
        "Stores what QEMU has written into the log that is followed. What is to be said about the log, or None."
      ) { session, _ in
        if let log = session.log, let store = session.investigator.store {
          try Wait.forAll { try log.settle(in: store, progress: $0) }
        }
        let notices = session.log?.takeNotices() ?? []
        return notices.isEmpty ? nil : .string(Layout.folded(notices.joined(separator: "\n")))
      }
    },
  ]
}
