internal import CPython
internal import PageTables

// The room PageTables for Python: one entry, one walk, and a table tree as an object.

var pageTableFunctions: [CFunction] {
  [
    {
      function(
        $0, $1, $2, "decode_entry(raw, level=0, mode='sv39')",
        "Decodes a page-table entry as it stands in memory; `problem` says what the specification forbids about it."
      ) { arguments in
        let mode = try arguments.choice("mode", of: PagingMode.self, default: .sv39)
        let level = try arguments.level("level", of: mode) ?? 0
        let raw = try arguments.uint64("raw")
        guard mode != .sv32 || raw <= 0xffff_ffff else {
          throw InvalidArgument("raw must be an entry of 4 bytes in Sv32, not \(hex(raw)).")
        }
        return PageTableEntry(rawValue: raw, format: mode.entryFormat).python(level: level)
      }
    },
    {
      function(
        $0, $1, $2, "walk_steps(memory, root, iova, mode='sv39')",
        """
        Walks from the table at `root` for `iova`: the entries read and how it ended.

        `memory(address, length)` returns that many bytes of guest-physical memory, or raises UnreadableMemory.
        """
      ) { arguments in
        let tables = try PageTable(arguments)
        return try tables.walk(IOVA(try arguments.uint64("iova")))
      }
    },
  ]
}

let pageTableConstructor: CFunction = {
  constructor(
    $0, $1, $2, "PageTable(memory, root, mode='sv39')",
    """
    The tables under one root.

    `memory(address, length)` returns that many bytes of guest-physical memory, or raises UnreadableMemory.
    """
  ) { arguments in try PageTable(arguments) }
}

var pageTableMethods: [CFunction] {
  [
    {
      method($0, $1, $2, "walk(iova)", "Walks for `iova`: the entries read and how it ended.") {
        (tables: PageTable, arguments) in
        try tables.walk(IOVA(try arguments.uint64("iova")))
      }
    },
    {
      method(
        $0, $1, $2, "entries(table=None, level=None)",
        "The valid entries of the table at address `table`, which is of `level`; of the root when neither is given."
      ) { (tables: PageTable, arguments) in
        switch (try arguments.optionalUInt64("table"), try arguments.level("level", of: tables.mode)) {
        case (nil, nil): return try tables.entries(at: tables.root, level: tables.mode.levels - 1)
        case (let table?, let level?): return try tables.entries(at: GPA(table), level: level)
        case (nil, _?), (_?, nil): throw InvalidArgument("entries() needs both table and level, or neither.")
        }
      }
    },
  ]
}

/// The tables under one root, read through a Python callable.
final class PageTable: CustomStringConvertible {
  let memory: CallableMemory
  let root: GPA
  let mode: PagingMode

  /// From the arguments `memory`, `root` and `mode`.
  init(_ arguments: Arguments) throws {
    memory = CallableMemory(try arguments.callable("memory"), name: "memory")
    root = GPA(try arguments.uint64("root"))
    mode = try arguments.choice("mode", of: PagingMode.self, default: .sv39)
  }

  var description: String { "<PageTable \(mode.name) at \(root)>" }

  /// One walk.
  func walk(_ iova: IOVA) throws -> PythonValue {
    try memory.rethrowing { mode.geometry.walk(iova, root: root, in: memory) }.python
  }

  /// The valid entries of one table, read at once.
  func entries(at table: GPA, level: Int) throws -> PythonValue {
    let geometry = mode.geometry
    let format = mode.entryFormat
    let count = geometry.entries(atLevel: level)
    let bytes: [UInt8] = try memory.rethrowing {
      try memory.bytes(at: table, count: count * format.bytes)
    }
    var rows: [PythonValue] = []
    for index in 0..<count {
      let raw = bytes[index * format.bytes..<(index + 1) * format.bytes].reversed().reduce(0) { $0 << 8 | UInt64($1) }
      let entry = PageTableEntry(rawValue: raw, format: format)
      guard entry.isValid else { continue }
      rows.append([
        "index": .init(index), "entry_address": .init(geometry.entryAddress(table: table, index: index)),
        "entry": entry.python(level: level),
      ])
    }
    return .list(rows)
  }
}

extension Arguments {
  /// A level of `mode`, nil when it is missing or None.
  fileprivate func level(_ name: String, of mode: PagingMode) throws -> Int? {
    guard let level = try optionalInt(name) else { return nil }
    guard (0..<mode.levels).contains(level) else {
      throw InvalidArgument("\(name) must be 0 to \(mode.levels - 1) in \(mode.name), not \(level).")
    }
    return level
  }
}

extension PageTableEntry {
  /// The entry as a dict.
  fileprivate func python(level: Int) -> PythonValue {
    [
      "raw": .init(rawValue), "kind": isLeaf ? "leaf" : isPointer ? "pointer" : "invalid",
      "flags": .init(flags.description), "address": .init(address), "ppn": .init(ppn), "rsw": .init(rsw),
      "pbmt": .init(pbmt), "contiguous": .init(isContiguous), "reserved": .init(reserved),
      "problem": .init(problem(atLevel: level)?.description),
    ]
  }
}

extension Walk {
  /// The walk as a dict.
  fileprivate var python: PythonValue {
    [
      "mode": .init(geometry.mode.rawValue), "root": .init(root), "iova": .init(iova),
      "steps": .list(
        steps.map { step in
          [
            "level": .init(step.level), "table": .init(step.table), "index": .init(step.index),
            "entry_address": .init(step.entryAddress), "entry": step.entry.python(level: step.level),
          ]
        }),
      "outcome": outcome.python,
    ]
  }
}

extension Walk.Outcome {
  /// The outcome as a dict that says its `kind`.
  fileprivate var python: PythonValue {
    switch self {
    case .mapped(let target, let size, let flags):
      ["kind": "mapped", "target": .init(target), "size": .init(size), "flags": .init(flags.description)]
    case .notMapped(let level): ["kind": "not_mapped", "level": .init(level)]
    case .malformed(let level, let problem):
      ["kind": "malformed", "level": .init(level), "problem": .init(problem.description)]
    case .unreadable(let failure):
      ["kind": "unreadable", "address": .init(failure.address), "reason": .init(failure.reason)]
    case .notCanonical: ["kind": "not_canonical"]
    }
  }
}
