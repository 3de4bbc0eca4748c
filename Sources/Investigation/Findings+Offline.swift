import GuestMemory
public import IOMMUModel
import PageTables

extension Findings {
  /// What follows from an investigation file alone: the tables are those of its last snapshot.
  public init(offline store: InvestigationStore, tenants: [any Tenant.Type]) throws {
    try self.init(
      store: store, profile: try Self.profile(of: store, tenants: tenants),
      memory: try SnapshotMemory(pages: try store.snapshot()), registers: try store.registers())
  }

  /// The driver's profile that an investigation names; an error when it names none, or one not known here.
  static func profile(
    of store: InvestigationStore, tenants: [any Tenant.Type]
  ) throws(InvestigationError) -> any DriverProfile {
    let identifier = try store.facts()[Fact.profile]
    guard let identifier else {
      throw InvestigationError("\(store.path) names no driver yet: no debugger on a kernel has recorded in it.")
    }
    guard let profile = tenants.lazy.compactMap({ $0.profile(identifier: identifier) }).first else {
      throw InvestigationError("\(store.path) was recorded with the driver `\(identifier)`, which is not known here.")
    }
    return profile
  }
}
