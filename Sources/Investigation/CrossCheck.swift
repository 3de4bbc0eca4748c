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

  /// Pages that could not be compared, because of the tables' entries for them nothing was written down.
  public let unrecordedPages: Int

  /// Map calls for more than their table can translate, which were not compared.
  public let leftOut: Int

  /// Whether the comparison was stopped before its end; the other pages were not looked at.
  public let isPartial: Bool

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
  /// `verifications` tell what an unmap left from what came to its place later. `progress` may stop it: then it is of the
  /// pages that were compared up to then.
  public init(
    _ calls: [RecordedCall], replay: Replay, profile: any DriverProfile, registers: RegisterValues?,
    memory: any PhysicalMemory, verifications: Verifications? = nil, range: ClosedRange<IOVA>? = nil,
    progress: WorkProgress? = nil
  ) {
    var comparison = Comparison(
      calls, replay, profile.device, registers, ResidentPages(of: memory), verifications, progress)
    let range = range ?? IOVA(0)...IOVA(.max)
    var mappedPages: UInt64 = 0
    var unmappedPages: UInt64 = 0
    replay.forEachRange(in: range) { key, pages, state in
      guard let page = state.page else { return }
      mappedPages &+= comparison.compare(mapped: key, pages, page)
    }
    replay.forEachRange(in: range) { key, pages, state in
      guard !state.isLive else { return }
      unmappedPages &+= comparison.compare(unmapped: key, pages, by: state.call)
    }
    leftOut = replay.leftOut.count
    isPartial = progress?.isStopped ?? false
    let unrecorded = comparison.unrecorded
    self.mappedPages = Int(truncatingIfNeeded: mappedPages - min(unrecorded.mapped, mappedPages))
    self.unmappedPages = Int(truncatingIfNeeded: unmappedPages - min(unrecorded.unmapped, unmappedPages))
    unrecordedPages = Int(truncatingIfNeeded: unrecorded.mapped &+ unrecorded.unmapped)
    lines = comparison.sorted()
  }
}
