import IOMMUModel
import PageTables

/// The device's walks for the pages of one requester.
///
/// All addresses that one entry translates lead the device to that entry, so when a walk ends at it they end alike. A walk
/// that comes to a leaf table is remembered up to there: its neighbours differ in the leaf table's entry only.
final class XuanTieTranslator: DeviceTranslator {
  /// A walk up to the leaf table.
  private struct Prefix {
    /// What the addresses have in common, without the bits that the leaf table translates.
    let bits: UInt64
    let table: GPA
    let bytes: UnsafeRawPointer?
    /// A leaf above the leaf table, which Q3 walks past: it counts unless the leaf table has one.
    let leaf: (entry: PageTableEntry, level: Int)?
  }

  private let start: XuanTieDevice.Start
  private let access: Access
  private let memory: any PhysicalMemory
  private var prefix: Prefix?

  init(_ start: XuanTieDevice.Start, access: Access, memory: any PhysicalMemory) {
    self.start = start
    self.access = access
    self.memory = memory
  }

  func run(at iova: IOVA, limit: UInt64) -> DeviceRun {
    let limit = max(1, min(limit, (UInt64.max &- iova.rawValue) >> 12 + 1))
    switch start {
    case .ended(let result, _): return DeviceRun(pages: limit, result: result, last: nil)
    case .stage(let stage, let latched):
      let mode = PagingMode(firstStageCode: UInt8(stage >> 60))
      if let mode, let found = leaves(iova, mode, limit) { return found }
      let walk = XuanTieDevice.stageOne(stage, iova: iova, access: access, latched: latched, memory: memory)
      guard let mode else {
        // Bare mode refuses address 0 alone.
        return DeviceRun(pages: iova.rawValue == 0 ? 1 : limit, result: walk.result, last: nil)
      }
      remember(walk, iova, mode)
      // The entry that a walk ended at, or that it could not read.
      let end = walk.steps.last.map { walk.failure == nil ? $0.level : $0.level - 1 } ?? mode.levels - 1
      let size: UInt64 = 1 << UInt64(mode.shift(atLevel: max(end, 0)))
      let pages = (size - iova.rawValue & (size - 1) + 0xfff) >> 12
      return DeviceRun(pages: min(pages, limit), result: walk.result, last: walk.steps.last)
    }
  }

  private func remember(_ walk: StageOneWalk, _ iova: IOVA, _ mode: PagingMode) {
    prefix = nil
    // Sv32 is read in eight bytes at a stride of four.
    guard walk.failure == nil, let last = walk.steps.last, last.level == 0, mode.entryFormat == .rv64 else { return }
    prefix = Prefix(
      bits: iova.rawValue >> UInt64(mode.shift(atLevel: 1)), table: last.table,
      bytes: last.table.pageOffset == 0 ? memory.residentPage(last.table) : nil,
      leaf: walk.steps.last { $0.level > 0 && $0.entry.isLeaf }.map { ($0.entry, $0.level) })
  }

  /// The pages from `iova` on in the leaf table of the last walk; nil when that is not theirs or not at hand.
  private func leaves(_ iova: IOVA, _ mode: PagingMode, _ limit: UInt64) -> DeviceRun? {
    guard let prefix, prefix.bits == iova.rawValue >> UInt64(mode.shift(atLevel: 1)), let bytes = prefix.bytes else {
      return nil
    }
    let index = Int(iova.rawValue >> 12 & 0x1ff)
    func entry(_ index: Int) -> PageTableEntry {
      PageTableEntry(
        rawValue: UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self)))
    }
    let first = entry(index)
    let end = index + Int(min(limit, UInt64(512 - index)))
    var next = index + 1
    let result: DeviceTranslation.Result
    if let cause = StageOneWalk.fault(first, access: access, lowBits: 0) {
      result = earlier(prefix, iova, mode) ?? .refused(cause)
      if !first.isValid { while next < end, !entry(next).isValid { next += 1 } }
    } else if first.isPointer {
      result = earlier(prefix, iova, mode) ?? .refused(nil)
    } else {
      result = .translated(first.address + UInt64(iova.pageOffset))
      // Consecutive pages with the same bits beside the page number, which must not carry into them.
      let bound = min(end, index + Int(min((1 << 44) - first.ppn, 512)))
      var expected = first.rawValue &+ 0x400
      while next < bound, entry(next).rawValue == expected {
        next += 1
        expected &+= 0x400
      }
    }
    let step = Walk.Step(
      level: 0, table: prefix.table, index: index, entryAddress: prefix.table + UInt64(index) * 8, entry: first)
    return DeviceRun(pages: UInt64(next - index), result: result, last: step)
  }

  /// Where a leaf above the leaf table leads; nil without one.
  private func earlier(_ prefix: Prefix, _ iova: IOVA, _ mode: PagingMode) -> DeviceTranslation.Result? {
    prefix.leaf.map { leaf, level in
      .translated(GPA(leaf.address.rawValue | iova.rawValue & ((1 << UInt64(mode.shift(atLevel: level))) - 1)))
    }
  }
}
