public import IOMMUModel
public import PageTables

/// Everything that was asked for, against what the tables say and what the device would do.
public struct CrossCheck: Sendable {
  /// A range of IOVAs of one call with one verdict.
  public struct Line: Hashable, Sendable {
    /// The call that asked for it; for a stale range the unmap.
    public let call: RecordedCall
    /// The range's start.
    public let iova: IOVA
    /// The range's size in bytes.
    public var length: UInt64
    /// Where the range should lead; nil after an unmap.
    public let expected: GPA?
    /// The tables against the call.
    public let tables: Verdict
    /// The device against the call.
    public let device: Verdict
    /// What the device latches when it refuses.
    public let cause: FaultCause?

    /// The worse of the two verdicts.
    public var worst: Verdict { tables.severity <= device.severity ? tables : device }
  }

  /// The ranges, worst first, then by IOVA.
  public let lines: [Line]
  /// 4 KiB pages compared: those that should be mapped, and those that should no longer be.
  public let mappedPages: Int, unmappedPages: Int

  /// Calls that ask for more pages than can be followed, and were not compared.
  public let leftOut: Int

  /// All pages compared.
  public var pages: Int { mappedPages + unmappedPages }

  /// The pages of the disagreements by the name of their worst verdict, worst first.
  public var summary: [(verdict: String, pages: UInt64)] {
    var order: [String] = []
    var pages: [String: UInt64] = [:]
    for line in disagreements {
      if pages[line.worst.name] == nil { order.append(line.worst.name) }
      pages[line.worst.name, default: 0] &+= line.length / 4096
    }
    return order.map { ($0, pages[$0] ?? 0) }
  }

  /// The lines on which a side disagrees.
  public var disagreements: [Line] { lines.filter { $0.worst != .agrees } }

  /// Pages on which a side disagrees.
  public var disagreeingPages: Int { disagreements.reduce(0) { $0 + Int(truncatingIfNeeded: $1.length / 4096) } }

  /// Compares everything in `replay` (of `calls`) that lies in `range`.
  ///
  /// `registers` are the device's; nil when they could not be read, and then the device's side says nothing of its own.
  public init(
    _ calls: [RecordedCall], replay: Replay, profile: any DriverProfile, registers: RegisterValues?,
    memory: any PhysicalMemory, range: ClosedRange<IOVA>? = nil
  ) {
    var targets: LiveTargets?
    var contexts: [RequesterID: DeviceContext] = [:]
    let device = profile.device
    var merged: [Line] = []
    var mappedPages = 0
    var unmappedPages = 0
    func add(_ line: Line) {
      if let last = merged.last, last.call.number == line.call.number, last.call.call.isMap == line.call.call.isMap,
        last.call.root == line.call.root, last.iova + last.length == line.iova, Self.merge(last, line)
      {
        merged[merged.count - 1].length &+= line.length
      } else {
        merged.append(line)
      }
    }
    func inRange(_ key: Replay.Key) -> Bool {
      guard let range else { return true }
      return key.iova <= range.upperBound && key.iova.rawValue | 0xfff >= range.lowerBound.rawValue
    }
    for (key, page) in replay.live.filter({ inRange($0.key) }).sorted(by: { Self.order($0.key, $1.key) }) {
      let recorded = calls[page.call]
      guard let root = recorded.root else { continue }
      let run = replay.runs[page.call][page.run]
      let walk = root.mode.geometry.walk(key.iova, root: root.address, in: memory)
      var tables = Verifier.verdict(for: run, page.position, walk)
      if case .wrongAddress(let found) = tables {
        let known = targets ?? LiveTargets(replay)
        targets = known
        if let other = known.call(mapping: found, root: key.root, after: page.call) {
          tables = .overwritten(found, by: calls[other].number)
        }
      }
      mappedPages += 1
      let expected = run.leaf(page.position).address
      var seen = Self.deviceVerdict(
        key.iova, expected: expected, recorded: recorded, tables: tables, device: device,
        registers: registers, memory: memory)
      if seen.0 != .agrees, let registers, let requester = recorded.requester {
        if contexts[requester] == nil {
          contexts[requester] = try? device.context(of: requester, registers: registers, memory: memory)
        }
        if let walked = contexts[requester]?.firstStage, walked != root { seen = (.otherTable(walked), nil) }
      }
      add(
        Line(
          call: recorded, iova: key.iova, length: 4096, expected: expected, tables: tables, device: seen.0,
          cause: seen.1))
    }
    for (key, number) in replay.unmapped.filter({ inRange($0.key) }).sorted(by: { Self.order($0.key, $1.key) }) {
      let recorded = calls[number]
      guard let root = recorded.root else { continue }
      let walk = root.mode.geometry.walk(key.iova, root: root.address, in: memory)
      unmappedPages += 1
      guard let found = walk.target else { continue }
      add(
        Line(
          call: recorded, iova: key.iova, length: 4096, expected: nil, tables: .staleAfterUnmap(found),
          device: .agrees, cause: nil))
    }
    leftOut = replay.leftOut.count
    self.mappedPages = mappedPages
    self.unmappedPages = unmappedPages
    lines = merged.sorted {
      ($0.worst.severity, $0.iova, $0.call.number) < ($1.worst.severity, $1.iova, $1.call.number)
    }
  }

  private static func order(_ left: Replay.Key, _ right: Replay.Key) -> Bool {
    (left.root, left.iova) < (right.root, right.iova)
  }

  /// Whether two neighbouring ranges say the same; addresses that advance with the range count as the same.
  private static func merge(_ last: Line, _ next: Line) -> Bool {
    func advanced(_ verdict: Verdict) -> Verdict {
      switch verdict {
      case .wrongAddress(let found): .wrongAddress(found + last.length)
      case .overwritten(let found, let by): .overwritten(found + last.length, by: by)
      case .staleAfterUnmap(let found): .staleAfterUnmap(found + last.length)
      default: verdict
      }
    }
    return advanced(last.tables) == next.tables && advanced(last.device) == next.device && last.cause == next.cause
  }

  /// What the device does with an access that the call allows.
  private static func deviceVerdict(
    _ iova: IOVA, expected: GPA, recorded: RecordedCall, tables: Verdict, device: any DeviceModel,
    registers: RegisterValues?, memory: any PhysicalMemory
  ) -> (Verdict, FaultCause?) {
    guard let registers else { return (.agrees, nil) }
    guard let requester = recorded.requester else { return (.notAttached, nil) }
    let protection = recorded.call.protection ?? []
    let access: Access =
      protection.contains(.write) ? (protection.contains(.read) ? .readWrite : .write) : .read
    let translation = device.translate(iova, access: access, requester: requester, registers: registers, memory: memory)
    switch translation.result {
    case .translated(let found) where found == expected: return (.agrees, nil)
    case .translated(let found): return (.wrongAddress(found), nil)
    case .bypassed(let why): return (.bypassed(why), nil)
    case .unreadable(let failure): return (.unreadable(failure.address), nil)
    case .refused(let cause):
      let last = translation.steps.last
      if tables == .agrees, let cause {
        let stopped = last.map { $0.entry.isPointer } ?? true
        return (stopped ? .latchedFault(cause) : .deviceDiffers("refuses"), cause)
      }
      if let last, !last.entry.isValid { return (.missing(level: last.level), cause) }
      return (.deviceDiffers("refuses"), cause)
    }
  }
}

/// Which call maps a guest-physical page now, to name the one that overwrote another. One that overwrote and was unmapped
/// since has cleared the entry.
private struct LiveTargets {
  private struct Key: Hashable {
    let root: GPA
    let page: GPA
  }
  private var calls: [Key: Int] = [:]

  init(_ replay: Replay) {
    for (key, page) in replay.live {
      let target = Key(root: key.root, page: replay.runs[page.call][page.run].leaf(page.position).address)
      calls[target] = max(calls[target] ?? page.call, page.call)
    }
  }

  /// The last call that maps `address` in the table of `root`, if it came after `victim` or is the same call.
  func call(mapping address: GPA, root: GPA, after victim: Int) -> Int? {
    calls[Key(root: root, page: address.page)].flatMap { $0 >= victim ? $0 : nil }
  }
}
