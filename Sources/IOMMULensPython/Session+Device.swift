internal import CPython
internal import IOMMUModel
internal import Investigation
internal import Reports

// The methods of `Session` about the device: QEMU's side, and what was seen on both.

extension Session {
  /// The side of the bus that the debugger is on. Without symbols of either side it counts as the kernel's.
  var side: SessionSide {
    if let knownSide { return knownSide }
    let found = findSide()
    knownSide = found
    return found
  }

  private func findSide() -> SessionSide {
    // Looking for a driver's symbols costs more than looking for a device's, and QEMU is the rarer case.
    guard device.implementation() != nil, (try? investigator.profile()) == nil else { return .kernel }
    return .qemu
  }

  /// What looks at the device's registers and tables here.
  var view: any DeviceView { side == .qemu ? device : investigator }

  /// The device's function to watch: its symbol and its parameters.
  func translateFunction() throws -> PythonValue {
    guard let function = device.implementation()?.function else { return nil }
    return [
      "symbol": .string(function.symbol),
      "parameters": .list([function.region, function.address, function.access].map { .string($0) }),
    ]
  }

  /// What the translation whose entry the user was shown came to, as text.
  func answerText() -> String? {
    device.answered().map { Terminal.answer($0, device: try? device.device()) }
  }
}

extension Arguments {
  /// The system's id of a thread.
  fileprivate func thread() throws -> Int32 {
    guard let thread = Int32(exactly: try int("thread")) else { throw InvalidArgument("thread must be a thread's id.") }
    return thread
  }
}

var deviceMethods: [CFunction] {
  [
    {
      session($0, $1, $2, "side()", "Which side of the bus the debugger is on: kernel or qemu.") { session, _ in
        .string(session.side.rawValue)
      }
    },
    {
      session(
        $0, $1, $2, "translate_function()",
        "The device's function to watch: its symbol and its parameters' names. None without one."
      ) { session, _ in try session.translateFunction() }
    },
    {
      session(
        $0, $1, $2, "watch_translations(stop='never', first=None, last=None, device=None, limit=None)",
        "Adds a rule: which translations are recorded, and where enter() and leave() ask to stop."
      ) { session, arguments in
        let limit = try arguments.optionalInt("limit")
        guard limit.map({ $0 > 0 }) ?? true else { throw InvalidArgument("The limit must be at least 1.") }
        try session.investigator.store?.requireWritable()
        session.device.watch(
          TranslationRule(
            iovas: try arguments.iovas(), requester: try arguments.device(),
            stop: try arguments.choice("stop", of: WatchRule.Stop.self, default: .never), limit: limit))
        return nil
      }
    },
    {
      session(
        $0, $1, $2, "enter(thread)",
        "Takes note of a translation at whose entry the thread with this system id stands; whether QEMU should stop."
      ) { session, arguments in .bool(try session.device.enter(thread: arguments.thread())) }
    },
    {
      session(
        $0, $1, $2, "leave(thread)",
        "Takes note of the answer of a translation that the thread is about to return from; whether QEMU should stop."
      ) { session, arguments in .bool(try session.device.leave(thread: arguments.thread())) }
    },
    {
      session(
        $0, $1, $2, "translation()",
        "What the user should see when stopped in a translation: what the one before came to, if they saw it, and this one."
      ) { session, _ in
        let texts = [session.answerText(), session.device.stopped().map(Terminal.translation)].compactMap { $0 }
        return texts.isEmpty ? nil : .string(Layout.folded(texts.joined(separator: "\n")))
      }
    },
    {
      session($0, $1, $2, "answer()", "What the translation whose entry the user saw came to, or None.") { session, _ in
        session.answerText().map { .string(Layout.folded($0)) } ?? nil
      }
    },
    {
      session($0, $1, $2, "flush()", "Stores the translations seen up to now, so that other sessions see them.") {
        session, _ in
        try session.device.recordFacts()
        try session.device.flush()
        return nil
      }
    },
    {
      session(
        $0, $1, $2, "translation_args(region, address, access, form='text')",
        "Decodes the arguments of a translation that the selected thread is in."
      ) { session, arguments in
        let sight = try session.device.describe(
          region: try arguments.uint64("region"), address: try arguments.uint64("address"),
          access: try arguments.uint64("access"))
        return try arguments.answer {
          Terminal.translation(sight)
        } data: {
          Structured.args(sight)
        }
      }
    },
    {
      session(
        $0, $1, $2, "timeline(emit, first=None, last=None, count=None, form='text')",
        """
        Passes what was recorded on all sides, in order, to emit(), at most `count` entries: in pieces of text, as JSON a line
        an entry, or as records.
        """
      ) { session, arguments in
        let store = try session.investigator.requireStore()
        let count = try arguments.entryCount()
        let emit = try arguments.callable("emit")
        let (iovas, form) = (try arguments.iovas(), try arguments.form())
        try session.waiting { wait in
          if form == .text {
            try Terminal.timeline(of: store, iovas: iovas, last: count, tenants: tenants, progress: wait.progress) {
              try session.emit($0, to: emit, wait)
            }
          } else {
            try session.stream(form, to: emit, wait) { each in
              try Structured.timeline(
                of: store, iovas: iovas, last: count, tenants: tenants, progress: wait.progress, emit: each)
            }
          }
        }
        return nil
      }
    },
  ]
}
