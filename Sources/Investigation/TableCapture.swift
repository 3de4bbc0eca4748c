public import IOMMUModel
public import PageTables

/// What somebody noted beside captured table pages: whose tables they are, the device's registers, and the moment.
public struct TableCapture: Hashable, Sendable {
  /// The device's registers at that moment, as far as they were noted.
  public var registers: RegisterValues
  /// The requester that the notes are about; nil when they do not say.
  public var requester: RequesterID?
  /// The root table that the notes name; nil when they do not say.
  public var root: TableRoot?
  /// The domain whose root it is: the one that the driver's structures were read from, else the one of all ``maps``.
  public var domain: KVA?
  /// How many calls had been entered by then, the last of which may not have done anything yet; nil when it was not counted.
  public var callsSeen: UInt64?
  /// Map calls that had been made by then, where they are listed; they need not be all.
  public var maps: [DriverCall]
  /// The map call after which they were captured, where the notes tell of one; it names no domain.
  public var after: DriverCall?

  /// Notes.
  public init(
    registers: RegisterValues = RegisterValues(), requester: RequesterID? = nil, root: TableRoot? = nil,
    domain: KVA? = nil, callsSeen: UInt64? = nil, maps: [DriverCall] = []
  ) {
    (self.registers, self.requester, self.root) = (registers, requester, root)
    (self.domain, self.callsSeen, self.maps) = (domain, callsSeen, maps)
  }
}

/// Why a snapshot of tables was taken, when it came from a file: which, and between which of the numbered calls.
///
/// It is kept as the snapshot's reason, so that whoever reads the file later leaves out the calls that came after it.
public struct CaptureMoment: Hashable, Sendable {
  /// The file with the pages.
  public let file: String
  /// The number of the first call that had not surely been carried out; nil when the moment is not known.
  public let before: UInt64?

  /// A moment.
  public init(file: String, before: UInt64?) { (self.file, self.before) = (file, before) }

  private static let start = "captured in ", middle = ", before call "

  /// `captured in tables-pages.json, before call 317`.
  public var reason: String { Self.start + file + (before.map { Self.middle + String($0) } ?? "") }

  /// Reads such a reason; nil for any other.
  public init?(reason: String) {
    guard reason.hasPrefix(Self.start) else { return nil }
    let rest = reason.dropFirst(Self.start.count)
    // The file's name is anybody's: the last such words are those of the moment.
    if let found = rest.ranges(of: Self.middle).last, let number = UInt64(rest[found.upperBound...]) {
      self.init(file: String(rest[..<found.lowerBound]), before: number)
    } else {
      self.init(file: String(rest), before: nil)
    }
  }
}

/// A domain's table as a text tells it, kept as a fact so that calls which are read later find it.
public struct DomainRoot: Hashable, Sendable {
  /// The domain, as map calls carry it.
  public let domain: KVA
  /// Its root.
  public let root: TableRoot
  /// The requester whose device table entry leads to the root; nil when none was found.
  public let requester: RequesterID?

  /// A domain's table.
  public init(domain: KVA, root: TableRoot, requester: RequesterID?) {
    (self.domain, self.root, self.requester) = (domain, root, requester)
  }

  private static let prefix = "domain "

  /// The fact that keeps it: `domain 0xff60000000978ef8`.
  public var factName: String { "\(Self.prefix)\(domain)" }

  /// `sv39 table at 0x80b82000, 0000:00:01.0`.
  public var factValue: String {
    "\(root.mode.rawValue) table at \(root.address)" + (requester.map { ", \($0)" } ?? "")
  }

  /// Reads such a fact; nil for any other.
  public init?(factName: String, value: String) {
    func number(_ text: some StringProtocol) -> UInt64? {
      text.hasPrefix("0x") ? UInt64(text.dropFirst(2), radix: 16) : nil
    }
    let parts = value.split(separator: ",", maxSplits: 1)
    guard factName.hasPrefix(Self.prefix), let domain = number(factName.dropFirst(Self.prefix.count)) else {
      return nil
    }
    let words = parts.first?.split(separator: " ") ?? []
    guard words.count == 4, words[1] == "table", words[2] == "at", let mode = PagingMode(rawValue: String(words[0])),
      let address = number(words[3])
    else { return nil }
    let requester = parts.count > 1 ? RequesterID(bdf: parts[1].drop { $0 == " " }) : nil
    self.init(domain: KVA(domain), root: TableRoot(address: GPA(address), mode: mode), requester: requester)
  }

  /// All of them in an investigation's facts.
  static func all(in facts: [String: String]) -> [DomainRoot] {
    facts.sorted { $0.key < $1.key }.compactMap { DomainRoot(factName: $0.key, value: $0.value) }
  }
}
