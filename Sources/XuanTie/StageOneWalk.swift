import IOMMUModel
import PageTables

/// A first-stage walk of the device: `riscv_one_stage` in `hw/riscv/xmmuv1.c`.
struct StageOneWalk {
  /// The entries read, in order.
  private(set) var steps: [Walk.Step] = []
  /// Where the address goes; nil when the walk fails.
  private(set) var target: GPA?
  /// The cause latched now.
  private(set) var latched: FaultCause?
  /// Whether QEMU ends here.
  private(set) var aborts = false
  /// The entry that could not be read.
  private(set) var failure: UnreadableMemory?
  /// See ``DeviceTranslation/deviations``.
  private(set) var deviations: [String] = []

  /// How the access ends.
  var result: DeviceTranslation.Result {
    if let failure { return .unreadable(failure) }
    if let target { return .translated(target) }
    return .refused(aborts ? nil : latched)
  }
}

extension XuanTieDevice {
  /// The walk over TD word 0 (`stage`: MODE 63:60, PPN 43:0) with `latched` set before it.
  static func stageOne(
    _ stage: UInt64, iova: IOVA, access: Access, latched: FaultCause?, memory: any PhysicalMemory
  ) -> StageOneWalk {
    var walk = StageOneWalk(latched: latched)
    if stage >> 60 == 0 {
      walk.passBare(iova)
    } else if let mode = PagingMode(firstStageCode: UInt8(stage >> 60)) {
      walk.descend(iova, root: root(stage), mode: mode, access: access, memory: memory)
    } else {
      walk.abort(mode: stage >> 60)
    }
    return walk
  }
}

extension StageOneWalk {
  init(latched: FaultCause?) { self.latched = latched }

  /// Q7.
  fileprivate mutating func passBare(_ iova: IOVA) {
    if iova.rawValue != 0 {
      target = GPA(iova.rawValue)
    } else {
      deviations.append("bare mode refuses address 0 without a cause")
    }
  }

  fileprivate mutating func abort(mode: UInt64) {
    aborts = true
    deviations.append("mode \(mode) is unknown: QEMU aborts")
  }

  fileprivate mutating func descend(
    _ iova: IOVA, root: GPA, mode: PagingMode, access: Access, memory: any PhysicalMemory
  ) {
    let geometry = mode.geometry
    var table = root
    if !geometry.isCanonical(iova) { deviations.append("address bits above \(mode.name)'s width are ignored") }
    for level in stride(from: geometry.rootLevel, through: 0, by: -1) {
      let index = geometry.index(of: iova, atLevel: level)
      let address = geometry.entryAddress(table: table, index: index)
      let entry: PageTableEntry
      do throws(UnreadableMemory) {
        // Eight bytes and a 64-bit entry even in Sv32, at Sv32's 4-byte stride.
        entry = PageTableEntry(rawValue: try memory.word(at: address))
      } catch {
        (failure, target) = (error, nil)
        return
      }
      steps.append(Walk.Step(level: level, table: table, index: index, entryAddress: address, entry: entry))
      let lowBits: UInt64 = (1 << UInt64(mode.shift(atLevel: level) - 12)) - 1
      if let cause = Self.fault(entry, access: access, lowBits: lowBits) {
        if target != nil { deviations.append("a fault is latched after the walk had found a leaf") }
        latched = cause
        return
      }
      noteUnchecked(entry, level: level, mode: mode)
      if entry.isPointer {
        table = entry.address
      } else {
        if target != nil { deviations.append("a second leaf at level \(level) replaces the first") }
        target = GPA((entry.ppn | (iova.rawValue >> 12 & lowBits)) << 12 | (iova.rawValue & 0xfff))
      }
      if latched != nil {
        // Q2, and Q4 for a leaf. A cause of this walk has returned above, so this one is older and the level the root;
        // only cause 1 can be of the same access, from the device table.
        let cause = latched == XuanTieFault.reservedTableEntry ? "cause 1" : "a cause from an earlier access"
        let used = entry.isLeaf ? ", whose leaf counts all the same" : ""
        deviations.append("\(cause) ends the walk after level \(level)\(used)")
        return
      }
      // Q3.
      if entry.isLeaf && level > 0 { deviations.append("the walk goes on after the leaf at level \(level)") }
    }
  }

  /// What the specification says about an entry that the device takes without a look.
  private mutating func noteUnchecked(_ entry: PageTableEntry, level: Int, mode: PagingMode) {
    if mode == .sv32 && entry.rawValue >> 32 != 0 {
      deviations.append("the entry at level \(level) is read together with its neighbour, as 8 bytes")
    }
    let specified = PageTableEntry(rawValue: entry.rawValue, format: mode.entryFormat)
    switch specified.problem(atLevel: level) {
    case .pointerAtLevelZero: break  // The walk fails there as well, without a cause.
    case let problem?: deviations.append("the entry at level \(level) is used although malformed: \(problem)")
    case nil where specified.isLeaf && specified.isContiguous:
      deviations.append("N in the leaf at level \(level) is ignored")
    case nil: break
    }
  }

  /// The cause that `entry` makes the device latch; nil when it goes on.
  static func fault(_ entry: PageTableEntry, access: Access, lowBits: UInt64) -> FaultCause? {
    guard entry.isValid else { return XuanTieFault.invalid }
    if entry.isPointer { return nil }
    if entry.rawValue & 0x6 == 0x4 { return XuanTieFault.reserved }
    if entry.ppn & lowBits != 0 { return XuanTieFault.misaligned }
    if access.reads && !entry.flags.contains(.read) { return XuanTieFault.notReadable }
    if access.writes && !entry.flags.contains(.write) { return XuanTieFault.notWritable }
    return nil
  }
}
