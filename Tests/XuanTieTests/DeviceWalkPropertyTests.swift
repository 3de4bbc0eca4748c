import IOMMUModel
import PageTables
import Randomness
import Testing

@testable import XuanTie

/// Random devices, tables and accesses against the oracle and against the specification's walk.
@Suite struct DeviceWalkPropertyTests {
  /// A device with one requester in its table, and page tables of one mode below.
  struct Machine {
    let memory = WordMemory()
    var registers = RegisterValues()
    let requester: RequesterID
    let mode: UInt64
    let root: UInt64
    private(set) var isBypassed = false

    static let pages: [UInt64] = (0..<8).map { 0x8000_0000 + $0 * 4096 }

    init(mode: UInt64, using random: inout SeededNumbers) {
      self.mode = mode
      requester = RequesterID(rawValue: random.pick([0, 8, 255, 256, 4095, 4096, 0x7fff, 0x8000, 0xffff, 0x1_0008]))
      let rsid = UInt64(requester.rsid)
      let divide = random.pick([0, 0, 1, 7, 8, 8, 8, 12, 15, 16, 17, 31, 63, 64, 1 << 32, .max] as [UInt64])
      let base: UInt64 = 0x9000_0000
      registers.byOffset = [
        XuanTieRegister.rsidDivide: divide, XuanTieRegister.deviceTableBase: base,
        XuanTieRegister.enable: random.chance(97) ? 1 : 0,
      ]
      if random.chance(30) {
        let cause = random.pick([1, 13, 14, 15, 16, 17, 21, 99] as [UInt64])
        registers.byOffset[XuanTieRegister.cause] = 1 << 63 | 8 << 16 | cause
      } else if random.chance(50) {
        registers.byOffset[XuanTieRegister.cause] = random.pick([0, 1 << 63, 8 << 16])
      }

      let descriptor: UInt64 = 0x9100_0000 + UInt64(random.below(512)) * 8
      let entry = descriptor | (random.chance(92) ? 5 : UInt64(random.below(8)))
      if divide == 0 {
        memory.store(entry, at: base + rsid * 8)
      } else {
        let split: UInt64 = divide >= 16 ? 0x1_0000 : 1 << divide
        let table = random.chance(8) ? 0 : 0x9200_0000 | (random.chance(8) ? UInt64(random.below(8)) : 0)
        memory.store(entry, at: table + rsid % split * 8)
        memory.store(table, at: base + rsid / split * 8)
        if table == 0 && random.chance(60) { memory.holes.insert((rsid % split * 8) & ~0xfff) }
      }
      root = random.pick(Self.pages)
      memory.store(mode << 60 | (random.next() & 0xffff) << 44 | root >> 12, at: descriptor)
      if random.chance(3) { memory.holes.insert(descriptor & ~0xfff) }
      fillTables(using: &random)
    }

    private func fillTables(using random: inout SeededNumbers) {
      let stride: UInt64 = mode == 1 ? 4 : 8
      for page in Self.pages {
        for _ in 0..<12 {
          let index = random.chance(80) ? random.pick(Machine.indices) : random.below(mode == 1 ? 1024 : 512)
          var entry: UInt64
          switch random.below(10) {
          case 0..<6: entry = random.pick(Self.pages) >> 2 | 1
          case 6: entry = (random.next() >> 10) << 10 | UInt64(random.below(256))
          case 7: entry = random.next() & 0x3f_ffff_f000_0000 | random.pick([3, 7, 9, 11, 15, 0xc7])
          default: entry = random.next() & 0x3f_ffff_ffff_fc00 | random.pick([3, 7, 9, 11, 15, 5, 13, 0xc7])
          }
          if random.chance(4) { entry |= 1 << UInt64(random.below(64)) }
          let address = page + UInt64(index) * stride
          if mode == 1 && random.chance(85) {
            let half = (address & 4) * 8
            let other = (memory.words[address & ~7] ?? 0) & (0xffff_ffff << (32 - half))
            memory.words[address & ~7] = other | (entry & 0xffff_ffff) << half
          } else {
            memory.store(entry, at: address)
          }
        }
        if random.chance(2) { memory.holes.insert(page) }
      }
    }

    static let indices = [0, 1, 2, 511, 256]

    /// An address along likely indices, or at a boundary of the mode's levels.
    func address(using random: inout SeededNumbers) -> UInt64 {
      let width: UInt64 = mode == 1 ? 10 : 9
      let levels = DeviceOracle.modes[mode]?.levels ?? 3
      let offset = random.pick([0, 1, 0xfff, UInt64(random.below(4096))])
      if random.chance(15) {
        let edge: UInt64 = 1 << (12 + width * UInt64(random.below(levels + 1)))
        return random.pick([0, .max, edge, edge - 1, edge + 0xfff, 0 &- edge, ~0xfff, 1 << 63])
      }
      var address: UInt64 = 0
      for _ in 0..<levels { address = address << width | UInt64(random.pick(Self.indices)) }
      address = address << 12 | offset
      let top = 12 + width * UInt64(levels) - 1
      if width == 9 && address >> top == 1 { address |= .max << top }
      return random.chance(5) ? address ^ 1 << UInt64(random.below(64)) : address
    }

    var oracle: DeviceOracle {
      DeviceOracle(
        word: { [memory] in try? memory.word(at: GPA($0)) },
        enabled: registers[XuanTieRegister.enable] != 0, divide: registers[XuanTieRegister.rsidDivide] ?? 0,
        base: registers[XuanTieRegister.deviceTableBase] ?? 0, cause: (registers[XuanTieRegister.cause] ?? 0) & 0xffff)
    }
  }

  static func end(_ translation: DeviceTranslation) -> DeviceOracle.End {
    switch translation.result {
    case .bypassed: .passed
    case .translated(let target): .success(target.rawValue)
    case .refused: translation.deviations.contains { $0.hasSuffix("QEMU aborts") } ? .abort : .failure
    // The first byte of a word that cannot be read may lie in its second page.
    case .unreadable(let failure): .unreadable(failure.address.rawValue)
    }
  }

  @Test(arguments: [0, 1, 8, 9, 10, 2, 15] as [UInt64]) func agreesWithTheOracle(_ mode: UInt64) {
    var ends: [String: Int] = [:]
    for round in 0..<180 {
      var random = SeededNumbers(round: round)
      let machine = Machine(mode: mode, using: &random)
      let oracle = machine.oracle
      for _ in 0..<6 {
        let address = machine.address(using: &random)
        for access in Access.allCases {
          let wanted = oracle.access(address, flag: UInt64(access.rawValue), rsid: UInt64(machine.requester.rsid))
          let translation = XuanTieDevice().translate(
            IOVA(address), access: access, requester: machine.requester, registers: machine.registers,
            memory: machine.memory)
          let reads = translation.words.map(\.address.rawValue) + translation.steps.map(\.entryAddress.rawValue)
          var found = DeviceOracle.Answer(
            end: Self.end(translation), cause: UInt64(translation.latched?.code ?? 0), reads: reads)
          if case .unreadable(let byte) = found.end, case .unreadable(let word) = wanted.end, byte - word < 8 {
            found.end = wanted.end
          }
          ends[String("\(wanted.end)".prefix(4)), default: 0] += 1
          guard found == wanted else {
            Issue.record(
              "seed \(SeededNumbers.run) round \(round) mode \(mode) \(hex(address)) \(access): \(found) instead of \(wanted)"
            )
            return
          }
          guard agreesUnlessSaid(translation, address, access, machine) else {
            Issue.record(
              "seed \(SeededNumbers.run) round \(round) mode \(mode) \(hex(address)) \(access): \(translation) differs silently"
            )
            return
          }
        }
      }
    }
    // The rounds reach what they are for.
    if [8, 9, 10].contains(mode) { #expect((ends["succ"] ?? 0) > 20 && (ends["fail"] ?? 0) > 20) }
    if mode == 2 || mode == 15 { #expect((ends["abor"] ?? 0) > 1000) }
  }

  /// Without a deviation and without an older cause, the device and the specification come to the same end.
  private func agreesUnlessSaid(
    _ translation: DeviceTranslation, _ address: UInt64, _ access: Access, _ machine: Machine
  ) -> Bool {
    guard translation.deviations.isEmpty, (machine.registers[XuanTieRegister.cause] ?? 0) & 0xffff == 0,
      let mode = PagingMode(firstStageCode: UInt8(machine.mode)), !translation.steps.isEmpty
    else { return true }
    let walk = mode.geometry.walk(IOVA(address), root: GPA(machine.root), in: machine.memory)
    switch (translation.result, walk.outcome) {
    case (.translated(let target), .mapped(let wanted, 4096, let flags)):
      return target == wanted && Self.permits(flags, access)
    case (.refused, .mapped(_, _, let flags)): return !Self.permits(flags, access)
    case (.refused, .notMapped), (.refused, .malformed), (.unreadable, _): return true
    default: return false
    }
  }

  static func permits(_ flags: PageTableEntry.Flags, _ access: Access) -> Bool {
    (!access.reads || flags.contains(.read)) && (!access.writes || flags.contains(.write))
  }

  @Test(arguments: [0, 1, 8, 8, 9, 10, 2] as [UInt64]) func manyPagesAreToldAsOneByOne(_ mode: UInt64) {
    var pages = 0
    for round in 0..<120 {
      var random = SeededNumbers(round: round)
      let machine = Machine(mode: mode, using: &random)
      // Consecutive leaves, up to the last page number, with gaps.
      for page in Machine.pages where mode != 1 && random.chance(60) {
        let start = random.chance(10) ? (1 << 44) - 20 : random.next() >> 20
        let flags = random.pick([3, 7, 0xc7, 0x8000_0000_0000_0007, 5] as [UInt64])
        for index in 0..<UInt64(random.below(512)) where !random.chance(2) {
          machine.memory.store(((start + index) & 0xfff_ffff_ffff) << 10 | flags, at: page + index * 8)
        }
      }
      let isResident = random.chance(80)
      let memory: any PhysicalMemory = isResident ? ResidentPages(of: machine.memory) : machine.memory
      for access in Access.allCases {
        let translator = XuanTieDevice().translator(
          access: access, requester: machine.requester, registers: machine.registers, memory: memory)
        for _ in 0..<4 {
          var iova = machine.address(using: &random)
          let limit = random.pick([1, 2, 600, 1 << 30, .max] as [UInt64])
          for _ in 0..<4 {
            let run = translator.run(at: IOVA(iova), limit: limit)
            let inRun: [UInt64] = Array(0..<min(run.pages, 20)) + [run.pages / 2, run.pages - 1]
            for page in inRun {
              pages += 1
              let wanted = XuanTieDevice().translate(
                IOVA(iova &+ page << 12), access: access, requester: machine.requester, registers: machine.registers,
                memory: machine.memory)
              guard Self.tells(run, page, wanted), run.pages <= limit, run.pages - 1 <= (UInt64.max - iova) >> 12
              else {
                Issue.record(
                  "seed \(SeededNumbers.run) round \(round) mode \(mode) \(hex(iova)) \(access) page \(page): \(run), not \(wanted)"
                )
                return
              }
            }
            iova &+= run.pages << 12
          }
        }
      }
    }
    #expect(pages > 10_000)
  }

  /// Whether page `page` of `run` is told as it is by itself.
  private static func tells(_ run: DeviceRun, _ page: UInt64, _ wanted: DeviceTranslation) -> Bool {
    var result = run.result
    if case .translated(let target) = result { result = .translated(target + page << 12) }
    guard result == wanted.result, let last = run.last else { return result == wanted.result && wanted.steps.isEmpty }
    guard let own = wanted.steps.last else { return false }
    return own.level == last.level && own.entry.isValid == last.entry.isValid
      && own.entry.isPointer == last.entry.isPointer && (page > 0 || own == last)
  }

  /// `contexts` is `context(of:)` for every requester that the driver's table has room for.
  @Test func contextsAreThoseOfEveryRequester() throws {
    for round in 0..<6 {
      var random = SeededNumbers(round: round)
      let machine = Machine(mode: 8, using: &random)
      machine.memory.holes = machine.memory.holes.filter { $0 < 0x8000_0000 }
      var registers = machine.registers
      registers.byOffset[XuanTieRegister.rsidDivide] = random.pick([0, 1, 8, 15, 64])
      registers.byOffset[XuanTieRegister.enable] = 1
      for _ in 0..<6 {
        let rsid = UInt64(random.below(4096))
        machine.memory.store(0x9100_0000 | 1 | UInt64(random.below(2)) * 4, at: 0x9000_0000 + rsid * 8)
      }
      var wanted: [DeviceContext] = []
      for rsid in 0..<UInt32(4096) {
        let context = try? XuanTieDevice().context(
          of: RequesterID(rawValue: rsid), registers: registers, memory: machine.memory)
        if let context, context.descriptor != nil { wanted.append(context) }
      }
      let found = try? XuanTieDevice().contexts(registers: registers, memory: machine.memory, limit: 4096)
      // A table of garbage may lead to what cannot be read; then nothing is said.
      if let found { #expect(found == wanted, "seed \(SeededNumbers.run) round \(round)") }
      if let found, found.count > 1 {
        let first = try XuanTieDevice().contexts(registers: registers, memory: machine.memory, limit: 1)
        #expect(first == Array(found.prefix(1)))
      }
    }
  }
}
