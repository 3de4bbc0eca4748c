public import IOMMUModel
public import Investigation
public import PageTables

extension Terminal {
  /// Writes a timeline as lines; `emit` gets them in pieces. `device` names registers and causes; without it they have
  /// numbers only.
  public static func timeline(
    _ timeline: Timeline, iovas: ClosedRange<IOVA>? = nil, last: Int? = nil, device: (any DeviceModel)?,
    version: KernelVersion?, progress: WorkProgress? = nil, emit: (String) throws -> Void
  ) throws {
    var piece = ""
    var isEmpty = true
    try timeline.forEach(iovas: iovas, last: last, progress: progress) { entry in
      isEmpty = false
      for line in lines(entry, device: device, version: version) { piece += line + "\n" }
      guard piece.utf8.count > 60_000 else { return }
      try emit(piece)
      piece = ""
    }
    if progress?.isStopped == true {
      isEmpty = false
      piece += "The rest of the events was not read: interrupted.\n"
    }
    if isEmpty { piece = iovas == nil ? "Nothing was recorded.\n" : "Nothing was recorded about these addresses.\n" }
    if !piece.isEmpty { try emit(piece) }
  }

  /// Hands out the timeline of `store` in pieces of text, in the words of the device and the kernel that it names.
  public static func timeline(
    of store: InvestigationStore, iovas: ClosedRange<IOVA>? = nil, last: Int? = nil, tenants: [any Tenant.Type],
    progress: WorkProgress? = nil, emit: (String) throws -> Void
  ) throws {
    let (device, version) = try vocabulary(of: store, tenants: tenants)
    try timeline(
      Timeline(store), iovas: iovas, last: last, device: device, version: version, progress: progress, emit: emit)
  }

  /// What a timeline of `store` takes its words from: the device that it names, by its driver or by itself, and the kernel's
  /// version.
  public static func vocabulary(
    of store: InvestigationStore, tenants: [any Tenant.Type]
  ) throws(InvestigationError) -> (device: (any DeviceModel)?, version: KernelVersion?) {
    let facts = try store.facts()
    var device: (any DeviceModel)?
    for tenant in tenants where device == nil {
      device =
        facts[Fact.profile].flatMap(tenant.profile(identifier:))?.device
        ?? tenant.implementations.first { $0.model.name == facts[Fact.device] }?.model
    }
    return (device, facts[Fact.banner].flatMap(KernelVersion.init(banner:)))
  }

  /// An entry: event, seconds since the start, side, what happened; more lines for what belongs to it.
  private static func lines(
    _ entry: Timeline.Entry, device: (any DeviceModel)?, version: KernelVersion?
  ) -> [String] {
    let texts = texts(entry.content, device: device, version: version)
    let head = "\(right(entry.id.rawValue, 5))  \(right(seconds(entry.time), 11))  \(left(entry.side, 6))  "
    var lines = texts.enumerated().flatMap { position, text in
      let start = position == 0 ? head : String(repeating: " ", count: head.count + 2)
      return Layout.folded(start + printable(text), hanging: head.count + 2)
    }
    if entry.startsClock { lines.insert("The clock starts anew: the host was booted, or it is another one.", at: 0) }
    return lines
  }

  /// Nanoseconds as seconds, to the microsecond.
  static func seconds(_ nanoseconds: Int64) -> String {
    let magnitude = nanoseconds.magnitude / 1000
    let fraction = String(magnitude % 1_000_000)
    return (nanoseconds < 0 ? "-" : "") + "\(magnitude / 1_000_000)."
      + String(repeating: "0", count: 6 - fraction.count) + fraction
  }

  /// What happened, and what belongs to it.
  static func texts(
    _ content: Timeline.Content, device: (any DeviceModel)?, version: KernelVersion?
  ) -> [String] {
    switch content {
    case .call(let recorded): return [call(inOneLine: recorded, version: version)]
    case .wrong(let recorded, let verification):
      let place = verification.iova.map { " at \($0)" } ?? ""
      return [
        "\(recorded.call.kind.rawValue) #\(recorded.number) is wrong\(place): \(verification.verdict.description); "
          + "\(verification.leaves - verification.agreeing) of \(counted(verification.leaves, "page"))"
      ]
    case .translation(let translation, let changes):
      return [translationLine(translation)] + changes.map { change($0, device: device) }
    case .registers(let changes): return ["registers"] + changes.map { change($0, device: device) }
    case .log(let line):
      let time = line.time.map { "[\(seconds(Int64(clamping: $0)))] " } ?? ""
      return ["log  \(line.origin):\(line.line)  \(time)\(line.text)"]
    case .cookie(let request):
      let outcome = request.isSecond ? "refused, the domain has one: \(hex(request.held))" : "given"
      let callers = request.callers.isEmpty ? "" : "   <- " + request.callers.prefix(3).joined(separator: " <- ")
      return ["DMA cookie for domain \(request.domain): \(outcome)\(callers)"]
    case .note(let text): return ["note  \(text)"]
    case .snapshot(let reason, let pages): return ["snapshot of \(counted(pages, "table page")): \(reason)"]
    }
  }

  private static func call(inOneLine recorded: RecordedCall, version: KernelVersion?) -> String {
    let call = recorded.call
    var words = [
      "\(call.kind.rawValue) #\(recorded.number)", recorded.requester?.description ?? "no requester",
      "\(call.iova)", call.extent,
    ]
    if case .map(let target, let protection, _) = call.operation {
      words += ["-> \(target)", protection?.description ?? "prot not known"]
    }
    if !recorded.callers.isEmpty { words.append(RecordedCallHeader.chain(call.function, callers: recorded.callers)) }
    if let origin = recorded.origin { words.append("(\(origin))") }
    return words.joined(separator: "  ")
  }

  /// A run of translations: `read 0xfffff000-0xfffff00c, 4 in steps of 4  refused  0000:00:01.0  …`.
  static func translationLine(_ translation: RecordedTranslation) -> String {
    var words = [translation.extent, translation.outcome, translation.requester?.description ?? "no requester"]
    if let asker = translation.asker { words.append(asker.text) }
    return words.joined(separator: "  ")
  }

  private static func change(_ change: Timeline.RegisterChange, device: (any DeviceModel)?) -> String {
    let register = device?.registers.first { $0.offset == change.offset }
    let meaning = register?.meaning(change.after) ?? ""
    return "\(register?.name ?? "register \(hex(change.offset))")  \(change.before.map { hex($0) + " -> " } ?? "= ")"
      + hex(change.after) + (meaning.isEmpty ? "" : "   \(meaning)")
  }
}

/// `text` padded with spaces on the right.
private func left(_ text: String, _ width: Int) -> String {
  text + String(repeating: " ", count: max(0, width - text.count))
}

extension RecordedTranslation {
  /// What was asked for where: `read 0xfffff000`, `write 0xfffff000-0xfffff00f, 16 in steps of 1`.
  var extent: String {
    let what = access?.words ?? "access"
    return count == 1 ? "\(what) \(iova)" : "\(what) \(iova)-\(last), \(count) in steps of \(stride)"
  }

  /// What was answered: `-> 0x80c6e036`, `refused`.
  var outcome: String {
    guard let answer else { return "answer not seen" }
    if answer.access == .none { return access == Access.none ? "no access wanted" : "refused" }
    return "-> \(answer.address)" + (answer.address.rawValue == iova.rawValue ? " (unchanged)" : "")
  }
}

extension RecordedTranslation.Asker {
  /// `e1000e_start_xmit, pci_dma_read, 16 bytes`.
  var text: String {
    ([operation, path] + (length.map { ["\($0) byte\($0 == 1 ? "" : "s")"] } ?? [])).joined(separator: ", ")
  }
}

extension Access {
  /// As a verb: `read`, `write`, `read and write`; a probe wants neither.
  public var words: String {
    switch self {
    case .none: "probe"
    case .read: "read"
    case .write: "write"
    case .readWrite: "read and write"
    }
  }
}
