public import IOMMUModel

/// Tables that somebody wrote down entry by entry.
public struct TypedTable: Hashable, Sendable {
  /// The root; nil when the text does not say whose tables they are.
  public let root: TableRoot?
  /// The requester whose descriptor names the root; nil when none is told.
  public let requester: RequesterID?
  /// The entries whose place is known.
  public let entries: [TypedEntry]

  /// Tables.
  public init(root: TableRoot?, requester: RequesterID?, entries: [TypedEntry]) {
    (self.root, self.requester, self.entries) = (root, requester, entries)
  }
}
