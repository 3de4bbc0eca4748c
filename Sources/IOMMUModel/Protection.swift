/// The `prot` argument of an IOMMU map call: `IOMMU_READ` and its siblings in Linux `include/linux/iommu.h` (5.10 to 6.4).
public struct Protection: OptionSet, Hashable, Sendable, CustomStringConvertible {
  /// The argument's bits.
  public let rawValue: UInt32
  /// The protection with these bits.
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// The device may read.
  public static let read = Protection(rawValue: 1 << 0)
  /// The device may write.
  public static let write = Protection(rawValue: 1 << 1)
  /// DMA is cache-coherent.
  public static let cache = Protection(rawValue: 1 << 2)
  /// The device may not fetch instructions.
  public static let noexec = Protection(rawValue: 1 << 3)
  /// Device memory, such as an MSI doorbell.
  public static let mmio = Protection(rawValue: 1 << 4)
  /// Privileged accesses only.
  public static let priv = Protection(rawValue: 1 << 5)

  /// `READ|WRITE|CACHE`; unknown bits in hexadecimal; `0` for none.
  public var description: String {
    FlagNames.describe(
      UInt64(rawValue),
      [(1 << 0, "READ"), (1 << 1, "WRITE"), (1 << 2, "CACHE"), (1 << 3, "NOEXEC"), (1 << 4, "MMIO"), (1 << 5, "PRIV")])
  }
}

/// Spells a bit mask with the names of its bits.
enum FlagNames {
  /// The names of the set bits joined by `|`, larger masks first taken; the rest in hexadecimal; `0` for none.
  static func describe(_ value: UInt64, _ names: [(UInt64, String)]) -> String {
    var rest = value
    var words: [String] = []
    for (mask, name) in names where mask != 0 && rest & mask == mask {
      words.append(name)
      rest &= ~mask
    }
    if rest != 0 || words.isEmpty { words.append(rest == 0 ? "0" : "0x" + String(rest, radix: 16)) }
    return words.joined(separator: "|")
  }
}
