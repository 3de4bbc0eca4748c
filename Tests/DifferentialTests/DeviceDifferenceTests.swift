import IOMMUModel
import PageTables
import Randomness
import Testing
import XuanTie

/// The device as modelled here against the lab's QEMU device: where an access goes, which cause is latched then, and every
/// word read on the way.
@Suite struct DeviceDifferenceTests {
  /// The two tell the same of everything but this.
  static let explained = "a word that cannot be read is said to be so, where the device goes on with zero"

  /// A device table, a descriptor and page tables in memory that begins at 0, ends at 2^64 and has tables in between.
  struct Machine {
    static let tables: [UInt64] = (0..<8).map { 0x8000_0000 + $0 << 12 } + [0xff_ffff_e000, 0xff_ffff_ffff_f000]
    static let places: [UInt64] = [0, 0x1000, 0x9000_0000, 0xffff_ffff_ffff_f000]
    /// What the descriptor's MODE may be, those that the device does not know among them.
    static let modes: [UInt64] = [0, 1, 1, 1, 8, 8, 8, 8, 8, 9, 9, 9, 9, 10, 10, 10, 10, 2, 7, 11, 15]

    static let offsets: [String: UInt64] = .init(
      uniqueKeysWithValues: XuanTieDevice().registers.map { ($0.name, $0.offset) })

    let addresses: [UInt64]
    let requester: RequesterID
    let divide: UInt64
    let tableBase: UInt64
    let cause: UInt16

    init(in memory: Pages, using random: inout SeededNumbers) {
      memory.forget()
      requester = RequesterID(
        rawValue: random.chance(60) ? random.pick([0, 8, 255, 256, 4095, 4096, 0xffff]) : UInt32(random.below(1 << 16)))
      cause = random.chance(75) ? 0 : random.pick([1, 13, 14, 15, 16, 17, 21, 99, .max])

      let code = random.pick(Self.modes)
      let mode = PagingMode(firstStageCode: UInt8(code)) ?? .sv39
      let tables = HostileTables(
        mode, pages: Self.tables, elsewhere: Self.places, addresses: 3, using: &random
      ) { $0.next() >> ($0.chance(20) ? 20 : 36) }
      addresses =
        tables.addresses.map { $0 | random.pick([0, 1, 0xfff, UInt64(random.below(4096))]) } + [random.pick([0, .max])]
      for word in tables.words {
        // The device reads eight bytes in Sv32 as well.
        memory.store(word.entry, at: word.address, bytes: mode == .sv32 && random.chance(80) ? 4 : 8)
      }

      divide = random.chance(40) ? 0 : UInt64(1 + random.below(15))
      let rsid = UInt64(requester.rsid)
      tableBase = random.pick(Self.places) &- random.pick([0, 0, 0, 8, 0x80, 1])
      let descriptor = random.pick(Self.places) &+ random.pick([0, 8, 0x100, 0xff8])
      memory.store(code << 60 | UInt64(random.below(1 << 16)) << 44 | tables.root >> 12, at: descriptor)
      let entry = descriptor | (random.chance(88) ? 5 : UInt64(random.below(8)))
      if divide == 0 {
        memory.store(entry, at: tableBase &+ rsid * 8)
      } else {
        let pointer = random.pick(Self.places) | (random.chance(85) ? 0 : UInt64(random.below(8)))
        memory.store(entry, at: pointer &+ (rsid & (1 << divide - 1)) * 8)
        memory.store(pointer, at: tableBase &+ (rsid >> divide) * 8)
      }
      if random.chance(8) { memory.holes.insert(random.pick(Self.tables + Self.places)) }
    }

    var registers: RegisterValues {
      let values = ["RSIDDIV": divide, "DTBASE": tableBase, "IOMMUCAPEN": 1, "IOMMUCAUSE": UInt64(cause)]
      return RegisterValues(
        byOffset: .init(uniqueKeysWithValues: values.map { (Self.offsets[$0.key] ?? .max, $0.value) }))
    }
  }

  static func answer(_ translation: DeviceTranslation) -> DeviceInC.Answer? {
    let end: DeviceInC.End
    switch translation.result {
    case .bypassed: end = .passed
    case .translated(let target): end = .translated(target.rawValue)
    case .refused: end = translation.deviations.contains { $0.hasSuffix("QEMU aborts") } ? .aborts : .failed
    case .unreadable: return nil
    }
    return DeviceInC.Answer(end: end, cause: translation.latched?.code ?? 0, reads: reads(translation))
  }

  static func reads(_ translation: DeviceTranslation) -> [UInt64] {
    translation.words.map(\.address.rawValue) + translation.steps.map(\.entryAddress.rawValue)
  }

  /// Whether a word that cannot be read is the one at which the device's way leaves what is known.
  static func isExplained(_ translation: DeviceTranslation, _ wanted: DeviceInC.Answer, _ memory: Pages) -> Bool {
    guard case .unreadable(let failure) = translation.result else { return false }
    let known = reads(translation)
    // A second-level device table at address 0 that is not there has no entries for anybody; that is no hole.
    guard known.count < wanted.reads.count, Array(wanted.reads.prefix(known.count)) == known else { return false }
    let word = wanted.reads[known.count]
    return memory.isHole(word) && failure.address.rawValue &- word < 8
  }

  @Test func everyAccessEndsAsInQEMU() {
    let memory = Pages()
    var ends: [String: Int] = [:]
    for round in 0..<Amount.tables {
      var random = SeededNumbers(round: round)
      let machine = Machine(in: memory, using: &random)
      let registers = machine.registers
      let device = DeviceInC(
        tableBase: machine.tableBase, divide: UInt32(machine.divide), requester: UInt32(machine.requester.rsid),
        memory: memory)
      for address in machine.addresses {
        for access in Access.allCases {
          let wanted = device.access(address, access, cause: machine.cause)
          let translation = XuanTieDevice().translate(
            IOVA(address), access: access, requester: machine.requester, registers: registers, memory: memory)
          var kind = String("\(wanted.end)".prefix { $0 != "(" })
          if Self.answer(translation) != Self.withoutHoles(wanted, memory) {
            guard Self.isExplained(translation, wanted, memory) else {
              Issue.record(
                """
                seed \(SeededNumbers.run) round \(round) \(hex(address)) \(access): \
                \(translation) instead of \(wanted)
                """)
              return
            }
            kind = Self.explained
          }
          ends[kind, default: 0] += 1
        }
      }
      guard contextAgrees(machine, registers, device, memory) else {
        Issue.record("seed \(SeededNumbers.run) round \(round): the requester's context differs")
        return
      }
    }
    Amount.report("device", Amount.tables, ends)
    for kind in ["passed", "translated", "failed", "aborts", Self.explained] {
      #expect(ends[kind] ?? 0 > Amount.tables / 50, "\(kind): \(ends)")
    }
  }

  /// A second-level table at address 0 that nobody has is read by the device and not listed here.
  private static func withoutHoles(_ answer: DeviceInC.Answer, _ memory: Pages) -> DeviceInC.Answer {
    DeviceInC.Answer(end: answer.end, cause: answer.cause, reads: answer.reads.filter { !memory.isHole($0) })
  }

  /// Whether what is told of a requester without an access is what the device would look up.
  private func contextAgrees(
    _ machine: Machine, _ registers: RegisterValues, _ device: DeviceInC, _ memory: Pages
  ) -> Bool {
    guard
      let context = try? XuanTieDevice().context(of: machine.requester, registers: registers, memory: memory)
    else { return !memory.holes.isEmpty }
    let (entry, _) = device.entry()
    let isValid = entry & 1 != 0
    let listed = context.words.last { $0.name == "DTE" }?.value ?? 0
    guard listed == entry, context.descriptor == (isValid ? GPA(entry & ~7) : nil) else { return false }
    switch context.translation {
    case .bypassed: return !isValid || entry & 2 == 0 && (entry & 4 == 0 || stage(entry, memory) >> 60 == 0)
    case .refused: return isValid && (entry & 2 != 0 || PagingMode(firstStageCode: code(entry, memory)) == nil)
    case .translated(let first, let second):
      return entry & 7 == 5 && second == nil && first?.mode.code == code(entry, memory)
        && first?.address.rawValue == (stage(entry, memory) & 0xfff_ffff_ffff) << 12
    }
  }

  private func code(_ entry: UInt64, _ memory: Pages) -> UInt8 { UInt8(stage(entry, memory) >> 60) }
  private func stage(_ entry: UInt64, _ memory: Pages) -> UInt64 { (try? memory.word(at: GPA(entry & ~7))) ?? 0 }
}
