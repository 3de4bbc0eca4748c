internal import Evidence
internal import IOMMUModel
internal import Investigation
internal import LinuxKernel
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

  /// What follows from everything recorded, the kernel's log as it is now included. A log that cannot be read (before the
  /// kernel has set it up, in a guest without one) is no reason to conclude nothing.
  func findings(reason: String, progress: WorkProgress? = nil) throws -> Findings {
    if side == .qemu { return try device.findings(reason: reason, progress: progress) }
    let store = try investigator.requireStore()
    if store.readOnly == nil, let profile = try? investigator.profile(), let records = try? investigator.kernelLog() {
      try store.append(EvidenceReader(profiles: [profile]).logLines(of: records))
    }
    return try investigator.findings(reason: reason, progress: progress)
  }

  // MARK: Calls

  /// What is known of the driver and where a breakpoint belongs.
  func functions() throws -> PythonValue {
    .list(
      try investigator.profile().functions.map { function in
        [
          "symbol": .string(function.symbol), "kind": .string(function.kind.rawValue),
          "parameters": .list(function.parameters.map { .string($0) }),
        ]
      })
  }

  // MARK: Answers

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

  /// The most that a dump hands out: bytes of text, and records, which somebody keeps all at once.
  private static let dumpLimit = 4 << 30, recordLimit = 1 << 20

  /// Hands out a table's mappings or entries, as `dump()` and `write_dump()` take their arguments: text and JSON to `emit`;
  /// records, where they can be had, to `records`.
  func dump(
    _ arguments: Arguments, _ wait: Wait, records: ((PythonValue) throws -> Void)?,
    emit: @escaping (String) throws -> Void
  ) throws {
    let root = try view.table(try arguments.selector()).root
    let flags = try arguments.optionalString("flags") ?? ""
    guard let required = PageTableEntry.Flags(letters: flags) else {
      throw InvalidArgument("'\(flags)' has a letter that is no PTE flag; use those of VRWXUGAD.")
    }
    var filter = DumpFilter(required: required)
    if let iovas = try arguments.iovas() {
      filter.first = iovas.lowerBound
      filter.last = iovas.upperBound
    }
    let memory = try view.memory().source
    let (raw, poll) = (try arguments.optionalBool("raw") ?? false, wait.pollTables())
    // Tables can lead to each other, so that a few pages say more than any disk holds.
    var room = Self.dumpLimit
    func take(_ size: Int, of limit: String) throws {
      room -= size
      guard room >= 0 else {
        throw TargetError("The tables have more to show than \(limit): narrow it with -iova or -flags.")
      }
    }
    let emit: (String) throws -> Void = { text in
      try take(text.utf8.count, of: "\(Self.dumpLimit >> 30) GiB")
      try emit(text)
    }
    func answers(_ each: (Structured) throws -> Void) throws {
      try Structured.dump(root, memory: memory, filter: filter, raw: raw, poll: poll, emit: each)
    }
    switch (try arguments.form(), records) {
    case (.text, _): try Terminal.dump(root, memory: memory, filter: filter, raw: raw, poll: poll, emit: emit)
    case (.json, _): try JSONLines.emit(answers, to: emit)
    case (.records, let records?):
      try answers {
        try take(Self.dumpLimit / Self.recordLimit, of: "\(Self.recordLimit) records")
        try records($0.records)
      }
    case (.records, nil): throw InvalidArgument("A file takes text or JSON, no records.")
    }
  }

  /// A call and the entries it should write.
  func args(_ recorded: RecordedCall, _ arguments: Arguments) throws -> PythonValue {
    try arguments.answer {
      try describe(recorded)
    } data: {
      var expects: Structured?
      if recorded.call.isMap, let root = recorded.root {
        expects = try Structured.prediction(
          investigator.profile().leaves(of: recorded.call, mode: root.mode), geometry: root.mode.geometry, root: root,
          memory: investigator.memory().source)
      }
      return Structured.args(recorded, version: investigator.kernelVersion(), expects: expects)
    }
  }

  /// A call and the entries it should write, as text.
  func describe(_ recorded: RecordedCall) throws -> String {
    var text = Terminal.call(recorded, version: investigator.kernelVersion())
    guard recorded.call.isMap, let root = recorded.root else { return text }
    let runs = try investigator.profile().leaves(of: recorded.call, mode: root.mode)
    text += "\n"
    text += try Terminal.prediction(
      recorded.call, runs: runs, geometry: root.mode.geometry, root: root, memory: investigator.memory().source)
    return text
  }

  /// What a finished call left behind, as text.
  func describe(_ recorded: RecordedCall, _ verification: Verification) throws -> String {
    let memory = try investigator.memory().source
    let profile = try investigator.profile()
    var device: DeviceTranslation?
    if let requester = recorded.requester, let registers = try? investigator.registers() {
      let protection = recorded.call.protection ?? .read
      device = profile.device.translate(
        recorded.call.iova, access: protection.contains(.read) ? .read : .write, requester: requester,
        registers: registers, memory: memory)
    }
    var diagnosis: Diagnosis?
    if !verification.agrees { diagnosis = try findings(reason: "disagreement").diagnosis }
    return Terminal.outcome(
      recorded, verification: verification, device: device, diagnosis: diagnosis, memory: memory)
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
  /// The table that `device`, `domain`, `root` and `mode` name.
  func selector() throws -> TableSelector {
    var selector = TableSelector(domain: try optionalUInt64("domain").map { KVA($0) })
    selector.device = try device()
    let mode = try choice("mode", of: PagingMode.self, default: .sv39)
    selector.root = try optionalUInt64("root").map { root in
      guard root % 4096 == 0 else {
        throw InvalidArgument("\(hex(root)) is not the address of a table: those are multiples of 0x1000.")
      }
      return TableRoot(address: GPA(root), mode: mode)
    }
    return selector
  }

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

var sessionMethods: [CFunction] { kernelMethods + deviceMethods + askMethods + logMethods }

private var kernelMethods: [CFunction] {
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
    {
      session(
        $0, $1, $2, "watch(kinds, stop='never', first=None, last=None, device=None, limit=None)",
        """
        Adds a rule: what hit() records and where it asks to stop.

        `stop` is never, always or mismatch; calls of other kinds in the range are recorded too, because they undo what
        these did.
        """
      ) { session, arguments in
        let kinds = try arguments.stringList("kinds").map { word in
          guard let kind = CallKind(rawValue: word) else { throw InvalidArgument("'\(word)' is not map or unmap.") }
          return kind
        }
        let limit = try arguments.optionalInt("limit")
        guard limit.map({ $0 > 0 }) ?? true else { throw InvalidArgument("The limit must be at least 1.") }
        session.investigator.watch(
          WatchRule(
            kinds: Set(kinds), iovas: try arguments.iovas(), requester: try arguments.device(),
            stop: try arguments.choice("stop", of: WatchRule.Stop.self, default: .never), limit: limit))
        return nil
      }
    },
    {
      session($0, $1, $2, "unwatch(stops)", "Drops the rules that stop the guest, or those that only record.") {
        session, arguments in
        let before = session.investigator.rules.count + session.device.rules.count
        let stops = try arguments.bool("stops")
        session.investigator.dropRules(thatStop: stops)
        session.device.dropRules(thatStop: stops)
        let dropped = before - session.investigator.rules.count - session.device.rules.count
        return .integer(dropped + (try !stops && session.endLog() ? 1 : 0))
      }
    },
    {
      session($0, $1, $2, "is_watching()", "Whether the driver's functions still have to be watched.") { session, _ in
        .bool(session.investigator.isWatching || session.device.isWatching)
      }
    },
    {
      session(
        $0, $1, $2, "hit(function, arguments, thread=None, stack=None, callers=None)",
        """
        Takes note of a call at its entry, after what QEMU's log has and after verifying the calls before it; whether the guest
        should stop.

        `thread` is the debugger's number for the CPU, `stack` its stack pointer: they tell which calls have returned.
        """
      ) { session, arguments in
        var place: CallPlace?
        if let thread = try arguments.optionalInt("thread"), let stack = try arguments.optionalUInt64("stack") {
          place = CallPlace(thread: thread, stack: stack)
        }
        let hit = try session.afterLog {
          try session.investigator.hit(
            try arguments.string("function"), arguments: try arguments.uint64List("arguments"), place: place,
            callers: try arguments.optional("callers") == nil ? [] : try arguments.callers())
        }
        if let mismatch = hit.mismatch { session.mismatch = mismatch }
        return .bool(hit.stops)
      }
    },
    {
      session(
        $0, $1, $2, "cookie_requested(domain, callers)",
        "Takes note of a call of the kernel's iommu_get_dma_cookie() at its entry."
      ) { session, arguments in
        try session.afterLog {
          try session.investigator.cookieRequested(
            domain: KVA(try arguments.uint64("domain")), callers: try arguments.callers())
        }
        return nil
      }
    },
    {
      session(
        $0, $1, $2, "records_everything()",
        "Whether all calls are recorded, so that what happens once at boot is worth it."
      ) { session, _ in .bool(session.investigator.recordsEverything) }
    },
    {
      session(
        $0, $1, $2, "stopped(callers=None)",
        "What the user should see when stopped at a recorded call: the call before it, if that went wrong, and this one."
      ) { session, arguments in
        var texts: [String] = []
        if let wrong = session.mismatch {
          session.mismatch = nil
          texts.append(Terminal.call(wrong.call, version: session.investigator.kernelVersion()))
          texts.append(try session.describe(wrong.call, wrong.verification))
        }
        if var call = session.investigator.pendingCall, let id = call.id {
          if try arguments.optional("callers") != nil {
            call.callers = try arguments.callers()
            try session.investigator.requireStore().add(callers: call.callers, to: id)
          }
          session.shown = call
          texts.append(try session.describe(call))
        }
        return .string(Layout.folded(texts.joined(separator: "\n")))
      }
    },
    {
      session(
        $0, $1, $2, "returned()",
        "Verifies the last recorded call, which must have returned. Text when the user was shown its entry, else None."
      ) { session, _ in
        let verified = try session.investigator.verifyPending()
        guard let shown = session.shown, let (call, verification) = verified.first(where: { $0.call.id == shown.id })
        else { return nil }
        session.shown = nil
        let head = "\(call.call.isMap ? "map" : "unmap") #\(call.number)   returned\n"
        return .string(Layout.folded(head + (try session.describe(shown, verification))))
      }
    },
    {
      session($0, $1, $2, "pending()", "The function of the recorded call that has not been verified yet, or None.") {
        session, _ in session.investigator.pendingCall.map { .string($0.call.function) } ?? nil
      }
    },
    {
      session(
        $0, $1, $2, "args(function, arguments, callers=[], form='text')",
        "Decodes a call and the entries it should write."
      ) { session, arguments in
        let call = try session.investigator.call(
          try arguments.string("function"), arguments: try arguments.uint64List("arguments"))
        var recorded = session.investigator.describe(call)
        recorded.callers = try arguments.optional("callers") == nil ? [] : try arguments.callers()
        return try session.args(recorded, arguments)
      }
    },
    {
      session(
        $0, $1, $2, "recorded_args(function, thread, stack, form='text')",
        "The call that was recorded when `function` was entered there, decoded as by args(); None when none was."
      ) { session, arguments in
        let place = CallPlace(thread: try arguments.int("thread"), stack: try arguments.uint64("stack"))
        let function = try arguments.string("function")
        guard let call = session.investigator.recordedCall(function, at: place) else { return nil }
        return try session.args(call, arguments)
      }
    },
    {
      session(
        $0, $1, $2,
        "predict(iova, paddr, size, prot, shift=None, device=None, domain=None, root=None, mode='sv39', form='text')",
        "The entries that the driver should write for a mapping, or would write with another root shift."
      ) { session, arguments in
        let table = try session.investigator.table(try arguments.selector())
        let protection = try arguments.uint64("prot")
        guard let bits = UInt32(exactly: protection) else {
          throw InvalidArgument("prot has 32 bits, not \(hex(protection)).")
        }
        let call = DriverCall(
          function: "predict",
          operation: .map(
            target: GPA(try arguments.uint64("paddr")), protection: Protection(rawValue: bits), allocation: nil),
          domain: KVA(0), iova: IOVA(try arguments.uint64("iova")), length: try arguments.uint64("size"))
        var geometry = table.root.mode.geometry
        if let shift = try arguments.optionalInt("shift") {
          guard (0..<64).contains(shift) else { throw InvalidArgument("shift must be 0 to 63, not \(shift).") }
          geometry = geometry.replacing(shift: shift, atLevel: geometry.rootLevel)
        }
        let runs = try session.investigator.profile().leaves(of: call, mode: table.root.mode)
        let memory = try session.investigator.memory().source
        return try arguments.answer {
          try Terminal.prediction(call, runs: runs, geometry: geometry, root: table.root, memory: memory)
        } data: {
          try Structured.predict(call, runs: runs, geometry: geometry, root: table.root, memory: memory)
        }
      }
    },
    // MARK: Tables
    {
      session(
        $0, $1, $2,
        "walk(iova, device=None, domain=None, root=None, mode='sv39', device_walk=False, write=False, form='text')",
        """
        Walks for `iova` by the specification and, with `device_walk`, as the device does when it reads, or with `write`
        writes.
        """
      ) { session, arguments in
        let selector = try arguments.selector()
        let table = try session.view.table(selector)
        let memory = try session.view.memory().source
        let iova = IOVA(try arguments.uint64("iova"))
        let walk = table.root.mode.geometry.walk(iova, root: table.root.address, in: memory)
        var deviceWalk: (translation: DeviceTranslation, name: String, access: Access)?
        if try arguments.optionalBool("device_walk") == true {
          guard let requester = table.requester else {
            throw InvalidArgument("No device is attached to this table: name one with -device.")
          }
          let device = try session.view.device()
          let access: Access = try arguments.optionalBool("write") == true ? .write : .read
          let translation = device.translate(
            iova, access: access, requester: requester, registers: try session.view.registers(), memory: memory)
          deviceWalk = (translation, device.name, access)
        }
        return try arguments.answer {
          Terminal.walk(walk, requester: table.requester)
            + (deviceWalk.map { "\n" + Terminal.deviceWalk($0.translation, name: $0.name, access: $0.access) } ?? "")
        } data: {
          Structured.walk(walk, requester: table.requester, device: deviceWalk)
        }
      }
    },
    {
      session(
        $0, $1, $2, "translate(iova, device=None, domain=None, root=None, mode='sv39')",
        "Where the specification walk sends `iova`; None when it is not mapped."
      ) { session, arguments in
        let table = try session.view.table(try arguments.selector())
        let walk = table.root.mode.geometry.walk(
          IOVA(try arguments.uint64("iova")), root: table.root.address, in: try session.view.memory().source)
        return .init(walk.target)
      }
    },
    {
      session(
        $0, $1, $2,
        "dump(emit, first=None, last=None, flags=None, raw=False, device=None, domain=None, root=None, mode='sv39', form='text')",
        """
        Passes the tables' mappings, or with `raw` their entries, to emit(): in pieces of text, as JSON a line a mapping, or as
        records.
        """
      ) { session, arguments in
        let emit = try arguments.callable("emit")
        try session.waiting { wait in
          try session.dump(arguments, wait, records: { _ = try emit.call($0) }) { try session.emit($0, to: emit, wait) }
        }
        return nil
      }
    },
    {
      session(
        $0, $1, $2,
        "write_dump(path, first=None, last=None, flags=None, raw=False, device=None, domain=None, root=None, mode='sv39', form='text')",
        """
        Writes what dump() passes on into the file at `path`, as text or JSON. A file that is there is replaced when all is
        written.
        """
      ) { session, arguments in
        try session.waiting { wait in
          try OutputFile.write(to: try arguments.string("path")) { file in
            try session.dump(arguments, wait, records: nil) { try file.write($0) }
          }
        }
        return nil
      }
    },
    {
      session($0, $1, $2, "index(iova, level, mode='sv39')", "The index of `iova` in its table at `level`.") {
        _, arguments in
        let mode = try arguments.choice("mode", of: PagingMode.self, default: .sv39)
        let level = try arguments.int("level")
        guard (0..<mode.levels).contains(level) else {
          throw InvalidArgument("\(mode.name) has the levels 0 to \(mode.levels - 1), not \(level).")
        }
        return .integer(mode.geometry.index(of: IOVA(try arguments.uint64("iova")), atLevel: level))
      }
    },
    // MARK: The device
    {
      session(
        $0, $1, $2, "devices(form='text')", "Who is behind the IOMMU, as the kernel and the device's tables see it."
      ) { session, arguments in
        let isQEMU = session.side == .qemu
        let state = isQEMU ? KernelState() : (try? session.investigator.kernelState()) ?? KernelState()
        let contexts = isQEMU ? try session.view.contexts() : try session.investigator.contexts(for: state)
        session.met.formUnion(contexts.map(\.requester))
        return try arguments.answer {
          Terminal.devices(contexts, state: state)
        } data: {
          Structured.devices(contexts, state: state)
        }
      }
    },
    {
      session($0, $1, $2, "probe(form='text')", "The checklist of an IOMMU's bring-up, as it stands now.") {
        session, arguments in
        try session.target.requireStub()
        let probe = try session.investigator.probe()
        return try arguments.answer {
          Terminal.probe(probe)
        } data: {
          Structured.probe(probe)
        }
      }
    },
    {
      session(
        $0, $1, $2, "domains(form='text')", "The domains that groups and devices use, and what is mapped in them."
      ) { session, arguments in
        let state = try session.investigator.kernelState()
        if state.devices.isEmpty, let why = state.unknown.first { throw TargetError(why) }
        let memory = try session.investigator.memory().source
        return try session.waiting { wait in
          let poll = wait.pollTables()
          return try arguments.answer {
            Terminal.domains(state, memory: memory, poll: poll)
          } data: {
            Structured.domains(state, memory: memory, poll: poll)
          }
        }
      }
    },
    {
      session($0, $1, $2, "registers(form='text')", "The device's registers, decoded.") { session, arguments in
        let (values, device) = (try session.view.registers(), try session.view.device())
        let block = try session.view.registerBlock()
        return try arguments.answer {
          Terminal.registers(values, device: device, block: block)
        } data: {
          Structured.registers(values, device: device, block: block)
        }
      }
    },
    // MARK: Conclusions
    {
      session(
        $0, $1, $2, "check(first=None, last=None, limit=None, form='text')",
        "Compares recorded calls, tables and device: at most `limit` groups of ranges, worst first; every range without one."
      ) { session, arguments in
        let limit = try arguments.optionalInt("limit").map { max($0, 0) }
        let iovas = try arguments.iovas()
        let findings = try session.waiting { try session.findings(reason: "check", progress: $0.progress) }
        return try arguments.answer {
          Terminal.check(of: findings, in: iovas, limit: limit)
        } data: {
          Structured.check(of: findings, in: iovas, limit: limit)
        }
      }
    },
    {
      session($0, $1, $2, "diagnose(form='text')", "The hypotheses that explain what disagrees, best first.") {
        session, arguments in
        let findings = try session.waiting { try session.findings(reason: "diagnose", progress: $0.progress) }
        return try arguments.answer {
          Terminal.diagnosis(of: findings)
        } data: {
          Structured.diagnosis(of: findings)
        }
      }
    },
    {
      session(
        $0, $1, $2, "import_texts(paths)",
        "Takes in evidence from text files; returns what was read and what was not."
      ) { session, arguments in
        let store = try session.investigator.requireStore()
        let paths = try arguments.stringList("paths")
        return .string(
          try session.waiting { wait in
            Layout.folded(
              try Terminal.imported(paths, tenants: tenants, progress: wait.progress) {
                () throws(InvestigationError) in store
              })
          })
      }
    },
    {
      session($0, $1, $2, "note(text)", "Writes a remark into the investigation.") { session, arguments in
        try session.investigator.requireStore().append(note: try arguments.string("text"))
        return nil
      }
    },
    {
      session(
        $0, $1, $2, "export(path, template=None, events=None, picture=None)",
        "Writes the investigation to a file that ends in .md, .json, .csv or .svg."
      ) { session, arguments in
        let export = try arguments.export()
        try session.waiting { wait in
          let findings = try session.findings(reason: "export", progress: wait.progress)
          // A report of part of what there is would be taken for one of all.
          if wait.progress.isStopped { throw WorkProgress.interruption("comparing; nothing was written") }
          try export.write(findings, of: session.investigator.requireStore(), progress: wait.progress)
        }
        return nil
      }
    },
  ]
}
