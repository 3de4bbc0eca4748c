import IOMMUModel
import PageTables

/// One cross-check in work: compares ranges of pages, those with one verdict together, and merges their lines.
struct Comparison {
  /// The lines so far, in the order of the comparison.
  private var lines: [CrossCheck.Line] = []
  /// Pages of mapped and of unmapped ranges whose entries nobody recorded.
  private(set) var unrecorded: (mapped: UInt64, unmapped: UInt64) = (0, 0)

  private let calls: [RecordedCall]
  private let replay: Replay
  private let device: any DeviceModel
  private let registers: RegisterValues?
  private let memory: ResidentPages
  private let verifications: Verifications?
  private let progress: WorkProgress?
  /// Runs of pages that were looked at.
  private var runs = 0

  // What ranges of one table and one requester have in common; the last one's is at hand.
  private var walker: (root: TableRoot, walker: RunWalker)?
  private var translator: (requester: RequesterID, access: Access, translator: any DeviceTranslator)?
  private var leaves: Replay.Leaves
  private var contexts: [RequesterID: DeviceContext] = [:]
  private var targets: LiveTargets?

  init(
    _ calls: [RecordedCall], _ replay: Replay, _ device: any DeviceModel, _ registers: RegisterValues?,
    _ memory: ResidentPages, _ verifications: Verifications?, _ progress: WorkProgress?
  ) {
    self.calls = calls
    self.verifications = verifications
    self.replay = replay
    leaves = Replay.Leaves(replay)
    self.device = device
    self.registers = registers
    (self.memory, self.progress) = (memory, progress)
  }

  /// The lines, worst first, then by IOVA.
  consuming func sorted() -> [CrossCheck.Line] {
    lines.sort { ($0.worst.severity, $0.iova, $0.call.number) < ($1.worst.severity, $1.iova, $1.call.number) }
    return lines
  }

  // MARK: Ranges

  /// Whether somebody asked to stop before the next run of pages.
  private mutating func isStopped() -> Bool {
    guard let progress else { return false }
    defer { runs += 1 }
    return progress.stops("comparing", at: runs)
  }

  /// Compares pages that should be mapped; how many were compared.
  mutating func compare(mapped key: Replay.Key, _ pages: UInt64, _ page: Replay.Page) -> UInt64 {
    let recorded = calls[page.call]
    guard let root = recorded.root, let run = leaves.run(of: page) else { return pages }
    let flags = run.flags
    var done: UInt64 = 0
    while done < pages {
      if isStopped() { break }
      let iova = key.iova + done << 12
      let (expected, contiguous) = run.target(ofPage: page.position + done)
      let walk = walk(iova, root: root, limit: min(pages - done, contiguous))
      var count = walk.pages
      if walk.outcome.isUnrecorded {
        unrecorded.mapped &+= count
        done += count
        continue
      }
      var tables = Verifier.verdict(expected: expected, flags: flags, walk.outcome, rootLevel: root.mode.levels - 1)
      if case .wrongAddress(let found) = tables {
        let taker = taker(of: found, root: key.root, from: page.call, limit: count)
        count = taker.pages
        if let call = taker.call { tables = .overwritten(found, by: calls[call].number) }
      }
      var seen = deviceVerdict(iova, expected: expected, recorded: recorded, tables: tables, limit: &count)
      if seen.0 != .agrees, let walked = context(of: recorded.requester)?.firstStage, walked != root {
        seen = (.otherTable(walked), nil)
      }
      add(
        CrossCheck.Line(
          call: recorded, iova: iova, length: count << 12, expected: expected, tables: tables, device: seen.0,
          cause: seen.1))
      done += count
    }
    return done
  }

  /// Looks for what is left of pages that should no longer be mapped; how many were looked at.
  mutating func compare(unmapped key: Replay.Key, _ pages: UInt64, by call: Int) -> UInt64 {
    let recorded = calls[call]
    guard let root = recorded.root else { return pages }
    var done: UInt64 = 0
    while done < pages {
      if isStopped() { break }
      let walk = walk(key.iova + done << 12, root: root, limit: pages - done)
      var count = walk.pages
      if case .mapped(let found, _, _) = walk.outcome {
        var tables = Verdict.staleAfterUnmap(found)
        // An entry that was cleared then is another call's now.
        if let id = recorded.id, verifications?[id]?.agrees == true {
          let taker = taker(of: found, root: key.root, from: call, limit: count)
          count = taker.pages
          if let call = taker.call { tables = .overwritten(found, by: calls[call].number) }
        }
        add(
          CrossCheck.Line(
            call: recorded, iova: walk.iova, length: count << 12, expected: nil, tables: tables, device: .agrees,
            cause: nil))
      } else if walk.outcome.isUnrecorded {
        unrecorded.unmapped &+= count
      }
      done += count
    }
    return done
  }

  // MARK: The tables

  private mutating func walk(_ iova: IOVA, root: TableRoot, limit: UInt64) -> WalkRun {
    let used: RunWalker
    if let walker, walker.root == root {
      used = walker.walker
    } else {
      used = RunWalker(mode: root.mode, root: root.address, in: memory)
      walker = (root, used)
    }
    return used.run(at: iova, limit: limit)
  }

  /// The call that maps `found` now, if it came after `victim` or is the same call, and for how many pages that holds.
  private mutating func taker(
    of found: GPA, root: GPA, from victim: Int, limit: UInt64
  ) -> (call: Int?, pages: UInt64) {
    let known = targets ?? LiveTargets(replay)
    targets = known
    let (call, pages) = known.call(mapping: found, root: root)
    return (call.flatMap { $0 >= victim ? $0 : nil }, min(pages, limit))
  }

  // MARK: The device

  private mutating func context(of requester: RequesterID?) -> DeviceContext? {
    guard let registers, let requester else { return nil }
    if contexts[requester] == nil {
      contexts[requester] = try? device.context(of: requester, registers: registers, memory: memory)
    }
    return contexts[requester]
  }

  /// What the device does with an access that the call allows, for at most `limit` pages, which becomes the number of pages
  /// with which it does it.
  private mutating func deviceVerdict(
    _ iova: IOVA, expected: GPA, recorded: RecordedCall, tables: Verdict, limit: inout UInt64
  ) -> (Verdict, FaultCause?) {
    guard let registers else { return (.agrees, nil) }
    guard let requester = recorded.requester else { return (.notAttached, nil) }
    let protection = recorded.call.protection ?? []
    let access: Access =
      protection.contains(.write) ? (protection.contains(.read) ? .readWrite : .write) : .read
    let walks: any DeviceTranslator
    if let translator, translator.requester == requester, translator.access == access {
      walks = translator.translator
    } else {
      walks = device.translator(access: access, requester: requester, registers: registers, memory: memory)
      translator = (requester, access, walks)
    }
    let run = walks.run(at: iova, limit: limit)
    limit = run.pages
    switch run.result {
    case .translated(let found) where found == expected: return (.agrees, nil)
    case .translated(let found): return (.wrongAddress(found), nil)
    case .bypassed(let why): return (.bypassed(why), nil)
    case .unreadable(let failure): return (failure.isUnrecorded ? .agrees : .unreadable(failure.address), nil)
    case .refused(let cause):
      if tables == .agrees, let cause {
        // A device that latches nothing refuses by its directory.
        let stopped = run.last.map { $0.entry.isPointer } ?? (device.latchedFault(registers) != nil)
        return (stopped ? .latchedFault(cause) : .deviceDiffers("refuses"), cause)
      }
      if let last = run.last, !last.entry.isValid { return (.missing(level: last.level), cause) }
      return (.deviceDiffers("refuses"), cause)
    }
  }

  // MARK: Lines

  private mutating func add(_ line: CrossCheck.Line) {
    if let last = lines.last, last.iova + last.length == line.iova, last.call.number == line.call.number,
      last.call.call.isMap == line.call.call.isMap, last.call.root == line.call.root, Self.merge(last, line)
    {
      lines[lines.count - 1].length &+= line.length
    } else {
      lines.append(line)
    }
  }

  /// Whether two neighbouring ranges say the same; addresses that advance with the range count as the same.
  private static func merge(_ last: CrossCheck.Line, _ next: CrossCheck.Line) -> Bool {
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
}

/// Which call maps a guest-physical page now, to name the one that overwrote another. One that overwrote and was unmapped
/// since has cleared the entry.
private struct LiveTargets {
  /// The last call, by root and page number.
  private var calls: [GPA: ExtentMap<ListPosition>] = [:]

  init(_ replay: Replay) {
    // Later calls over earlier ones.
    var leaves = Replay.Leaves(replay)
    for range in replay.live.sorted(by: { $0.page.call < $1.page.call }) {
      guard let run = leaves.run(of: range.page) else { continue }
      var done: UInt64 = 0
      while done < range.pages {
        let (target, contiguous) = run.target(ofPage: range.page.position + done)
        let count = min(contiguous, range.pages - done)
        calls[range.key.root, default: ExtentMap()].set(
          target.rawValue >> 12, count: count, to: ListPosition(range.page.call))
        done += count
      }
    }
  }

  /// The last call that maps `address` in the table of `root`, and for how many pages from there on that is so.
  func call(mapping address: GPA, root: GPA) -> (call: Int?, pages: UInt64) {
    guard let known = calls[root] else { return (nil, .max) }
    let (mapper, pages) = known.value(at: address.rawValue >> 12)
    return (mapper?.index, pages)
  }
}
