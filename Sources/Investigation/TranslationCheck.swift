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
    /// A write was refused to what a call maps for reading.
    case forbidden
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
      case .forbidden: "refused, and mapped for reading only"
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
      case .forbidden: 6
      case .unanswered: 7
      case .works: 8
      case .agrees: 9
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
  }

  /// What a run came to, without copies of the run and of the call: a million of them are in several lists.
  fileprivate struct Judgement {
    var translation: UInt32 = 0
    /// The call's position; nil for none.
    let call: Int32?
    /// Where that call maps the address; nil where it is no map call.
    let expected: GPA?
    let verdict: Verdict
    let isByPattern: Bool

    /// Of this verdict and that under a later state, the one that speaks for the tables; else the later of those under which
    /// the address was mapped. Only what was unmapped all the time was reached after an unmap.
    func orRather(_ later: Judgement) -> Judgement {
      if verdict.isGood { return self }
      return later.verdict.isGood || later.expected != nil ? later : self
    }
  }

  /// Runs with their verdicts.
  public struct Lines: RandomAccessCollection, Sendable {
    private let translations: [RecordedTranslation]
    private let calls: [RecordedCall]
    private var judged: [Judgement]

    /// None.
    init() { self.init([], [], []) }

    fileprivate init(_ judged: [Judgement], _ translations: [RecordedTranslation], _ calls: [RecordedCall]) {
      (self.judged, self.translations, self.calls) = (judged, translations, calls)
    }

    /// 0.
    public var startIndex: Int { 0 }
    /// How many runs there are.
    public var endIndex: Int { judged.count }
    /// A run with its verdict.
    public subscript(position: Int) -> Line {
      let found = judged[position]
      return Line(
        translation: translations[Int(found.translation)], verdict: found.verdict,
        call: found.call.map { calls[Int($0)] }, expected: found.expected, isByPattern: found.isByPattern)
    }

    /// What they came to.
    public var verdicts: some Collection<Verdict> { judged.lazy.map(\.verdict) }

    /// Those with a verdict for which `isIncluded` holds.
    public func filter(byVerdict isIncluded: (Verdict) -> Bool) -> Lines {
      var chosen = self
      chosen.judged = judged.filter { isIncluded($0.verdict) }
      return chosen
    }

    /// Those that touch `iovas`.
    fileprivate func filter(in iovas: ClosedRange<IOVA>) -> Lines {
      var chosen = self
      chosen.judged = judged.filter {
        let run = translations[Int($0.translation)]
        return run.iova <= iovas.upperBound && run.last >= iovas.lowerBound
      }
      return chosen
    }
  }

  /// The runs, worst first, then in the order in which they were seen.
  public let lines: Lines

  /// QEMU accesses unassigned memory, where a refused access goes, in pieces of this many bytes (`io_mem_unassigned`).
  static let unassignedStep: UInt64 = 4

  /// Compares `translations` with `calls`, both in the order in which they were recorded.
  ///
  /// A run is stored when the next one begins: it lies between the run before it and itself, and a mapping that was in force
  /// at any time in between counts. When a call from a text was made is not known beside the translations, so that it
  /// counts whatever unmaps it or maps the same addresses later; nor is it of the translations from texts, the events in
  /// `imported`, for which every call counts in that way. A refusal is right where a call has taken the address back, or maps
  /// it for less.
  public init(
    _ translations: [RecordedTranslation], calls: [RecordedCall], device: any DeviceModel,
    imported: [ClosedRange<EventID>] = []
  ) {
    var mappings = Mappings(calls)
    var unmapped = Mappings(calls)
    for (position, call) in calls.enumerated() where call.origin != nil && call.call.isMap { mappings.add(position) }
    let untimed = Distances(calls) { $0.origin != nil }
    let all = Distances(calls) { _ in true }
    var everything = Mappings(calls)
    if !imported.isEmpty {
      for (position, call) in calls.enumerated() where call.call.isMap { everything.add(position) }
    }
    // What the calls leave, as far as their order is known.
    var standing = Mappings(calls)
    if !imported.isEmpty {
      for (position, call) in calls.enumerated() {
        if call.call.isMap { standing.add(position) } else if call.origin == nil { standing.remove(position) }
      }
    }
    let nothing = Mappings(calls)
    var next = 0
    var found: [Judgement] = []
    found.reserveCapacity(translations.count)
    for (number, translation) in translations.enumerated() {
      if let id = translation.id, imported.contains(where: { $0.contains(id) }) {
        var judged = Self.judge(translation, everything, nothing, all, device, standing)
        judged.translation = UInt32(truncatingIfNeeded: number)
        found.append(judged)
        continue
      }
      var judged = Self.judge(translation, mappings, unmapped, untimed, device)
      while next < calls.count {
        let call = calls[next]
        // Those of texts are there from the beginning.
        if call.origin == nil, let made = call.id {
          guard translation.id.map({ made < $0 }) ?? true else { break }
          if call.call.isMap {
            mappings.add(next)
            unmapped.remove(next)
          } else {
            mappings.remove(next)
            unmapped.add(next)
          }
          if call.call.iova <= translation.last, call.call.last >= translation.iova {
            judged = judged.orRather(Self.judge(translation, mappings, unmapped, untimed, device))
          }
        }
        next += 1
      }
      judged.translation = UInt32(truncatingIfNeeded: number)
      found.append(judged)
    }
    found.sort { ($0.verdict.severity, $0.translation) < ($1.verdict.severity, $1.translation) }
    lines = Lines(found, translations, calls)
  }

  private init(lines: Lines) { self.lines = lines }

  /// Only the runs that touch `iovas`.
  public func restricted(to iovas: ClosedRange<IOVA>) -> TranslationCheck {
    TranslationCheck(lines: lines.filter(in: iovas))
  }

  /// The lines on which something is wrong.
  public var disagreements: Lines {
    lines.filter(byVerdict: { verdict in
      switch verdict {
      case .agrees, .works, .unanswered, .nobodyMapped, .forbidden: false
      case .refusedThoughMapped, .sticky, .wrongAddress, .bypassed, .afterUnmap: true
      }
    })
  }

  private static func judge(
    _ translation: RecordedTranslation, _ mappings: Mappings, _ unmapped: Mappings, _ untimed: Distances,
    _ device: any DeviceModel, _ standing: Mappings? = nil
  ) -> Judgement {
    let ends = translation.count == 1 ? [translation.iova] : [translation.iova, translation.last]
    let judged = ends.map { judge(translation, at: $0, mappings, unmapped, untimed, device, standing) }
    return judged.min { $0.verdict.severity < $1.verdict.severity } ?? judged[0]
  }

  private static func judge(
    _ translation: RecordedTranslation, at iova: IOVA, _ mappings: Mappings, _ unmapped: Mappings,
    _ untimed: Distances, _ device: any DeviceModel, _ standing: Mappings?
  ) -> Judgement {
    let target = translation.answer.map { $0.address + (iova - translation.iova) }
    let candidates = mappings.calls(covering: iova, requester: translation.requester)
    let call =
      candidates.first { mappings.target(of: iova, by: $0) == target }
      ?? target.flatMap { untimed.call(mapping: iova, to: $0, requester: translation.requester) } ?? candidates.first
    let expected = call.flatMap { mappings.target(of: iova, by: $0) }
    func line(_ verdict: Verdict, isByPattern: Bool = false) -> Judgement {
      Judgement(call: call, expected: expected, verdict: verdict, isByPattern: isByPattern)
    }
    func refused(isByPattern: Bool) -> Judgement {
      if let latched = device.latchedFault(translation.before) {
        return line(.sticky(latched.cause), isByPattern: isByPattern)
      }
      let isTaken = standing.map { $0.calls(covering: iova, requester: translation.requester).isEmpty } ?? false
      guard call != nil, !isTaken else {
        return Judgement(call: nil, expected: nil, verdict: .nobodyMapped(isRefused: true), isByPattern: isByPattern)
      }
      let isForbidden = translation.access?.writes == true && !candidates.contains { mappings.allowsWriting($0) }
      return line(isForbidden ? .forbidden : .refusedThoughMapped, isByPattern: isByPattern)
    }
    func translatedUnmapped(isByPattern: Bool = false) -> Judgement {
      guard let taken = unmapped.calls(covering: iova, requester: translation.requester).first else {
        return line(.nobodyMapped(isRefused: false), isByPattern: isByPattern)
      }
      return Judgement(
        call: taken, expected: nil, verdict: .afterUnmap(unmapped.number(of: taken)), isByPattern: isByPattern)
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

/// Which call ever mapped an IOVA to an address: for calls of which it is not known when they were made. Calls go by their
/// position.
private final class Distances {
  private let calls: [RecordedCall]
  private let isIncluded: (RecordedCall) -> Bool
  /// By requester, and by how far IOVA and address are apart. Built when a translation is not where the last call maps it.
  private lazy var ranges = build()

  init(_ calls: [RecordedCall], where isIncluded: @escaping (RecordedCall) -> Bool) {
    (self.calls, self.isIncluded) = (calls, isIncluded)
  }

  private func build() -> [RequesterID?: [UInt64: ExtentMap<ListPosition>]] {
    var ranges: [RequesterID?: [UInt64: ExtentMap<ListPosition>]] = [:]
    for (position, recorded) in calls.enumerated() where isIncluded(recorded) {
      let call = recorded.call
      guard let target = call.target, call.length > 0, call.last >= call.iova else { continue }
      ranges[recorded.requester, default: [:]][target.rawValue &- call.iova.rawValue, default: ExtentMap()]
        .set(call.iova, length: call.length, to: ListPosition(position))
    }
    return ranges
  }

  /// A call that maps `iova` to `target`: one of the requester, else one of whom nothing is known.
  func call(mapping iova: IOVA, to target: GPA, requester: RequesterID?) -> Int32? {
    let distance = target.rawValue &- iova.rawValue
    let owners: [RequesterID?] = requester == nil ? Array(ranges.keys) : [requester, nil]
    let found = owners.compactMap { ranges[$0]?[distance]?.value(at: iova.rawValue).value?.index }
    return found.min().map { Int32(truncatingIfNeeded: $0) }
  }
}

/// Which call was the last to map an IOVA, or to unmap it, by requester and table. Calls go by their position.
private struct Mappings {
  private struct Owner: Hashable {
    let requester: RequesterID?
    let domain: KVA
  }

  private let calls: [RecordedCall]
  private var ranges: [Owner: ExtentMap<ListPosition>] = [:]

  init(_ calls: [RecordedCall]) { self.calls = calls }

  /// Gives the range of a call to it.
  mutating func add(_ position: Int) { set(position, to: ListPosition(position)) }

  /// Takes the range of a call out.
  mutating func remove(_ position: Int) { set(position, to: nil) }

  private mutating func set(_ position: Int, to value: ListPosition?) {
    let (requester, call) = (calls[position].requester, calls[position].call)
    guard call.length > 0, call.last >= call.iova else { return }
    ranges[Owner(requester: requester, domain: call.domain), default: ExtentMap()]
      .set(call.iova, length: call.length, to: value)
  }

  /// The calls whose range has `iova`, that of the requester before those of whom nothing is known.
  func calls(covering iova: IOVA, requester: RequesterID?) -> [Int32] {
    var found: [Int] = []
    for (owner, known) in ranges {
      if let requester, let mine = owner.requester, requester != mine { continue }
      if let position = known.value(at: iova.rawValue).value { found.append(position.index) }
    }
    return found.sorted { order($0) < order($1) }.map { Int32(truncatingIfNeeded: $0) }
  }

  private func order(_ position: Int) -> (Int, KVA, Int) {
    let call = calls[position]
    return (call.requester == nil ? 1 : 0, call.call.domain, call.number)
  }

  /// Where a call maps `iova`; nil when it is no map call.
  func target(of iova: IOVA, by position: Int32) -> GPA? {
    let call = calls[Int(position)].call
    return call.target.map { $0 + (iova - call.iova) }
  }

  /// Whether a call's mapping may be written; one of which nothing is known may.
  func allowsWriting(_ position: Int32) -> Bool { calls[Int(position)].call.protection?.contains(.write) ?? true }

  /// The number of a call.
  func number(of position: Int32) -> Int { calls[Int(position)].number }
}
