import Foundation

/// Random numbers that can be had again (SplitMix64). A property that fails prints its seed.
package struct SeededNumbers: RandomNumberGenerator {
  /// What this run's properties start from: `IOMMULENS_SEED` repeats a run, without it every run is another one.
  package static let run =
    ProcessInfo.processInfo.environment["IOMMULENS_SEED"].flatMap { UInt64($0) } ?? .random(in: 0 ... .max)

  package let seed: UInt64
  private var state: UInt64

  package init(seed: UInt64 = run) {
    self.seed = seed
    state = seed
  }

  /// The numbers of one round of the run.
  package init(round: Int) { self.init(seed: Self.run &+ UInt64(round) &* 0x632b_e5ab) }

  package mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
    return mixed ^ mixed >> 31
  }

  package mutating func below(_ end: Int) -> Int { Int.random(in: 0..<end, using: &self) }
  package mutating func chance(_ percent: Int) -> Bool { below(100) < percent }
  package mutating func pick<Value>(_ values: [Value]) -> Value { values[below(values.count)] }

  package mutating func bytes(_ count: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count + 8)
    while bytes.count < count { withUnsafeBytes(of: next()) { bytes += $0 } }
    return Array(bytes[..<count])
  }
}
