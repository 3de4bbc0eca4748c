public import IOMMUModel
public import PageTables

/// The Linux driver `drivers/iommu/riscv`, in the two shapes that its page tables have had.
///
/// 6.13 to 7.0: tables of its own, `iommu_domain_ops.map_pages`, one page size a call. From 7.1: those of
/// `drivers/iommu/generic_pt`, one length a call, and leaves of mixed sizes. Which it is, is read off the symbols and the
/// parameter names, never off a version.
public struct RISCVIOMMUDriver: DriverProfile {
  /// Which page-table code the driver uses.
  public enum Generation: String, Sendable, CaseIterable {
    /// Its own: `riscv_iommu_map_pages`.
    case pages
    /// generic_pt: `riscv_64_map_range`.
    case range

    /// The function to stop at.
    var mapFunction: String { self == .pages ? "riscv_iommu_map_pages" : "riscv_64_map_range" }

    /// Parameters without which a call cannot be told.
    var mapParameters: [String] {
      self == .pages ? ["iova", "phys", "pgsize", "pgcount", "prot"] : ["iommu_table", "iova", "paddr", "len", "prot"]
    }

    /// Where `struct riscv_iommu_domain` holds the root table.
    var rootMember: String { self == .pages ? "pgd_root" : "riscvpt.riscv_64pt.common.top_of_table" }

    /// The kernels that have it.
    var releases: String { self == .pages ? "6.13 to 7.0" : "7.1 on" }
  }

  /// The shape of this kernel's driver.
  public let generation: Generation

  /// The driver of this generation.
  public init(generation: Generation) { self.generation = generation }

  /// `riscv-iommu/pages` or `riscv-iommu/range`.
  public var identifier: String { "riscv-iommu/\(generation.rawValue)" }

  /// The driver and its shape.
  public var name: String {
    generation == .pages
      ? "riscv-iommu, map_pages (\(generation.releases))"
      : "riscv-iommu, map_range (generic_pt, \(generation.releases))"
  }

  /// Which parameter gave the shape away.
  public var recognition: String {
    "\(generation.mapFunction) has a parameter `\(generation == .pages ? "pgsize" : "len")`"
  }

  /// The generation's map and unmap functions.
  public var functions: [DriverFunction] {
    switch generation {
    case .pages:
      [
        DriverFunction(
          symbol: "riscv_iommu_map_pages", kind: .map,
          parameters: ["iommu_domain", "iova", "phys", "pgsize", "pgcount", "prot", "gfp", "mapped"],
          optional: ["gfp", "mapped"]),
        DriverFunction(
          symbol: "riscv_iommu_unmap_pages", kind: .unmap,
          parameters: ["iommu_domain", "iova", "pgsize", "pgcount", "gather"], optional: ["gather"]),
      ]
    case .range:
      [
        DriverFunction(
          symbol: "riscv_64_map_range", kind: .map,
          parameters: ["iommu_table", "iova", "paddr", "len", "prot", "gfp", "mapped"], optional: ["gfp", "mapped"]),
        DriverFunction(
          symbol: "riscv_64_unmap_range", kind: .unmap, parameters: ["iommu_table", "iova", "len", "iotlb_gather"],
          optional: ["iotlb_gather"]),
      ]
    }
  }

  /// Reads a call; an error when arguments are missing or describe a range that cannot be.
  public func call(_ function: DriverFunction, arguments: [UInt64]) throws(TargetError) -> DriverCall {
    try call(function, named: try function.named(arguments))
  }

  /// Reads a call by its arguments' names. Without `gfp` it has no allocation flags.
  public func call(_ function: DriverFunction, named values: [String: UInt64]) throws(TargetError) -> DriverCall {
    try DriverCall(
      of: function, named: values, domain: ["iommu_table", "iommu_domain"], target: ["paddr", "phys"], length: "len",
      protection: "prot")
  }

  /// The leaves of a map call: of one size, or of the largest sizes that fit; none for a call that the driver refuses.
  public func leaves(of call: DriverCall, mode: PagingMode) -> [LeafRun] {
    switch generation {
    case .pages: Self.equalLeaves(of: call, mode: mode)
    case .range: LargestLeaves(mode: mode)?.leaves(of: call) ?? []
    }
  }

  /// Both generations clear entries, not bytes: `iommu_unmap` of 4 KiB in a group of 64 KiB returns 64 KiB.
  public var unmapsWholeLeaves: Bool { true }

  /// QEMU's `riscv-iommu`.
  public var device: any DeviceModel { RISCVIOMMUDevice() }

  /// Neither generation has a variable for each level: one loop takes the indices of all.
  public func indexName(atLevel level: Int) -> String {
    generation == .pages ? "the index at level \(level) in riscv_iommu_pte_alloc" : "pts.index at level \(level)"
  }

  /// The functions' places in the tables are the kernel's own and fit.
  public func mismatch(operation: String) -> String? { nil }

  /// The device directory has room for all.
  public var requesterLimit: Int? { nil }

  /// The offsets of the driver's structures, from debug information.
  public func layout(in target: any Target) throws(TargetError) -> any DriverLayout {
    try RISCVIOMMULayout(generation, in: target)
  }
}

extension RISCVIOMMUDriver {
  /// `pgcount` leaves of `pgsize` bytes, as drivers/iommu/riscv/iommu.c (6.13) writes them: without WRITE V R U A, with it W
  /// and D besides, and never X. A size between two that a level has counts as the smaller one (`get_page_size`).
  static func equalLeaves(of call: DriverCall, mode: PagingMode) -> [LeafRun] {
    guard case .map(let target, let protection, _) = call.operation, let pages = call.pages, pages.count > 0,
      mode.entryFormat == .rv64, !mode.isSecondStage
    else { return [] }
    let level = (0...3).last { pages.size >= 1 << UInt64(mode.shift(atLevel: $0)) } ?? 0
    guard level < mode.levels else { return [] }
    let span: UInt64 = 1 << UInt64(mode.shift(atLevel: level))
    var flags: PageTableEntry.Flags = [.valid, .read, .user, .accessed]
    if protection?.contains(.write) == true { flags.formUnion([.write, .dirty]) }
    return [
      LeafRun(
        iova: call.iova, level: level, count: pages.count,
        first: PageTableEntry(rawValue: (target.rawValue >> 12 & 0xfff_ffff_ffff) << 10 | UInt64(flags.rawValue)),
        step: span >> 2, span: span, permissionsAreKnown: protection != nil)
    ]
  }
}
