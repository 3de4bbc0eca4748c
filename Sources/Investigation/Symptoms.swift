import IOMMUModel
import LinuxKernel
import PageTables

/// What a diagnosis has to explain, sorted.
struct Symptoms {
  typealias Verified = (call: RecordedCall, verification: Verification)

  let profile: any DriverProfile
  let context: Diagnosis.Context
  let history: [RecordedCall]
  let check: CrossCheck?

  /// Verified map calls, those that left something wrong, and unmap calls that did.
  let maps: [Verified], wrongMaps: [Verified], wrongUnmaps: [Verified]
  /// Ranges that disagree now.
  let lines: [CrossCheck.Line]
  /// Map calls that were right when they returned, by event.
  let rightMaps: Set<EventID>

  private let bytes: UInt64

  init(
    _ calls: [Verified], history: [RecordedCall], profile: any DriverProfile, check: CrossCheck?,
    context: Diagnosis.Context
  ) {
    (self.profile, self.context, self.history, self.check) = (profile, context, history, check)
    maps = calls.filter { $0.call.call.isMap && !$0.verification.shifts.isEmpty && $0.verification.leaves > 0 }
    wrongMaps = maps.filter { !$0.verification.agrees }
    wrongUnmaps = calls.filter { !$0.call.call.isMap && !$0.verification.agrees }
    rightMaps = Set(maps.lazy.filter(\.verification.agrees).compactMap(\.call.id))
    lines = check?.disagreements ?? []
    bytes = lines.reduce(0) { $0 &+ $1.length }
  }

  /// Which part of what disagrees now `explains` holds for, 0 to 1.
  func share(_ explains: (CrossCheck.Line) -> Bool) -> Double {
    guard bytes > 0 else { return 0 }
    return Double(lines.reduce(UInt64(0)) { explains($1) ? $0 &+ $1.length : $0 }) / Double(bytes)
  }

  /// Which part of what disagrees now belongs to these calls' entries in the tables, 0 to 1.
  func share(ofCalls calls: some Sequence<Verified>) -> Double {
    let ids = Set(calls.compactMap(\.call.id))
    return share { line in line.tables != .agrees && line.call.id.map(ids.contains) == true }
  }

  /// `file:line: ` of the driver's map function, where it is known.
  var place: String { context.source.map { "\($0): " } ?? "" }
}

/// `4 KiB pages` of a number of bytes.
func pages(_ bytes: UInt64) -> Int { Int(truncatingIfNeeded: bytes / 4096) }
