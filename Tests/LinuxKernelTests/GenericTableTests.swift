import IOMMUModel
import LinuxKernel
import PageTables
import Testing

/// A device whose driver leaves its tables to generic_pt, and its requester ids to the kernel's core.
@Suite struct GenericTableTests {
  private struct Layout: DriverLayout {
    func domain(_ domain: KVA, in kernel: KernelMemory) throws(TargetError) -> Domain { throw TargetError("none") }
    /// What `dev->iommu->priv` points to is the attached domain, and nothing else.
    func attachment(_ data: KVA, in kernel: KernelMemory) throws(TargetError) -> DeviceAttachment {
      DeviceAttachment(requester: nil, domain: data)
    }
    func registerBlock(in kernel: KernelMemory, target: any Target) throws(TargetError) -> GPA {
      throw TargetError("none")
    }
    func hearsFaults(target: any Target) -> Bool? { nil }
  }

  private let memory = SparseMemory()
  private let target = FakeTarget()

  /// Members as in Linux 7.2, with offsets of this test's own.
  private static let members: [(type: String, path: String, offset: UInt64, size: UInt64)] = [
    ("struct device", "kobj.entry", 0, 16), ("struct device", "kobj.name", 16, 8), ("struct device", "bus", 24, 8),
    ("struct device", "driver", 32, 8), ("struct device", "iommu_group", 40, 8), ("struct device", "iommu", 48, 8),
    ("struct bus_type", "name", 0, 8), ("struct iommu_group", "id", 0, 4),
    ("struct iommu_group", "default_domain", 8, 8),
    ("struct iommu_group", "domain", 16, 8), ("struct dev_iommu", "priv", 0, 8), ("struct dev_iommu", "fwspec", 8, 8),
    ("struct dev_iommu", "iommu_dev", 16, 8), ("struct iommu_device", "ops", 0, 8),
    ("struct iommu_ops", "default_domain_ops", 0, 8), ("struct iommu_domain_ops", "map_pages", 0, 8),
    ("struct iommu_fwspec", "num_ids", 0, 4), ("struct iommu_fwspec", "ids[0]", 4, 4),
    ("struct iommu_domain", "is_iommupt", 8, 1), ("struct iommu_domain", "type", 0, 4),
    ("struct pt_iommu", "ops", 112, 8),
    ("struct pt_iommu_ops", "map_range", 8, 8),
  ]

  private static let offset: UInt64 = 0xff5f_ffff_8000_0000
  private static let function: UInt64 = 0xffff_ffff_8019_1ea6

  private func put(_ value: UInt64, at place: UInt64) { memory.write(value, at: GPA(0x8000_0000 + place)) }
  private func pointer(_ place: UInt64) -> UInt64 { Self.offset &+ 0x8000_0000 &+ place }

  init() {
    for member in Self.members {
      target.values["(unsigned long)&((\(member.type) *)0)->\(member.path)"] = member.offset
      target.values["sizeof(((\(member.type) *)0)->\(member.path))"] = member.size
    }
    target.values["(unsigned long)devices_kset"] = pointer(0x100)
    target.values["(unsigned long)&riscv_64_map_range"] = Self.function
    // The set's list has one device, at 0x200, on the bus "pci".
    put(pointer(0x200), at: 0x100)
    put(pointer(0x100), at: 0x200)
    put(pointer(0x300), at: 0x210)
    memory.write(Array("0001:00:02.0\0".utf8), at: GPA(0x8000_0300))
    put(pointer(0x320), at: 0x218)
    put(pointer(0x340), at: 0x320)
    memory.write(Array("pci\0".utf8), at: GPA(0x8000_0340))
    // Its group has one domain, at 0x500; its IOMMU knows it as 0x10.
    put(pointer(0x400), at: 0x228)
    put(pointer(0x500), at: 0x410)
    put(pointer(0x600), at: 0x230)
    put(pointer(0x500), at: 0x600)
    put(pointer(0x640), at: 0x608)
    put(0x10 << 32 | 1, at: 0x640)
    put(pointer(0x680), at: 0x610)
    put(pointer(0x6c0), at: 0x680)
    put(pointer(0x6e0), at: 0x6c0)
    put(3, at: 0x500)
    put(0xff01, at: 0x508)
    put(pointer(0x700), at: 0x570)
    put(Self.function, at: 0x708)
  }

  private func state() -> KernelState {
    KernelInspector(
      target: target, layouts: StructureLayouts(target: target),
      kernel: KernelMemory(memory: memory, linearOffset: Self.offset), driver: Layout(),
      mapFunction: "riscv_64_map_range"
    ).state()
  }

  @Test func whomTheIOMMUTakesItFor() throws {
    let device = try #require(state().devices.first)
    #expect(device.requester == RequesterID(rawValue: 0x10) && device.attached == KVA(pointer(0x500)))
    // Without an id of the firmware's, the PCI address has to do.
    put(0x10 << 32, at: 0x640)
    #expect(state().devices.first?.requester == RequesterID(bdf: "0001:00:02.0"))
    put(0, at: 0x608)
    #expect(state().devices.first?.requester == RequesterID(bdf: "0001:00:02.0"))
  }

  @Test func whereTheMapFunctionIs() {
    #expect(state().mapOperation == "map_range")
    // A domain that is not generic_pt's has no such table behind it.
    put(0xff00, at: 0x508)
    #expect(state().mapOperation == nil)
    put(1, at: 0x508)
    put(Self.function + 2, at: 0x708)
    #expect(state().mapOperation == nil)
  }
}
