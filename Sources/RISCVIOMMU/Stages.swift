import IOMMUModel
import PageTables

/// What the contexts say of an access before its address matters.
struct Stages {
  /// The first stage; nil for Bare.
  let first: StageWalker?
  /// The second stage; nil for Bare.
  let second: StageWalker?
  /// The MSI page table; nil for Off.
  let messages: MessageTable?
  /// Why addresses pass through where neither stage translates, as a phrase.
  let bypass: String
  /// SXL: guests' addresses have 34 bits.
  let is32Bit: Bool
  /// What the caches know the translations by.
  let tags: CacheTags
  let memory: DeviceMemory
  let implementation: Implementation
  // Of the quirks, for speed.
  private let demandsMore, redirectsWritesOnly, allowsLongGuests: Bool

  /// An identity.
  init(bypass: String, memory: DeviceMemory, implementation: Implementation) {
    self.init(
      first: nil, second: nil, messages: nil, bypass: bypass, is32Bit: false,
      tags: CacheTags(addressSpace: nil, guest: nil), memory: memory, implementation: implementation)
  }

  init(
    first: StageWalker?, second: StageWalker?, messages: MessageTable?, bypass: String, is32Bit: Bool, tags: CacheTags,
    memory: DeviceMemory, implementation: Implementation
  ) {
    (self.first, self.second, self.messages) = (first, second, messages)
    (self.bypass, self.is32Bit, self.tags) = (bypass, is32Bit, tags)
    (self.memory, self.implementation) = (memory, implementation)
    demandsMore = implementation.has(.demandsMoreOfSecondStage)
    redirectsWritesOnly = implementation.has(.redirectsWritesOnly)
    allowsLongGuests = implementation.has(.blamesSecondStage)
  }

  /// What the second stage and the MSI page table have to allow after a leaf of the first stage.
  private func need(after flags: PageTableEntry.Flags?, _ need: Need) -> Need {
    guard let flags, demandsMore else { return need }
    guard flags.contains(.write) else { return .read }
    return flags.contains(.read) ? [.read, .write] : .write
  }

  /// The MSI page table, when an access to the guest's address goes there.
  private func messages(at guest: UInt64, _ need: Need) -> MessageTable? {
    guard let messages, messages.matches(guest) else { return nil }
    return redirectsWritesOnly && !need.contains(.write) ? nil : messages
  }

  private func isBeyond34Bits(_ guest: UInt64) -> Bool {
    is32Bit && guest >> 34 != 0 && !allowsLongGuests
  }

  /// Where `iova` goes.
  func translate(_ iova: IOVA, need: Need, trace: inout Trace) -> DeviceTranslation.Result {
    do throws(Stop) {
      let leaf = try first?.walk(iova.rawValue, need: need, original: need, trace: &trace)
      let guest = leaf?.target ?? iova.rawValue
      let later = self.need(after: leaf?.flags, need)
      if let table = messages(at: guest, later) {
        return .translated(
          try table.translate(guest, need: later, memory: memory, implementation: implementation, trace: &trace))
      }
      if let messages, messages.matches(guest) { trace.note("a read of an interrupt file is not redirected") }
      guard let second else { return first == nil ? .bypassed(bypass) : .translated(GPA(guest)) }
      if later != need { trace.note("the second stage must allow all that the first-stage leaf allows") }
      if isBeyond34Bits(guest) { throw Stop.fault(RISCVIOMMUFault.cause(.guestPage, later), nil) }
      return .translated(GPA(try second.walk(guest, need: later, original: later, trace: &trace).target))
    } catch { return error.result }
  }

  /// The page at `iova` and those behind it, as far as they end alike.
  func run(at iova: IOVA, need: Need, limit: UInt64) -> DeviceRun {
    var pages = max(1, min(limit, (UInt64.max &- iova.rawValue) >> 12 + 1))
    var (guest, later, last) = (iova.rawValue, need, Walk.Step?.none)
    if let first {
      let run = first.run(at: iova.rawValue, need: need, limit: pages)
      (pages, last) = (run.pages, run.last)
      switch run.end {
      case .failure(let stop): return DeviceRun(pages: pages, result: stop.result, last: last)
      case .success(let leaf): (guest, later) = (leaf.target, self.need(after: leaf.flags, need))
      }
      pages = min(pages, (UInt64.max &- guest) >> 12 + 1)
    }
    if let table = messages(at: guest, later) {
      var trace = Trace()
      let result: DeviceTranslation.Result
      do throws(Stop) {
        result = .translated(
          try table.translate(guest, need: later, memory: memory, implementation: implementation, trace: &trace))
      } catch { result = error.result }
      return DeviceRun(pages: 1, result: result, last: last)
    }
    if let messages { pages = min(pages, messages.pagesWithout(guest)) }
    guard let second else {
      return DeviceRun(pages: pages, result: first == nil ? .bypassed(bypass) : .translated(GPA(guest)), last: last)
    }
    if is32Bit { pages = min(pages, StageWalker.pages(from: guest, toMultipleOf: 34)) }
    if isBeyond34Bits(guest) {
      return DeviceRun(pages: pages, result: .refused(RISCVIOMMUFault.cause(.guestPage, later)), last: last)
    }
    let run = second.run(at: guest, need: later, limit: pages)
    // Where the second stage reads nothing, the first stage's entry was the last.
    let end = run.last ?? last
    switch run.end {
    case .failure(let stop): return DeviceRun(pages: run.pages, result: stop.result, last: end)
    case .success(let leaf): return DeviceRun(pages: run.pages, result: .translated(GPA(leaf.target)), last: end)
    }
  }
}

/// Many accesses of one kind of one requester, with one look-up of its contexts.
final class RISCVIOMMUTranslator: DeviceTranslator {
  private let start: Result<Stages, Stop>
  /// The last entry read before the address mattered: of the second stage, for a process directory.
  private let last: Walk.Step?
  private let need: Need

  init(_ start: Result<Stages, Stop>, last: Walk.Step?, need: Need) {
    (self.start, self.last, self.need) = (start, last, need)
  }

  func run(at iova: IOVA, limit: UInt64) -> DeviceRun {
    switch start {
    case .success(let stages):
      let run = stages.run(at: iova, need: need, limit: limit)
      return run.last == nil ? DeviceRun(pages: run.pages, result: run.result, last: last) : run
    case .failure(let stop):
      let pages = max(1, min(limit, (UInt64.max &- iova.rawValue) >> 12 + 1))
      return DeviceRun(pages: pages, result: stop.result, last: last)
    }
  }
}
