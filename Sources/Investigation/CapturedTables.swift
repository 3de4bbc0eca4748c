import GuestMemory
public import IOMMUModel
public import PageTables

/// Captured pages of tables together with what was noted beside them.
public struct CapturedTables: Sendable {
  /// The file with the pages.
  public let file: String
  /// The pages, by address.
  public let pages: [GPA: [UInt8]]
  /// What was noted; nil when nothing was.
  public let notes: TableCapture?

  /// A capture.
  public init(file: String, pages: [GPA: [UInt8]], notes: TableCapture?) {
    (self.file, self.pages, self.notes) = (file, pages, notes)
  }

  /// The pages to walk in; empty when one of them is no page.
  private var memory: any PhysicalMemory {
    if let memory = try? SnapshotMemory(pages: pages) { memory } else { NoMemory() }
  }

  /// The noted domain's table, that of `domain` where the notes name none. Its requester is told only where the captured
  /// device table leads from the one to the other: the noted one, else the first that does.
  public func domainRoot(device: (any DeviceModel)?, otherwise domain: KVA? = nil) -> DomainRoot? {
    guard let notes, let domain = notes.domain ?? domain, let root = notes.root else { return nil }
    var requester: RequesterID?
    if let device, let asked = notes.requester {
      let context = try? device.context(of: asked, registers: notes.registers, memory: memory)
      if context?.firstStage == root { requester = asked }
    } else if let device {
      let contexts = try? device.contexts(registers: notes.registers, memory: memory, limit: 256)
      requester = contexts?.first { $0.firstStage == root }?.requester
    }
    return DomainRoot(domain: domain, root: root, requester: requester)
  }

  /// Between which of the numbered calls the pages were captured.
  ///
  /// Where the calls were counted, the last one counted may have been at its entry and is left out. Where map calls are
  /// listed, the moment is after the last of them; when they are not those that were recorded, no recorded call counts.
  public func moment(in history: CallHistory) -> CaptureMoment {
    if history.numbers.isEmpty { return CaptureMoment(file: file, before: nil) }
    if let seen = notes?.callsSeen { return CaptureMoment(file: file, before: max(seen, 1) - 1) }
    guard let maps = notes?.maps, !maps.isEmpty else { return CaptureMoment(file: file, before: nil) }
    var last: UInt64 = 0
    for map in maps {
      // A list may leave out the allocation flags.
      let number = history.calls.last { Self.isSame($0.call, map) }?.id.flatMap { history.numbers[$0] }
      guard let number else { return CaptureMoment(file: file, before: 0) }
      last = max(last, number &+ 1)
    }
    return CaptureMoment(file: file, before: last)
  }

  private static func isSame(_ left: DriverCall, _ right: DriverCall) -> Bool {
    (left.domain, left.iova, left.length, left.pages, left.target, left.protection)
      == (right.domain, right.iova, right.length, right.pages, right.target, right.protection)
  }

  /// Verifies the calls before `moment` against the pages.
  public func verify(
    _ history: CallHistory, at moment: CaptureMoment, known: Set<EventID>, profile: any DriverProfile
  ) -> LaterVerification {
    LaterVerification(history, moment: moment, known: known, profile: profile, memory: memory)
  }
}

/// Memory of which nothing is known.
private struct NoMemory: PhysicalMemory {
  func read(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) throws(UnreadableMemory) {
    throw UnreadableMemory(address: address, reason: "not captured")
  }
}
