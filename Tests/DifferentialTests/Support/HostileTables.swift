import PageTables
import Randomness

/// Page tables with anything in them, and addresses that lead somewhere in them: paths that share pages and so form cycles,
/// leaves at every level, entries with a bit too many, tables that are not there.
struct HostileTables {
  struct Word {
    let address: UInt64
    let entry: UInt64
  }

  let mode: PagingMode
  /// The root is the first page; that of a second stage the first four.
  let root: UInt64
  private(set) var words: [Word] = []
  private(set) var addresses: [UInt64] = []

  private static let flags: [UInt64] = [
    0x3, 0x7, 0x9, 0xb, 0xf, 0x13, 0x17, 0x19, 0x1b, 0x1f, 0x43, 0xc7, 0x53, 0x57, 0xd7, 0xdf, 0xff, 0x5, 0xd,
  ]

  /// Tables of `mode` in `pages` with paths for `count` addresses. A pointer may lead to one of `elsewhere` instead, a leaf
  /// leads to the page number that `leaf` gives.
  init(
    _ mode: PagingMode, pages: [UInt64], elsewhere: [UInt64], addresses count: Int,
    using random: inout SeededNumbers, leaf: (inout SeededNumbers) -> UInt64
  ) {
    self.mode = mode
    root = pages[0]
    let geometry = mode.geometry
    let usual = [0, 1, random.below(512), 255, 256, 511]
    let indices = [random.pick(usual), random.pick(usual), random.pick(usual)]
    for _ in 0..<count {
      var table: UInt64? = root
      var input: UInt64 = 0
      for level in stride(from: geometry.rootLevel, through: 0, by: -1) {
        let entries = geometry.entries(atLevel: level)
        let index = random.chance(70) ? random.pick(indices) + random.below(entries / 512) * 512 : random.below(entries)
        input = input << UInt64(mode.indexBits(atLevel: level)) | UInt64(index)
        guard let here = table else { continue }
        var entry: UInt64
        let next = random.chance(96) ? random.pick(pages) : random.pick(elsewhere)
        if random.chance(level == 0 ? 6 : 82) {
          entry = next >> 2 | 1
          table = next
        } else {
          entry = Self.leaf(atLevel: level, of: mode, number: leaf(&random), using: &random)
          table = nil
        }
        if random.chance(9) { entry = Self.spoilt(entry, using: &random) }
        let address = geometry.entryAddress(table: GPA(here), index: index).rawValue
        words.append(Word(address: address, entry: mode.entryFormat == .sv32 ? entry & 0xffff_ffff : entry))
      }
      addresses.append(Self.address(input << 12, of: mode, using: &random))
    }
  }

  private static func leaf(
    atLevel level: Int, of mode: PagingMode, number: UInt64, using random: inout SeededNumbers
  ) -> UInt64 {
    var number = number
    if random.chance(88) {
      let size: UInt64 = 1 << UInt64(mode.shift(atLevel: level) - 12)
      number = max(number & ~(size - 1), size)
    }
    var entry = number << 10 | random.pick(flags)
    if random.chance(8) { entry |= UInt64(1 + random.below(3)) << 61 }
    if random.chance(level == 0 ? 15 : 3) {
      entry |= 1 << 63
      if random.chance(85) { entry = entry & ~0x3c00 | 0x2000 }
    }
    return entry
  }

  private static func spoilt(_ entry: UInt64, using random: inout SeededNumbers) -> UInt64 {
    switch random.below(8) {
    case 0: 0
    case 1: .max
    // Far away in Sv32 as well.
    case 2: random.next() | 1 << 31
    case 3: entry & ~1
    default: entry ^ 1 << UInt64(random.below(64))
    }
  }

  /// The address with this input, extended as the mode wants it; now and then not, or one at an edge.
  private static func address(_ input: UInt64, of mode: PagingMode, using random: inout SeededNumbers) -> UInt64 {
    let top = UInt64(1) << UInt64(mode.inputBits - 1)
    let isSigned = !mode.isSecondStage && mode != .sv32
    let address = isSigned && input & top != 0 ? input | ~(top * 2 - 1) : input
    if random.chance(4) { return address ^ 1 << UInt64(random.below(64)) }
    if random.chance(3) { return random.pick([0, .max, top, top * 2, ~(top - 1), top - 1, 1 << 63]) & ~0xfff }
    return address
  }
}
