public import IOMMUModel
import Investigation
public import PageTables

extension Structured {
  /// A walk, and as the device does it where that was asked for.
  public static func walk(
    _ walk: Walk, requester: RequesterID?, device: (translation: DeviceTranslation, name: String, access: Access)? = nil
  ) -> Structured {
    answer("walk", ["requester": .init(requester)])
      .with(walk.structured)
      .with(["device_walk": device.map { structured($0.translation, name: $0.name, access: $0.access) } ?? nil])
  }

  /// What the device does with an access.
  static func structured(_ translation: DeviceTranslation, name: String, access: Access) -> Structured {
    [
      "device": .text(name), "access": .text(access.words), "words": .init(translation.words),
      "steps": .init(translation.steps), "result": .init(translation.result), "latched": .init(translation.latched),
      "deviations": .init(translation.deviations),
    ]
  }

  /// One line of a dump.
  public static func line(_ item: DumpItem) -> Structured {
    switch item {
    case .mapping(let mapping):
      [
        "kind": "mapping", "iova": .init(mapping.iova), "last": .init(mapping.last), "target": .init(mapping.target),
        "size": .init(bytes: mapping.size), "flags": .text(mapping.flags.description),
        "pbmt": .number(Int(mapping.pbmt)),
      ]
    case .malformed(let level, let address, let entry, let problem, let iovas):
      [
        "kind": "malformed", "iova": .init(iovas.lowerBound), "last": .init(iovas.upperBound), "level": .number(level),
        "entry_address": .init(address), "entry": .init(entry.rawValue), "problem": .text(problem.description),
      ]
    case .unreadable(let failure, let level, let iovas): unreadable(failure, level: level, iovas)
    case .stopped(let reason, let place): stopped(reason, at: place)
    }
  }

  /// One line of a raw dump.
  public static func line(_ item: RawItem) -> Structured {
    switch item {
    case .entry(let entry):
      [
        "kind": "entry", "iova": .init(entry.iova), "level": .number(entry.level), "table": .init(entry.table),
        "index": .number(entry.index), "entry_address": .init(entry.entryAddress),
        "entry": .init(entry.entry.structured(atLevel: entry.level)),
      ]
    case .unreadable(let failure, let level, let iovas): unreadable(failure, level: level, iovas)
    case .stopped(let reason, let place): stopped(reason, at: place)
    }
  }

  private static func unreadable(
    _ failure: UnreadableMemory, level: Int, _ iovas: ClosedRange<IOVA>
  ) -> Structured {
    [
      "kind": "unreadable", "iova": .init(iovas.lowerBound), "last": .init(iovas.upperBound), "level": .number(level),
      "address": .init(failure.address), "reason": .text(failure.description),
    ]
  }

  private static func stopped(_ reason: DumpStop, at place: IOVA) -> Structured {
    ["kind": "stopped", "iova": .init(place), "reason": .text(reason.description)]
  }

  /// Hands a table's mappings, or its entries, to `emit` one by one; `poll` as `PagingMode.dump`
  /// takes it.
  public static func dump(
    _ root: TableRoot, memory: any PhysicalMemory, filter: DumpFilter, raw: Bool, poll: (() -> Bool)? = nil,
    emit: (Structured) throws -> Void
  ) throws {
    if raw {
      for item in root.mode.entries(root: root.address, in: memory, filter: filter, poll: poll) { try emit(line(item)) }
    } else {
      for item in root.mode.dump(root: root.address, in: memory, filter: filter, poll: poll) { try emit(line(item)) }
    }
  }
}

extension TableRoot: StructuredConvertible {
  var structured: Structured { ["mode": .text(mode.rawValue), "address": .init(address)] }
}

extension FaultCause: StructuredConvertible {
  var structured: Structured { ["code": .number(Int(code)), "name": .text(name)] }
}

extension DeviceContext.Word: StructuredConvertible {
  var structured: Structured { ["name": .text(name), "address": .init(address), "value": .init(value)] }
}

extension PageTableEntry {
  /// The entry, decoded as one of a table at `level`.
  func structured(atLevel level: Int) -> Structured {
    [
      "raw": .init(rawValue), "kind": isValid ? isPointer ? "pointer" : "leaf" : "invalid",
      "flags": .text(flags.description), "address": .init(address),
      "problem": .init(isValid ? problem(atLevel: level)?.description : nil),
    ]
  }
}

extension Walk.Step: StructuredConvertible {
  var structured: Structured {
    [
      "level": .number(level), "table": .init(table), "index": .number(index), "entry_address": .init(entryAddress),
      "entry": entry.structured(atLevel: level),
    ]
  }
}

extension Walk: StructuredConvertible {
  var structured: Structured {
    [
      "mode": .text(geometry.mode.rawValue), "root": .init(root), "iova": .init(iova), "steps": .init(steps),
      "outcome": .init(outcome),
    ]
  }
}

extension Walk.Outcome: StructuredConvertible {
  var structured: Structured {
    switch self {
    case .mapped(let target, let size, let flags):
      ["kind": "mapped", "target": .init(target), "size": .init(bytes: size), "flags": .text(flags.description)]
    case .notMapped(let level): ["kind": "not_mapped", "level": .number(level)]
    case .malformed(let level, let problem):
      ["kind": "malformed", "level": .number(level), "problem": .text(problem.description)]
    case .unreadable(let failure):
      ["kind": "unreadable", "address": .init(failure.address), "reason": .text(failure.description)]
    case .notCanonical: ["kind": "not_canonical"]
    }
  }
}

extension DeviceTranslation.Result: StructuredConvertible {
  var structured: Structured {
    switch self {
    case .translated(let target): ["kind": "translated", "target": .init(target)]
    case .bypassed(let why): ["kind": "bypassed", "reason": .text(why)]
    case .refused(let cause): ["kind": "refused", "cause": .init(cause)]
    case .unreadable(let failure):
      ["kind": "unreadable", "address": .init(failure.address), "reason": .text(failure.description)]
    }
  }
}
