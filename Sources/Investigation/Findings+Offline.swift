public import IOMMUModel
import PageTables

extension Findings {
  /// What follows from an investigation file alone: the tables are those of its last snapshot and, for what is
  /// not in it, the entries that texts tell.
  public init(offline store: InvestigationStore, tenants: [any Tenant.Type], progress: WorkProgress? = nil) throws {
    try self.init(
      store: store, profile: try Self.profile(of: store, tenants: tenants),
      memory: try store.recordedMemory(),
      registers: try store.registers(), progress: progress)
  }

  /// The driver that the file names; where it names none, what it holds may still be logs, or a device's side.
  static func profile(
    of store: InvestigationStore, tenants: [any Tenant.Type]
  ) throws(InvestigationError) -> any DriverProfile {
    let facts = try store.facts()
    guard let identifier = facts[Fact.profile] else {
      if try store.counts().isEmpty {
        throw InvestigationError("\(store.path) is empty: nothing was recorded in it.")
      }
      let devices = tenants.flatMap { $0.profiles.map(\.device) }
      return UnknownDriver(device: devices.first { $0.name == facts[Fact.device] } ?? UnknownDevice())
    }
    guard let profile = tenants.lazy.compactMap({ $0.profile(identifier: identifier) }).first else {
      throw InvestigationError("\(store.path) was recorded with the driver `\(identifier)`, which is not known here.")
    }
    return profile
  }
}
