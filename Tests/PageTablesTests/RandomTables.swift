import PageTables
import Randomness

/// Tables of one mode with anything in them: runs, groups, superpages, cycles, holes in memory, rubbish.
struct RandomTables {
  let mode: PagingMode
  let oracle: Oracle
  let root: GPA
  /// An entry's index is one of these more often than not, so that walks get somewhere.
  private let indices: [Int]
  private let stored: [UInt64: UInt64]
  private let holes: Set<UInt64>
  private static let base: UInt64 = 0x8000_0000
  private static let pageCount = 12

  init(_ mode: PagingMode, using random: inout SeededNumbers) {
    self.mode = mode
    let entryBytes: UInt64 = mode == .sv32 ? 4 : 8
    let perPage = 4096 / Int(entryBytes)
    let pages = (0..<Self.pageCount).map { Self.base + UInt64($0) * 4096 }
    let isOdd = random.chance(4)
    let holes = Set(isOdd ? [] : pages.filter { _ in random.chance(6) })
    root = GPA(Self.base + (isOdd ? 0x108 : 0))
    indices = [0, 1, 2, perPage / 2 - 1, perPage / 2, perPage - 2, perPage - 1, random.below(perPage)]

    var words: [UInt64: UInt64] = [:]
    for page in pages {
      let isTree = random.chance(55)
      for _ in 0..<random.below(14) {
        let index = random.chance(75) ? random.pick(indices) : random.below(perPage)
        let pointer = (random.chance(90) ? random.pick(pages) : UInt64(random.below(1 << 30)) << 12) >> 2 | 1
        let ppnBits = mode == .sv32 ? 22 : 44
        func store(_ entry: UInt64, _ offset: Int) {
          guard index + offset < perPage else { return }
          words[page + UInt64(index + offset) * entryBytes] = mode == .sv32 ? entry & 0xffff_ffff : entry
        }
        let flags = random.pick([0x3, 0x7, 0x9, 0xb, 0xf, 0xc7, 0x57, 0xdf, 0x43] as [UInt64])
        let any = random.next() >> UInt64(64 - ppnBits)
        let top = UInt64(1) << UInt64(ppnBits)
        switch isTree ? random.below(4) : 3 + random.below(10) {
        case 0, 1, 2: store(pointer | (random.chance(10) ? 1 << UInt64(random.below(64)) : 0), 0)
        case 3: store(((any >> 18) << 28) | flags, 0)
        case 4: store(any << 10 | flags, 0)
        case 5, 6, 7:
          // A run, now and then up to the last page that a PPN can name, or with other software bits.
          let start = random.chance(15) ? top - UInt64(random.below(30)) : any
          for offset in 0..<random.below(60) {
            let soft: UInt64 = random.chance(3) ? 0x100 : 0
            store(((start + UInt64(offset)) & (top - 1)) << 10 | flags | soft, offset)
          }
          // What a run that carries into the reserved bits would look like.
          if random.chance(10) { store(top << 10 | flags, 30) }
        case 8, 9:
          let low: UInt64 = random.chance(90) ? 8 : UInt64(random.below(16))
          for offset in 0..<(16 + random.below(40)) where random.chance(95) {
            store(1 << 63 | ((any >> 4) << 4 | low) << 10 | flags, offset)
          }
        case 10: store(UInt64(random.below(4)) << 61 | any << 10 | flags, 0)
        case 11: store(random.next(), 0)
        default: store(random.next() & ~1, 0)
        }
      }
    }
    stored = words
    self.holes = holes
    // An address that is not a table's may be read as one: words are looked up wherever a root that is no page's start
    // puts its entries.
    oracle = Oracle(
      mode: mode.rawValue, root: root.rawValue, words: words, pages: Set(pages).subtracting(holes))
  }

  func memory(_ style: FakeMemory.Style) -> FakeMemory {
    let memory = FakeMemory(base: Self.base, pages: Self.pageCount, style: style, holes: holes)
    for (address, word) in stored { memory.store(word, at: address, bytes: mode == .sv32 ? 4 : 8) }
    return memory
  }

  /// An input that leads along likely indices, at a page's start.
  func input(using random: inout SeededNumbers) -> UInt64 {
    var input: UInt64 = 0
    for width in oracle.widths {
      let quarter = width == 11 ? random.below(4) << 9 : 0
      input = input << UInt64(width) | UInt64(random.pick(indices) | quarter)
    }
    return input << 12
  }
}
