public import IOMMUModel

/// The RISC-V IOMMU of the architecture's own specification, with its driver in mainline Linux, as a tenant.
public enum RISCVIOMMU: Tenant {
  /// The family's name.
  public static let name = "RISC-V IOMMU"

  /// The profile of the kernel's driver; nil when it has none of its functions, and an error when it has the driver in a
  /// shape that is not known.
  ///
  /// The functions to stop at tell the generation. A kernel may have the page-table code of the one without using it, and
  /// then the driver's own structure decides.
  public static func profile(in target: any Target) throws(TargetError) -> (any DriverProfile)? {
    let found = RISCVIOMMUDriver.Generation.allCases.filter { isDefined($0.mapFunction, in: target) }
    guard let first = found.first else {
      guard isDefined(operations, in: target) else { return nil }
      throw TargetError(
        "The kernel has the RISC-V IOMMU's driver (\(operations)), but neither \(list(.pages)) nor \(list(.range)). This "
          + "variant of the driver is not known.")
    }
    let generation = found.count == 1 ? first : try generation(of: found, in: target)
    let parameters = try target.parameters(of: generation.mapFunction)
    guard generation.mapParameters.allSatisfy(parameters.contains) else {
      let missing = generation.mapParameters.filter { !parameters.contains($0) }
      throw TargetError(
        "\(generation.mapFunction) has the parameters (\(parameters.joined(separator: ", "))), and "
          + "\(missing.map { "`\($0)`" }.joined(separator: ", ")) is not among them. This variant of the driver is not known."
      )
    }
    return RISCVIOMMUDriver(generation: generation)
  }

  /// The driver in both shapes.
  public static var profiles: [any DriverProfile] { RISCVIOMMUDriver.Generation.allCases.map(RISCVIOMMUDriver.init) }

  /// What every kernel with the driver has: drivers/iommu/riscv/iommu.c.
  static let operations = "riscv_iommu_ops"

  private static func list(_ generation: RISCVIOMMUDriver.Generation) -> String {
    "\(generation.mapFunction) (\(generation.releases))"
  }

  /// A symbol's address reads no target memory, so this works before the kernel runs.
  private static func isDefined(_ symbol: String, in target: any Target) -> Bool {
    (try? target.evaluate("(unsigned long)&\(symbol)")) != nil
  }

  /// The one of several generations whose table `struct riscv_iommu_domain` holds.
  private static func generation(
    of found: [RISCVIOMMUDriver.Generation], in target: any Target
  ) throws(TargetError) -> RISCVIOMMUDriver.Generation {
    let fitting = found.filter { (try? target.offset(of: $0.rootMember, in: RISCVIOMMULayout.domain)) != nil }
    if fitting.count == 1, let generation = fitting.first { return generation }
    throw TargetError(
      "The kernel has both \(found.map(list).joined(separator: " and ")), and `\(RISCVIOMMULayout.domain)` does not tell "
        + "which of them the driver uses. Load the kernel with its debug information: `file vmlinux`.")
  }
}
