public import IOMMUModel
public import Investigation
public import PageTables

extension Structured {
  /// Hands what was recorded on all sides to `emit` entry by entry, in the words of the device and the kernel that `store` names.
  public static func timeline(
    of store: InvestigationStore, iovas: ClosedRange<IOVA>? = nil, last: Int? = nil, tenants: [any Tenant.Type],
    progress: WorkProgress? = nil, emit: (Structured) throws -> Void
  ) throws {
    let (device, version) = try Terminal.vocabulary(of: store, tenants: tenants)
    try Timeline(store).forEach(iovas: iovas, last: last, progress: progress) {
      try emit(entry($0, device: device, version: version))
    }
  }

  /// One entry.
  static func entry(_ entry: Timeline.Entry, device: (any DeviceModel)?, version: KernelVersion?) -> Structured {
    let head: Structured = [
      "event": .number(Int(entry.id.rawValue)), "time_ns": .number(Int(entry.time)), "side": .text(entry.side),
      "starts_clock": .bool(entry.startsClock),
    ]
    switch entry.content {
    case .call(let recorded): return head.with(["kind": "call", "call": call(recorded, version: version)])
    case .wrong(let recorded, let verification):
      return head.with([
        "kind": "wrong", "call": reference(recorded), "verdict": .text(verification.verdict.name),
        "description": .text(verification.verdict.description), "iova": .init(verification.iova),
        "pages_checked": .number(verification.leaves), "pages_right": .number(verification.agreeing),
      ])
    case .translation(let found, let changes):
      return head.with([
        "kind": "translation", "translation": translation(found),
        "changes": .list(changes.map { change($0, device) }),
      ])
    case .registers(let changes):
      return head.with(["kind": "registers", "changes": .list(changes.map { change($0, device) })])
    case .log(let line):
      return head.with([
        "kind": "log", "origin": .text(line.origin), "line": .number(line.line),
        "log_time_ns": line.time.map { Structured(bytes: $0) } ?? nil, "meaning": .text(line.meaning.rawValue),
        "text": .text(line.text),
      ])
    case .cookie(let request):
      return head.with([
        "kind": "cookie", "domain": .init(request.domain), "refused": .bool(request.isSecond),
        "callers": .init(request.callers),
      ])
    case .note(let text): return head.with(["kind": "note", "text": .text(text)])
    case .snapshot(let reason, let pages):
      return head.with(["kind": "snapshot", "reason": .text(reason), "pages": .number(pages)])
    }
  }

  private static func change(_ change: Timeline.RegisterChange, _ device: (any DeviceModel)?) -> Structured {
    let register = device?.registers.first { $0.offset == change.offset }
    return [
      "offset": .init(change.offset), "name": .init(register?.name), "before": .init(change.before),
      "after": .init(change.after), "meaning": .init(register?.meaning(change.after)),
    ]
  }
}
