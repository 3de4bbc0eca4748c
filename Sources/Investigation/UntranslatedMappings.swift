public import IOMMUModel
public import PageTables

/// What was mapped while translations were recorded, and the device did not ask for.
///
/// That says nothing by itself: of a guest's memory a device touches little. It is a lead where the device should have asked:
/// for a ring of descriptors whose address it was told.
///
/// A call counts for the time from the event that maps to the one that unmaps. When a call of a text was made is not known
/// beside the translations. A translation counts for the requester's own mappings, for those of domains whose requester is not
/// known, and for all where its own requester is not known or has no mappings of its own: then it may share a domain that is
/// told by another requester.
public struct UntranslatedMappings: Sendable {
  /// A map call nothing of which was asked for.
  public struct Line: Hashable, Sendable {
    /// The map call's number.
    public let number: Int
    /// Its range.
    public let iova: IOVA, length: UInt64
    /// Whose it is; nil when it is not known.
    public let requester: RequesterID?
  }

  /// What was mapped for one requester, as far as it was watched.
  public struct Tally: Hashable, Sendable {
    /// Whose; nil for domains whose requester is not known.
    public let requester: RequesterID?
    /// Map calls, and how many of them nothing was asked for of.
    public fileprivate(set) var ranges = 0, untranslatedRanges = 0
    /// Pages of 4 KiB, once for every call that mapped them, and how many of them were not asked for.
    public fileprivate(set) var pages: UInt64 = 0, untranslatedPages: UInt64 = 0
  }

  /// By requester, those without one last.
  public let tallies: [Tally]
  /// By requester and IOVA.
  public let lines: [Line]
  /// Map calls that were not in force while they were watched.
  public let unwatched: Int
  /// Map calls of texts.
  public let untimed: Int

  /// Compares `calls` with `translations`, both in the order in which they were recorded, as far as pages lie in `iovas`; nil
  /// when none was recorded since the first of `watches`.
  public init?(
    _ translations: [RecordedTranslation], calls: [RecordedCall], watches: [TranslationWatch],
    iovas: ClosedRange<IOVA>? = nil
  ) {
    guard let start = watches.map(\.first).min(), translations.contains(where: { $0.id.map { $0 >= start } ?? false })
    else { return nil }
    let iovas = iovas ?? IOVA(0)...IOVA(.max)
    var lives = MappingLives(calls, watches: watches, iovas: iovas)
    for translation in translations { lives.take(translation) }
    lives.end()
    var tallies: [RequesterID?: Tally] = [:]
    var lines: [Line] = []
    var (unwatched, untimed) = (0, 0)
    for (position, recorded) in calls.enumerated() {
      guard let pages = recorded.call.mappedPages, pages.overlaps(iovas.pages) else { continue }
      guard recorded.origin == nil, recorded.id != nil else {
        untimed += 1
        continue
      }
      let (watched, untranslated) = (lives.watched[position], lives.untranslated[position])
      guard watched > 0 else {
        unwatched += 1
        continue
      }
      let requester = recorded.requester
      var tally = tallies[requester] ?? Tally(requester: requester)
      tally.ranges += 1
      tally.pages &+= watched
      tally.untranslatedPages &+= untranslated
      if watched == untranslated {
        tally.untranslatedRanges += 1
        lines.append(
          Line(number: recorded.number, iova: recorded.call.iova, length: recorded.call.length, requester: requester))
      }
      tallies[requester] = tally
    }
    func order(_ requester: RequesterID?) -> UInt64 { requester.map { UInt64($0.rawValue) } ?? .max }
    self.tallies = tallies.values.sorted { order($0.requester) < order($1.requester) }
    lines.sort { (order($0.requester), $0.iova, $0.number) < (order($1.requester), $1.iova, $1.number) }
    self.lines = lines
    (self.unwatched, self.untimed) = (unwatched, untimed)
  }
}

/// Mappings from their map to their unmap, and what of them is still to be asked for.
private struct MappingLives {
  private struct Owner: Hashable {
    let requester: RequesterID?
    let domain: KVA
  }

  private struct Domain {
    let requester: RequesterID?
    var mapped = ExtentMap<ListPosition>()
    var untranslated = ExtentMap<ListPosition>()
  }

  /// Pages that were unmapped and not asked for before.
  private struct Ended {
    let domain: Int
    let pages: Range<UInt64>
    let call: Int
    let end: Int64
  }

  /// Pages by the position of the call that mapped them: those that were watched, and of these those not asked for.
  private(set) var watched: [UInt64], untranslated: [UInt64]

  private let calls: [RecordedCall]
  private let watches: [TranslationWatch]
  private let limits: Range<UInt64>
  /// The next call.
  private var next = 0
  private var positions: [Owner: Int] = [:]
  private var domains: [Domain] = []
  private let requesters: Set<RequesterID>
  /// A run is stored when the next one begins, so that it was made after the run before was stored: what it asked for may
  /// have been unmapped since.
  private var ended: [Ended] = []

  init(_ calls: [RecordedCall], watches: [TranslationWatch], iovas: ClosedRange<IOVA>) {
    (self.calls, self.watches, limits) = (calls, watches, iovas.pages)
    watched = [UInt64](repeating: 0, count: calls.count)
    untranslated = watched
    requesters = calls.reduce(into: []) { known, call in
      if let requester = call.requester, call.call.isMap { known.insert(requester) }
    }
  }

  /// Takes in a translation, and the calls before it.
  mutating func take(_ translation: RecordedTranslation) {
    carryOut(before: translation.id)
    let pages = translation.pages
    for position in domains.indices where concerns(translation, domains[position]) {
      domains[position].untranslated.set(pages.lowerBound, count: UInt64(pages.count), to: nil)
    }
    for life in ended {
      guard concerns(translation, domains[life.domain]), life.pages.overlaps(pages) else {
        leave(life.pages, of: life.call, to: life.end)
        continue
      }
      let asked = life.pages.clamped(to: pages)
      leave(life.pages.lowerBound..<asked.lowerBound, of: life.call, to: life.end)
      leave(asked.upperBound..<life.pages.upperBound, of: life.call, to: life.end)
    }
    ended.removeAll(keepingCapacity: true)
  }

  /// Takes in the calls after the last translation; what is mapped then stays so.
  mutating func end() {
    carryOut(before: nil)
    for life in ended { leave(life.pages, of: life.call, to: life.end) }
    ended = []
    for domain in domains {
      domain.mapped.forEach { watch($0.start..<$0.end, of: $0.value.index, to: .max) }
      domain.untranslated.forEach { leave($0.start..<$0.end, of: $0.value.index, to: .max) }
    }
    domains = []
  }

  private func concerns(_ translation: RecordedTranslation, _ domain: Domain) -> Bool {
    guard let asking = translation.requester, let owner = domain.requester else { return true }
    return asking == owner || !requesters.contains(asking)
  }

  private mutating func carryOut(before event: EventID?) {
    while next < calls.count {
      let recorded = calls[next]
      if recorded.origin == nil, let id = recorded.id {
        if let event, id >= event { return }
        carryOut(recorded, at: next, id.rawValue)
      }
      next += 1
    }
  }

  private mutating func carryOut(_ recorded: RecordedCall, at position: Int, _ event: Int64) {
    guard let pages = recorded.call.pageRange else { return }
    let owner = Owner(requester: recorded.requester, domain: recorded.call.domain)
    let domain = positions[owner] ?? domains.count
    if domain == domains.count {
      positions[owner] = domain
      domains.append(Domain(requester: owner.requester))
    }
    // A mapping made over another one ends it.
    domains[domain].mapped.forEach(from: pages.lowerBound, to: pages.upperBound) {
      watch($0.start..<$0.end, of: $0.value.index, to: event)
    }
    domains[domain].untranslated.forEach(from: pages.lowerBound, to: pages.upperBound) {
      ended.append(Ended(domain: domain, pages: $0.start..<$0.end, call: $0.value.index, end: event))
    }
    let mapper = recorded.call.isMap ? ListPosition(position) : nil
    domains[domain].mapped.set(pages.lowerBound, count: UInt64(pages.count), to: mapper)
    domains[domain].untranslated.set(pages.lowerBound, count: UInt64(pages.count), to: mapper)
  }

  private mutating func watch(_ pages: Range<UInt64>, of call: Int, to end: Int64) {
    watched[call] &+= watchedCount(pages, of: call, to: end)
  }

  private mutating func leave(_ pages: Range<UInt64>, of call: Int, to end: Int64) {
    untranslated[call] &+= watchedCount(pages, of: call, to: end)
  }

  /// How many of `pages`, which `call` mapped and the event `end` unmapped, were mapped while they were watched.
  private func watchedCount(_ pages: Range<UInt64>, of call: Int, to end: Int64) -> UInt64 {
    let pages = pages.clamped(to: limits)
    guard !pages.isEmpty, let start = calls[call].id?.rawValue else { return 0 }
    let requester = calls[call].requester
    var parts: [Range<UInt64>] = []
    for watch in watches where start <= watch.last.rawValue && end > watch.first.rawValue {
      // Of a domain whose requester is not known, a recording of one requester does not tell.
      for scope in watch.scopes where scope.requester == nil || scope.requester == requester {
        guard let iovas = scope.iovas else { return UInt64(pages.count) }
        let part = pages.clamped(to: iovas.wholePages)
        if !part.isEmpty { parts.append(part) }
      }
    }
    var (count, done) = (UInt64(0), UInt64(0))
    for part in parts.sorted(by: { $0.lowerBound < $1.lowerBound }) where part.upperBound > done {
      count += part.upperBound - max(part.lowerBound, done)
      done = part.upperBound
    }
    return count
  }
}

extension DriverCall {
  /// The pages of 4 KiB in the range; nil for an empty range, and for one that wraps around.
  fileprivate var pageRange: Range<UInt64>? {
    length > 0 && last >= iova ? (iova...last).pages : nil
  }

  /// The pages that a map call maps.
  fileprivate var mappedPages: Range<UInt64>? { isMap ? pageRange : nil }
}

extension RecordedTranslation {
  /// The pages that were asked for, and those that an answer covers besides: the device need not ask for them again. What
  /// passes unchanged is no answer from a mapping.
  fileprivate var pages: Range<UInt64> {
    var (first, last) = (iova, max(iova, last))
    if let answer, answer.access != .none, answer.address.rawValue != iova.rawValue {
      first = IOVA(first.rawValue & ~answer.mask)
      last = IOVA(last.rawValue | answer.mask)
    }
    return (first...last).pages
  }
}

extension ClosedRange<IOVA> {
  /// The pages of 4 KiB of which a byte is in the range.
  fileprivate var pages: Range<UInt64> { lowerBound.rawValue >> 12..<upperBound.rawValue >> 12 + 1 }

  /// The pages of 4 KiB that are in the range as a whole.
  fileprivate var wholePages: Range<UInt64> {
    let first = (lowerBound.rawValue >> 12) + (lowerBound.rawValue & 0xfff == 0 ? 0 : 1)
    let end = (upperBound.rawValue >> 12) + (upperBound.rawValue & 0xfff == 0xfff ? 1 : 0)
    return first..<Swift.max(first, end)
  }
}
