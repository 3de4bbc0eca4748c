import GuestMemory
import IOMMUModel
import PageTables
import Testing

@testable import RISCVIOMMU

/// The driver's structures, with the offsets and values of the captured kernels.
@Suite struct DriverLayoutTests {
  static func member(_ member: String, of type: String = "struct riscv_iommu_domain") -> String {
    "(unsigned long)&((\(type) *)0)->\(member)"
  }

  /// Offsets of Linux 7.2.13, and those of a driver with its own tables.
  static func kernel(_ generation: RISCVIOMMUDriver.Generation) -> DriverTarget {
    var values = [
      member("domain"): UInt64(0), member("domain.type"): 0, member("domain", of: "struct riscv_iommu_info"): 0,
    ]
    switch generation {
    case .range: values[member("riscvpt.riscv_64pt.common.top_of_table")] = 144
    case .pages: (values[member("pgd_root")], values[member("pgd_mode")]) = (152, 148)
    }
    return DriverTarget(values: values)
  }

  static let offset: UInt64 = 0xff5f_ffff_8000_0000
  static let domain = KVA(0xff60_0000_0085_93c0)
  static let root = GPA(0x80aa_b000)

  /// The page with the domain, and one for the table.
  static func kernelMemory(_ words: [UInt64: UInt64]) throws -> KernelMemory {
    var page = [UInt8](repeating: 0, count: 4096)
    for (place, word) in words {
      for byte in 0..<8 { page[0x3c0 + Int(place) + byte] = UInt8(truncatingIfNeeded: word >> UInt64(byte * 8)) }
    }
    let pages: [GPA: [UInt8]] = [GPA(0x8085_9000): page, root: [UInt8](repeating: 0, count: 4096)]
    return KernelMemory(memory: try SnapshotMemory(pages: pages), linearOffset: offset) {
      $0 == KVA(0xff20_0000_0001_0000) ? GPA(0x301_0000) : nil
    }
  }

  @Test func offsetsComeFromDebugInformation() throws {
    for generation in RISCVIOMMUDriver.Generation.allCases {
      _ = try RISCVIOMMUDriver(generation: generation).layout(in: Self.kernel(generation))
      for missing in Self.kernel(generation).values.keys where !missing.contains("riscv_iommu_info") {
        let target = Self.kernel(generation)
        target.values[missing] = nil
        #expect(
          DriverTarget.message { try RISCVIOMMUDriver(generation: generation).layout(in: target) }
            == "Cannot evaluate \(missing).")
      }
    }
  }

  /// The CPU's own mode has no part in it: the level is in the pointer's low bits.
  @Test(arguments: [(2, PagingMode.sv39), (3, .sv48), (4, .sv57)] as [(UInt64, PagingMode)])
  func theDomainOfGenericTables(_ level: UInt64, _ mode: PagingMode) throws {
    let layout = try RISCVIOMMUDriver(generation: .range).layout(in: Self.kernel(.range))
    let memory = try Self.kernelMemory([0: 0x1_0000_0003, 144: 0xff60_0000_00aa_b000 | level])
    #expect(
      try layout.domain(Self.domain, in: memory)
        == Domain(
          pointer: Self.domain, root: TableRoot(address: Self.root, mode: mode), descriptor: Self.root))
  }

  @Test(arguments: [(8, PagingMode.sv39), (9, .sv48), (10, .sv57)] as [(UInt64, PagingMode)])
  func theDomainOfOwnTables(_ code: UInt64, _ mode: PagingMode) throws {
    let layout = try RISCVIOMMUDriver(generation: .pages).layout(in: Self.kernel(.pages))
    let memory = try Self.kernelMemory([0: 1, 144: code << 32 | 0x5a5a, 152: 0xff60_0000_00aa_b000])
    #expect(
      try layout.domain(Self.domain, in: memory)
        == Domain(
          pointer: Self.domain, root: TableRoot(address: Self.root, mode: mode), descriptor: Self.root))
  }

  /// The identity domain is 112 bytes long: what lies behind it is not its own.
  @Test(arguments: [0, 4] as [UInt64]) func domainsWithoutTables(_ type: UInt64) throws {
    let layout = try RISCVIOMMUDriver(generation: .range).layout(in: Self.kernel(.range))
    let memory = try Self.kernelMemory([0: 0xffff_0000_0000_0000 | type, 144: 0xff60_0000_00aa_b004])
    #expect(
      DriverTarget.message { try layout.domain(Self.domain, in: memory) }
        == "The domain at 0xff600000008593c0 is of type \(type), which has no page table.")
  }

  @Test(
    arguments: [
      (0xff60_0000_00aa_b001, "has the table mode 7, which names no page table."),
      (0xff60_0000_00aa_b007, "has the table mode 13, which names no page table."),
      (4, "has its table at 0x0, which is no page of the kernel's memory."),
      (0xff60_0000_00aa_b10c, "has its table at 0xff60000000aab108, which is no page of the kernel's memory."),
      (.max, "has the table mode 13, which names no page table."),
    ] as [(UInt64, String)])
  func tablesThatAreNone(_ top: UInt64, _ what: String) throws {
    let layout = try RISCVIOMMUDriver(generation: .range).layout(in: Self.kernel(.range))
    let memory = try Self.kernelMemory([0: 3, 144: top])
    #expect(
      DriverTarget.message { try layout.domain(Self.domain, in: memory) }
        == "The domain at 0xff600000008593c0 \(what)")
  }

  @Test func pointersThatLeadNowhere() throws {
    let layout = try RISCVIOMMUDriver(generation: .range).layout(in: Self.kernel(.range))
    for pointer: UInt64 in [0, 7, 0x1000, .max] {
      #expect(throws: TargetError.self) { try layout.domain(KVA(pointer), in: Self.kernelMemory([:])) }
    }
  }

  @Test func whatADeviceIsAttachedTo() throws {
    let target = Self.kernel(.range)
    let layout = try RISCVIOMMUDriver(generation: .range).layout(in: target)
    // `struct riscv_iommu_info` in the place of the domain.
    #expect(
      try layout.attachment(Self.domain, in: Self.kernelMemory([0: 0xff60_0000_0012_3400]))
        == DeviceAttachment(requester: nil, domain: KVA(0xff60_0000_0012_3400)))
    #expect(
      try layout.attachment(Self.domain, in: Self.kernelMemory([:])) == DeviceAttachment(requester: nil, domain: nil))
    target.values[Self.member("domain", of: "struct riscv_iommu_info")] = nil
    let bare = try RISCVIOMMUDriver(generation: .range).layout(in: target)
    #expect(
      DriverTarget.message { try bare.attachment(Self.domain, in: Self.kernelMemory([:])) }
        == "`struct riscv_iommu_info` is not in the debug information.")
  }

  // MARK: The IOMMU

  /// A list of one other driver's IOMMU and one of this driver's.
  static func machine() -> DriverTarget {
    let target = kernel(.range)
    let nodes: [UInt64] = [0xffff_ffff_8045_0000, 0xff60_0000_0100_0008, 0xff60_0000_0200_0008]
    target.values["(unsigned long)&riscv_iommu_ops"] = 0xffff_ffff_8033_c618
    target.values["(unsigned long)&iommu_device_list"] = nodes[0]
    target.values[member("list", of: "struct iommu_device")] = 8
    target.values[member("iommu", of: "struct riscv_iommu_device")] = 0x10
    for (position, node) in nodes.enumerated() {
      target.values["(unsigned long)((struct list_head *)\(hex(node)))->next"] = nodes[(position + 1) % 3]
    }
    target.values["(unsigned long)((struct iommu_device *)0xff60000001000000)->ops"] = 1
    target.values["(unsigned long)((struct iommu_device *)0xff60000002000000)->ops"] = 0xffff_ffff_8033_c618
    let iommu = "(unsigned long)((struct riscv_iommu_device *)0xff60000001fffff0)->"
    target.values[iommu + "reg"] = 0xff20_0000_0001_0000
    target.values[iommu + "icvec"] = 0x2310
    target.values[iommu + "irqs[1]"] = 0xffff_ffff_0000_000d
    target.values[iommu + "dev"] = 0xff60_0000_0069_1690
    return target
  }

  @Test func theRegisterBlock() throws {
    let target = Self.machine()
    let layout = try RISCVIOMMUDriver(generation: .range).layout(in: target)
    #expect(try layout.registerBlock(in: Self.kernelMemory([:]), target: target) == GPA(0x301_0000))
    target.values["(unsigned long)((struct riscv_iommu_device *)0xff60000001fffff0)->reg"] = 0
    #expect(
      DriverTarget.message { try layout.registerBlock(in: Self.kernelMemory([:]), target: target) }
        == "The IOMMU's registers are at 0x0, which the CPU's page table does not map.")
    target.values["(unsigned long)((struct iommu_device *)0xff60000002000000)->ops"] = 2
    #expect(
      DriverTarget.message { try layout.registerBlock(in: Self.kernelMemory([:]), target: target) }
        == "The kernel has found no RISC-V IOMMU yet: none is in `iommu_device_list`.")
  }

  /// A list that is not set up yet, or that leads back into itself.
  @Test(arguments: [0, 0xff60_0000_0100_0008] as [UInt64]) func aBrokenList(_ next: UInt64) throws {
    let target = Self.machine()
    let layout = try RISCVIOMMUDriver(generation: .range).layout(in: target)
    target.values["(unsigned long)((struct list_head *)0xff60000001000008)->next"] = next
    #expect(
      DriverTarget.message { try layout.registerBlock(in: Self.kernelMemory([:]), target: target) }
        == "The kernel has found no RISC-V IOMMU yet: none is in `iommu_device_list`.")
  }

  @Test func howFaultsAreHeardOf() throws {
    let target = Self.machine()
    let layout = try RISCVIOMMUDriver(generation: .range).layout(in: target)
    #expect(
      layout.faultHandling(target: target)
        == DriverFaultHandling(
          interrupt: 13, interruptName: nil, interruptIndex: 1, device: KVA(0xff60_0000_0069_1690),
          handler: "riscv_iommu_fltq_process", registers: nil))
    #expect(layout.hearsFaults(target: target) == true)
    target.values["(unsigned long)((struct riscv_iommu_device *)0xff60000001fffff0)->irqs[1]"] = 0
    #expect(layout.hearsFaults(target: target) == false)
    target.values["(unsigned long)&iommu_device_list"] = nil
    #expect(layout.hearsFaults(target: target) == nil && layout.faultHandling(target: target) == nil)
  }
}
