public import IOMMUModel
public import PageTables

/// QEMU's `xmmuv1` as it behaves, which is not always as RISC-V says. The names Q1 to Q7 number its deviations in
/// `docs` of this room; each is reported in ``DeviceTranslation/deviations`` when it shows.
public struct XuanTieDevice: DeviceModel {
  /// The device.
  public init() {}

  /// The implementation modelled here.
  public var name: String { "QEMU xmmuv1" }

  /// The readable registers.
  public var registers: [Register] { XuanTieRegister.all }

  /// Requester ids that the driver's device table has room for; the device itself decodes 16 bits.
  static let driverTableSize = 4096

  /// The contexts of all requesters with a valid entry, at most `limit`.
  public func contexts(
    registers: RegisterValues, memory: any PhysicalMemory, limit: Int
  ) throws(UnreadableMemory) -> [DeviceContext] {
    var found: [DeviceContext] = []
    var emptyGroup = -1
    let divide = Self.divide(registers)
    for rsid in 0..<Self.driverTableSize where found.count < limit {
      if divide > 0 && rsid >> divide == emptyGroup { continue }
      let requester = RequesterID(rawValue: UInt32(rsid))
      var words: [DeviceContext.Word] = []
      let entry = try deviceTableEntry(requester, registers: registers, memory: memory, words: &words)
      if divide > 0, words.first?.value == 0 { emptyGroup = rsid >> divide }
      if entry.value & 1 != 0 { found.append(try context(of: requester, registers: registers, memory: memory)) }
    }
    return found
  }

  /// The context of `requester`.
  public func context(
    of requester: RequesterID, registers: RegisterValues, memory: any PhysicalMemory
  ) throws(UnreadableMemory) -> DeviceContext {
    var words: [DeviceContext.Word] = []
    if let enable = registers[XuanTieRegister.enable], enable & 1 == 0 {
      return DeviceContext(
        requester: requester, words: [], translation: .bypassed("IOMMUCAPEN is 0: translation is off"), descriptor: nil)
    }
    let entry = try deviceTableEntry(requester, registers: registers, memory: memory, words: &words)
    guard entry.value & 1 != 0 else {
      return DeviceContext(
        requester: requester, words: words, translation: .bypassed("DTE not valid"), descriptor: nil)
    }
    let descriptor = GPA(entry.value & ~7)
    guard entry.value & 4 != 0 else {
      return DeviceContext(
        requester: requester, words: words, translation: .bypassed("DTE.F is 0: first stage off"),
        descriptor: descriptor)
    }
    let stage = try memory.word(at: descriptor)
    words.append(DeviceContext.Word(name: "TD[0]", address: descriptor, value: stage))
    let code = UInt8(stage >> 60)
    let translation: DeviceContext.Translation =
      if code == 0 {
        .bypassed("TD mode 0: bare")
      } else if let mode = PagingMode(firstStageCode: code) {
        .translated(firstStage: TableRoot(address: Self.root(stage), mode: mode), secondStage: nil)
      } else {
        .refused("TD mode \(code) is unknown: the device model aborts")
      }
    return DeviceContext(requester: requester, words: words, translation: translation, descriptor: descriptor)
  }

  /// What the device does with one access, with a cause latched before it or not (Q2).
  public func translate(
    _ iova: IOVA, access: Access, requester: RequesterID, registers: RegisterValues, memory: any PhysicalMemory
  ) -> DeviceTranslation {
    var words: [DeviceContext.Word] = []
    let before = latched(registers)
    func passed(_ why: String, _ cause: FaultCause?) -> DeviceTranslation {
      DeviceTranslation(words: words, steps: [], result: .bypassed(why), latched: cause, deviations: [])
    }
    if let enable = registers[XuanTieRegister.enable], enable & 1 == 0 { return passed("translation is off", before) }
    do throws(UnreadableMemory) {
      let entry = try deviceTableEntry(requester, registers: registers, memory: memory, words: &words)
      var cause = before
      var deviations: [String] = []
      if entry.reserved {
        cause = XuanTieFault.reservedTableEntry
        deviations.append("the level-1 device table entry has low bits set: cause 1 is latched and the walk goes on")
      }
      if entry.value & 1 == 0 { return passed("DTE not valid", cause) }
      if entry.value & 4 == 0 { return passed("DTE.F is 0: first stage off", cause) }
      let descriptor = GPA(entry.value & ~7)
      let stage = try memory.word(at: descriptor)
      words.append(DeviceContext.Word(name: "TD[0]", address: descriptor, value: stage))
      let walk = try Self.stageOne(stage, iova: iova, access: access, latched: cause, memory: memory)
      return DeviceTranslation(
        words: words, steps: walk.steps,
        result: walk.target.map { .translated($0) } ?? .refused(walk.aborts ? nil : walk.latched),
        latched: walk.latched, deviations: deviations + walk.deviations)
    } catch {
      return DeviceTranslation(words: words, steps: [], result: .unreadable(error), latched: before, deviations: [])
    }
  }

  /// The cause that is latched in IOMMUCAUSE; nil for none.
  private func latched(_ registers: RegisterValues) -> FaultCause? {
    guard let value = registers[XuanTieRegister.cause], value & 0xffff != 0 else { return nil }
    return XuanTieFault.cause(UInt16(value & 0xffff))
  }

  static func root(_ stage: UInt64) -> GPA { GPA((stage & 0xfff_ffff_ffff) << 12) }

  /// RSIDDIV as the number of bits that index a level-2 table; at most 15, or a shift by it would lose the requester id.
  private static func divide(_ registers: RegisterValues) -> UInt64 {
    min(registers[XuanTieRegister.rsidDivide] ?? 0, 15)
  }

  /// The requester's entry, by a linear or a two-level table; `reserved` when the level-1 entry had low bits set.
  private func deviceTableEntry(
    _ requester: RequesterID, registers: RegisterValues, memory: any PhysicalMemory, words: inout [DeviceContext.Word]
  ) throws(UnreadableMemory) -> (value: UInt64, reserved: Bool) {
    let base = GPA(registers[XuanTieRegister.deviceTableBase] ?? 0)
    let divide = Self.divide(registers)
    let rsid = UInt64(requester.rsid)
    var address = base + rsid * 8
    var reserved = false
    if divide > 0 {
      let upper = base + (rsid >> divide) * 8
      let pointer = try memory.word(at: upper)
      words.append(DeviceContext.Word(name: "DTE level 1", address: upper, value: pointer))
      reserved = pointer & 7 != 0
      // A zero pointer makes the device read at physical address 0; where that is not RAM it reads zero: not valid.
      if pointer == 0 { return (0, false) }
      address = GPA(pointer) + (rsid & ((1 << divide) - 1)) * 8
    }
    let entry = try memory.word(at: address)
    words.append(DeviceContext.Word(name: "DTE", address: address, value: entry))
    return (entry, reserved)
  }

  /// A first-stage walk of the device.
  struct StageOne {
    var steps: [Walk.Step] = []
    var target: GPA?
    var latched: FaultCause?
    var aborts = false
    var deviations: [String] = []
  }

  /// `riscv_one_stage`: the walk over TD word 0 (`stage`: MODE 63:60, PPN 43:0) with `latched` set before it.
  static func stageOne(
    _ stage: UInt64, iova: IOVA, access: Access, latched: FaultCause?, memory: any PhysicalMemory
  ) throws(UnreadableMemory) -> StageOne {
    var walk = StageOne(latched: latched)
    guard stage >> 60 != 0 else {
      // Q7: bare mode passes everything but address 0.
      if iova.rawValue != 0 {
        walk.target = GPA(iova.rawValue)
      } else {
        walk.deviations.append("bare mode refuses address 0 without a cause")
      }
      return walk
    }
    guard let mode = PagingMode(firstStageCode: UInt8(stage >> 60)) else {
      walk.aborts = true
      walk.deviations.append("mode \(stage >> 60) is unknown: QEMU aborts")
      return walk
    }
    let geometry = mode.geometry
    var table = root(stage)
    for level in stride(from: geometry.rootLevel, through: 0, by: -1) {
      let index = geometry.index(of: iova, atLevel: level)
      let address = geometry.entryAddress(table: table, index: index)
      // Eight bytes and a 64-bit entry even in Sv32, at Sv32's 4-byte stride.
      let entry = PageTableEntry(rawValue: try memory.word(at: address))
      walk.steps.append(Walk.Step(level: level, table: table, index: index, entryAddress: address, entry: entry))
      let lowBits: UInt64 = (1 << UInt64(mode.shift(atLevel: level) - 12)) - 1
      if let cause = fault(entry, access: access, lowBits: lowBits) {
        walk.latched = cause
        if walk.target != nil { walk.deviations.append("a fault is latched after the walk had found a leaf") }
      } else if entry.isPointer {
        table = entry.address
      } else {
        // Q3: the loop goes on in the same table after a leaf.
        if walk.target != nil { walk.deviations.append("a second leaf at level \(level) replaces the first") }
        walk.target = GPA((entry.ppn | (iova.rawValue >> 12 & lowBits)) << 12 | (iova.rawValue & 0xfff))
        if level > 0 { walk.deviations.append("the walk goes on after the leaf at level \(level)") }
      }
      // Q2: any cause ends the walk here, one from an earlier access as well.
      if walk.latched != nil {
        if walk.latched == latched && fault(entry, access: access, lowBits: lowBits) == nil && level > 0 {
          walk.deviations.append("a cause from an earlier access ends the walk after level \(level)")
        }
        break
      }
    }
    return walk
  }

  private static func fault(_ entry: PageTableEntry, access: Access, lowBits: UInt64) -> FaultCause? {
    guard entry.isValid else { return XuanTieFault.invalid }
    if entry.isPointer { return nil }
    if entry.rawValue & 0x6 == 0x4 { return XuanTieFault.reserved }
    if entry.ppn & lowBits != 0 { return XuanTieFault.misaligned }
    if access.reads && !entry.flags.contains(.read) { return XuanTieFault.notReadable }
    if access.writes && !entry.flags.contains(.write) { return XuanTieFault.notWritable }
    return nil
  }
}
