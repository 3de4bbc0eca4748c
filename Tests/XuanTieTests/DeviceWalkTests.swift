import IOMMUModel
import PageTables
import Testing

@testable import XuanTie

/// Where the device leaves the specification, one case each, with the sentence that says so.
@Suite struct DeviceWalkTests {
  static let root: UInt64 = 0x8000_0000
  static let stage: UInt64 = 0x8000_0000_0008_0000

  /// A pointer to the table at `address`.
  static func pointer(_ address: UInt64) -> UInt64 { address >> 2 | 1 }

  static func walk(
    _ iova: UInt64, _ words: [UInt64: UInt64], stage: UInt64 = stage, access: Access = .read, latched: UInt16 = 0
  ) -> StageOneWalk {
    XuanTieDevice.stageOne(
      stage, iova: IOVA(iova), access: access, latched: latched == 0 ? nil : XuanTieFault.cause(latched),
      memory: WordMemory(words))
  }

  /// Three levels: 0x40201000 goes to 0x1_2345_6000.
  static let tables: [UInt64: UInt64] = [
    0x8000_0008: pointer(0x8000_1000), 0x8000_1008: pointer(0x8000_2000), 0x8000_2008: 0x1_2345_6000 >> 2 | 7,
  ]

  @Test func nothingToSayAboutAPlainMapping() {
    for access in Access.allCases {
      let walk = Self.walk(0x4020_1abc, Self.tables, access: access)
      #expect(walk.target == GPA(0x1_2345_6abc))
      #expect(walk.steps.map(\.level) == [2, 1, 0])
      #expect(walk.steps.map(\.index) == [1, 1, 1])
      #expect(walk.steps.map(\.entryAddress) == [GPA(0x8000_0008), GPA(0x8000_1008), GPA(0x8000_2008)])
      #expect(walk.latched == nil && walk.deviations == [] && !walk.aborts && walk.failure == nil)
    }
  }

  @Test(
    arguments: [
      (0, .read, 16), (6, .read, 16), (5, .read, 14), (13, .none, 14), (9, .read, 13), (9, .none, 0),
      (9, .readWrite, 13),
      (9, .write, 15), (3, .write, 15), (3, .readWrite, 15), (3, .read, 0), (7, .readWrite, 0), (1, .read, 0),
    ] as [(UInt64, Access, UInt16)])
  func causesOfALeaf(_ flags: UInt64, _ access: Access, _ code: UInt16) {
    var words = Self.tables
    words[0x8000_2008] = 0x1_2345_6000 >> 2 | flags
    let walk = Self.walk(0x4020_1000, words, access: access)
    #expect(walk.latched?.code ?? 0 == code)
    // A pointer at level 0 fails without a cause.
    #expect((walk.target != nil) == (code == 0 && flags != 1))
    #expect(walk.deviations == [])
  }

  @Test func q2AStickyCauseEndsTheWalkAfterOneLevel() {
    for code: UInt16 in [1, 13, 16, 99] {
      let walk = Self.walk(0x4020_1000, Self.tables, latched: code)
      #expect(walk.target == nil && walk.steps.count == 1)
      #expect(walk.latched?.code == code)
      let cause = code == 1 ? "cause 1" : "a cause from an earlier access"
      #expect(walk.deviations == ["\(cause) ends the walk after level 2"])
    }
    // A fault of its own replaces the older cause: nothing special then.
    let own = Self.walk(0x0, Self.tables, latched: 13)
    #expect(own.latched == XuanTieFault.invalid && own.deviations == [])
    let same = Self.walk(0x0, Self.tables, latched: 16)
    #expect(same.latched == XuanTieFault.invalid && same.deviations == [])
  }

  @Test func q3AMegapageIsReplacedByWhatLiesInItsTable() {
    // Level 1, index 1 is a 2 MiB leaf; the walk goes on with index 0x1ff in the same table.
    var words = Self.tables
    words[0x8000_1008] = 0x1_2340_0000 >> 2 | 7
    words[0x8000_1ff8] = 0x5_4321_0000 >> 2 | 7
    let replaced = Self.walk(0x403f_f123, words)
    #expect(replaced.target == GPA(0x5_4321_0123))
    #expect(replaced.steps.map(\.table) == [GPA(0x8000_0000), GPA(0x8000_1000), GPA(0x8000_1000)])
    #expect(
      replaced.deviations == [
        "the walk goes on after the leaf at level 1", "a second leaf at level 0 replaces the first",
      ])

    // Nothing there: success, and a cause for the next access.
    words[0x8000_1ff8] = nil
    let fault = Self.walk(0x403f_f123, words)
    #expect(fault.target == GPA(0x1_235f_f123))
    #expect(fault.latched == XuanTieFault.invalid)
    #expect(
      fault.deviations == [
        "the walk goes on after the leaf at level 1", "a fault is latched after the walk had found a leaf",
      ])

    // A pointer there: the leaf stays.
    words[0x8000_1ff8] = Self.pointer(0x8000_2000)
    let pointer = Self.walk(0x403f_f123, words)
    #expect(pointer.target == GPA(0x1_235f_f123) && pointer.latched == nil)
    #expect(pointer.deviations == ["the walk goes on after the leaf at level 1"])
  }

  @Test func q3AGigapageIsReplacedTwice() {
    let words: [UInt64: UInt64] = [
      0x8000_0008: 0x1_4000_0000 >> 2 | 7, 0x8000_0010: 0x2_0020_0000 >> 2 | 7, 0x8000_0018: 0x3_0000_3000 >> 2 | 7,
    ]
    let walk = Self.walk(0x4040_3456, words)
    #expect(walk.target == GPA(0x3_0000_3456))
    #expect(
      walk.deviations == [
        "the walk goes on after the leaf at level 2", "a second leaf at level 1 replaces the first",
        "the walk goes on after the leaf at level 1", "a second leaf at level 0 replaces the first",
      ])
  }

  @Test func q4AGigapageCountsAfterAStaleCause() {
    let words: [UInt64: UInt64] = [0x8000_0008: 0x1_4000_0000 >> 2 | 7]
    let walk = Self.walk(0x4040_3456, words, latched: 16)
    #expect(walk.target == GPA(0x1_4040_3456))
    #expect(walk.latched == XuanTieFault.invalid)
    #expect(walk.steps.count == 1)
    #expect(
      walk.deviations == ["a cause from an earlier access ends the walk after level 2, whose leaf counts all the same"])
  }

  @Test func q7BareModePassesAllButZero() {
    for iova: UInt64 in [1, 0x1000, .max] {
      let walk = Self.walk(iova, [:], stage: 0x80000, latched: 16)
      #expect(walk.target == GPA(iova) && walk.latched == XuanTieFault.invalid && walk.deviations == [])
    }
    let zero = Self.walk(0, [:], stage: 0x80000)
    #expect(zero.target == nil && zero.latched == nil && zero.steps.isEmpty)
    #expect(zero.deviations == ["bare mode refuses address 0 without a cause"])
  }

  @Test func unknownModesAbort() throws {
    for code: UInt64 in [2, 7, 11, 15] {
      let walk = Self.walk(0x1000, [:], stage: code << 60 | 0x80000)
      #expect(walk.aborts && walk.target == nil && walk.steps.isEmpty)
      #expect(walk.deviations == ["mode \(code) is unknown: QEMU aborts"])

      let memory = WordMemory([0x9000_0040: 0x9100_0005, 0x9100_0000: code << 60])
      let registers = DeviceTableTests.registers(divide: 0, cause: 1 << 63 | 16)
      let context = try DeviceTableTests.context(registers, memory)
      #expect(context.translation == .refused("TD mode \(code) is unknown: the device model aborts"))
      // No cause is latched by an abort.
      #expect(DeviceTableTests.translate(registers, memory).result == .refused(nil))
    }
  }

  @Test func bareModeThroughTheDevice() throws {
    let memory = WordMemory([0x9000_0040: 0x9100_0005, 0x9100_0000: 0x80000])
    let registers = DeviceTableTests.registers(divide: 0)
    #expect(try DeviceTableTests.context(registers, memory).translation == .bypassed("TD mode 0: bare"))
    #expect(DeviceTableTests.translate(0x1234, registers, memory).result == .translated(GPA(0x1234)))
    let zero = DeviceTableTests.translate(0, registers, memory)
    #expect(zero.result == .refused(nil) && zero.latched == nil)
    #expect(zero.deviations == ["bare mode refuses address 0 without a cause"])
  }

  @Test func bitsThatTheDeviceDoesNotLookAt() {
    func deviations(_ level: Int, _ bits: UInt64, iova: UInt64 = 0x4020_1000) -> [String] {
      var words = Self.tables
      let address: UInt64 = [0x8000_2008, 0x8000_1008, 0x8000_0008][level]
      words[address] = (words[address] ?? 0) | bits
      let walk = Self.walk(iova, words)
      #expect(walk.target == GPA(0x1_2345_6000))
      return walk.deviations
    }
    #expect(deviations(0, 0xf8) == [])  // U, G, A, D in a leaf
    #expect(deviations(0, 0x300) == [])  // for software
    #expect(deviations(0, 1 << 61) == [])  // PBMT NC: the address is the same
    #expect(
      deviations(0, 1 << 54) == ["the entry at level 0 is used although malformed: reserved bits 0x40000000000000 set"])
    #expect(deviations(0, 3 << 61) == ["the entry at level 0 is used although malformed: reserved PBMT 3"])
    #expect(deviations(0, 1 << 63) == ["the entry at level 0 is used although malformed: N with low PPN bits 0x6"])
    #expect(deviations(1, 0x40) == ["the entry at level 1 is used although malformed: A in a pointer"])
    #expect(deviations(2, 1 << 61) == ["the entry at level 2 is used although malformed: reserved PBMT 1"])
    #expect(deviations(0, 0, iova: 0x80_4020_1000) == ["address bits above Sv39's width are ignored"])
    #expect(deviations(0, 0, iova: 0x8000_0000_4020_1000) == ["address bits above Sv39's width are ignored"])
    #expect(deviations(0, 0, iova: 0xffff_ffc0_4020_1000 & ~(0x1ff << 30) | 1 << 30) != [])
  }

  @Test func aContiguousLeafIsOnePage() {
    var words = Self.tables
    words[0x8000_2008] = 1 << 63 | 0x1_2345_8000 >> 2 | 7
    let walk = Self.walk(0x4020_1000, words)
    #expect(walk.target == GPA(0x1_2345_8000))
    #expect(walk.deviations == ["N in the leaf at level 0 is ignored"])
    #expect(
      PagingMode.sv39.geometry.walk(IOVA(0x4020_1000), root: GPA(Self.root), in: WordMemory(words)).target
        == GPA(0x1_2345_1000))
  }

  @Test func sv32EntriesAreReadWithTheirNeighbour() {
    let stage: UInt64 = 1 << 60 | 0x80000
    let alone: [UInt64: UInt64] = [0x8000_0000: Self.pointer(0x8000_1000), 0x8000_1000: 0x2000_0807]
    #expect(Self.walk(0x123, alone, stage: stage).target == GPA(0x8000_2123))
    #expect(Self.walk(0x123, alone, stage: stage).deviations == [])
    // The neighbour's bits are page number bits here.
    var words = alone
    words[0x8000_1000] = 0x0000_0001_2000_0807
    let walk = Self.walk(0x123, words, stage: stage)
    #expect(walk.target == GPA(0x4_8000_2123))
    #expect(walk.deviations == ["the entry at level 0 is read together with its neighbour, as 8 bytes"])
    // The entry at 4 is the neighbour.
    #expect(Self.walk(0x1123, words, stage: stage).target == nil)
  }

  @Test func anEntryThatCannotBeRead() {
    let memory = WordMemory(Self.tables)
    memory.holes = [0x8000_2000]
    memory.words[0x9000_0040] = 0x9100_0005
    memory.words[0x9100_0000] = Self.stage
    let translation = DeviceTableTests.translate(0x4020_1000, DeviceTableTests.registers(divide: 0), memory)
    #expect(translation.result == .unreadable(UnreadableMemory(address: GPA(0x8000_2008), reason: "a hole")))
    #expect(translation.steps.map(\.level) == [2, 1])
    #expect(translation.words.map(\.name) == ["DTE", "TD[0]"])
    #expect(translation.target(of: IOVA(0x4020_1000)) == nil)
    #expect(translation.latched == nil)
    // After a leaf the device reads on (Q3), so what it does is not known then either.
    memory.words[0x8000_1008] = 0x1_2340_0000 >> 2 | 7
    memory.holes = [0x8000_1000]
    let afterLeaf = DeviceTableTests.translate(0x4020_1000, DeviceTableTests.registers(divide: 0), memory)
    #expect(afterLeaf.target(of: IOVA(0x4020_1000)) == nil)
  }
}
