import IOMMUModel
import PageTables
import Testing

@testable import RISCVIOMMU

/// Lines of QEMU's trace: those of captured runs, and what is none.
@Suite struct TraceTests {
  static let card = RequesterID(rawValue: 8)

  static func read(_ line: String) throws -> DeviceTrace.Event? { try #require(RISCVIOMMUDevice().trace).read(line) }

  @Test(
    arguments: [
      // A walk's answer has the page offset, the cache's has not.
      ("RO 0xffefc802 -> 0x80b77802", Access.read, 0xffef_c802, 0x80b7_7802),
      ("RO 0xfffff010 -> 0x80ada000", .read, 0xffff_f010, 0x80ad_a010),
      ("WR 0xfffff01c -> 0x80ada000", .write, 0xffff_f01c, 0x80ad_a01c),
      ("RW 0x1000 -> 0x2000", .readWrite, 0x1000, 0x2000),
      ("NA 0x1000 -> 0x2000", .none, 0x1000, 0x2000), ("RO 0xffefc002 -> 0x0", .read, 0xffef_c002, nil),
      // To the page at 0, from a walk.
      ("RO 0x1010 -> 0x10", .read, 0x1010, 0x10),
    ] as [(String, Access, UInt64, UInt64?)])
  func translations(_ text: String, _ access: Access, _ iova: UInt64, _ target: UInt64?) throws {
    #expect(
      try Self.read("riscv_iommu_dma (null): translate 0000:01.0 #0 \(text)")
        == .translation(Self.card, IOVA(iova), access, target: target.map { GPA($0) }))
  }

  @Test func requesters() throws {
    for (text, requester) in [("0000:00.0", 0), ("0001:02.3", 0x113), ("00ff:1f.7", 0xffff)] as [(String, UInt32)] {
      #expect(
        try Self.read("riscv_iommu_dma iommu0: translate \(text) #5 RO 0x1000 -> 0x2000")
          == .translation(RequesterID(rawValue: requester), IOVA(0x1000), .read, target: GPA(0x2000)))
    }
    for text in ["0100:00.0", "0000:20.0", "0000:00.8", "0000:00", "00.0", "0:0.0.0", ":.", "0000:zz.0"] {
      #expect(try Self.read("riscv_iommu_dma (null): translate \(text) #0 RO 0x1000 -> 0x2000") == nil)
    }
  }

  @Test func faults() throws {
    #expect(
      try Self.read("riscv_iommu_flt (null): fault 0000:01.0 reason: 0x80d0000000d iova: 0xffefc002")
        == .fault(Self.card, RISCVIOMMUFault.cause(13), IOVA(0xffef_c002)))
    #expect(
      try Self.read("riscv_iommu_flt (null): fault 0000:01.0 reason: 0xfffffffffffff100 iova: 0x0")
        == .fault(Self.card, RISCVIOMMUFault.cause(256), IOVA(0)))
  }

  @Test(
    arguments: [
      ("0x100002401 0x3ffbf000", "IOTINVAL.VMA of 0xffefc000, PSCID 2", [0xffef_c000, 0xffef_cfff]),
      ("0x100002001 0x0", "IOTINVAL.VMA of all addresses, PSCID 2", nil),
      ("0x1 0x0", "IOTINVAL.VMA of all addresses", nil),
      // GV and GSCID; GVMA; a range (S).
      ("0x50300002401 0x3ffbf000", "IOTINVAL.VMA of 0xffefc000, PSCID 2, GSCID 5", [0xffef_c000, 0xffef_cfff]),
      ("0x500200000481 0x400", "IOTINVAL.GVMA of 0x1000, GSCID 80", nil),
      ("0x100002401 0x3ffbf200", "IOTINVAL.VMA of a range from about 0xffefc000, PSCID 2", nil),
      ("0x3 0x0", "IODIR.INVAL_DDT of all requesters", nil),
      ("0x80200000003 0x0", "IODIR.INVAL_DDT of requester id 0x8", nil),
      ("0x80200001083 0x0", "IODIR.INVAL_PDT of requester id 0x8", nil),
    ] as [(String, String, [UInt64]?)])
  func invalidations(_ words: String, _ meaning: String, _ iovas: [UInt64]?) throws {
    let range = iovas.map { IOVA($0[0])...IOVA($0[1]) }
    #expect(
      try Self.read("riscv_iommu_cmd (null): command \(words)")
        == .invalidation(DeviceInvalidation(iovas: range, meaning: meaning)))
    // As a file keeps it: with what it means behind it.
    #expect(
      try Self.read("riscv_iommu_cmd (null): command \(words) (\(meaning))")
        == .invalidation(DeviceInvalidation(iovas: range, meaning: meaning)))
  }

  @Test(arguments: [
    "riscv_iommu_cmd (null): command 0x3002 0x0", "riscv_iommu_new (null): device attached 0000:01.0",
    "riscv_iommu_sys_reset_hold reset type 0", "riscv_iommu_icvec_write ICVEC write: incoming 0x2310 actual 0x2310",
    "riscv_iommu_sys_msi_sent MSI sent to vector 1 msi_addr 0x28000000 msi_data 0x4 result 0", "riscv_iommu_",
    "riscv_iommu_cmd (null): command 0x101 0x0", "riscv_iommu_cmd (null): command 0x103 0x0",
    "riscv_iommu_cmd (null): command 0xffffffffffffffff 0xffffffffffffffff",
  ])
  func otherEvents(_ line: String) throws { #expect(try Self.read(line) == .other) }

  @Test(arguments: [
    "riscv_iommu_dma", "riscv_iommu_dma (null): translate", "riscv_iommu_dma (null): translate 0000:01.0 #0 RO",
    "riscv_iommu_dma (null): translate 0000:01.0 #0 XX 0x1 -> 0x2",
    "riscv_iommu_dma (null): translate 0000:01.0 #0 RO 1 -> 2",
    "riscv_iommu_dma (null): translate 0000:01.0 #0 RO 0x1 => 0x2",
    "riscv_iommu_dma (null): translate 0000:01.0 #0 RO 0x10000000000000000 -> 0x2", "riscv_iommu_flt (null): fault",
    "riscv_iommu_flt (null): fault 0000:01.0 reason: 13 iova: 0x0", "riscv_iommu_cmd (null): command 0x",
    "riscv_iommu_cmd (null): command 0x+1 0x0", "riscv_iommu_cmd (null):", "riscv_iommu_dma (null): walk a b c d e f g",
  ])
  func linesThatAreBroken(_ line: String) throws { #expect(try Self.read(line) == nil) }
}
