public import IOMMUModel
public import Investigation

/// Follows the log into which QEMU writes its trace of the device, so that its lines become events of an investigation when
/// they are written, in order with everything else that is recorded.
///
/// Read at a stop of the guest, the log ends with what the device did before it: QEMU writes a line out before it goes on.
/// Translations, faults and invalidations become what an import makes of them.
public final class TraceFollower {
  /// The log.
  public var path: String { text.path }
  /// What the names of its events start with.
  public var tracePrefix: String? { device.trace?.prefix }
  /// How many lines were read since it is followed.
  public private(set) var lineCount = 0
  /// How many lines it had before, which are passed over.
  public let passedOver: Int

  private let text: GrowingText
  private let device: any DeviceModel
  private let scope: TranslationWatch.Scope
  private var pass: DeviceTracePass
  /// What was read and could not be stored: the disk was full, or the file was gone.
  private var unstored: [Finding] = []
  /// The investigation that knows what is recorded.
  private var noted: String?
  private var notices: [String] = []
  /// The lines of the file that were read.
  private var followed: FollowedLog

  /// Follows the log at `path`, which `device` writes its trace to, from its present end on. Translations outside `scope` are
  /// left out. Throws where the file cannot be read, and where that device writes no trace.
  public init(
    _ path: String, device: any DeviceModel, scope: TranslationWatch.Scope = TranslationWatch.Scope(),
    progress: WorkProgress? = nil
  ) throws(InvestigationError) {
    guard let pass = DeviceTracePass(path, device: device, scope: scope) else { throw Self.untraced(device) }
    text = try GrowingText(following: path, progress: progress)
    passedOver = text.lineCount
    followed = FollowedLog(path: path)
    (self.device, self.scope, self.pass) = (device, scope, pass)
  }

  /// Stores what was written since this was called last. Stopped by `progress`, it throws, and goes on there the next time.
  public func take(into store: InvestigationStore, progress: WorkProgress? = nil) throws(InvestigationError) {
    if noted != store.path { try begin(in: store) }
    let file = followed.file
    try text.read(progress) { change in
      notices.append(sentence(change))
      if change != .removed { followed.restart() }
      pass.begin(followed.name)
    } _: { (lines, before) throws(InvestigationError) in
      for index in 0..<lines.count {
        // A hole is read as zeros.
        let line = lines[index].drop { $0 == 0 }
        if !pass.take(line, number: before + index + 1) { pass.end() }
      }
      lineCount += lines.count
      if lines.count > 0 { followed.add(before + 1...before + lines.count) }
      // What comes next may be a call: a run of translations does not go on behind it.
      pass.settle()
      try self.store(pass.takeFindings(), in: store)
    }
    try self.store([], in: store)
    if followed.file != file { try store.setFact(followed.factName, followed.factValue) }
  }

  /// The same, and stores which lines were read, so that an import leaves them out.
  public func settle(in store: InvestigationStore, progress: WorkProgress? = nil) throws(InvestigationError) {
    try take(into: store, progress: progress)
    try store.setFact(followed.factName, followed.factValue)
  }

  /// Stores the rest, and that nothing is recorded any more.
  public func end(in store: InvestigationStore, progress: WorkProgress? = nil) throws(InvestigationError) {
    try settle(in: store, progress: progress)
    try store.append(watching: [])
  }

  /// What has to be said about the log, a sentence each, once.
  public func takeNotices() -> [String] {
    defer { notices = [] }
    return notices
  }

  /// The error where `device` writes no trace.
  public static func requireTrace(of device: any DeviceModel) throws(InvestigationError) {
    if device.trace == nil { throw untraced(device) }
  }

  private static func untraced(_ device: any DeviceModel) -> InvestigationError {
    InvestigationError(
      "\(device.name) writes no trace. Translations are made in QEMU: watch them in a second GDB that is attached to QEMU's "
        + "process, with the same investigation file open.")
  }

  /// Says in an investigation, the first time or in place of another one, that the log is followed from here on.
  private func begin(in store: InvestigationStore) throws(InvestigationError) {
    followed = try FollowedLog(path, in: store)
    followed.resume(at: text.lineCount)
    pass.begin(followed.name)
    try store.setFact(followed.factName, followed.factValue)
    try store.setFact(Fact.device, device.name)
    try store.append(watching: [scope])
    noted = store.path
  }

  private func store(_ findings: [Finding], in store: InvestigationStore) throws(InvestigationError) {
    unstored += findings
    if unstored.isEmpty { return }
    try store.together { () throws(InvestigationError) in
      for finding in unstored {
        switch finding.evidence {
        case .translations(let runs): try store.append(runs)
        case .log(let line): try store.append([line])
        default: break
        }
      }
    }
    unstored = []
  }

  private func sentence(_ change: GrowingText.Change) -> String {
    switch change {
    case .emptied:
      "\(path) was emptied or written anew: it is read from its start. What was written in between may be missing."
    case .replaced: "\(path) is another file now: it is read from its start."
    case .removed: "\(path) was removed: what QEMU goes on writing into it is still read, until there is a new one."
    }
  }
}
