import GuestMemory
public import IOMMUModel
import PageTables

extension Findings {
  /// What follows from an investigation file alone: the tables are those of its last snapshot.
  public init(offline store: InvestigationStore, tenants: [any Tenant.Type]) throws {
    let identifier = try store.facts()[Fact.profile]
    guard let identifier else {
      throw InvestigationError("\(store.path) names no driver yet: nothing was recorded in it.")
    }
    guard let profile = tenants.lazy.compactMap({ $0.profile(identifier: identifier) }).first else {
      throw InvestigationError("\(store.path) was recorded with the driver `\(identifier)`, which is not known here.")
    }
    try self.init(
      store: store, profile: profile, memory: try SnapshotMemory(pages: try store.snapshot()),
      registers: try store.registers())
  }
}
