internal import Evidence
internal import IOMMUModel
internal import Investigation
internal import PageTables
internal import Reports

/// What Python's `Session` holds: an investigator and the debugger it asks.
final class Session {
  let target: PythonTarget
  let investigator: Investigator
  /// The same on QEMU's side.
  let device: DeviceInvestigator
  /// The side that the symbols are of; nil until it was looked for.
  var knownSide: SessionSide?
  /// The call before the last hit, when its entries were wrong and the user has not been told yet.
  var mismatch: (call: RecordedCall, verification: Verification)?
  /// The call at whose entry the user is stopped, to be told about when it returns.
  var shown: RecordedCall?
  /// The requesters that were met in the device's tables.
  var met: Set<RequesterID> = []
  /// The columns of the terminal that texts are for; nil for lines as long as they come.
  var width: Int?
  /// QEMU's log, while it is followed.
  var log: TraceFollower?
  /// Whether an answer that a person waited for has ended early, on Ctrl-C, and nobody has told them.
  var wasInterrupted = false

  init(_ target: PythonTarget) {
    self.target = target
    let investigator = Investigator(target: target, tenants: tenants)
    self.investigator = investigator
    device = DeviceInvestigator(target: target, tenants: tenants) { investigator.store }
  }

  /// Runs `body` while a person waits, who is told how far it is and may interrupt it.
  func waiting<Result>(_ body: (Wait) throws -> Result) throws -> Result {
    try Wait.during(show: target.showProgress) { wait in
      defer { wasInterrupted = wasInterrupted || wait.progress.isStopped }
      return try body(wait)
    }
  }

  /// Passes a piece of text on.
  func emit(_ text: String, to callable: PythonReference, _ wait: Wait) throws {
    wait.hide()
    _ = try callable.call(.string(text))
  }

  /// Passes the answers that `body` hands out to `callable`: as JSON, a line an answer, or as records.
  func stream(
    _ form: AnswerForm, to callable: PythonReference, _ wait: Wait, _ body: ((Structured) throws -> Void) throws -> Void
  ) throws {
    guard form == .json else {
      try body { _ = try callable.call($0.records) }
      return
    }
    try JSONLines.emit(body) { try self.emit($0, to: callable, wait) }
  }
}

let sessionConstructor: CFunction = {
  constructor(
    $0, $1, $2, "Session(debugger)",
    """
    An investigation from inside a debugger.

    `debugger` has the methods evaluate(expression) -> int, string(expression) -> str, parameters(function) -> [str],
    function(address) -> str, read_virtual(address, length) -> bytes, read_physical(address, length) -> bytes,
    read_physical_pages(addresses) -> bytes, write_physical(address, bytes) -> None for ask(), connection() -> str or None,
    monitor(command) -> str,
    is_inside(function, thread or None, stack or None) -> bool, progress(text or None) -> None and,
    for QEMU's side, process() -> int or None, architecture() -> str, callers(function, limit) -> [str] and
    argument(function, depth, name) -> int or None; each raises TargetError with a full sentence when it cannot answer.
    """
  ) { arguments in Session(PythonTarget(try arguments.object("debugger"))) }
}

extension Arguments {
  /// The requester that `device` names.
  func device() throws -> RequesterID? {
    guard let text = try optionalString("device") else { return nil }
    guard let device = RequesterID(bdf: text) else {
      throw InvalidArgument("'\(text)' is not a device: give its PCI address, 0000:00:01.0.")
    }
    return device
  }

  /// How many entries of a timeline to show; nil for all.
  func entryCount() throws -> Int? {
    let count = try optionalInt("count")
    guard count.map({ $0 > 0 }) ?? true else { throw InvalidArgument("The number of entries must be at least 1.") }
    return count
  }

  /// The functions above a call.
  func callers() throws -> [String] {
    let callers = try stringList("callers")
    guard callers.count <= 256 else {
      throw InvalidArgument("callers has \(callers.count) functions; give the innermost 256 at most.")
    }
    return callers
  }

  /// What a report is to be written as.
  func export() throws -> Export {
    try Export(
      to: path("path"), template: optionalPath("template"), events: optionalString("events"),
      picture: optionalString("picture"))
  }

  /// The IOVAs from `first` to `last`, inclusive; nil when neither is given.
  func iovas() throws -> ClosedRange<IOVA>? {
    guard let first = try optionalUInt64("first") else { return nil }
    let last = try optionalUInt64("last") ?? first
    guard first <= last else { throw InvalidArgument("The range \(hex(first))-\(hex(last)) ends before it starts.") }
    return IOVA(first)...IOVA(last)
  }
}

/// A method of `Session` that asks the target.
func session(
  _ instance: BorrowedObject?, _ positional: BorrowedObject?, _ keywords: BorrowedObject?,
  _ signature: StaticString, _ documentation: StaticString,
  body: (Session, Arguments) throws -> PythonValue
) -> BorrowedObject? {
  method(instance, positional, keywords, signature, documentation) { (session: Session, arguments) in
    try Layout.$width.withValue(session.width) {
      try session.target.rethrowing {
        try Wait.forFile(show: session.target.showProgress) { try body(session, arguments) }
      }
    }
  }
}

var sessionMethods: [CFunction] {
  knownMethods + callMethods + tableMethods + conclusionMethods + deviceMethods + askMethods + logMethods
}

/// The methods about the session itself: what is known, and the investigation's file.
private var knownMethods: [CFunction] {
  [
    {
      session($0, $1, $2, "functions()", "The driver's map and unmap functions: symbol, kind, parameters.") {
        session, _ in try session.functions()
      }
    },
    {
      session(
        $0, $1, $2, "status(form='text')", "What is known: driver, kernel, memory source, registers, investigation."
      ) { session, arguments in
        let isQEMU = session.side == .qemu
        return try arguments.answer {
          isQEMU ? Terminal.status(session.device) : Terminal.status(session.investigator, log: session.log)
        } data: {
          isQEMU ? Structured.status(session.device) : Structured.status(session.investigator, log: session.log)
        }
      }
    },
    {
      session(
        $0, $1, $2, "fit(width=None)",
        "Says how many columns texts may have from now on; None for lines as long as they come."
      ) { session, arguments in
        session.width = try arguments.optionalInt("width")
        return nil
      }
    },
    {
      session(
        $0, $1, $2, "was_interrupted()",
        "Whether an answer has ended early since this was asked last, on Ctrl-C: it has what was found up to then."
      ) { session, _ in
        defer { session.wasInterrupted = false }
        return .bool(session.wasInterrupted)
      }
    },
    {
      session(
        $0, $1, $2, "known_devices()",
        "PCI addresses of devices in the investigation and of those that this session has met. Asks nothing of the target."
      ) { session, _ in .init(session.knownNames.devices) }
    },
    {
      session(
        $0, $1, $2, "known_domains()",
        "Domains of recorded calls, as kernel-virtual addresses. Asks nothing of the target."
      ) { session, _ in .init(session.knownNames.domains) }
    },
    {
      session($0, $1, $2, "forget()", "Forgets what was found out about the target: other symbols, another guest.") {
        session, _ in
        session.investigator.forgetTarget()
        session.device.forgetTarget()
        session.knownSide = nil
        session.shown = nil
        return nil
      }
    },
    {
      session($0, $1, $2, "target_ran()", "Forgets what changes while the guest runs.") { session, _ in
        session.investigator.targetRan()
        session.device.targetRan()
        return nil
      }
    },
    {
      session($0, $1, $2, "prefer(memory='auto', qemu_pid=0)", "Chooses where guest memory is read from.") {
        session, arguments in
        let preference = try arguments.choice("memory", of: Investigator.MemoryPreference.self, default: .auto)
        session.investigator.memoryPreference = preference
        session.device.memoryPreference = preference
        let pid = try arguments.optionalInt("qemu_pid") ?? 0
        guard let pid = Int32(exactly: pid), pid >= 0 else { throw InvalidArgument("qemu_pid must be a process id.") }
        session.investigator.processID = pid
        return nil
      }
    },
    {
      session($0, $1, $2, "open(path)", "Starts or resumes the investigation in a file; returns what it holds.") {
        session, arguments in
        try session.investigator.open(try arguments.string("path"), side: session.side)
        return .string(try Terminal.opened(session.investigator.requireStore()))
      }
    },
    {
      session($0, $1, $2, "is_open()", "Whether an investigation is open.") { session, _ in
        .bool(session.investigator.store != nil)
      }
    },
    {
      session($0, $1, $2, "record_facts(debugger=None, source=None)", "Stores what is known of the kernel at a stop.") {
        session, arguments in
        try session.investigator.recordFacts(
          debugger: try arguments.optionalString("debugger"), source: try arguments.optionalString("source"))
        return nil
      }
    },
  ]
}
