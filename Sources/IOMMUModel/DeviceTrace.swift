public import PageTables

/// How to read what a device's implementation writes down while it runs: QEMU's `-trace NAME -D FILE`.
public struct DeviceTrace: Sendable {
  /// What the names of all its events start with: `riscv_iommu_`.
  public let prefix: String
  /// What a line says, given from the event's name on; nil for one that is not in a form known here.
  public let read: @Sendable (String) -> Event?

  /// A trace whose lines start with `prefix` and are understood by `read`.
  public init(prefix: String, read: @escaping @Sendable (String) -> Event?) {
    (self.prefix, self.read) = (prefix, read)
  }

  /// What one line says.
  public enum Event: Hashable, Sendable {
    /// The device was asked to translate. The target is nil where the line gives none, as after a fault.
    case translation(RequesterID, IOVA, Access, target: GPA?)
    /// It reported a fault of an access to this address.
    case fault(RequesterID, FaultCause, IOVA)
    /// It was told to forget what it knows.
    case invalidation(DeviceInvalidation)
    /// Anything else.
    case other
  }
}

/// A command by which a device forgets translations that it keeps.
public struct DeviceInvalidation: Hashable, Sendable {
  /// Those of these addresses; nil for all.
  public let iovas: ClosedRange<IOVA>?
  /// The command, in the words of the specification: `IOTINVAL.VMA of 0xffefc000, PSCID 2`.
  public let meaning: String

  /// An invalidation.
  public init(iovas: ClosedRange<IOVA>?, meaning: String) { (self.iovas, self.meaning) = (iovas, meaning) }

  /// Whether what is kept of `iova` is gone after it. One of another address space counts as well: which of them the
  /// address belongs to is not known everywhere, and nothing is to be called stale that may have been forgotten.
  public func covers(_ iova: IOVA) -> Bool { iovas?.contains(iova) ?? true }
}
