public import IOMMUModel
public import Investigation
public import PageTables

extension Structured {
  /// A call, and the entries that it should write.
  public static func args(_ recorded: RecordedCall, version: KernelVersion?, expects: Structured?) -> Structured {
    answer("args", ["call": call(recorded, version: version), "expects": .init(expects)])
  }

  /// A translation at its entry.
  public static func args(_ sight: DeviceInvestigator.Sight) -> Structured {
    answer(
      "args",
      [
        "translation": translation(sight.translation), "tables": .init(sight.walk),
        "device": .init(sight.expected?.result), "deviations": .init(sight.expected?.deviations ?? []),
        "call": sight.call.map { call($0, version: nil) } ?? nil,
      ])
  }

  /// The entries that a driver should write, as the answer to somebody who asked.
  public static func predict(
    _ call: DriverCall, runs: [LeafRun], geometry: TableGeometry, root: TableRoot, memory: any PhysicalMemory
  ) throws(UnreadableMemory) -> Structured {
    answer(
      "predict",
      [
        "iova": .init(call.iova), "target": .init(call.target), "size": .init(bytes: call.length), "root": .init(root),
        "shifts": .list(geometry.levels.map { .number($0.shift) }),
        "expects": try prediction(runs, geometry: geometry, root: root, memory: memory),
      ])
  }

  /// The entries that a call should write: those of its first leaf, and how many leaves there are.
  public static func prediction(
    _ runs: [LeafRun], geometry: TableGeometry, root: TableRoot, memory: any PhysicalMemory
  ) throws(UnreadableMemory) -> Structured {
    guard let first = runs.first, let last = runs.last else {
      return ["leaves": 0, "entries": [], "last": nil]
    }
    let end = last.count &- 1
    return [
      "leaves": .init(bytes: runs.reduce(0) { $0 &+ $1.count }),
      "entries": .init(try first.predictedEntries(0, geometry: geometry, root: root.address, in: memory)),
      "last": [
        "iova": .init(last.iova(end)), "level": .number(last.level),
        "index": .number(geometry.index(of: last.iova(end), atLevel: last.level)),
        "entry": last.leaf(end).structured(atLevel: last.level),
      ],
    ]
  }

  /// A call.
  static func call(_ recorded: RecordedCall, version: KernelVersion?) -> Structured {
    let call = recorded.call
    var allocation: AllocationFlags?
    if case .map(_, _, let flags) = call.operation { allocation = flags }
    return [
      "event": .init(recorded.id.map { Int($0.rawValue) }), "kind": .text(call.kind.rawValue),
      "number": recorded.number > 0 ? .number(recorded.number) : nil, "function": .text(call.function),
      "callers": .init(recorded.callers), "requester": .init(recorded.requester), "domain": .init(call.domain),
      "iova": .init(call.iova), "length": .init(bytes: call.length),
      "page_size": call.pages.map { Structured(bytes: $0.size) } ?? nil,
      "page_count": call.pages.map { Structured(bytes: $0.count) } ?? nil, "target": .init(call.target),
      "prot": .init(call.protection?.description),
      "gfp": .init(allocation?.description(in: version)), "root": .init(recorded.root),
      "origin": .init(recorded.origin),
    ]
  }

  /// What names a call.
  static func reference(_ recorded: RecordedCall) -> Structured {
    ["kind": .text(recorded.call.kind.rawValue), "number": .number(recorded.number)]
  }

  /// Translations of the device.
  static func translation(_ translation: RecordedTranslation) -> Structured {
    [
      "event": .init(translation.id.map { Int($0.rawValue) }), "requester": .init(translation.requester),
      "iova": .init(translation.iova), "count": .init(bytes: translation.count),
      "stride": .init(bytes: translation.stride), "access": .init(translation.access?.words),
      "refused": .init(translation.isRefused),
      "target": .init(translation.isRefused == true ? nil : translation.answer?.address),
      "mask": .init(translation.answer?.mask),
      "asker": translation.asker.map { asker in
        [
          "device": .text(asker.device), "operation": .text(asker.operation), "path": .text(asker.path),
          "length": asker.length.map { Structured(bytes: $0) } ?? nil,
        ]
      } ?? nil,
    ]
  }
}

extension PredictedEntry: StructuredConvertible {
  var structured: Structured {
    [
      "level": .number(level), "index": .number(index), "table": .init(table), "entry_address": .init(entryAddress),
      "entry": value.map { $0.structured(atLevel: level) } ?? nil,
    ]
  }
}
