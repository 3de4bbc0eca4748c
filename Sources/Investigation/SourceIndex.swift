/// An index into a table as a driver's source computes it: `vpn2_idx = (iova >> PGDIR_SHIFT) & PAGE_TABLE_LEVEL_MASK`.
///
/// Somebody's excerpt of the source tells which constant stands at a level, which no memory of the guest can.
public struct SourceIndex: Hashable, Sendable {
  /// The variable that takes the index: `vpn2_idx`, as `DriverProfile.indexName(atLevel:)` names it.
  public let name: String
  /// What is shifted: `iova`.
  public let operand: String
  /// The shift as the source spells it: a constant's name or a number.
  public let shift: String
  /// The mask as the source spells it.
  public let mask: String
  /// Where it was read: `notes.txt:394`.
  public let origin: String

  /// An index.
  public init(name: String, operand: String, shift: String, mask: String, origin: String) {
    (self.name, self.operand, self.shift, self.mask, self.origin) = (name, operand, shift, mask, origin)
  }

  /// What the name of such a fact starts with.
  private static let prefix = "source index "

  /// The fact that keeps it: `source index vpn2_idx`.
  public var factName: String { Self.prefix + name }

  /// `(iova >> PGDIR_SHIFT) & PAGE_TABLE_LEVEL_MASK at notes.txt:394`.
  public var factValue: String { "(\(operand) >> \(shift)) & \(mask) at \(origin)" }

  /// Reads such a fact; nil for any other.
  public init?(factName: String, value: String) {
    guard factName.hasPrefix(Self.prefix) else { return nil }
    let words = value.split(separator: " ", maxSplits: 6, omittingEmptySubsequences: false).map(String.init)
    guard words.count == 7, words[0].hasPrefix("("), words[1] == ">>", words[2].hasSuffix(")"), words[3] == "&",
      words[5] == "at"
    else { return nil }
    self.init(
      name: String(factName.dropFirst(Self.prefix.count)), operand: String(words[0].dropFirst()),
      shift: String(words[2].dropLast()), mask: words[4], origin: words[6])
  }

  /// All of them in an investigation's facts, by name.
  public static func all(in facts: [String: String]) -> [SourceIndex] {
    facts.sorted { $0.key < $1.key }.compactMap { SourceIndex(factName: $0.key, value: $0.value) }
  }
}
