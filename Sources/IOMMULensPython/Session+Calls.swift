internal import IOMMUModel
internal import Investigation
internal import LinuxKernel
internal import PageTables
internal import Reports

// The driver's calls: which are watched, what is said of one at its entry and after its return, and what one should write.

extension Session {
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

/// The methods about calls.
var callMethods: [CFunction] {
  [
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
        session.target.noteStop()
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
        session.target.noteStop()
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
  ]
}
