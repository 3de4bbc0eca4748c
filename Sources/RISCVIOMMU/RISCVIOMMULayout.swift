import IOMMUModel
import PageTables

/// Where this kernel's driver keeps its domains and its devices, as offsets from their starts.
///
/// Linux 7.2 `drivers/iommu/riscv/iommu.h`: `struct riscv_iommu_domain` begins with a union of the core's `iommu_domain` and
/// generic_pt's table, so that one address names all three. 6.13 `drivers/iommu/riscv/iommu.c`: it begins with the
/// `iommu_domain`.
struct RISCVIOMMULayout: DriverLayout {
  static let domain = "struct riscv_iommu_domain"
  private static let device = "struct riscv_iommu_device"

  private enum Root {
    /// `top_of_table`: the table, and its level in bits 2:0.
    case top(UInt64)
    /// `pgd_root` and `pgd_mode`, coded as in the device context.
    case pointer(UInt64, mode: UInt64)
  }

  private let root: Root
  /// `iommu_domain` in the driver's structure, and its type.
  private let core, type: UInt64
  private let attachedDomain: UInt64?

  init(_ generation: RISCVIOMMUDriver.Generation, in target: any Target) throws(TargetError) {
    let place = try target.offset(of: generation.rootMember, in: Self.domain)
    root =
      switch generation {
      case .range: .top(place)
      case .pages: .pointer(place, mode: try target.offset(of: "pgd_mode", in: Self.domain))
      }
    core = try target.offset(of: "domain", in: Self.domain)
    type = try target.offset(of: "domain.type", in: Self.domain)
    attachedDomain = try? target.offset(of: "domain", in: "struct riscv_iommu_info")
  }

  func domain(_ pointer: KVA, in kernel: KernelMemory) throws(TargetError) -> Domain {
    let start = KVA(pointer.rawValue &- core)
    // `__IOMMU_DOMAIN_PAGING` (include/linux/iommu.h). The identity and the blocking domain are static, and end before the
    // members of one that has tables.
    let type = try Self.integer(at: start + self.type, in: kernel)
    guard type & 1 == 1 else {
      throw TargetError("The domain at \(pointer) is of type \(type), which has no page table.")
    }
    let table: KVA
    let code: UInt64
    switch root {
    case .top(let place):
      let top = try kernel.word(at: start + place)
      table = KVA(top & ~7)
      // Level 2 is Sv39's root, whose code is 8.
      code = (top & 7) + 6
    case .pointer(let place, let mode):
      table = KVA(try kernel.word(at: start + place))
      code = try Self.integer(at: start + mode, in: kernel)
    }
    guard let code = UInt8(exactly: code), let mode = PagingMode(firstStageCode: code), mode != .sv32 else {
      throw TargetError("The domain at \(pointer) has the table mode \(code), which names no page table.")
    }
    guard let address = kernel.physical(table), address.pageOffset == 0 else {
      throw TargetError("The domain at \(pointer) has its table at \(table), which is no page of the kernel's memory.")
    }
    // A device context has the root itself, no descriptor beside it.
    return Domain(pointer: pointer, root: TableRoot(address: address, mode: mode), descriptor: address)
  }

  /// `struct riscv_iommu_info` has the domain alone; the requester ids are in the core's `dev->iommu->fwspec`.
  func attachment(_ data: KVA, in kernel: KernelMemory) throws(TargetError) -> DeviceAttachment {
    guard let attachedDomain else { throw TargetError("`struct riscv_iommu_info` is not in the debug information.") }
    let owner = try kernel.word(at: data + attachedDomain)
    return DeviceAttachment(requester: nil, domain: owner == 0 ? nil : KVA(owner) + core)
  }

  func registerBlock(in kernel: KernelMemory, target: any Target) throws(TargetError) -> GPA {
    let iommu = try Self.iommu(in: target)
    let base = KVA(try Self.member("reg", of: iommu, in: target))
    guard let physical = kernel.physical(base) else {
      throw TargetError("The IOMMU's registers are at \(base), which the CPU's page table does not map.")
    }
    return physical
  }

  func hearsFaults(target: any Target) -> Bool? { faultHandling(target: target).map { $0.interrupt != 0 } }

  /// The driver requests the interrupt of a queue's vector by number (`riscv_iommu_queue_enable`); ICVEC has the fault queue's
  /// vector in bits 7:4 (IOMMU specification 1.0, section 5.24). It keeps the number in no queue.
  func faultHandling(target: any Target) -> DriverFaultHandling? {
    guard let iommu = try? Self.iommu(in: target), let vectors = try? Self.member("icvec", of: iommu, in: target),
      case let vector = vectors >> 4 & 3,
      let interrupt = try? Self.member("irqs[\(vector)]", of: iommu, in: target),
      let device = try? Self.member("dev", of: iommu, in: target)
    else { return nil }
    return DriverFaultHandling(
      interrupt: interrupt & 0xffff_ffff, interruptName: nil, interruptIndex: Int(vector), device: KVA(device),
      handler: "riscv_iommu_fltq_process",
      // The handler is given the queue, and the queue's IOMMU has the registers.
      registers: nil)
  }

  // MARK: The IOMMUs of the machine

  /// IOMMUs that are looked at; more are those of a broken list.
  private static let listLimit = 256

  /// The first of this driver's in the core's list.
  private static func iommu(in target: any Target) throws(TargetError) -> KVA {
    let operations = try target.evaluate("(unsigned long)&\(RISCVIOMMU.operations)")
    let head = try target.evaluate("(unsigned long)&iommu_device_list")
    let link = try target.offset(of: "list", in: "struct iommu_device")
    let start = try target.offset(of: "iommu", in: device)
    var node = head
    for _ in 0..<listLimit {
      node = try target.evaluate("(unsigned long)((struct list_head *)\(hex(node)))->next")
      if node == head || node == 0 { break }
      let place = node &- link
      if try target.evaluate("(unsigned long)((struct iommu_device *)\(hex(place)))->ops") == operations {
        return KVA(place &- start)
      }
    }
    throw TargetError("The kernel has found no RISC-V IOMMU yet: none is in `iommu_device_list`.")
  }

  private static func member(_ name: String, of iommu: KVA, in target: any Target) throws(TargetError) -> UInt64 {
    try target.evaluate("(unsigned long)((\(device) *)\(iommu))->\(name)")
  }

  /// The 4-byte integer at `address`, which is a multiple of 4.
  private static func integer(at address: KVA, in kernel: KernelMemory) throws(TargetError) -> UInt64 {
    try kernel.word(at: KVA(address.rawValue & ~7)) >> ((address.rawValue & 4) * 8) & 0xffff_ffff
  }
}
