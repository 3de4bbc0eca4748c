import IOMMUModel
import PageTables
import Testing

@testable import XuanTie

/// From a requester to its descriptor, in every shape that the device's tables can have.
@Suite struct DeviceTableTests {
  static let device = XuanTieDevice()
  static let reserved = "the level-1 device table entry has low bits set: cause 1 is latched and the walk goes on"

  static func registers(divide: UInt64, base: UInt64 = 0x9000_0000, cause: UInt64 = 0) -> RegisterValues {
    RegisterValues(byOffset: [
      XuanTieRegister.rsidDivide: divide, XuanTieRegister.deviceTableBase: base, XuanTieRegister.enable: 1,
      XuanTieRegister.cause: cause,
    ])
  }

  static func words(_ words: (String, UInt64, UInt64)...) -> [DeviceContext.Word] {
    words.map { DeviceContext.Word(name: $0.0, address: GPA($0.1), value: $0.2) }
  }

  static func translate(
    _ iova: UInt64, _ registers: RegisterValues, _ memory: WordMemory
  ) -> DeviceTranslation {
    device.translate(
      IOVA(iova), access: .read, requester: RequesterID(rawValue: 8), registers: registers, memory: memory)
  }

  static func translate(_ registers: RegisterValues, _ memory: WordMemory) -> DeviceTranslation {
    translate(0x1000, registers, memory)
  }

  static func context(
    rsid: UInt32 = 8, _ registers: RegisterValues, _ memory: WordMemory
  ) throws -> DeviceContext {
    try device.context(of: RequesterID(rawValue: rsid), registers: registers, memory: memory)
  }

  @Test func linear() throws {
    let memory = WordMemory([0x9000_0040: 0x9100_0005, 0x9100_0000: 0x8000_0000_0008_0000])
    let context = try Self.context(Self.registers(divide: 0), memory)
    #expect(
      context.words
        == Self.words(("DTE", 0x9000_0040, 0x9100_0005), ("TD[0]", 0x9100_0000, 0x8000_0000_0008_0000)))
    #expect(context.firstStage == TableRoot(address: GPA(0x8000_0000), mode: .sv39))
    #expect(context.descriptor == GPA(0x9100_0000))
    #expect(context.requester == RequesterID(rawValue: 8))
    // Bit 63:3 is the address, however high.
    memory.words[0x9000_0040] = 0xffff_ffff_ffff_fffd
    memory.words[0xffff_ffff_ffff_fff8] = 0x9fff_ffff_ffff_ffff
    let high = try Self.context(Self.registers(divide: 0), memory)
    #expect(high.descriptor == GPA(0xffff_ffff_ffff_fff8))
    #expect(high.firstStage == TableRoot(address: GPA(0xff_ffff_ffff_f000), mode: .sv48))
  }

  @Test func theSegmentIsNotLookedUp() throws {
    let memory = WordMemory([0x9000_0040: 0x9100_0005, 0x9100_0000: 0x8000_0000_0008_0000])
    #expect(try Self.context(rsid: 0x3_0008, Self.registers(divide: 0), memory).descriptor == GPA(0x9100_0000))
  }

  /// Level-1 index, level-2 index of rsid 0x1234 for every split.
  @Test(
    arguments: [
      (1, 0x91a, 0), (4, 0x123, 4), (8, 0x12, 0x34), (12, 1, 0x234), (15, 0, 0x1234), (16, 0, 0x1234), (17, 0, 0x1234),
      (63, 0, 0x1234), (64, 0, 0x1234), (1 << 32, 0, 0x1234), (.max, 0, 0x1234),
    ] as [(UInt64, UInt64, UInt64)])
  func twoLevels(_ divide: UInt64, _ upper: UInt64, _ lower: UInt64) throws {
    let memory = WordMemory([
      0x9000_0000 + upper * 8: 0xa000_0000, 0xa000_0000 + lower * 8: 0x9100_0005, 0x9100_0000: 0xa000_0000_0008_0000,
    ])
    let context = try Self.context(rsid: 0x1234, Self.registers(divide: divide), memory)
    #expect(
      context.words
        == Self.words(
          ("DTE level 1", 0x9000_0000 + upper * 8, 0xa000_0000), ("DTE", 0xa000_0000 + lower * 8, 0x9100_0005),
          ("TD[0]", 0x9100_0000, 0xa000_0000_0008_0000)))
    #expect(context.firstStage?.mode == .sv57)
  }

  @Test func theHighestRequesterWithAnAbsurdSplit() throws {
    for divide: UInt64 in [16, 63, 64, .max] {
      let memory = WordMemory([0x9000_0000: 0xa000_0000, 0xa007_fff8: 0x9100_0005])
      #expect(try Self.context(rsid: 0xffff, Self.registers(divide: divide), memory).descriptor == GPA(0x9100_0000))
      let contexts = try Self.device.contexts(registers: Self.registers(divide: divide), memory: memory, limit: 4096)
      #expect(contexts == [])
    }
    // At the top of memory addresses wrap and nothing traps.
    let memory = WordMemory()
    _ = try Self.context(rsid: 0xffff, Self.registers(divide: 8, base: .max), memory)
    _ = try Self.context(rsid: 0xffff, Self.registers(divide: 0, base: .max), memory)
  }

  @Test func lowBitsOfTheLevelOneEntry() throws {
    for bits: UInt64 in 1...7 {
      let memory = WordMemory([0x9000_0000: 0xa000_0000 | bits, 0x9100_0000: 0x8000_0000_0008_0000])
      memory.store(0x9100_0005, at: 0xa000_0040 + bits)
      let context = try Self.context(Self.registers(divide: 8), memory)
      #expect(context.words[1] == Self.words(("DTE", 0xa000_0040 + bits, 0x9100_0005))[0])
      #expect(context.descriptor == GPA(0x9100_0000))

      // The root entry is a pointer: the walk ends there.
      memory.words[0x8000_0000] = 0x2000_0401
      let translation = Self.translate(Self.registers(divide: 8), memory)
      #expect(translation.result == .refused(XuanTieFault.reservedTableEntry))
      #expect(translation.latched == FaultCause(code: 1, name: "DTE_RESERVED_NOZERO"))
      #expect(translation.steps.count == 1)
      #expect(
        translation.deviations == [Self.reserved, "cause 1 ends the walk after level 2"])
      // An older cause gives way to cause 1.
      #expect(Self.translate(Self.registers(divide: 8, cause: 1 << 63 | 16), memory) == translation)
      // Not valid: passes through, with cause 1 latched all the same.
      memory.store(0x9100_0004, at: 0xa000_0040 + bits)
      let passed = Self.translate(Self.registers(divide: 8), memory)
      #expect(passed.result == .bypassed("DTE not valid"))
      #expect(passed.latched == XuanTieFault.reservedTableEntry)
      #expect(passed.deviations == [Self.reserved])
      // Nothing to read there.
      memory.holes = [0xa000_0000]
      let unreadable = Self.translate(Self.registers(divide: 8), memory)
      #expect(unreadable.result == .unreadable(UnreadableMemory(address: GPA(0xa000_0040 + bits), reason: "a hole")))
      #expect(unreadable.latched == XuanTieFault.reservedTableEntry)
      #expect(unreadable.words.map(\.name) == ["DTE level 1"])
    }
  }

  /// The device has no check for a zero level-1 entry: the level-2 table is at physical address 0.
  @Test func aZeroLevelOneEntryReadsAtAddressZero() throws {
    let memory = WordMemory([0x40: 0x9100_0005, 0x9100_0000: 0x8000_0000_0008_0000, 0x8000_0000: 0x2000_0401])
    let context = try Self.context(Self.registers(divide: 8), memory)
    #expect(
      context.words
        == Self.words(
          ("DTE level 1", 0x9000_0000, 0), ("DTE", 0x40, 0x9100_0005), ("TD[0]", 0x9100_0000, 0x8000_0000_0008_0000)))
    #expect(context.firstStage != nil)
    #expect(Self.translate(Self.registers(divide: 8), memory).words == context.words)
    // Every requester whose level-1 entry is zero shares that table.
    let contexts = try Self.device.contexts(registers: Self.registers(divide: 8), memory: memory, limit: 4096)
    #expect(contexts.map(\.requester.rsid) == (0..<16).map { $0 << 8 | 8 })

    // Where nothing answers at address 0, the entry is zero: not valid, and no error.
    memory.holes = [0]
    let without = try Self.context(Self.registers(divide: 8), memory)
    #expect(without.translation == .bypassed("DTE not valid"))
    #expect(without.words == Self.words(("DTE level 1", 0x9000_0000, 0)))
    let translation = Self.translate(Self.registers(divide: 8), memory)
    #expect(translation.result == .bypassed("DTE not valid"))
    #expect(translation.deviations == [])
    #expect(try Self.device.contexts(registers: Self.registers(divide: 8), memory: memory, limit: 4096) == [])
  }

  @Test func aSearchOfTheWholeTableAsksForPages() throws {
    for (divide, hole, limit) in [(0, false, 8), (8, false, 4), (8, true, 4), (1, false, 6), (15, false, 10)]
      as [(UInt64, Bool, Int)]
    {
      let memory = WordMemory([0x9000_0000: divide == 0 ? 0 : 0xa000_0000])
      if hole { memory.holes = [0] }
      memory.store(0x9100_0005, at: divide == 0 ? 0x9000_0000 : 0xa000_0000)
      let contexts = try Self.device.contexts(registers: Self.registers(divide: divide), memory: memory, limit: 4096)
      #expect(contexts.map(\.requester.rsid) == [0])
      #expect(memory.reads.count <= limit + 1, "divide \(divide): \(memory.reads.map(hex))")
    }
  }

  @Test func contextsAreLimited() throws {
    let memory = WordMemory()
    for rsid in 0..<UInt64(4096) { memory.words[0x9000_0000 + rsid * 8] = 0x9100_0001 }
    for limit in [-1, 0, 1, 10, 4096, .max] {
      let contexts = try Self.device.contexts(registers: Self.registers(divide: 0), memory: memory, limit: limit)
      #expect(contexts.map(\.requester.rsid) == Array(0..<max(0, min(limit, 4096))))
    }
  }

  /// Bus 16 and up: the device reads behind the 4096 entries that the driver made.
  @Test func requestersBehindTheDriversTable() throws {
    let memory = WordMemory([0x9000_8000: 0x9100_0005, 0x9100_0000: 0x8000_0000_0008_0000])
    let context = try Self.context(rsid: 0x1000, Self.registers(divide: 0), memory)
    #expect(context.descriptor == GPA(0x9100_0000))
    #expect(try Self.device.contexts(registers: Self.registers(divide: 0), memory: memory, limit: 4096) == [])
    let split = WordMemory([0x9000_0080: 0xa000_0000, 0xa000_0000: 0x9100_0005])
    #expect(
      try Self.context(rsid: 0x1000, Self.registers(divide: 8), split).words.map(\.address)
        == [GPA(0x9000_0080), GPA(0xa000_0000), GPA(0x9100_0000)])
  }

  @Test(
    arguments: [
      (0x9100_0004, "DTE not valid", false), (0, "DTE not valid", false),
      (0x9100_0006, "DTE not valid", false),
      (0x9100_0001, "DTE.F is 0: first stage off", true),
    ] as [(UInt64, String, Bool)])
  func entriesThatPassEverything(_ entry: UInt64, _ why: String, _ hasDescriptor: Bool) throws {
    let memory = WordMemory([0x9000_0040: entry])
    let context = try Self.context(Self.registers(divide: 0), memory)
    #expect(context.translation == .bypassed(why))
    #expect(context.descriptor == (hasDescriptor ? GPA(0x9100_0000) : nil))
    #expect(context.firstStage == nil)
    #expect(context.words == Self.words(("DTE", 0x9000_0040, entry)))
    for iova: UInt64 in [0, 0x1000, .max] {
      let translation = Self.translate(iova, Self.registers(divide: 0, cause: 1 << 63 | 16), memory)
      #expect(translation.result == .bypassed(why))
      #expect(translation.target(of: IOVA(iova)) == GPA(iova))
      #expect(translation.latched == XuanTieFault.invalid)
      #expect(translation.deviations == [] && translation.steps == [] && translation.words == context.words)
    }
  }

  /// The device model ends at once, whether there is a first stage or not.
  @Test(arguments: [0x9100_0003, 0x9100_0007] as [UInt64]) func aSecondStageEndsQEMU(_ entry: UInt64) throws {
    let memory = WordMemory([0x9000_0040: entry, 0x9100_0000: 0x8000_0000_0008_0000])
    let context = try Self.context(Self.registers(divide: 0), memory)
    #expect(
      context.translation
        == .refused("DTE.S is 1, the second stage is not implemented: the device model aborts"))
    #expect(context.descriptor == GPA(0x9100_0000) && context.words.map(\.name) == ["DTE"])
    let translation = Self.translate(Self.registers(divide: 0, cause: 1 << 63 | 16), memory)
    #expect(translation.result == .refused(nil) && translation.latched == XuanTieFault.invalid)
    #expect(translation.deviations == ["DTE.S is 1, the second stage is not implemented: QEMU aborts"])
    #expect(translation.words == context.words && translation.target(of: IOVA(0x1000)) == nil)
  }

  @Test func disabled() throws {
    let memory = WordMemory([0x9000_0040: 0x9100_0005])
    var registers = Self.registers(divide: 0)
    for enable: UInt64 in [0, 2, ~1] {
      registers.byOffset[XuanTieRegister.enable] = enable
      let context = try Self.context(registers, memory)
      #expect(context.translation == .bypassed("IOMMUCAPEN is 0: translation is off"))
      #expect(context.words == [] && context.descriptor == nil)
      let translation = Self.translate(registers, memory)
      #expect(translation.result == .bypassed("translation is off"))
      #expect(translation.words == [] && translation.latched == nil)
    }
    #expect(memory.reads == [])
  }

  @Test func unreadableTables() throws {
    let memory = WordMemory([0x9000_0000: 0xa000_0000, 0xa000_0040: 0x9100_0005, 0x9100_0000: 0x8000_0000_0008_0000])
    for (page, address, words) in [
      (0x9000_0000, 0x9000_0000, []), (0xa000_0000, 0xa000_0040, ["DTE level 1"]),
      (0x9100_0000, 0x9100_0000, ["DTE level 1", "DTE"]),
    ] as [(UInt64, UInt64, [String])] {
      memory.holes = [page]
      let failure = UnreadableMemory(address: GPA(address), reason: "a hole")
      #expect(throws: failure) { try Self.context(Self.registers(divide: 8), memory) }
      let translation = Self.translate(Self.registers(divide: 8, cause: 1 << 63 | 13), memory)
      #expect(translation.result == .unreadable(failure))
      #expect(translation.words.map(\.name) == words)
      #expect(translation.target(of: IOVA(0x1000)) == nil)
      #expect(translation.latched == XuanTieFault.notReadable)
      #expect(throws: UnreadableMemory.self) {
        try Self.device.contexts(registers: Self.registers(divide: 8), memory: memory, limit: 4096)
      }
    }
  }
}
