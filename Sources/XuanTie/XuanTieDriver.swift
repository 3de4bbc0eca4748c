public import IOMMUModel
public import PageTables

/// The Linux driver `drivers/iommu/xuantie-iommu.c`, in the two shapes that its map calls have had.
///
/// 5.10: `iommu_ops.map`, one `size`. 6.x: `map_pages`, `pgsize` and `pgcount`. The shape is read off the parameter names in
/// the debug information, never off a version.
public struct XuanTieDriver: DriverProfile {
  /// Which arguments a call has.
  public enum Signature: String, Sendable, CaseIterable {
    /// `map(domain, iova, paddr, size, iommu_prot, gfp)`.
    case size
    /// `map_pages(domain, iova, paddr, pgsize, pgcount, iommu_prot, gfp, mapped)`.
    case pages
  }

  /// The shape of this kernel's driver.
  public let signature: Signature

  /// The driver with this shape.
  public init(signature: Signature) { self.signature = signature }

  /// `xuantie/size` or `xuantie/pages`.
  public var identifier: String { "xuantie/\(signature.rawValue)" }

  /// The driver and its shape.
  public var name: String {
    signature == .size ? "xuantie-iommu, map (5.10 signature)" : "xuantie-iommu, map_pages (6.x signature)"
  }

  /// Which parameter gave the shape away.
  public var recognition: String {
    signature == .size ? "xt_iommu_map has a parameter `size`" : "xt_iommu_map has a parameter `pgsize`"
  }

  /// `xt_iommu_map` and `xt_iommu_unmap`.
  public var functions: [DriverFunction] {
    let range = signature == .size ? ["size"] : ["pgsize", "pgcount"]
    let result = signature == .size ? [] : ["mapped"]
    return [
      DriverFunction(
        symbol: "xt_iommu_map", kind: .map,
        parameters: ["domain", "iova", "paddr"] + range + ["iommu_prot", "gfp"] + result,
        optional: Set(["gfp"] + result)),
      DriverFunction(
        symbol: "xt_iommu_unmap", kind: .unmap, parameters: ["domain", "iova"] + range + ["gather"],
        optional: ["gather"]),
    ]
  }

  /// Reads a call; an error when arguments are missing or describe a range that cannot be.
  public func call(_ function: DriverFunction, arguments: [UInt64]) throws(TargetError) -> DriverCall {
    try call(function, named: try function.named(arguments))
  }

  /// Reads a call by its arguments' names. Without `gfp` it has no allocation flags.
  public func call(_ function: DriverFunction, named values: [String: UInt64]) throws(TargetError) -> DriverCall {
    try DriverCall(
      of: function, named: values, domain: ["domain"], target: ["paddr"], length: "size", protection: "iommu_prot")
  }

  /// 4 KiB leaves, one a page, whatever page sizes the driver advertises; none for a size that the driver refuses.
  ///
  /// `xt_iommu_map` sets V, R for READ, R and W for WRITE, and no other bit. Without READ and WRITE a bare V is left, which
  /// a walker takes for a pointer.
  public func leaves(of call: DriverCall, mode: PagingMode) -> [LeafRun] {
    guard case .map(let target, let protection, _) = call.operation, call.length % 4096 == 0, call.length > 0 else {
      return []
    }
    var flags: PageTableEntry.Flags = .valid
    if protection?.contains(.read) == true { flags.insert(.read) }
    if protection?.contains(.write) == true { flags.formUnion([.read, .write]) }
    let first = PageTableEntry(rawValue: (target.rawValue >> 12 & 0xfff_ffff_ffff) << 10 | UInt64(flags.rawValue))
    return [
      LeafRun(
        iova: call.iova, level: 0, count: call.length / 4096, first: first, step: 1 << 10, span: 4096,
        permissionsAreKnown: protection != nil)
    ]
  }

  /// QEMU's `xmmuv1`.
  public var device: any DeviceModel { XuanTieDevice() }

  /// `vpn2_idx` at level 2, as the driver's mapping loop calls it.
  public func indexName(atLevel level: Int) -> String { "vpn\(level)_idx" }

  /// The function's parameters are those of one era, its place in the table says which the core will pass.
  public func mismatch(operation: String) -> String? {
    switch (signature, operation) {
    case (.size, "map_pages"):
      "the driver's map takes one size, the kernel passes pgsize and pgcount: prot is the count, and nothing is reported"
    case (.pages, "map"): "the driver's map takes pgsize and pgcount, the kernel passes one size: pgcount is the prot"
    default: nil
    }
  }

  /// The driver's table is for 12 bits; the device looks up 16.
  public var requesterLimit: Int? { XuanTieDevice.driverTableSize }

  /// The offsets of the driver's structures, from debug information.
  public func layout(in target: any Target) throws(TargetError) -> any DriverLayout {
    let domain = "struct xt_iommu_domain"
    return XuanTieLayout(
      domain: try target.offset(of: "domain", in: domain),
      rootPageNumber: try target.offset(of: "td.stage1.s1ppn", in: domain),
      mode: try target.offset(of: "td.stage1.s1mode", in: domain),
      descriptor: try target.offset(of: "td.tdcfg.tdtab_dma", in: domain),
      attachment: try? XuanTieLayout.Attachment(
        requester: target.offset(of: "rsid", in: "struct xt_iommu_master"),
        domain: target.offset(of: "domain", in: "struct xt_iommu_master")))
  }
}

/// The XuanTie IOMMU as a tenant.
public enum XuanTie: Tenant {
  /// The family's name.
  public static let name = "XuanTie"

  /// The driver's profile when the kernel has `xt_iommu_map`; an error when it has it without debug information.
  public static func profile(in target: any Target) throws(TargetError) -> (any DriverProfile)? {
    // A symbol's address reads no target memory, so this works before the kernel runs.
    do { _ = try target.evaluate("(unsigned long)&xt_iommu_map") } catch { return nil }
    let parameters = try target.parameters(of: "xt_iommu_map")
    if parameters.contains("pgsize") { return XuanTieDriver(signature: .pages) }
    if parameters.contains("size") { return XuanTieDriver(signature: .size) }
    throw TargetError(
      "xt_iommu_map has the parameters (\(parameters.joined(separator: ", "))): neither `size` (5.10) nor `pgsize` (6.x). "
        + "This variant of the driver is not known.")
  }
}

extension XuanTie {
  /// The driver in both shapes.
  public static var profiles: [any DriverProfile] { XuanTieDriver.Signature.allCases.map(XuanTieDriver.init) }
}

/// Where this kernel's `struct xt_iommu_domain` keeps what a walk needs, and `struct xt_iommu_master` a device's
/// attachment, as offsets from their starts.
struct XuanTieLayout: DriverLayout {
  struct Attachment {
    let requester, domain: UInt64
  }

  let domain, rootPageNumber, mode, descriptor: UInt64
  let attachment: Attachment?

  func domain(_ pointer: KVA, in kernel: KernelMemory) throws(TargetError) -> Domain {
    let start = KVA(pointer.rawValue &- domain)
    let page = try kernel.word(at: start + rootPageNumber)
    let code = try kernel.word(at: start + mode) & 0xffff
    guard let mode = PagingMode(firstStageCode: UInt8(truncatingIfNeeded: code)), code <= 0xff else {
      throw TargetError("The domain at \(pointer) has s1mode \(code), which names no page table.")
    }
    let descriptor = try kernel.word(at: start + self.descriptor)
    return Domain(
      pointer: pointer, root: TableRoot(address: GPA(page << 12), mode: mode),
      descriptor: descriptor == 0 ? nil : GPA(descriptor))
  }

  func attachment(_ data: KVA, in kernel: KernelMemory) throws(TargetError) -> DeviceAttachment {
    guard let attachment else { throw TargetError("`struct xt_iommu_master` is not in the debug information.") }
    let place = data + attachment.requester
    let word = try kernel.word(at: KVA(place.rawValue & ~7)) >> ((place.rawValue & 4) * 8)
    let owner = try kernel.word(at: data + attachment.domain)
    return DeviceAttachment(
      requester: RequesterID(rawValue: UInt32(truncatingIfNeeded: word)),
      domain: owner == 0 ? nil : KVA(owner) + domain)
  }

  func hearsFaults(target: any Target) -> Bool? {
    // `irq` stays 0 where the interrupt that the driver asks for by name is not in the device tree.
    (try? target.evaluate("(unsigned long)xt_iommu->irq")).map { $0 & 0xffff_ffff != 0 }
  }

  /// The driver asks for its interrupt by the name `xmmu` (quirk Q5).
  func faultHandling(target: any Target) -> DriverFaultHandling? {
    guard let interrupt = try? target.evaluate("(unsigned long)xt_iommu->irq"),
      let device = try? target.evaluate("(unsigned long)xt_iommu->dev"),
      let registers = try? target.offset(of: "base", in: "struct xt_iommu_device")
    else { return nil }
    return DriverFaultHandling(
      interrupt: interrupt & 0xffff_ffff, interruptName: "xmmu", device: KVA(device), handler: "xt_iommu_interrupt",
      registers: registers)
  }

  func registerBlock(in kernel: KernelMemory, target: any Target) throws(TargetError) -> GPA {
    let base = KVA(try target.evaluate("(unsigned long)xt_iommu->base"))
    guard let physical = kernel.physical(base) else {
      throw TargetError("xt_iommu->base is \(base), which the CPU's page table does not map.")
    }
    return physical
  }
}
