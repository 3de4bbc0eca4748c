import IOMMUModel
import PageTables
import XuanTie

@testable import Investigation

/// The replay, one 4 KiB page after the other and with a dictionary for everything: what ranges must come to as well.
struct PageByPageReplay {
  private(set) var live: [Replay.Key: Replay.Page] = [:]
  private(set) var unmapped: [Replay.Key: Int] = [:]
  private(set) var overwritten: [Replay.Key: Int] = [:]
  private(set) var overwrites = 0
  private(set) var victims: Set<Int> = []
  private(set) var leftOut: [Int] = []

  private struct Slot: Hashable {
    let root: GPA
    let indices: UInt64
  }
  private var owner: [Slot: Replay.Key] = [:]
  private var leafRuns: [Replay.Key: LeafRun] = [:]
  private let calls: [RecordedCall]
  private let profile: any DriverProfile
  private let geometry: (TableRoot) -> TableGeometry

  init(_ calls: [RecordedCall], profile: any DriverProfile, geometry: @escaping (TableRoot) -> TableGeometry) {
    self.calls = calls
    self.profile = profile
    self.geometry = geometry
    for (number, recorded) in calls.enumerated() {
      guard let root = recorded.root else { continue }
      if recorded.call.isMap { map(recorded, number, root) } else { unmap(recorded, number, root) }
    }
  }

  private func slot(_ iova: IOVA, _ root: TableRoot, level: Int) -> Slot {
    let own = geometry(root)
    let packed = (0...own.rootLevel).reduce(UInt64(0)) { packed, number in
      let indices = number < level ? root.mode.geometry : own
      return packed | UInt64(indices.index(of: iova, atLevel: number)) << UInt64(number * 11)
    }
    return Slot(root: root.address, indices: packed)
  }

  private mutating func map(_ recorded: RecordedCall, _ number: Int, _ root: TableRoot) {
    let runs = profile.leaves(of: recorded.call, mode: root.mode)
    let room = Double(UInt64(1) << UInt64(root.mode.inputBits))
    guard runs.reduce(0, { $0 + Double($1.count) * Double($1.span) }) <= room else { return leftOut.append(number) }
    for (order, run) in runs.enumerated() {
      for position in 0..<run.count * (run.span / 4096) {
        let key = Replay.Key(root: root.address, iova: run.iova.page + position * 4096)
        let slot = slot(key.iova, root, level: run.level)
        lose(slot, to: key, number)
        owner[slot] = key
        overwritten[key] = nil
        unmapped[key] = nil
        live[key] = Replay.Page(call: number, run: order, position: position)
        leafRuns[key] = run
      }
    }
  }

  private mutating func unmap(_ recorded: RecordedCall, _ number: Int, _ root: TableRoot) {
    for key in keys(of: recorded.call, root: root.address) {
      var level = 0
      if live.removeValue(forKey: key) != nil {
        level = leafRuns[key]?.level ?? 0
        overwritten[key] = nil
        unmapped[key] = number
      }
      let slot = slot(key.iova, root, level: level)
      lose(slot, to: key, number)
      owner[slot] = nil
    }
  }

  private mutating func lose(_ slot: Slot, to key: Replay.Key, _ number: Int) {
    guard let previous = owner[slot], previous != key, let page = live[previous] else { return }
    overwritten[previous] = number
    overwrites += 1
    victims.insert(page.call)
  }

  private func keys(of call: DriverCall, root: GPA) -> [Replay.Key] {
    let count = call.length / 4096
    let start = call.iova.page
    if count > 1 << 20 {
      return live.keys.filter { $0.root == root && ($0.iova - start) / 4096 < count }.sorted {
        $0.iova - start < $1.iova - start
      }
    }
    return (0..<count).map { Replay.Key(root: root, iova: start + $0 &* 4096) }
  }

  /// Where a live page should lead.
  func target(_ key: Replay.Key, _ page: Replay.Page) -> (target: GPA, flags: PageTableEntry.Flags)? {
    guard let run = leafRuns[key] else { return nil }
    let perLeaf = run.span / 4096
    let leaf = run.leaf(page.position / perLeaf)
    let offset = page.position % perLeaf * 4096
    guard leaf.isContiguous else { return (leaf.address + offset, leaf.flags) }
    return (GPA(leaf.address.rawValue & ~0xffff | key.iova.rawValue & 0xf000), leaf.flags)
  }
}

/// The cross-check with a whole walk and a whole translation for every page.
struct PageByPageCheck {
  private(set) var lines: [CrossCheck.Line] = []
  private(set) var mappedPages = 0, unmappedPages = 0

  init(
    _ calls: [RecordedCall], replay: PageByPageReplay, profile: any DriverProfile, registers: RegisterValues?,
    memory: any PhysicalMemory, range: ClosedRange<IOVA>?
  ) {
    func inRange(_ key: Replay.Key) -> Bool {
      guard let range else { return true }
      return key.iova <= range.upperBound && key.iova.rawValue | 0xfff >= range.lowerBound.rawValue
    }
    func ordered<Value>(_ pages: [Replay.Key: Value]) -> [(key: Replay.Key, value: Value)] {
      pages.filter { inRange($0.key) }.sorted { ($0.key.root, $0.key.iova) < ($1.key.root, $1.key.iova) }
    }
    var targets: [Replay.Key: Int] = [:]
    for (key, page) in replay.live {
      guard let (target, _) = replay.target(key, page) else { continue }
      // A key made of a target: only to look it up.
      let place = Replay.Key(root: key.root, iova: IOVA(target.rawValue))
      targets[place] = max(targets[place] ?? page.call, page.call)
    }
    let device = profile.device
    for (key, page) in ordered(replay.live) {
      let recorded = calls[page.call]
      guard let root = recorded.root, let (expected, flags) = replay.target(key, page) else { continue }
      let walk = root.mode.geometry.walk(key.iova, root: root.address, in: memory)
      var tables = Self.verdict(expected, flags, walk)
      if case .wrongAddress(let found) = tables,
        let other = targets[Replay.Key(root: key.root, iova: IOVA(found.page.rawValue))], other >= page.call
      {
        tables = .overwritten(found, by: calls[other].number)
      }
      mappedPages += 1
      var seen = Self.deviceVerdict(
        key.iova, expected: expected, recorded: recorded, tables: tables, device: device, registers: registers,
        memory: memory)
      if seen.0 != .agrees, let registers, let requester = recorded.requester,
        let context = try? device.context(of: requester, registers: registers, memory: memory),
        let walked = context.firstStage, walked != root
      {
        seen = (.otherTable(walked), nil)
      }
      add(
        CrossCheck.Line(
          call: recorded, iova: key.iova, length: 4096, expected: expected, tables: tables, device: seen.0,
          cause: seen.1))
    }
    for (key, number) in ordered(replay.unmapped) {
      let recorded = calls[number]
      guard let root = recorded.root else { continue }
      unmappedPages += 1
      let walk = root.mode.geometry.walk(key.iova, root: root.address, in: memory)
      guard let found = walk.target else { continue }
      add(
        CrossCheck.Line(
          call: recorded, iova: key.iova, length: 4096, expected: nil, tables: .staleAfterUnmap(found),
          device: .agrees, cause: nil))
    }
    lines.sort { ($0.worst.severity, $0.iova, $0.call.number) < ($1.worst.severity, $1.iova, $1.call.number) }
  }

  private static func verdict(_ expected: GPA, _ wanted: PageTableEntry.Flags, _ walk: Walk) -> Verdict {
    switch walk.outcome {
    case .notMapped(let level): return .missing(level: level)
    case .malformed(let level, let problem): return .malformed(level: level, problem.description)
    case .unreadable(let failure): return .unreadable(failure.address)
    case .notCanonical: return .malformed(level: walk.geometry.rootLevel, "IOVA is not canonical")
    case .mapped(let found, _, let flags):
      let ignored: PageTableEntry.Flags = [.accessed, .dirty]
      if found != expected { return .wrongAddress(found) }
      return flags.subtracting(ignored) == wanted.subtracting(ignored) ? .agrees : .wrongPermission(flags)
    }
  }

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

  private mutating func add(_ line: CrossCheck.Line) {
    func advanced(_ verdict: Verdict, _ length: UInt64) -> Verdict {
      switch verdict {
      case .wrongAddress(let found): .wrongAddress(found + length)
      case .overwritten(let found, let by): .overwritten(found + length, by: by)
      case .staleAfterUnmap(let found): .staleAfterUnmap(found + length)
      default: verdict
      }
    }
    if let last = lines.last, last.call.number == line.call.number, last.call.call.isMap == line.call.call.isMap,
      last.call.root == line.call.root, last.iova + last.length == line.iova, last.cause == line.cause,
      advanced(last.tables, last.length) == line.tables, advanced(last.device, last.length) == line.device
    {
      lines[lines.count - 1].length &+= line.length
    } else {
      lines.append(line)
    }
  }
}

/// The XuanTie driver with the largest leaves that fit, as other drivers write them: what its calls leave is spread over
/// runs of 1 GiB, 2 MiB, contiguous 64 KiB and 4 KiB.
struct MixedLeavesDriver: DriverProfile {
  let plain = XuanTieDriver(signature: .pages)
  var identifier: String { plain.identifier }
  var name: String { plain.name }
  var recognition: String { plain.recognition }
  var functions: [DriverFunction] { plain.functions }
  var device: any DeviceModel { plain.device }
  func indexName(atLevel level: Int) -> String { plain.indexName(atLevel: level) }
  func mismatch(operation: String) -> String? { nil }
  var requesterLimit: Int? { nil }
  func layout(in target: any Target) throws(TargetError) -> any DriverLayout { try plain.layout(in: target) }
  func call(_ function: DriverFunction, arguments: [UInt64]) throws(TargetError) -> DriverCall {
    try plain.call(function, arguments: arguments)
  }

  func leaves(of call: DriverCall, mode: PagingMode) -> [LeafRun] {
    guard let all = plain.leaves(of: call, mode: mode).first, all.count < 1 << 27, let target = call.target else {
      return plain.leaves(of: call, mode: mode)
    }
    var runs: [LeafRun] = []
    var done: UInt64 = 0
    while done < call.length {
      let (iova, address, rest) = (call.iova + done, target + done, call.length - done)
      let size: UInt64 =
        [1 << 30, 1 << 21, 1 << 16].first { ($0 - 1) & (iova.rawValue | address.rawValue) == 0 && $0 <= rest } ?? 4096
      let flags = UInt64(all.first.flags.rawValue)
      let entry = PageTableEntry(rawValue: address.rawValue >> 2 & 0x3f_ffff_ffff_fc00 | flags)
      switch size {
      case 1 << 30, 1 << 21:
        let span = size
        let count = min(rest / span, size == 1 << 30 ? .max : ((1 << 30) - iova.rawValue % (1 << 30)) / span)
        runs.append(
          LeafRun(
            iova: iova, level: size == 1 << 30 ? 2 : 1, count: count, first: entry, step: span >> 2, span: span))
        done += count * span
      case 1 << 16:
        let group = PageTableEntry(rawValue: entry.rawValue | 1 << 63 | 8 << 10)
        runs.append(LeafRun(iova: iova, level: 0, count: 16, first: group, step: 0, span: 4096))
        done += size
      default:
        runs.append(LeafRun(iova: iova, level: 0, count: 1, first: entry, step: 1 << 10, span: 4096))
        done += size
      }
    }
    return runs
  }
}
