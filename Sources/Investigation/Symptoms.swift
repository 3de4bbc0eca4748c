import IOMMUModel
import LinuxKernel
import PageTables

/// What a diagnosis has to explain, sorted.
struct Symptoms {
  typealias Verified = VerifiedCalls.Element

  let profile: any DriverProfile
  let context: Diagnosis.Context
  let history: [RecordedCall]
  let check: CrossCheck?

  /// Verified map calls, those that left something wrong, and unmap calls that did and that did not.
  let maps: VerifiedCalls, wrongMaps: VerifiedCalls, wrongUnmaps: VerifiedCalls, rightUnmaps: VerifiedCalls
  /// Ranges that disagree now.
  let lines: [CrossCheck.Line]
  /// Map calls that were right when they returned, by event.
  let rightMaps: Set<EventID>

  private let bytes: UInt64

  init(
    _ calls: VerifiedCalls, history: [RecordedCall], profile: any DriverProfile, check: CrossCheck?,
    context: Diagnosis.Context
  ) {
    (self.profile, self.context, self.history, self.check) = (profile, context, history, check)
    maps = calls.filter { $0.call.call.isMap && !$0.verification.shifts.isEmpty && $0.verification.leaves > 0 }
    wrongMaps = maps.filter(byVerification: { !$0.agrees })
    let unmaps = calls.filter { !$0.call.call.isMap }
    wrongUnmaps = unmaps.filter(byVerification: { !$0.agrees })
    rightUnmaps = unmaps.filter(byVerification: \.agrees)
    rightMaps = Set(maps.lazy.filter(\.verification.agrees).compactMap(\.call.id))
    lines = check?.disagreements ?? []
    bytes = lines.reduce(0) { $0 &+ $1.length }
  }

  /// Gives `hypothesis` the ranges that disagree now and for which `explains` holds.
  func credit(_ hypothesis: inout Diagnosis.Hypothesis, _ explains: (CrossCheck.Line) -> Bool) {
    credit(&hypothesis, ranges: Set(lines.indices.filter { explains(lines[$0]) }))
  }

  /// The calls with something wrong in one respect.
  static func accounts(
    _ calls: some Sequence<RecordedCall>, _ aspect: Diagnosis.Account.Aspect
  ) -> Set<Diagnosis.Account> {
    Set(calls.compactMap { call in call.id.map { Diagnosis.Account(event: $0, aspect: aspect) } })
  }

  /// Gives it the ranges at these positions.
  func credit(_ hypothesis: inout Diagnosis.Hypothesis, ranges: Set<Int>) {
    hypothesis.ranges = ranges
    guard bytes > 0 else { return }
    hypothesis.present = Double(hypothesis.ranges.reduce(UInt64(0)) { $0 &+ lines[$1].length }) / Double(bytes)
  }

  /// Gives it those that belong to the entries of these calls, and the calls themselves where they went wrong.
  func credit(_ hypothesis: inout Diagnosis.Hypothesis, calls: some Sequence<Verified>) {
    let ids = Set(calls.compactMap(\.call.id))
    hypothesis.accounts = Self.accounts(calls.lazy.filter { !$0.verification.agrees }.map(\.call), .place)
    credit(&hypothesis) { line in line.tables != .agrees && line.call.id.map(ids.contains) == true }
  }

  /// Whether one of the wrong shifts among `others` explains what a call left.
  func isShifted(_ verification: Verification, by others: [Diagnosis.Hypothesis]) -> Bool {
    for shift in others.compactMap(\.wrongShift) where Self.fits(verification, shift.level, shift.shifts) {
      return true
    }
    return false
  }

  /// Counts against `hypothesis` the calls that it would have spoilt and that were right, as long as things went wrong:
  /// before and after that the driver may have been another.
  func contradict(_ hypothesis: inout Diagnosis.Hypothesis, _ spoils: (RecordedCall) -> Bool) {
    guard let first = wrongMaps.first?.call.number, let last = wrongMaps.last?.call.number else { return }
    let right = maps.filter {
      $0.verification.agrees && $0.call.number > first && $0.call.number < last && spoils($0.call)
    }
    hypothesis.contradicted = right.count
    if let call = right.first?.call {
      hypothesis.counterEvidence.append(
        "\(counted(right.count, "call")) would have gone wrong by it and \(right.count == 1 ? "is" : "are") right, "
          + "the first is map #\(call.number) at \(call.call.iova).")
    }
  }

  /// `file:line: ` of the driver's map function, where it is known.
  var place: String { context.source.map { "\($0): " } ?? "" }
}

/// `1 leaf`, `2 leaves`.
func counted(_ count: Int, _ one: String, _ many: String) -> String { "\(count) \(count == 1 ? one : many)" }

/// `4 KiB pages` of a number of bytes.
func pages(_ bytes: UInt64) -> Int { Int(truncatingIfNeeded: bytes / 4096) }
