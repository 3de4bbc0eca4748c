public import IOMMUModel
public import PageTables

/// Which table a command is about, as a user names it: a device, a domain, or a root by hand.
public struct TableSelector: Sendable {
  /// A requester.
  public var device: RequesterID?
  /// A domain pointer of the driver.
  public var domain: KVA?
  /// A root table and its mode.
  public var root: TableRoot?

  /// A selector; with nothing in it the table is the only one in use.
  public init(device: RequesterID? = nil, domain: KVA? = nil, root: TableRoot? = nil) {
    self.device = device
    self.domain = domain
    self.root = root
  }
}

extension DeviceView {
  /// The table that `selector` names. Without one: that of the device that last asked here, of the last recorded call's
  /// domain, or of the only translated device.
  public func table(_ selector: TableSelector) throws -> (root: TableRoot, requester: RequesterID?) {
    if let root = selector.root { return (root, selector.device) }
    if let pointer = selector.domain {
      let domain = try domain(pointer)
      return (domain.root, requester(of: domain))
    }
    if let device = selector.device { return (try root(of: device), device) }
    if let asking { return (try root(of: asking), asking) }
    if let last = try store?.lastCall(), let root = last.root { return (root, last.requester) }
    let translated = try contexts().filter { $0.firstStage != nil }
    if translated.count == 1, let root = translated[0].firstStage { return (root, translated[0].requester) }
    throw TargetError(
      translated.isEmpty
        ? "No device is translated yet. `iommu devices` lists the device table; `-root GPA -mode sv39` names a table by hand."
        : "Several devices are translated (\(translated.map(\.requester.description).joined(separator: ", "))): "
          + "choose one with -device.")
  }
}
