internal import IOMMUModel
internal import Investigation
internal import PageTables
internal import Reports

// Tables: one address's walk, and all that is mapped.

extension Session {
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
}

/// The methods about tables.
var tableMethods: [CFunction] {
  [
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
  ]
}
