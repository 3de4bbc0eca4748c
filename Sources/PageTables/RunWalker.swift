/// What the specification's walk says of consecutive 4 KiB pages.
public struct WalkRun: Hashable, Sendable {
  /// The first page's IOVA.
  public let iova: IOVA
  /// How many pages, at least 1.
  public let pages: UInt64
  /// How the walk of the first page ends. Those of the others end in the same way; the address of a mapped one is as much
  /// further on as its IOVA.
  public let outcome: Walk.Outcome

  /// The run without its first `count` pages, and at most `limit` of the rest.
  fileprivate func part(from count: UInt64, limit: UInt64) -> WalkRun {
    var outcome = outcome
    if case .mapped(let address, let size, let flags) = outcome {
      outcome = .mapped(address + count << 12, size: size, flags: flags)
    }
    return WalkRun(iova: iova + count << 12, pages: min(pages - count, limit), outcome: outcome)
  }
}

/// Walks one table for many IOVAs, best in ascending order: a leaf table is found once, and pages whose walks end alike are
/// told together. Every page is told what ``TableGeometry/walk(_:root:in:)`` with the mode's own geometry says of it.
///
/// The tables must not change meanwhile.
public final class RunWalker {
  private let mode: PagingMode
  private let geometry: TableGeometry
  private let root: GPA
  private let memory: any PhysicalMemory

  /// The leaf table found last, and the IOVAs that it translates, by what they have in common.
  private var leafTable: (prefix: UInt64, table: GPA, bytes: UnsafeRawPointer?)?
  private var last: WalkRun?

  /// A walker of the tables of `mode` below `root`.
  public init(mode: PagingMode, root: GPA, in memory: any PhysicalMemory) {
    self.mode = mode
    self.root = root
    self.memory = memory
    geometry = mode.geometry
  }

  /// What the walks of the page at `iova` and of those behind it say, as far as they say the same and at most for `limit`
  /// pages. A run ends where a leaf table ends, even if the next one goes on in the same way.
  public func run(at iova: IOVA, limit: UInt64) -> WalkRun {
    let limit = max(1, min(limit, (UInt64.max &- iova.rawValue) >> 12 + 1))
    if let last, iova.pageOffset == last.iova.pageOffset, iova >= last.iova, (iova - last.iova) >> 12 < last.pages {
      return last.part(from: (iova - last.iova) >> 12, limit: limit)
    }
    let (outcome, pages) = find(iova, limit: limit)
    let found = WalkRun(iova: iova, pages: min(pages, limit), outcome: outcome)
    last = found
    return found
  }

  private func find(_ iova: IOVA, limit: UInt64) -> (Walk.Outcome, pages: UInt64) {
    guard geometry.isCanonical(iova) else { return (.notCanonical, pagesToCanonical(iova)) }
    let leafTableShift = UInt64(mode.shift(atLevel: 1))
    if let leafTable, leafTable.prefix == iova.rawValue >> leafTableShift {
      return leaves(iova, table: leafTable.table, bytes: leafTable.bytes, limit: limit)
    }
    var table = root
    for level in stride(from: geometry.rootLevel, to: 0, by: -1) {
      // All addresses that this entry translates read the same entries up to here.
      let size: UInt64 = 1 << UInt64(mode.shift(atLevel: level))
      let pages = (size - iova.rawValue & (size - 1) + 0xfff) >> 12
      let address = geometry.entryAddress(table: table, index: geometry.index(of: iova, atLevel: level))
      let entry: PageTableEntry
      do throws(UnreadableMemory) {
        entry = try memory.entry(at: address, format: mode.entryFormat)
      } catch { return (.unreadable(error), pages) }
      if let outcome = Walk.Outcome(entry, of: iova, atLevel: level) { return (outcome, pages) }
      table = entry.address
    }
    let bytes = memory.residentPage(table)
    leafTable = (iova.rawValue >> leafTableShift, table, bytes)
    return leaves(iova, table: table, bytes: bytes, limit: limit)
  }

  /// The pages from `iova` on in their leaf table.
  private func leaves(
    _ iova: IOVA, table: GPA, bytes: UnsafeRawPointer?, limit: UInt64
  ) -> (Walk.Outcome, pages: UInt64) {
    let index = geometry.index(of: iova, atLevel: 0)
    guard let bytes else {
      do throws(UnreadableMemory) {
        let entry = try memory.entry(at: geometry.entryAddress(table: table, index: index), format: mode.entryFormat)
        return (Walk.Outcome(entry, of: iova, atLevel: 0) ?? .malformed(level: 0, .pointerAtLevelZero), 1)
      } catch { return (.unreadable(error), 1) }
    }
    let end = index + Int(truncatingIfNeeded: min(limit, UInt64(geometry.entries(atLevel: 0) - index)))
    return switch mode.entryFormat {
    case .rv64: leaves(iova, bytes, index, end, as: UInt64.self)
    case .sv32: leaves(iova, bytes, index, end, as: UInt32.self)
    }
  }

  private func leaves<Word: EntryWord>(
    _ iova: IOVA, _ bytes: UnsafeRawPointer, _ index: Int, _ end: Int, as type: Word.Type
  ) -> (Walk.Outcome, pages: UInt64) {
    let entry = PageTableEntry(rawValue: loadEntry(bytes, index, as: type), format: mode.entryFormat)
    let outcome = Walk.Outcome(entry, of: iova, atLevel: 0) ?? .malformed(level: 0, .pointerAtLevelZero)
    var next = index + 1
    switch outcome {
    case .mapped:
      // The bits beside the page number say the same of each; a page number must not carry into them.
      let group = entry.isContiguous ? (index | 0xf) + 1 : .max
      let pageNumbers: UInt64 = mode.entryFormat == .sv32 ? 1 << 22 : 1 << 44
      let step: UInt64 = entry.isContiguous ? 0 : 0x400
      let bound = min(end, group, index + Int(truncatingIfNeeded: min(pageNumbers - entry.ppn, 1024)))
      next = firstMismatch(bytes, from: next, to: bound, expected: entry.rawValue &+ step, step: step, as: type)
    case .notMapped:
      while next < end {
        next = firstMismatch(bytes, from: next, to: end, expected: 0, step: 0, as: type)
        guard next < end, loadEntry(bytes, next, as: type) & 1 == 0 else { break }
        next += 1
      }
    case .malformed, .unreadable, .notCanonical: break
    }
    return (outcome, UInt64(next - index))
  }

  /// How many pages from `iova`, which is not canonical, are not either.
  private func pagesToCanonical(_ iova: IOVA) -> UInt64 {
    // Above a second stage's or Sv32's input nothing is; in a sign-extended mode the upper half begins again.
    let isSigned = !mode.isSecondStage && mode != .sv32
    let next: UInt64 = isSigned ? ~(UInt64.max >> UInt64(65 - mode.inputBits)) : 0
    return (next &- iova.rawValue &+ 0xfff) >> 12
  }
}
