import Foundation

/// Random numbers that can be had again (SplitMix64). A failed property prints its seed; IOMMULENS_SEED repeats a run.
struct Seeded: RandomNumberGenerator {
  static let seed =
    ProcessInfo.processInfo.environment["IOMMULENS_SEED"].flatMap { UInt64($0) } ?? .random(in: 0 ... .max)

  private var state: UInt64

  /// The numbers of one round of the run's seed.
  init(round: Int) { state = Seeded.seed &+ UInt64(round) &* 0x632b_e5ab }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
    return mixed ^ mixed >> 31
  }

  mutating func below(_ end: Int) -> Int { Int(truncatingIfNeeded: next() % UInt64(end)) }
  mutating func chance(_ percent: Int) -> Bool { below(100) < percent }
  mutating func pick<Value>(_ values: [Value]) -> Value { values[below(values.count)] }
}
