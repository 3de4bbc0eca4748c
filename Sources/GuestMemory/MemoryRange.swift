public import PageTables

/// Contiguous guest-physical addresses, at least one. A guest's RAM may be several ranges, with any start.
public struct MemoryRange: Hashable, Sendable, CustomStringConvertible {
  /// The first address.
  public let start: GPA
  /// How many bytes, at least 1.
  public let size: UInt64

  /// `size` bytes from `start` on. Throws ``MemoryError/badRange(start:size:)`` where that is nothing, or passes 2^64.
  public init(start: GPA, size: UInt64) throws(MemoryError) {
    guard size > 0, !start.rawValue.addingReportingOverflow(size - 1).overflow else {
      throw .badRange(start: start, size: size)
    }
    self.start = start
    self.size = size
  }

  /// The last address, inclusive.
  public var last: GPA { start + (size &- 1) }

  /// Whether `address` is one of these.
  public func contains(_ address: GPA) -> Bool { address >= start && address <= last }

  /// `0x80000000-0x83ffffff`, the end inclusive.
  public var description: String { "\(start)-\(last)" }
}
