public import IOMMUModel
public import PageTables

/// What the device was seen to translate, against what the recorded calls map.
public struct TranslationCheck: Sendable {
  /// What a run of translations came to.
  public enum Verdict: Hashable, Sendable {
    /// It leads where a call maps it.
    case agrees
    /// It works, by the steps in which the device was asked; where it leads was not seen.
    case works
    /// It was refused although a call maps it.
    case refusedThoughMapped
    /// It was refused with a cause latched that an earlier access left.
    case sticky(FaultCause)
    /// It leads elsewhere.
    case wrongAddress(GPA)
    /// It passed through unchanged.
    case bypassed
    /// It was translated although the unmap call with this number took it back, and nobody has mapped it since.
    case afterUnmap(Int)
    /// No recorded call maps it.
    case nobodyMapped(isRefused: Bool)
    /// The answer was not seen, and the steps do not tell it.
    case unanswered

    /// In words, without what differs from run to run.
    public var name: String {
      switch self {
      case .wrongAddress: "wrong address"
      case .afterUnmap: "translated after an unmap"
      default: description
      }
    }

    /// In words.
    public var description: String {
      switch self {
      case .agrees: "agrees"
      case .works: "works, by its steps"
      case .refusedThoughMapped: "refused though mapped"
      case .sticky(let cause): "refused with cause \(cause) latched before"
      case .wrongAddress(let found): "wrong address: leads to \(found)"
      case .bypassed: "bypassed: answered with its own address"
      case .afterUnmap(let number): "translated after unmap #\(number)"
      case .nobodyMapped(true): "refused, and no recorded call maps it"
      case .nobodyMapped(false): "translated, and no recorded call maps it"
      case .unanswered: "answer not seen"
      }
    }

    /// Whether the access succeeded as it should.
    fileprivate var isGood: Bool { self == .agrees || self == .works }

    /// Worst first.
    var severity: Int {
      switch self {
      case .wrongAddress: 0
      case .afterUnmap: 1
      case .bypassed: 2
      case .refusedThoughMapped: 3
      case .sticky: 4
      case .nobodyMapped: 5
      case .unanswered: 6
      case .works: 7
      case .agrees: 8
      }
    }
  }

  /// A run with its verdict.
  public struct Line: Hashable, Sendable {
    /// The translations.
    public let translation: RecordedTranslation
    /// What they came to.
    public let verdict: Verdict
    /// The call that maps the address at which the verdict was reached, or that took it back; nil when none does.
    public let call: RecordedCall?
    /// Where that call maps it.
    public let expected: GPA?
    /// Whether the answer was not seen, and follows from the steps in which the device was asked.
    public let isByPattern: Bool

    /// Of this verdict and that under a later state, the one that speaks for the tables; else the later of those under which
    /// the address was mapped. Only what was unmapped all the time was reached after an unmap.
    fileprivate func orRather(_ later: Line) -> Line {
      if verdict.isGood { return self }
      return later.verdict.isGood || later.call?.call.isMap == true ? later : self
    }
  }

  /// The runs, worst first, then in the order in which they were seen.
  public let lines: [Line]

  /// QEMU accesses unassigned memory, where a refused access goes, in pieces of this many bytes (`io_mem_unassigned`).
  static let unassignedStep: UInt64 = 4

  /// Compares `translations` with `calls`, both in the order in which they were recorded.
  ///
  /// A run is stored when the next one begins: it lies between the run before it and itself, and a mapping that was in force
  /// at any time in between counts. When a call from a text was made is not known beside the translations, so that it
  /// counts whatever unmaps it.
  public init(_ translations: [RecordedTranslation], calls: [RecordedCall], device: any DeviceModel) {
    var mappings = Mappings()
    var unmapped = Mappings()
    for call in calls where call.origin != nil && call.call.isMap { mappings.add(call) }
    var live = calls.filter { $0.origin == nil && $0.id != nil }[...]
    var found: [Line] = []
    for translation in translations {
      var line = Self.judge(translation, mappings, unmapped, device)
      while let call = live.first, let made = call.id, translation.id.map({ made < $0 }) ?? true {
        if call.call.isMap {
          mappings.add(call)
          unmapped.remove(call)
        } else {
          mappings.remove(call)
          unmapped.add(call)
        }
        live = live.dropFirst()
        if call.call.iova <= translation.last, call.call.last >= translation.iova {
          line = line.orRather(Self.judge(translation, mappings, unmapped, device))
        }
      }
      found.append(line)
    }
    lines = found.enumerated().sorted { ($0.1.verdict.severity, $0.0) < ($1.1.verdict.severity, $1.0) }.map(\.1)
  }

  private init(lines: [Line]) { self.lines = lines }

  /// Only the runs that touch `iovas`.
  public func restricted(to iovas: ClosedRange<IOVA>) -> TranslationCheck {
    TranslationCheck(
      lines: lines.filter { $0.translation.iova <= iovas.upperBound && $0.translation.last >= iovas.lowerBound })
  }

  /// The lines on which something is wrong.
  public var disagreements: [Line] {
    lines.filter {
      switch $0.verdict {
      case .agrees, .works, .unanswered, .nobodyMapped: false
      case .refusedThoughMapped, .sticky, .wrongAddress, .bypassed, .afterUnmap: true
      }
    }
  }

  private static func judge(
    _ translation: RecordedTranslation, _ mappings: Mappings, _ unmapped: Mappings, _ device: any DeviceModel
  ) -> Line {
    let ends = translation.count == 1 ? [translation.iova] : [translation.iova, translation.last]
    let judged = ends.map { judge(translation, at: $0, mappings, unmapped, device) }
    return judged.min { $0.verdict.severity < $1.verdict.severity } ?? judged[0]
  }

  private static func judge(
    _ translation: RecordedTranslation, at iova: IOVA, _ mappings: Mappings, _ unmapped: Mappings,
    _ device: any DeviceModel
  ) -> Line {
    let target = translation.answer.map { $0.address + (iova - translation.iova) }
    let candidates = mappings.calls(covering: iova, requester: translation.requester)
    let call = candidates.first { $0.target(of: iova) == target } ?? candidates.first
    let expected = call?.target(of: iova)
    func line(_ verdict: Verdict, isByPattern: Bool = false) -> Line {
      Line(translation: translation, verdict: verdict, call: call, expected: expected, isByPattern: isByPattern)
    }
    func refused(isByPattern: Bool) -> Line {
      if let latched = device.latchedFault(translation.before) {
        return line(.sticky(latched.cause), isByPattern: isByPattern)
      }
      return line(call == nil ? .nobodyMapped(isRefused: true) : .refusedThoughMapped, isByPattern: isByPattern)
    }
    func translatedUnmapped(isByPattern: Bool = false) -> Line {
      guard let taken = unmapped.calls(covering: iova, requester: translation.requester).first else {
        return line(.nobodyMapped(isRefused: false), isByPattern: isByPattern)
      }
      return Line(
        translation: translation, verdict: .afterUnmap(taken.number), call: taken, expected: nil,
        isByPattern: isByPattern)
    }
    guard let answer = translation.answer, let target else {
      guard let span = device.translationSpan, translation.count > 1 else { return line(.unanswered) }
      if translation.stride == span {
        return call == nil ? translatedUnmapped(isByPattern: true) : line(.works, isByPattern: true)
      }
      return translation.stride == unassignedStep ? refused(isByPattern: true) : line(.unanswered)
    }
    let wanted = translation.access ?? answer.access
    if answer.access == .none || wanted.reads && !answer.access.reads || wanted.writes && !answer.access.writes {
      return refused(isByPattern: false)
    }
    if target == expected { return line(.agrees) }
    if target.rawValue == iova.rawValue { return line(.bypassed) }
    return call == nil ? translatedUnmapped() : line(.wrongAddress(target))
  }
}

extension RecordedCall {
  /// Where the call maps `iova`; nil when it is no map call.
  fileprivate func target(of iova: IOVA) -> GPA? { call.target.map { $0 + (iova - call.iova) } }
}

/// Which call was the last to map an IOVA, or to unmap it, by requester and table.
private struct Mappings {
  private struct Owner: Hashable {
    let requester: RequesterID?
    let domain: KVA
  }

  /// Sorted, apart from each other.
  private struct Range {
    var first: IOVA, last: IOVA
    let call: RecordedCall
  }

  private var ranges: [Owner: [Range]] = [:]

  /// Gives the range of `call` to it.
  mutating func add(_ call: RecordedCall) {
    guard call.call.length > 0, call.call.last >= call.call.iova else { return }
    remove(call)
    let range = Range(first: call.call.iova, last: call.call.last, call: call)
    let owner = Owner(requester: call.requester, domain: call.call.domain)
    let position = Self.position(of: range.first, in: ranges[owner] ?? [])
    ranges[owner, default: []].insert(range, at: position)
  }

  /// Takes the range of `call` out.
  mutating func remove(_ call: RecordedCall) {
    let owner = Owner(requester: call.requester, domain: call.call.domain)
    let (first, last) = (call.call.iova, call.call.last)
    guard call.call.length > 0, last >= first, let known = ranges[owner] else { return }
    let start = Self.position(of: first, in: known)
    var stop = start
    var kept: [Range] = []
    while stop < known.count, known[stop].first <= last {
      let range = known[stop]
      if range.first < first {
        kept.append(Range(first: range.first, last: IOVA(first.rawValue &- 1), call: range.call))
      }
      if range.last > last { kept.append(Range(first: IOVA(last.rawValue &+ 1), last: range.last, call: range.call)) }
      stop += 1
    }
    ranges[owner]?.replaceSubrange(start..<stop, with: kept)
  }

  /// The first range that does not end before `iova`.
  private static func position(of iova: IOVA, in ranges: [Range]) -> Int {
    var low = 0
    var high = ranges.count
    while low < high {
      let middle = (low + high) / 2
      if ranges[middle].last < iova { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// The calls whose range has `iova`, that of the requester before those of whom nothing is known.
  func calls(covering iova: IOVA, requester: RequesterID?) -> [RecordedCall] {
    var found: [RecordedCall] = []
    for (owner, known) in ranges {
      if let requester, let mine = owner.requester, requester != mine { continue }
      let position = Self.position(of: iova, in: known)
      if known.indices.contains(position), known[position].first <= iova { found.append(known[position].call) }
    }
    return found.sorted {
      ($0.requester == nil ? 1 : 0, $0.call.domain, $0.number) < (
        $1.requester == nil ? 1 : 0, $1.call.domain, $1.number
      )
    }
  }
}
