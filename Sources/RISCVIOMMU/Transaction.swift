public import IOMMUModel
public import PageTables

/// One access as a device makes it, with what the bus says of it beside its address.
public struct Transaction: Hashable, Sendable {
  /// Who asks. The device id has 24 bits: the PCI segment in 23:16, the requester id below.
  public var requester: RequesterID
  /// The address.
  public var iova: IOVA
  /// What it wants; neither for a probe.
  public var access: Access
  /// Whether it reads to execute.
  public var executes = false
  /// The process it is for (PCI: the PASID); nil for none.
  public var process: UInt32?
  /// Whether it asks for supervisor privilege, which only one with a process can.
  public var isPrivileged = false

  /// An access.
  public init(
    requester: RequesterID, iova: IOVA, access: Access, executes: Bool = false, process: UInt32? = nil,
    isPrivileged: Bool = false
  ) {
    (self.requester, self.iova, self.access) = (requester, iova, access)
    (self.executes, self.process, self.isPrivileged) = (executes, process, isPrivileged)
  }

  var need: Need { executes ? Need(access).union(.execute) : Need(access) }
}
