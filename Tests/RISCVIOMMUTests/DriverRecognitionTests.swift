import IOMMUModel
import PageTables
import Testing

@testable import RISCVIOMMU

/// The driver in a kernel's symbols; what the debugger was asked is part of each expectation.
@Suite struct DriverRecognitionTests {
  static let classic = ["iommu_domain", "iova", "phys", "pgsize", "pgcount", "prot", "gfp", "mapped"]
  static let range = ["iommu_table", "iova", "paddr", "len", "prot", "gfp", "mapped"]

  static func address(_ symbol: String) -> String { "(unsigned long)&\(symbol)" }
  static func offset(_ member: String) -> String {
    "(unsigned long)&((struct riscv_iommu_domain *)0)->\(member)"
  }

  static let questions = ["riscv_iommu_map_pages", "riscv_64_map_range"].map { "evaluate \(address($0))" }

  @Test(arguments: [
    ("riscv-iommu/pages", "riscv_iommu_map_pages", classic, "riscv_iommu_map_pages has a parameter `pgsize`"),
    ("riscv-iommu/range", "riscv_64_map_range", range, "riscv_64_map_range has a parameter `len`"),
  ])
  func theTwoGenerations(_ identifier: String, _ function: String, _ parameters: [String], _ how: String) throws {
    let target = DriverTarget(
      values: [Self.address(function): 0xffff_ffff_8019_1ea6], functions: [function: parameters])
    let profile = try #require(try RISCVIOMMU.profile(in: target))
    #expect(profile.identifier == identifier && profile.recognition == how)
    #expect(profile.functions.first?.parameters == parameters)
    #expect(target.questions == Self.questions + ["parameters \(function)"])
  }

  @Test func aKernelWithoutTheDriver() throws {
    let target = DriverTarget()
    #expect(try RISCVIOMMU.profile(in: target) == nil)
    #expect(target.questions == Self.questions + ["evaluate (unsigned long)&riscv_iommu_ops"])
  }

  @Test func aDriverWithNeither() {
    let target = DriverTarget(values: [Self.address("riscv_iommu_ops"): 1])
    #expect(
      DriverTarget.message { try RISCVIOMMU.profile(in: target) }
        == "The kernel has the RISC-V IOMMU's driver (riscv_iommu_ops), but neither riscv_iommu_map_pages (6.13 to 7.0) nor "
        + "riscv_64_map_range (7.1 on). This variant of the driver is not known.")
  }

  /// A kernel may have generic_pt for another driver, or for its tests.
  @Test(
    arguments: [
      (["pgd_root"], "riscv-iommu/pages"), (["riscvpt.riscv_64pt.common.top_of_table"], "riscv-iommu/range"),
      ([], nil), (["pgd_root", "riscvpt.riscv_64pt.common.top_of_table"], nil),
    ] as [([String], String?)])
  func aKernelWithBoth(_ members: [String], _ identifier: String?) throws {
    let target = DriverTarget(functions: ["riscv_iommu_map_pages": Self.classic, "riscv_64_map_range": Self.range])
    for function in target.functions.keys { target.values[Self.address(function)] = 1 }
    for member in members { target.values[Self.offset(member)] = 8 }
    if let identifier {
      #expect(try RISCVIOMMU.profile(in: target)?.identifier == identifier)
    } else {
      #expect(
        DriverTarget.message { try RISCVIOMMU.profile(in: target) }
          == "The kernel has both riscv_iommu_map_pages (6.13 to 7.0) and riscv_64_map_range (7.1 on), and "
          + "`struct riscv_iommu_domain` does not tell which of them the driver uses. Load the kernel with its debug "
          + "information: `file vmlinux`.")
    }
  }

  @Test func aKernelWithoutDebugInformation() {
    let target = DriverTarget(values: [Self.address("riscv_64_map_range"): 1])
    #expect(
      DriverTarget.message { try RISCVIOMMU.profile(in: target) } == "No debug information for riscv_64_map_range.")
  }

  @Test func anotherVariant() {
    let target = DriverTarget(
      values: [Self.address("riscv_64_map_range"): 1],
      functions: ["riscv_64_map_range": ["table", "iova", "paddr", "size", "prot"]])
    #expect(
      DriverTarget.message { try RISCVIOMMU.profile(in: target) }
        == "riscv_64_map_range has the parameters (table, iova, paddr, size, prot), and `iommu_table`, `len` is not among "
        + "them. This variant of the driver is not known.")
  }

  @Test func byIdentifier() {
    #expect(RISCVIOMMU.name == "RISC-V IOMMU")
    for identifier in ["riscv-iommu/pages", "riscv-iommu/range"] {
      #expect(RISCVIOMMU.profile(identifier: identifier)?.identifier == identifier)
    }
    for identifier in ["", "riscv-iommu", "riscv-iommu/", "riscv-iommu/size", "xuantie/pages"] {
      #expect(RISCVIOMMU.profile(identifier: identifier) == nil)
    }
    #expect(
      RISCVIOMMU.profiles.map(\.name) == [
        "riscv-iommu, map_pages (6.13 to 7.0)", "riscv-iommu, map_range (generic_pt, 7.1 on)",
      ])
  }
}
