public import IOMMUModel

/// Register offsets of the device, 64 bits each (QEMU `hw/riscv/xmmuv1.c`; `virt` maps the block at 0x2c000000, size
/// 0x20000). A read of 4 bytes answers 0, so each is read as one word of 8.
///
/// ERSIDDIV (0x10), INVLTLB (0x1010) and RESUME (0x1018) cannot be read and are left out.
enum XuanTieRegister {
  static let capability: UInt64 = 0x0
  static let rsidDivide: UInt64 = 0x8
  static let deviceTableBase: UInt64 = 0x18
  static let cause: UInt64 = 0x20
  static let faultValue: UInt64 = 0x28
  static let interrupt: UInt64 = 0x30
  static let enable: UInt64 = 0x1000
  static let interruptEnable: UInt64 = 0x1008

  static let all: [Register] = [
    Register(offset: capability, name: "IOMMUCAP") { $0 & 1 == 0 ? "one stage" : "two stages" },
    Register(offset: rsidDivide, name: "RSIDDIV") { value in
      value == 0 ? "linear device table" : "two-level device table, split at bit \(value)"
    },
    Register(offset: deviceTableBase, name: "DTBASE") { _ in "device table" },
    // The driver's header gives 0x20 the name that the device gives 0x28.
    Register(offset: cause, name: "IOMMUCAUSE", driverName: "FTVAL", meaning: causeMeaning),
    Register(offset: faultValue, name: "FTVAL") { $0 == 0 ? "" : "last faulting address" },
    Register(offset: interrupt, name: "IOMMUINTNO") { "interrupt \($0)" },
    Register(offset: enable, name: "IOMMUCAPEN") { $0 & 1 == 0 ? "translation off" : "translation on" },
    Register(offset: interruptEnable, name: "IOMMUINTEN") { $0 & 1 == 0 ? "interrupt off" : "interrupt on" },
  ]

  /// IOMMUCAUSE: V bit 63, RSID 31:16, CAUSE 15:0.
  @Sendable private static func causeMeaning(_ value: UInt64) -> String {
    let cause = UInt16(value & 0xffff)
    if value >> 63 == 0 && cause == 0 { return "no fault" }
    let requester = RequesterID(rawValue: UInt32(value >> 16 & 0xffff))
    let state = value >> 63 == 1 ? "pending" : "not pending"
    return "\(state): \(requester) cause \(XuanTieFault.cause(cause))"
  }
}

/// The device's fault causes: IOMMUCAUSE bits 15:0 (`hw/riscv/xmmuv1.c`).
enum XuanTieFault {
  static let names: [UInt16: String] = [
    1: "DTE_RESERVED_NOZERO", 2: "DTE_F_ONE_S1MODE_ZERO", 3: "DTE_S_ONE_S2MODE_ZERO",
    12: "S1_PTE_NO_EXEC", 13: "S1_PTE_NO_READ", 14: "S1_PTE_RESERVED", 15: "S1_PTE_NO_RW", 16: "S1_PTE_INVALID",
    17: "S1_PTE_MISALIGN_PPN", 18: "S1_PTE_USER_FOR_PRIV", 19: "S1_PTE_NO_USER_FOR_UNPRIV", 20: "S1_PMP_ACCESS",
    21: "S2_PTE_NO_EXEC", 22: "S2_PTE_NO_READ", 23: "S2_PTE_RESERVED", 24: "S2_PTE_NO_RW", 25: "S2_PTE_INVALID",
    26: "S2_PTE_MISALIGN_PPN", 27: "S2_PTE_NO_USER",
  ]

  static func cause(_ code: UInt16) -> FaultCause { FaultCause(code: code, name: names[code] ?? "unknown") }

  static let reservedTableEntry = cause(1)
  static let notReadable = cause(13)
  static let reserved = cause(14)
  static let notWritable = cause(15)
  static let invalid = cause(16)
  static let misaligned = cause(17)
}

extension XuanTieDevice {
  /// The members of `XMMUv1State` that a guest can read as registers.
  public var stateMembers: Set<String> {
    Set(Self.members.keys).union(["fault_pending", "fault_rsid", "fault_cause"])
  }

  private static let members: [String: UInt64] = [
    "stage_two": XuanTieRegister.capability, "rsiddiv": XuanTieRegister.rsidDivide,
    "dtbase": XuanTieRegister.deviceTableBase, "ftval": XuanTieRegister.faultValue,
    "irq_num": XuanTieRegister.interrupt, "enable": XuanTieRegister.enable,
    "irq_enable": XuanTieRegister.interruptEnable,
  ]

  /// The registers as `XMMUv1State` holds them: IOMMUCAUSE is put together from three members.
  public func registers(state: [String: UInt64]) -> RegisterValues {
    var values = RegisterValues()
    for (member, offset) in Self.members { values.byOffset[offset] = state[member] }
    if let pending = state["fault_pending"], let requester = state["fault_rsid"], let cause = state["fault_cause"] {
      values.byOffset[XuanTieRegister.cause] = (pending & 1) << 63 | (requester & 0xffff) << 16 | cause & 0xffff
    }
    return values
  }
}
