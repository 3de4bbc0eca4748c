import IOMMUModel
import Testing

@testable import XuanTie

/// Registers and causes: names, offsets, and what values mean in words.
@Suite struct RegisterTests {
  @Test func offsetsAndNames() {
    #expect(
      XuanTieDevice().registers.map { "\($0.offset) \($0.name) \($0.driverName ?? "-")" } == [
        "0 IOMMUCAP -", "8 RSIDDIV -", "24 DTBASE -", "32 IOMMUCAUSE FTVAL", "40 FTVAL -", "48 IOMMUINTNO -",
        "4096 IOMMUCAPEN -", "4104 IOMMUINTEN -",
      ])
  }

  @Test(
    arguments: [
      (0x0, 0, "one stage"), (0x0, 1, "two stages"), (0x0, 2, "one stage"),
      (0x8, 0, "linear device table"), (0x8, 8, "two-level device table, split at bit 8"),
      (0x8, .max, "two-level device table, split at bit 18446744073709551615"),
      (0x18, 0x80b7_6000, "device table"),
      (0x20, 0, "no fault"), (0x20, 8 << 16, "no fault"),
      (0x20, 0x8000_0000_0008_0010, "pending: 0000:00:01.0 cause 16 (S1_PTE_INVALID)"),
      (0x20, 0x0000_0000_0008_0010, "not pending: 0000:00:01.0 cause 16 (S1_PTE_INVALID)"),
      (0x20, 0x8000_0000_ffff_000d, "pending: 0000:ff:1f.7 cause 13 (S1_PTE_NO_READ)"),
      (0x20, 1 << 63, "pending: 0000:00:00.0 cause 0 (unknown)"),
      (0x20, .max, "pending: 0000:ff:1f.7 cause 65535 (unknown)"),
      (0x28, 0, ""), (0x28, 0xffff_f00c, "last faulting address"),
      (0x30, 13, "interrupt 13"),
      (0x1000, 0, "translation off"), (0x1000, 1, "translation on"), (0x1000, 3, "translation on"),
      (0x1008, 0, "interrupt off"), (0x1008, 1, "interrupt on"), (0x1008, ~1, "interrupt off"),
    ] as [(UInt64, UInt64, String)])
  func meanings(_ offset: UInt64, _ value: UInt64, _ text: String) throws {
    let register = try #require(XuanTieDevice().registers.first { $0.offset == offset })
    #expect(register.meaning(value) == text)
  }

  @Test func theInterruptsSwitch() {
    func raises(_ values: [UInt64: UInt64]) -> Bool? {
      XuanTieDevice().raisesInterrupt(RegisterValues(byOffset: values))
    }
    #expect(raises([0x1008: 1]) == true && raises([0x1008: 0]) == false && raises([0x1008: ~1]) == false)
    #expect(raises([0x1000: 1]) == nil)
  }

  @Test func causes() {
    let names = (0..<UInt16(40)).map { XuanTieFault.cause($0).description }.filter { !$0.hasSuffix("(unknown)") }
    #expect(
      names == [
        "1 (DTE_RESERVED_NOZERO)", "2 (DTE_F_ONE_S1MODE_ZERO)", "3 (DTE_S_ONE_S2MODE_ZERO)", "12 (S1_PTE_NO_EXEC)",
        "13 (S1_PTE_NO_READ)", "14 (S1_PTE_RESERVED)", "15 (S1_PTE_NO_RW)", "16 (S1_PTE_INVALID)",
        "17 (S1_PTE_MISALIGN_PPN)", "18 (S1_PTE_USER_FOR_PRIV)", "19 (S1_PTE_NO_USER_FOR_UNPRIV)",
        "20 (S1_PMP_ACCESS)", "21 (S2_PTE_NO_EXEC)", "22 (S2_PTE_NO_READ)", "23 (S2_PTE_RESERVED)",
        "24 (S2_PTE_NO_RW)", "25 (S2_PTE_INVALID)", "26 (S2_PTE_MISALIGN_PPN)", "27 (S2_PTE_NO_USER)",
      ])
    #expect(XuanTieFault.cause(99).description == "99 (unknown)")
  }

  /// Only CAUSE says whether one is latched; V and RSID do not.
  @Test func theLatchedCauseIsReadFromTheRegister() {
    let memory = WordMemory([0x9000_0040: 0x9100_0005, 0x9100_0000: 0x8000_0000_0008_0000, 0x8000_0000: 0x2000_0401])
    for (value, count) in [(0, 2), (1 << 63, 2), (8 << 16, 2), (16, 1), (0x8000_0000_0008_0010, 1)] as [(UInt64, Int)] {
      let registers = DeviceTableTests.registers(divide: 0, cause: value)
      #expect(DeviceTableTests.translate(registers, memory).steps.count == count)
    }
  }
}
