public import IOMMUModel
public import PageTables

/// QEMU's `xmmuv1` (`hw/riscv/xmmuv1.c` in the vendor's tree) as it behaves, which is not always as RISC-V says.
///
/// What shows in one translation is named in its `DeviceTranslation.deviations`. The known ones have numbers:
///
/// - Q1: a translation covers one byte (`addr_mask` 0), so QEMU asks again for every byte. It shows in the addresses that
///   are asked for, not here.
/// - Q2: a latched cause is sticky. While one is latched the walk ends after its first level; only RESUME clears it.
/// - Q3: a leaf above level 0 does not end the walk, which goes on in the same table with the next level's index.
/// - Q4: a leaf in the root table counts although Q2 ends the walk there.
/// - Q5: the driver asks for an interrupt by a name that the device tree does not have, so no handler runs.
/// - Q6: driver and device disagree on the names of the registers at 0x20 and 0x28, see `Register.driverName`.
/// - Q7: bare mode passes every address through except 0, which fails without a cause.
///
/// Besides, the walk looks at V, R, W, X and PPN only: N, PBMT, reserved bits and the address bits above the mode's width
/// are ignored, and Sv32's entries are read as eight bytes.
public struct XuanTieDevice: DeviceModel {
  /// The device.
  public init() {}

  /// The implementation modelled here.
  public var name: String { "QEMU xmmuv1" }

  /// The readable registers.
  public var registers: [Register] { XuanTieRegister.all }

  /// Where QEMU's `virt` maps them.
  public var usualRegisterBlock: GPA? { GPA(0x2c00_0000) }

  /// `xmmuv1_translate`.
  public var translateFunction: String? { "xmmuv1_translate" }

  /// Q1.
  public var translationSpan: UInt64? { 1 }

  /// Requester ids that the driver's device table has room for; the device itself decodes 16 bits.
  static let driverTableSize = 4096

  /// IOMMUCAPEN, bit 0; a register that could not be read counts as on.
  public func isEnabled(_ registers: RegisterValues) -> Bool { (registers[XuanTieRegister.enable] ?? 1) & 1 != 0 }

  /// IOMMUINTEN, bit 0.
  public func raisesInterrupt(_ registers: RegisterValues) -> Bool? {
    registers[XuanTieRegister.interruptEnable].map { $0 & 1 != 0 }
  }

  /// IOMMUCAUSE with FTVAL, while a cause is latched.
  public func latchedFault(_ registers: RegisterValues) -> LatchedFault? {
    guard let cause = latched(registers), let value = registers[XuanTieRegister.cause] else { return nil }
    return LatchedFault(
      requester: RequesterID(rawValue: UInt32(value >> 16 & 0xffff)), cause: cause,
      address: registers[XuanTieRegister.faultValue].map { IOVA($0) })
  }

  /// A write to RESUME clears IOMMUCAUSE and leaves FTVAL.
  public func resumed(_ registers: RegisterValues) -> (registers: RegisterValues, how: String) {
    var cleared = registers
    if cleared[XuanTieRegister.cause] != nil { cleared.byOffset[XuanTieRegister.cause] = 0 }
    return (cleared, "an 8-byte write to RESUME (offset 0x1018) clears it, and nothing else does")
  }

  /// The contexts of all requesters with a valid entry, at most `limit`.
  public func contexts(
    registers: RegisterValues, memory: any PhysicalMemory, limit: Int
  ) throws(UnreadableMemory) -> [DeviceContext] {
    var found: [DeviceContext] = []
    let pages = PageCache(of: memory)
    for rsid in 0..<Self.driverTableSize where found.count < limit {
      let requester = RequesterID(rawValue: UInt32(rsid))
      var lookup = DeviceTableLookup()
      if try lookup.entry(of: requester, registers: registers, memory: pages) & 1 != 0 {
        found.append(try context(of: requester, registers: registers, memory: pages))
      }
    }
    return found
  }

  /// The context of `requester`.
  public func context(
    of requester: RequesterID, registers: RegisterValues, memory: any PhysicalMemory
  ) throws(UnreadableMemory) -> DeviceContext {
    if !isEnabled(registers) {
      return DeviceContext(
        requester: requester, words: [], translation: .bypassed("IOMMUCAPEN is 0: translation is off"), descriptor: nil)
    }
    var lookup = DeviceTableLookup()
    let entry = try lookup.entry(of: requester, registers: registers, memory: memory)
    guard entry & 1 != 0 else {
      return DeviceContext(
        requester: requester, words: lookup.words, translation: .bypassed("DTE not valid"), descriptor: nil)
    }
    let descriptor = GPA(entry & ~7)
    guard !lookup.asksForSecondStage else {
      return DeviceContext(
        requester: requester, words: lookup.words,
        translation: .refused("DTE.S is 1, the second stage is not implemented: the device model aborts"),
        descriptor: descriptor)
    }
    guard entry & 4 != 0 else {
      return DeviceContext(
        requester: requester, words: lookup.words, translation: .bypassed("DTE.F is 0: first stage off"),
        descriptor: descriptor)
    }
    let stage = try lookup.read("TD[0]", at: descriptor, memory: memory)
    let code = UInt8(stage >> 60)
    let translation: DeviceContext.Translation =
      if code == 0 {
        .bypassed("TD mode 0: bare")
      } else if let mode = PagingMode(firstStageCode: code) {
        .translated(firstStage: TableRoot(address: Self.root(stage), mode: mode), secondStage: nil)
      } else {
        .refused("TD mode \(code) is unknown: the device model aborts")
      }
    return DeviceContext(requester: requester, words: lookup.words, translation: translation, descriptor: descriptor)
  }

  /// What the device does with one access, with a cause latched before it or not (Q2): `xmmuv1_translate`.
  public func translate(
    _ iova: IOVA, access: Access, requester: RequesterID, registers: RegisterValues, memory: any PhysicalMemory
  ) -> DeviceTranslation {
    let (start, lookup) = start(of: requester, registers: registers, memory: memory)
    switch start {
    case .ended(let result, let latched):
      return DeviceTranslation(
        words: lookup.words, steps: [], result: result, latched: latched, deviations: lookup.deviations)
    case .stage(let stage, let latched):
      let walk = Self.stageOne(stage, iova: iova, access: access, latched: latched, memory: memory)
      return DeviceTranslation(
        words: lookup.words, steps: walk.steps, result: walk.result, latched: walk.latched,
        deviations: lookup.deviations + walk.deviations)
    }
  }

  /// The same for many pages, with one look-up of the requester's entry.
  public func translator(
    access: Access, requester: RequesterID, registers: RegisterValues, memory: any PhysicalMemory
  ) -> any DeviceTranslator {
    XuanTieTranslator(
      start(of: requester, registers: registers, memory: memory).start, access: access, memory: memory)
  }

  /// What an access comes to before its address matters.
  enum Start {
    /// It ends there, with this cause latched.
    case ended(DeviceTranslation.Result, latched: FaultCause?)
    /// It is walked by this word 0 of the TD, with this cause latched.
    case stage(UInt64, latched: FaultCause?)
  }

  private func start(
    of requester: RequesterID, registers: RegisterValues, memory: any PhysicalMemory
  ) -> (start: Start, lookup: DeviceTableLookup) {
    var lookup = DeviceTableLookup()
    let before = latched(registers)
    var cause: FaultCause? { lookup.isReserved ? XuanTieFault.reservedTableEntry : before }
    if !isEnabled(registers) {
      return (.ended(.bypassed("translation is off"), latched: before), lookup)
    }
    do throws(UnreadableMemory) {
      let entry = try lookup.entry(of: requester, registers: registers, memory: memory)
      if entry & 1 == 0 { return (.ended(.bypassed("DTE not valid"), latched: cause), lookup) }
      if lookup.asksForSecondStage { return (.ended(.refused(nil), latched: cause), lookup) }
      if entry & 4 == 0 { return (.ended(.bypassed("DTE.F is 0: first stage off"), latched: cause), lookup) }
      let stage = try lookup.read("TD[0]", at: GPA(entry & ~7), memory: memory)
      return (.stage(stage, latched: cause), lookup)
    } catch {
      return (.ended(.unreadable(error), latched: cause), lookup)
    }
  }

  /// The cause that is latched in IOMMUCAUSE; nil for none.
  private func latched(_ registers: RegisterValues) -> FaultCause? {
    guard let value = registers[XuanTieRegister.cause], value & 0xffff != 0 else { return nil }
    return XuanTieFault.cause(UInt16(value & 0xffff))
  }

  static func root(_ stage: UInt64) -> GPA { GPA((stage & 0xfff_ffff_ffff) << 12) }
}
