package import Investigation
package import IOMMUModel
import PageTables
import XuanTie

/// The network card's start-up as it was seen on a real pair, recorded through an ``Investigator`` into a file.
package struct Scenario {
  package let driver: SimulatedDriver
  package let target: SimulatedTarget
  package let investigator: Investigator
  /// The domain of the card's rings.
  private let ring: SimulatedDriver.Domain

  /// The card's requester id: 0000:00:01.0.
  package static let card = RequesterID(rawValue: 8)
  /// A second device, given to a guest: 0000:00:02.0.
  package static let passedThrough = RequesterID(rawValue: 16)

  /// The families that the scenario's file is read with.
  package static let tenants: [any Tenant.Type] = [XuanTie.self]

  /// Records the scenario with this root shift into a new file at `path`.
  package init(rootShift: Int, path: String) throws {
    driver = SimulatedDriver(rootShift: rootShift)
    target = SimulatedTarget(driver)
    ring = driver.domain(of: Self.card)
    investigator = Investigator(target: target, tenants: [XuanTie.self])
    investigator.memoryPreference = .remote
    try investigator.open(path)
    investigator.watch(WatchRule(kinds: [.map, .unmap], stop: .never))
    try investigator.recordFacts(debugger: "GNU gdb 13.1", source: "drivers/iommu/xuantie-iommu.c:431")
    let guest = driver.domain(of: Self.passedThrough)
    let first = try map(ring, 0xffff_f000, 0x1_0617_2000, prot: 7, gfp: 0xdc0)
    if let id = first.id {
      try investigator.requireStore().add(
        callers: [
          "__iommu_map", "iommu_map", "iommu_dma_alloc", "dma_alloc_attrs", "e1000_alloc_ring_dma",
          "e1000e_setup_tx_resources", "e1000e_open",
        ], to: id)
    }
    _ = try map(ring, 0xffff_e000, 0x1_0617_3000, prot: 7, gfp: 0xdc0)
    _ = try map(ring, 0xffff_c000, 0x1_0618_0000, count: 2, prot: 6)
    _ = try map(ring, 0xffff_b000, 0x1_0619_0000, prot: 5)
    _ = try unmap(ring, 0xffff_b000)
    _ = try map(guest, 0x1000_0000, 0x1_2000_0000, count: 4, prot: 3)
    _ = try map(guest, 0x5000_0000, 0x1_3000_0000, count: 4, prot: 3)
    if rootShift != 30 { driver.latchFault(of: Self.card, at: 0xffff_f008) }
    investigator.targetRan()
    try investigator.verifyPending()
    try investigator.requireStore().append(note: "The card does not transmit: NETDEV WATCHDOG.")
    _ = try investigator.findings(reason: "export")
  }

  private func map(
    _ domain: SimulatedDriver.Domain, _ iova: UInt64, _ target: UInt64, count: UInt64 = 1, prot: UInt32,
    gfp: UInt64 = 0xa20
  ) throws -> RecordedCall {
    let arguments = [domain.pointer.rawValue, iova, target, 4096, count, UInt64(prot), gfp, 0]
    let call = try record("xt_iommu_map", arguments)
    driver.map(domain, iova, to: target, count: count, prot: prot, gfp: gfp)
    return call
  }

  /// Takes a page of the card's back, as the driver does; the call.
  package func unmap(_ iova: UInt64) throws -> RecordedCall { try unmap(ring, iova) }

  private func unmap(_ domain: SimulatedDriver.Domain, _ iova: UInt64) throws -> RecordedCall {
    let call = try record("xt_iommu_unmap", [domain.pointer.rawValue, iova, 4096, 1, 0])
    driver.unmap(domain, iova)
    return call
  }

  private func record(_ function: String, _ arguments: [UInt64]) throws -> RecordedCall {
    investigator.targetRan()
    _ = try investigator.hit(function, arguments: arguments)
    guard let call = investigator.pendingCall else { throw TargetError("\(function) was not recorded.") }
    return call
  }
}
