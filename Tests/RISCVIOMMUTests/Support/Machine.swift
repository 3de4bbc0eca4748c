import IOMMUModel
import PageTables
import Randomness

@testable import RISCVIOMMU

/// A random machine: a device with one requester in its directory, and tables below it that mostly make sense.
///
/// Twelve pages hold tables. A guest knows them at `guestPages`, through a second stage, where there is one; its memory beyond
/// them is mapped in pages, in a group of 64 KiB and in a superpage.
struct Machine {
  static let pages: [UInt64] = (0..<12).map { 0x8000_0000 + $0 * 4096 }
  static let guestPages: [UInt64] = (0..<12).map { 0x1000_0000 + $0 * 4096 }
  static let indices = [0, 1, 2, 16, 17, 31, 256, 511]

  let memory = WordMemory()
  private(set) var registers = RegisterValues()
  private(set) var device: UInt64
  private(set) var process: UInt64?
  private(set) var isPrivileged = false
  private(set) var isSmall = false
  private(set) var levels = 0
  private(set) var hasSecondStage = false
  private let isBig: Bool
  private var builder: TableBuilder
  /// Addresses whose translations were written on purpose.
  private var paths: [UInt64] = []

  init(_ random: inout SeededNumbers) {
    var capabilities: UInt64 = 0x10 | 0xf00 | 0xf << 16 | 56 << 32 | 7 << 38
    for bit in [15, 21, 22, 22, 23, 23, 24, 25, 26, 27, 31] as [UInt64] where random.chance(60) {
      capabilities |= 1 << bit
    }
    if random.chance(8) { capabilities &= ~(1 << UInt64(random.below(44))) }
    if random.chance(4) { capabilities = capabilities & ~(0x3f << 32) | random.pick([31, 32, 34, 48]) << 32 }
    let isLong = capabilities >> 22 & 1 == 1
    isBig = capabilities >> 27 & 1 == 1 && random.chance(20)
    var features: UInt64 = isBig ? 1 : 0
    if random.chance(2) { features ^= random.pick([1, 4]) }
    builder = TableBuilder(memory: memory, isBig: isBig)

    // The directory.
    let depth = random.pick([1, 2, 3, 3])
    let low: UInt64 = isLong ? 6 : 7
    let widths: [UInt64] = [low, low + 9, 24]
    device = random.next() & ((1 << widths[depth - 1]) - 1)
    if random.chance(50) { device &= 0x1ff }
    if random.chance(3) { device |= 1 << UInt64(random.below(32)) }
    if depth == 1 && !random.chance(5) { device &= (1 << low) - 1 }
    var table: UInt64 = 0x9000_0000
    let cuts: [UInt64] = [0, low, low + 9]
    for level in stride(from: depth - 1, to: 0, by: -1) {
      let index = device >> cuts[level] & (level == 2 ? (1 << (24 - cuts[2])) - 1 : 0x1ff)
      let next: UInt64 = 0x9000_0000 + UInt64(depth - level) * 4096
      var entry = next >> 2 | 1
      if random.chance(2) { entry ^= 1 << UInt64(random.below(64)) }
      memory[table + index * 8] = isBig ? entry.byteSwapped : entry
      table = next
    }
    var mode = UInt64(depth) + 1
    if random.chance(3) { mode = UInt64(random.below(16)) }
    registers = RegisterValues(byOffset: [0: capabilities, 8: features, 0x10: 0x9000_0000 >> 2 | mode])

    // The contexts.
    let size: UInt64 = isLong ? 64 : 32
    let context = table + (device & ((1 << low) - 1)) * size
    var words: [UInt64] = Array(repeating: 0, count: 8)
    words[0] = 1
    if capabilities >> 25 & 1 == 1 && random.chance(40) { words[0] |= 2 }
    if isBig || (capabilities >> 27 & 1 == 1 && random.chance(20)) { words[0] |= 1 << 10 }
    let isFirstBig = words[0] >> 10 & 1 == 1
    isSmall = random.chance(15)
    if isSmall { words[0] |= 1 << 11 }
    if capabilities >> 24 & 1 == 1 {
      if random.chance(30) { words[0] |= 1 << 7 }
      if random.chance(30) { words[0] |= 1 << 8 }
    }
    hasSecondStage = random.chance(50)
    if hasSecondStage {
      let mode = random.pick([8, 9, 10] as [UInt64])
      words[1] = mode << 60 | (random.next() & 0xffff) << 44 | 0xa000_0000 >> 12
      builder.levels = Int(mode) - 5
      mapGuest(&random)
    }
    words[2] = (random.next() & 0xf_ffff) << 12
    let first = firstStage(isFirstBig, &random)
    if random.chance(20) {
      processDirectory(first, &words, isFirstBig, &random)
    } else {
      words[3] = first
    }
    if isLong && random.chance(50) {
      words[4] = 1 << 60 | 0xb000_0000 >> 12
      words[5] = random.pick([0, 7, 0x15, 0x301, 0xfff])
      words[6] = 0x2_0020 & ~words[5] | random.next() & words[5]
      for file in 0..<64 as Range<UInt64> { messageEntry(0xb000_0000 + file * 16, &random) }
    }
    if random.chance(8) { words[random.below(8)] ^= 1 << UInt64(random.below(64)) }
    if random.chance(4) { words[0] |= 1 << UInt64(random.below(12)) }
    for (position, word) in words.prefix(Int(size / 8)).enumerated() {
      memory[context + UInt64(position) * 8] = isBig ? word.byteSwapped : word
    }
    if random.chance(2) { memory.holes.insert(random.pick([0x9000_0000, 0x9000_1000, 0xa000_0000, 0xb000_0000])) }
  }

  /// A second stage for the tables' pages and the memory that first stages lead to.
  private mutating func mapGuest(_ random: inout SeededNumbers) {
    builder.root = 0xa000_0000
    for (guest, page) in zip(Self.guestPages, Self.pages) {
      builder.map(guest, page, flags: random.chance(95) ? 0xdf : UInt64(random.below(256)))
    }
    for page in 0..<32 as Range<UInt64> where !random.chance(4) {
      builder.map(
        0x2000_0000 + page * 4096, 0xc000_0000 + page * 4096,
        flags: random.chance(80) ? 0xdf : UInt64(random.below(256)))
    }
    for page in 0..<16 as Range<UInt64> {
      builder.store(0x8000_0000_0000_00df | 0xd000_8000 >> 2, of: 0x2200_0000 + page * 4096, level: 0)
    }
    builder.map(0x4000_0000, 0xe000_0000, flags: 0xdf, level: 1)
    builder.map(0x8000_0000, 0x4000_0000, flags: 0xdf, level: 2)
    for _ in 0..<random.below(3) { builder.spoil(&random) }
  }

  /// A first stage of random tables in the twelve pages; the pointer to it.
  private mutating func firstStage(_ isBig: Bool, _ random: inout SeededNumbers) -> UInt64 {
    let mode = isSmall ? 8 : random.pick([8, 9, 10, 10, 0] as [UInt64])
    levels = isSmall ? 2 : mode == 0 ? 0 : Int(mode) - 5
    let places = hasSecondStage ? Self.guestPages : Self.pages
    for page in Self.pages {
      for _ in 0..<16 {
        let index = random.chance(85) ? random.pick(Self.indices) : random.below(isSmall ? 1024 : 512)
        var entry: UInt64
        let flags = random.chance(85) ? 0xdf : UInt64(random.below(256)) | 1
        switch random.below(10) {
        case 0..<5: entry = random.pick(places) >> 2 | 1
        case 5, 6: entry = (0x2000_0000 + UInt64(random.below(34)) * 4096) >> 2 | flags
        case 7: entry = 0x2200_8000 >> 2 | flags | (isSmall || random.chance(30) ? 0 : 1 << 63)
        case 8: entry = random.pick([0x4000_0000, 0x4020_0000, 0x8000_0000, 0, 1 << 40]) >> 2 | flags
        default: entry = random.next() & (random.chance(50) ? .max : 0x3f_ffff_ffff_ffff)
        }
        if random.chance(4) { entry ^= 1 << UInt64(random.below(isSmall ? 32 : 64)) }
        if isSmall {
          let half = UInt32(truncatingIfNeeded: entry)
          memory.store(isBig ? half.byteSwapped : half, at: page + UInt64(index) * 4)
        } else {
          memory[page + UInt64(index) * 8] = isBig ? entry.byteSwapped : entry
        }
      }
      // Consecutive leaves and groups for the runs.
      if !isSmall && random.chance(40) {
        let isGroup = random.chance(50)
        for index in 32..<UInt64(64 + random.below(300)) where !random.chance(3) {
          let target = (0x2000_0000 >> 12) + (index & 0x1f)
          let entry = isGroup ? (target & ~0xf | 8) << 10 | 0x8000_0000_0000_00df : target << 10 | 0xdf
          memory[page + index * 8] = isBig ? entry.byteSwapped : entry
        }
      }
      if random.chance(1) { memory.holes.insert(page) }
    }
    let root = random.below(12)
    if mode != 0 { for _ in 0..<8 { lay(from: root, isBig, &random) } }
    return mode << 60 | places[root] >> 12
  }

  /// Lays a path to a good leaf: the table at each level is the next of the twelve pages, for every path.
  private mutating func lay(from root: Int, _ isBig: Bool, _ random: inout SeededNumbers) {
    let places = hasSecondStage ? Self.guestPages : Self.pages
    let width: UInt64 = isSmall ? 10 : 9
    var address: UInt64 = 0
    for step in 0..<levels {
      let index = UInt64(random.pick(Self.indices))
      address = address << width | index
      let page = (root + step) % 12
      var entry = places[(page + 1) % 12] >> 2 | 1
      if step == levels - 1 {
        let targets: [UInt64] = [0x2000_0000, 0x2001_0000, 0x2002_0000, 0x2200_0000, 0x4000_0000, 0x8000_0000]
        entry = (random.pick(targets) + UInt64(random.below(16)) * 4096) >> 2 | 0xdf
      }
      if isSmall {
        let half = UInt32(truncatingIfNeeded: entry)
        memory.store(isBig ? half.byteSwapped : half, at: Self.pages[page] + index * 4)
      } else {
        memory[Self.pages[page] + index * 8] = isBig ? entry.byteSwapped : entry
      }
    }
    paths.append(canonical(address << 12))
  }

  private func canonical(_ address: UInt64) -> UInt64 {
    let top = 11 + 9 * UInt64(levels)
    return !isSmall && address >> top == 1 ? address | .max << top : address
  }

  private mutating func processDirectory(
    _ first: UInt64, _ words: inout [UInt64], _ isBig: Bool, _ random: inout SeededNumbers
  ) {
    words[0] |= 1 << 5
    if random.chance(60) { words[0] |= 1 << 9 }
    let mode = UInt64(random.below(3)) + 1
    let number = random.next() & ((1 << ([8, 17, 20] as [UInt64])[Int(mode) - 1]) - 1)
    if random.chance(70) { process = number } else { process = nil }
    if process != nil { isPrivileged = random.chance(40) }
    let used = process ?? 0
    // In pages of its own, at the guest's addresses as well.
    let base: UInt64 = 0x1800_0000
    if hasSecondStage {
      for page in 0..<3 as Range<UInt64> { builder.map(base + page * 4096, base + page * 4096, flags: 0xdf) }
    }
    words[3] = mode << 60 | base >> 12
    var table = base
    for level in stride(from: mode - 1, to: 0, by: -1) {
      let index = level == 2 ? used >> 17 : used >> 8 & 0x1ff
      var entry = (table + 4096) >> 2 | 1
      if random.chance(4) { entry ^= 1 << UInt64(random.below(64)) }
      memory[table + index * 8] = isBig ? entry.byteSwapped : entry
      table += 4096
    }
    var (attributes, pointer) = (random.next() & 0xffff_f000 | 1 | (random.chance(80) ? 2 : 0), first)
    if random.chance(50) { attributes |= 4 }
    if random.chance(4) { attributes ^= 1 << UInt64(random.below(64)) }
    if random.chance(4) { pointer ^= 1 << UInt64(random.below(64)) }
    memory[table + (used & 0xff) * 16] = isBig ? attributes.byteSwapped : attributes
    memory[table + (used & 0xff) * 16 + 8] = isBig ? pointer.byteSwapped : pointer
    if random.chance(3) { process = (process ?? 0) | 1 << UInt64(random.below(20)) }
  }

  private func messageEntry(_ place: UInt64, _ random: inout SeededNumbers) {
    var first = random.pick([7, 7, 7, 3, 3, 0, 5, 1] as [UInt64])
    first |= first & 6 == 2 ? UInt64(random.below(1 << 20)) << 7 : 0xf000_0000 >> 2
    var second = UInt64(random.below(1 << 30)) << 10 | UInt64(random.below(1024))
    if random.chance(8) { first ^= 1 << UInt64(random.below(64)) }
    if random.chance(8) { second ^= 1 << UInt64(random.below(64)) }
    memory[place] = isBig ? first.byteSwapped : first
    memory[place + 8] = isBig ? second.byteSwapped : second
  }

  /// An address along likely indices, or anywhere.
  func address(_ random: inout SeededNumbers) -> UInt64 {
    let offset = random.pick([0, 1, 0xfff, UInt64(random.below(4096))])
    if levels == 0 || random.chance(5) {
      let places: [UInt64] = [
        0x2000_0000 + UInt64(random.below(40)) * 4096, 0x2200_3000, 0x4000_5000, 0x8123_4000, 1 << 34, 1 << 41, 0, .max,
      ]
      return random.pick(places) &+ offset
    }
    if random.chance(50) { return random.pick(paths) | offset }
    let width: UInt64 = isSmall ? 10 : 9
    var address: UInt64 = 0
    for _ in 0..<levels {
      address = address << width | UInt64(random.chance(90) ? random.pick(Self.indices) : random.below(64))
    }
    address = canonical(address << 12 | offset)
    return random.chance(4) ? address ^ 1 << UInt64(random.below(64)) : address
  }

  func oracle(isQEMU: Bool) -> Oracle {
    Oracle(
      word: { [memory] in try? memory.word(at: GPA($0)) },
      half: { [memory] in (try? memory.entry(at: GPA($0), format: .sv32)).map(\.rawValue) }, isQEMU: isQEMU,
      capabilities: registers[0] ?? 0, features: registers[8] ?? 0, ddtp: registers[0x10] ?? 0)
  }
}

/// Builds page tables from maps of pages, in pages of its own.
struct TableBuilder {
  let memory: WordMemory
  let isBig: Bool
  var levels = 3
  var root: UInt64 = 0
  /// A second stage: the root has four pages.
  var isWide = true
  /// How much further on in memory the tables lie than their addresses say: those of a first stage are a guest's.
  var displacement: UInt64 = 0
  /// The page for the next table.
  var next: UInt64 = 0xa000_4000
  private var entries: [UInt64] = []

  init(memory: WordMemory, isBig: Bool) { (self.memory, self.isBig) = (memory, isBig) }

  private func load(_ place: UInt64) -> UInt64 {
    let word = memory[place + displacement]
    return isBig ? word.byteSwapped : word
  }

  private mutating func put(_ entry: UInt64, at place: UInt64) {
    memory[place + displacement] = isBig ? entry.byteSwapped : entry
    entries.append(place + displacement)
  }

  mutating func map(_ input: UInt64, _ page: UInt64, flags: UInt64, level: Int = 0) {
    store(page / 4096 * 1024 + flags, of: input, level: level)
  }

  /// The same 16 times over: a contiguous group.
  mutating func mapGroup(_ input: UInt64, _ page: UInt64, flags: UInt64) {
    for member in 0..<16 as Range<UInt64> {
      store(1 << 63 | (page / 4096 + 8) * 1024 + flags, of: input + member * 4096, level: 0)
    }
  }

  /// Puts an entry where `input` is translated at `level`.
  mutating func store(_ entry: UInt64, of input: UInt64, level: Int) {
    var table = root
    for upper in stride(from: levels - 1, through: level, by: -1) {
      let index = input >> UInt64(12 + 9 * upper) & (isWide && upper == levels - 1 ? 0x7ff : 0x1ff)
      let place = table + index * 8
      if upper == level { return put(entry, at: place) }
      if load(place) & 1 == 0 {
        put(next / 4096 * 1024 + 1, at: place)
        next += 4096
      }
      // An entry may have been spoiled before.
      table = load(place) / 1024 % (1 << 44) * 4096
    }
  }

  /// Changes a bit of some entry.
  mutating func spoil(_ random: inout SeededNumbers) {
    guard !entries.isEmpty else { return }
    memory[random.pick(entries)] ^= 1 << UInt64(random.below(64))
  }
}
