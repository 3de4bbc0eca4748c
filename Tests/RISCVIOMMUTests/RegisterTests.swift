import IOMMUModel
import Testing

@testable import RISCVIOMMU

/// Registers and causes: names, offsets, sizes, and what values mean in words.
@Suite struct RegisterTests {
  @Test func offsetsNamesAndSizes() {
    #expect(
      RISCVIOMMUDevice().registers.map { "\(String($0.offset, radix: 16)) \($0.name) \($0.size)" } == [
        "0 CAPABILITIES 8", "8 FCTL 4", "10 DDTP 8", "18 CQB 8", "20 CQH 4", "24 CQT 4", "28 FQB 8", "30 FQH 4",
        "34 FQT 4", "38 PQB 8", "40 PQH 4", "44 PQT 4", "48 CQCSR 4", "4c FQCSR 4", "50 PQCSR 4", "54 IPSR 4",
        "258 TR_REQ_IOVA 8", "260 TR_REQ_CTL 8", "268 TR_RESPONSE 8", "2f8 ICVEC 8",
      ])
    #expect(RISCVIOMMUDevice().usualRegisterBlock?.rawValue == 0x301_0000)
  }

  /// As the machine was stopped (main-meta.json), and what else there is to say.
  @Test(
    arguments: [
      (
        0x0, 0x78_e2cf_0f10,
        "version 1.0, 56-bit addresses, Sv32 Sv39 Sv48 Sv57 Sv39x4 Sv48x4 Sv57x4 Sv32x4 MSI_FLAT MSI_MRIF ATS DBG PD8"
      ),
      (0x0, 0, "version 0.0, 0-bit addresses"),
      (0x8, 0, "little-endian, interrupts as messages"), (0x8, 7, "big-endian, interrupts by wire, 32-bit guests"),
      (0x10, 0x2029_5c04, "device directory of 3 levels at 0x80a57000"),
      (0x10, 0x2029_5c02, "device directory of 1 level at 0x80a57000"),
      (0x10, 0, "Off: every access is refused"), (0x10, 1, "Bare: every access passes through"),
      (0x10, 13, "mode 13 is reserved"),
      (0x18, 0x2029_800c, "8192 records of 16 bytes at 0x80a60000"), (0x20, 0x2cb, "next command to carry out: 715"),
      (0x24, 0x2cb, "next command to write: 715"),
      (0x28, 0x202a_000b, "4096 records of 32 bytes at 0x80a80000"), (0x30, 0x106, "next fault to read: 262"),
      (0x34, 0x106, "next fault to report: 262"), (0x38, 0, "2 records of 16 bytes at 0x0"),
      (0x28, .max, "4294967296 records of 32 bytes at 0xfffffffffff000"),
      (0x40, 0, "next page request to read: 0"), (0x44, 1, "next page request to report: 1"),
      (0x48, 0x10003, "on, interrupt on"), (0x48, 0, "off, interrupt off"),
      (0x48, 1, "enabled, not on yet, interrupt off"),
      (
        0x48, 0x30f03,
        "on, interrupt on, memory fault, a command timed out, illegal command, fence done, busy"
      ),
      (0x4c, 0x10203, "on, interrupt on, overflow: faults are lost"),
      (0x4c, 0x10101, "on, interrupt off, memory fault: faults are lost"),
      (0x50, 0x10301, "on, interrupt off, memory fault: page requests are lost, overflow: page requests are lost"),
      (0x54, 0, "no interrupt pending"), (0x54, 2, "interrupt pending: faults"),
      (0x54, .max, "interrupt pending: commands, faults, counters, page requests"),
      (0x258, 0xffef_d000, "address asked for"), (0x260, 0, "nothing asked for"), (0x260, 1, "busy"),
      (0x260, 0x800_0000_0008, "0000:00:01.0, read"), (0x260, 0x800_0000_0001, "0000:00:01.0, read and write, busy"),
      (0x260, 0x801_0000_3006, "0000:00:01.0, process 3, execute, privileged"),
      (0x268, 0, "no answer"), (0x268, 0x3401, "refused: cause 13 (read page fault)"),
      (0x268, 0x8_8000, "in 0x88000000-0x883fffff"),
      (0x2f8, 0x2310, "vectors: commands 0, faults 1, counters 3, page requests 2"),
    ] as [(UInt64, UInt64, String)])
  func meanings(_ offset: UInt64, _ value: UInt64, _ text: String) throws {
    let register = try #require(RISCVIOMMUDevice().registers.first { $0.offset == offset })
    #expect(register.meaning(value) == text)
  }

  @Test func whatIsOnAndWhatInterrupts() {
    func device(_ offset: UInt64, _ value: UInt64?) -> (Bool, Bool?) {
      let values = RegisterValues(byOffset: value.map { [offset: $0] } ?? [:])
      return (RISCVIOMMUDevice().isEnabled(values), RISCVIOMMUDevice().raisesInterrupt(values))
    }
    #expect((0...5).map { device(0x10, $0).0 } == [false, false, true, true, true, false])
    #expect(device(0x10, nil) == (true, nil))
    #expect(device(0x4c, 3).1 == true && device(0x4c, 1).1 == false)
  }

  @Test func causes() {
    #expect(RISCVIOMMUFault.cause(256).description == "256 (all inbound transactions disallowed)")
    #expect(RISCVIOMMUFault.cause(275).name == "reserved" && RISCVIOMMUFault.cause(2047).name == "reserved")
    #expect(RISCVIOMMUFault.cause(2048).name == "custom" && RISCVIOMMUFault.cause(4095).name == "custom")
    #expect(
      RISCVIOMMUFault.names.keys.sorted() == [1, 4, 5, 6, 7, 12, 13, 15, 20, 21, 23] + Array(256...274))
    #expect(
      RISCVIOMMUFault.names.keys.filter(RISCVIOMMUFault.isReportedAlways).sorted()
        == [256, 257, 258, 259, 268, 272, 273])
  }

  @Test func everyQuirkHasAWordAndASource() {
    #expect(Implementation.qemu10.quirks.count == Quirk.allCases.count)
    #expect(Set(Quirk.allCases.map(\.summary)).count == Quirk.allCases.count)
    for quirk in Quirk.allCases { #expect(quirk.source.hasPrefix("riscv_iommu_"), "\(quirk)") }
    #expect(RISCVIOMMUDevice().name == "QEMU 10.0 riscv-iommu")
    #expect(RISCVIOMMUDevice(.specification).name == "RISC-V IOMMU specification 1.0")
  }
}
