import Glibc

/// Random numbers that can be had again (SplitMix64); every property prints its seed. IOMMULENS_SEED repeats a run.
struct Seeded: RandomNumberGenerator {
  let seed: UInt64
  private var state: UInt64

  init(seed: UInt64) {
    self.seed = seed
    self.state = seed
  }

  /// From IOMMULENS_SEED, else new.
  static func fresh() -> Seeded {
    if let text = getenv("IOMMULENS_SEED"), let seed = UInt64(String(cString: text)) { return Seeded(seed: seed) }
    return Seeded(seed: .random(in: 0 ... .max))
  }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }

  mutating func bytes(_ count: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count + 8)
    while bytes.count < count { withUnsafeBytes(of: next()) { bytes += $0 } }
    return Array(bytes[..<count])
  }
}
