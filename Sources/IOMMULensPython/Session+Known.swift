internal import IOMMUModel
internal import Investigation
internal import PageTables

// What completion offers: names that are known already. Nothing is asked of the target for it.

extension Session {
  /// Devices, as their PCI addresses, and domains.
  var knownNames: (devices: [String], domains: [KVA]) {
    let recorded = (try? investigator.store?.recentNames()) ?? (requesters: [], domains: [])
    var devices = met.union(recorded.requesters)
    if let state = try? investigator.store?.kernelState() { devices.formUnion(state.devices.compactMap(\.requester)) }
    return (devices.sorted().map(\.description), recorded.domains)
  }
}
