public import PageTables

/// One entry of a table as somebody wrote it down.
public struct TypedEntry: Hashable, Sendable {
  /// What was written of it.
  public enum Content: Hashable, Sendable {
    /// All of it.
    case value(UInt64)
    /// That a walk ended there because it is not valid.
    case invalid
    /// The page that a walk came to through it; its flags were not written down.
    case leaf(GPA)
  }

  /// Where it lies.
  public let address: GPA
  /// What it holds.
  public let content: Content
  /// Its name in the text: `root[0].level1[128]`.
  public let name: String

  /// An entry.
  public init(address: GPA, content: Content, name: String) {
    (self.address, self.content, self.name) = (address, content, name)
  }

  /// The fact that keeps it: `entry 0x80b82018`.
  public var factName: String { "\(Fact.entries)\(address)" }

  private static let invalidText = "not valid", leafText = "leads to "

  /// What was written of it: `0x202f4801`, `not valid`, `leads to 0x821ff000`.
  public var described: String {
    switch content {
    case .value(let bits): hex(bits)
    case .invalid: Self.invalidText
    case .leaf(let page): "\(Self.leafText)\(page)"
    }
  }

  /// `0x202f4801, root[3]`; `leads to 0x821ff000, root[0].level1[128].level0[511]`.
  public var factValue: String { "\(described), \(name)" }

  /// Reads such a fact; nil for any other.
  public init?(factName: String, value: String) {
    func number(_ text: some StringProtocol) -> UInt64? {
      text.hasPrefix("0x") ? UInt64(text.dropFirst(2), radix: 16) : nil
    }
    let parts = value.split(separator: ",", maxSplits: 1).map { $0.drop { $0 == " " } }
    guard factName.hasPrefix(Fact.entries), let address = number(factName.dropFirst(Fact.entries.count)),
      parts.count == 2
    else { return nil }
    let content: Content
    if parts[0] == Self.invalidText {
      content = .invalid
    } else if parts[0].hasPrefix(Self.leafText) {
      guard let page = number(parts[0].dropFirst(Self.leafText.count)) else { return nil }
      content = .leaf(GPA(page))
    } else {
      guard let bits = number(parts[0]) else { return nil }
      content = .value(bits)
    }
    self.init(address: GPA(address), content: content, name: String(parts[1]))
  }

  /// The entry as a table holds it; what was not written down is as it does the least: a leaf that may be read.
  public var entry: PageTableEntry {
    switch content {
    case .value(let bits): PageTableEntry(rawValue: bits)
    case .invalid: PageTableEntry(rawValue: 0)
    case .leaf(let page): PageTableEntry(rawValue: (page.rawValue >> 12) << 10 | 3)
    }
  }

  /// Whether `other`, of the same address, cannot be true at the same time.
  public func contradicts(_ other: TypedEntry) -> Bool {
    switch (content, other.content) {
    case (.value(let mine), .value(let its)): mine != its
    case (.leaf, _), (_, .leaf): entry.isValid != other.entry.isValid || entry.ppn != other.entry.ppn
    default: entry.isValid != other.entry.isValid
    }
  }
}
