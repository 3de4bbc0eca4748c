import IOMMUModel
import PageTables

/// The way through the device table to one requester's entry (DTE): bits 63:3 the translation descriptor's address, bit 2
/// F (first stage on), bit 1 S (second stage on), bit 0 V. `hw/riscv/xmmuv1.c`; the driver's `xt_iommu_device` has the
/// same tables.
struct DeviceTableLookup {
  /// The words read, in order.
  private(set) var words: [DeviceContext.Word] = []
  /// Whether the level-1 entry has low bits set: the device latches cause 1 and goes on with the entry as it is.
  private(set) var isReserved = false
  /// Whether the entry asks for a second stage, which the device model does not have.
  private(set) var asksForSecondStage = false

  /// What the device does that the tables' format does not allow.
  var deviations: [String] {
    var deviations: [String] = []
    if isReserved {
      deviations.append("the level-1 device table entry has low bits set: cause 1 is latched and the walk goes on")
    }
    if asksForSecondStage { deviations.append("DTE.S is 1, the second stage is not implemented: QEMU aborts") }
    return deviations
  }

  /// RSIDDIV as the number of bits that index a level-2 table. From 16 on all of the requester id does.
  private static func divide(_ registers: RegisterValues) -> UInt64 {
    min(registers[XuanTieRegister.rsidDivide] ?? 0, 16)
  }

  /// The requester's entry, by a linear table or, where RSIDDIV is not 0, by a two-level one.
  mutating func entry(
    of requester: RequesterID, registers: RegisterValues, memory: any PhysicalMemory
  ) throws(UnreadableMemory) -> UInt64 {
    let entry = try find(requester, registers, memory)
    asksForSecondStage = entry & 3 == 3
    return entry
  }

  private mutating func find(
    _ requester: RequesterID, _ registers: RegisterValues, _ memory: any PhysicalMemory
  ) throws(UnreadableMemory) -> UInt64 {
    let base = GPA(registers[XuanTieRegister.deviceTableBase] ?? 0)
    let divide = Self.divide(registers)
    let rsid = UInt64(requester.rsid)
    guard divide > 0 else { return try read("DTE", at: base + rsid * 8, memory: memory) }
    let pointer = try read("DTE level 1", at: base + (rsid >> divide) * 8, memory: memory)
    isReserved = pointer & 7 != 0
    let address = GPA(pointer) + (rsid & ((1 << divide) - 1)) * 8
    guard pointer == 0 else { return try read("DTE", at: address, memory: memory) }
    // Without a level-2 table the device reads at physical address 0 all the same. Where nothing answers there it finds
    // zero, which is not valid: the usual case, and no error.
    return (try? read("DTE", at: address, memory: memory)) ?? 0
  }

  /// The word at `address`, kept under `name`.
  mutating func read(
    _ name: String, at address: GPA, memory: any PhysicalMemory
  ) throws(UnreadableMemory) -> UInt64 {
    let value = try memory.word(at: address)
    words.append(DeviceContext.Word(name: name, address: address, value: value))
    return value
  }
}
