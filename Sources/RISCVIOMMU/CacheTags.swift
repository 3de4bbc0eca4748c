public import IOMMUModel
public import PageTables

/// What the device's caches know a requester's translations by, and invalidations name them by (section 2.8).
public struct CacheTags: Hashable, Sendable {
  /// PSCID of the first stage; nil where it is Bare.
  public let addressSpace: UInt32?
  /// GSCID of the second stage; nil where it is Bare.
  public let guest: UInt16?

  /// These tags.
  public init(addressSpace: UInt32?, guest: UInt16?) { (self.addressSpace, self.guest) = (addressSpace, guest) }
}

extension RISCVIOMMUDevice {
  /// The tags of accesses of `requester` without a process; nil where they are refused or pass through.
  public func cacheTags(
    of requester: RequesterID, registers: RegisterValues, memory: any PhysicalMemory
  ) throws(UnreadableMemory) -> CacheTags? {
    let transaction = Transaction(requester: requester, iova: IOVA(0), access: .read)
    switch start(transaction, registers: registers, memory: memory, implementation: .specification).0 {
    case .success(let stages):
      return stages.first == nil && stages.second == nil ? nil : stages.tags
    case .failure(.fault): return nil
    case .failure(.unreadable(let failure)): throw failure
    }
  }
}

extension Command {
  /// Whether it takes a page of a first stage out of the caches, for accesses with these tags. Entries with G are not told
  /// apart: an invalidation that names an address space leaves them.
  public func invalidates(_ iova: IOVA, of tags: CacheTags) -> Bool {
    guard case .invalidateFirstStage(let scope) = operation, let addressSpace = tags.addressSpace else { return false }
    return scope.guest == tags.guest && (scope.addressSpace ?? addressSpace) == addressSpace
      && (scope.address ?? iova.page) == iova.page
  }
}
