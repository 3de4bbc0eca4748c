public import IOMMUModel
public import PageTables

/// Compares one finished call with the tables as they are right after it.
public struct Verifier {
  let profile: any DriverProfile
  let memory: any PhysicalMemory

  /// Leaves looked at per call; a larger call is sampled evenly, first and last included.
  static let leafLimit: UInt64 = 4096
  /// Leaves that each candidate shift is tried on.
  static let shiftSample: UInt64 = 16

  /// A verifier that reads `memory`.
  public init(profile: any DriverProfile, memory: any PhysicalMemory) {
    self.profile = profile
    self.memory = memory
  }

  /// Verifies `call` against the tables below `root`.
  public func verify(_ call: DriverCall, root: TableRoot) -> Verification {
    call.isMap ? verifyMap(call, root: root) : verifyUnmap(call, root: root)
  }

  private func verifyMap(_ call: DriverCall, root: TableRoot) -> Verification {
    let geometry = root.mode.geometry
    let runs = profile.leaves(of: call, mode: root.mode)
    var leaves = 0
    var agreeing = 0
    var first: (IOVA, Verdict)?
    var samples: [Verification.Sample] = []
    for run in runs {
      for position in Self.sample(run.count, limit: Self.leafLimit) {
        let walk = geometry.walk(run.iova(position), root: root.address, in: memory)
        if walk.outcome.isUnrecorded { continue }
        leaves += 1
        let verdict = Self.verdict(for: run, position, walk)
        if verdict == .agrees {
          agreeing += 1
          continue
        }
        if first == nil { first = (run.iova(position), verdict) }
        Self.keep(run.iova(position), expected: run.leaf(position).rawValue, walk, in: &samples)
      }
    }
    let shifts = (0..<geometry.levels.count).map {
      explainingShifts(atLevel: $0, runs: runs, geometry: geometry, root: root)
    }
    return Verification(
      leaves: leaves, agreeing: agreeing, verdict: first?.1 ?? .agrees, iova: first?.0, shifts: shifts,
      samples: samples)
  }

  /// Keeps what a walk ended at: the first of all, and the last.
  private static func keep(_ iova: IOVA, expected: UInt64, _ walk: Walk, in samples: inout [Verification.Sample]) {
    guard let last = walk.steps.last else { return }
    if samples.count > 1 { samples.removeLast() }
    samples.append(
      Verification.Sample(iova: iova, expected: expected, level: last.level, found: last.entry.rawValue))
  }

  private func verifyUnmap(_ call: DriverCall, root: TableRoot) -> Verification {
    let geometry = root.mode.geometry
    var leaves = 0
    var agreeing = 0
    var first: (IOVA, Verdict)?
    var samples: [Verification.Sample] = []
    for position in Self.sample(call.length / 4096, limit: Self.leafLimit) {
      let iova = call.iova + position &* 4096
      let walk = geometry.walk(iova, root: root.address, in: memory)
      if walk.outcome.isUnrecorded { continue }
      leaves += 1
      switch walk.outcome {
      case .mapped(let found, _, _):
        if first == nil { first = (iova, .staleAfterUnmap(found)) }
        Self.keep(iova, expected: 0, walk, in: &samples)
      case .unreadable(let failure):
        if first == nil { first = (iova, .unreadable(failure.address)) }
      case .notMapped, .malformed, .notCanonical:
        agreeing += 1
      }
    }
    return Verification(
      leaves: leaves, agreeing: agreeing, verdict: first?.1 ?? .agrees, iova: first?.0, shifts: [],
      samples: samples)
  }

  /// What the specification walk of a leaf's IOVA says about the leaf.
  static func verdict(for run: LeafRun, _ position: UInt64, _ walk: Walk) -> Verdict {
    let target = run.target(ofPage: position &* run.pagesPerLeaf).address
    return verdict(
      expected: target + run.iova(position).rawValue % 4096, flags: run.flags, walk.outcome,
      rootLevel: walk.geometry.rootLevel)
  }

  /// What the end of a walk says of an address that should lead to `target` with `flags`, or with any when they are nil.
  static func verdict(
    expected target: GPA, flags expected: PageTableEntry.Flags?, _ outcome: Walk.Outcome, rootLevel: Int
  ) -> Verdict {
    switch outcome {
    case .notMapped(let level): return .missing(level: level)
    case .malformed(let level, let problem): return .malformed(level: level, problem.description)
    case .unreadable(let failure): return .unreadable(failure.address)
    case .notCanonical: return .malformed(level: rootLevel, "IOVA is not canonical")
    case .mapped(let found, _, let flags):
      // Hardware may set A and D behind the driver's back.
      let ignored: PageTableEntry.Flags = [.accessed, .dirty]
      if found != target { return .wrongAddress(found) }
      guard let expected else { return .agrees }
      return flags.subtracting(ignored) == expected.subtracting(ignored) ? .agrees : .wrongPermission(flags)
    }
  }

  /// The shifts at `level` under which every sampled leaf lies where it should, of those whose entries were recorded.
  private func explainingShifts(atLevel level: Int, runs: [LeafRun], geometry: TableGeometry, root: TableRoot)
    -> ShiftSet
  {
    var found: ShiftSet = []
    for shift in 12..<64 {
      let candidate = geometry.replacing(shift: shift, atLevel: level)
      var isSeen = false
      let fits = runs.allSatisfy { run in
        Self.sample(run.count, limit: Self.shiftSample).allSatisfy { position in
          guard let holds = holds(run, position, geometry: candidate, root: root.address) else { return true }
          isSeen = true
          return holds
        }
      }
      if fits && isSeen { found.insert(ShiftSet(shift)) }
    }
    return found
  }

  /// Whether leaf `position` lies where `geometry` puts it; nil when the entry there was not recorded. Its table must have
  /// been: an index that leads where nobody has seen anything explains nothing.
  private func holds(_ run: LeafRun, _ position: UInt64, geometry: TableGeometry, root: GPA) -> Bool? {
    var table = root
    let iova = run.iova(position)
    for level in stride(from: geometry.rootLevel, through: run.level, by: -1) {
      let address = geometry.entryAddress(table: table, index: geometry.index(of: iova, atLevel: level))
      let entry: PageTableEntry
      do throws(UnreadableMemory) {
        entry = try memory.entry(at: address, format: geometry.mode.entryFormat)
      } catch { return error.isUnrecorded && level == run.level ? nil : false }
      // A and D, which hardware may set; all flags but V when they are not known.
      let noise: UInt64 = run.permissionsAreKnown ? 0xc0 : 0xfe
      if level == run.level {
        let found = entry.rawValue & ~noise
        return found == run.leaf(position).rawValue & ~noise
          || isLater(found, than: position, of: run, geometry: geometry)
      }
      guard entry.isPointer else { return false }
      table = entry.address
    }
    return false
  }

  /// Whether `found` is a later leaf of the same call that `geometry` puts into the same entry: a call larger than what a
  /// wrong index tells apart overwrites itself.
  private func isLater(_ found: UInt64, than position: UInt64, of run: LeafRun, geometry: TableGeometry) -> Bool {
    guard run.step > 0 else { return false }
    let (later, rest) = (found &- run.first.rawValue).quotientAndRemainder(dividingBy: run.step)
    guard rest == 0, position / run.repeats < later, later <= (run.count &- 1) / run.repeats else { return false }
    return (0..<min(run.repeats, run.count - later * run.repeats)).contains { equal in
      (run.level...geometry.rootLevel).allSatisfy {
        geometry.index(of: run.iova(position), atLevel: $0)
          == geometry.index(of: run.iova(later * run.repeats + equal), atLevel: $0)
      }
    }
  }

  /// Up to `limit` positions of 0..<count, evenly spread, the first and the last among them.
  static func sample(_ count: UInt64, limit: UInt64) -> [UInt64] {
    guard count > limit, limit > 1 else { return Array(0..<count) }
    return (0..<limit).map { position in
      let (high, low) = position.multipliedFullWidth(by: count - 1)
      return (limit - 1).dividingFullWidth((high, low)).quotient
    }
  }
}
