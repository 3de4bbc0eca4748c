public import IOMMUModel
public import PageTables

/// What a comparison came to: of what the driver was asked for with what the tables say or the device does.
public enum Verdict: Hashable, Sendable {
  /// Both sides say the same.
  case agrees
  /// The entry at this level is not valid.
  case missing(level: Int)
  /// The tables lead elsewhere.
  case wrongAddress(GPA)
  /// The address is right, the flags are not.
  case wrongPermission(PageTableEntry.Flags)
  /// The range was unmapped and still leads somewhere.
  case staleAfterUnmap(GPA)
  /// The entry is another recorded mapping's, that of the map call with this number.
  case overwritten(GPA, by: Int)
  /// The tables are right; the device refuses because a cause from an earlier access is latched.
  case latchedFault(FaultCause)
  /// The device does not translate for this requester.
  case bypassed(String)
  /// No requester uses this domain.
  case notAttached
  /// The device walks another table than the one that the calls wrote.
  case otherTable(TableRoot)
  /// An entry breaks a rule.
  case malformed(level: Int, String)
  /// The device refuses what the tables allow, or the reverse.
  case deviceDiffers(String)
  /// A word could not be read.
  case unreadable(GPA)

  /// The verdict's name, as it is stored.
  public var name: String {
    switch self {
    case .agrees: "agrees"
    case .missing: "missing"
    case .wrongAddress: "wrong address"
    case .wrongPermission: "wrong permission"
    case .staleAfterUnmap: "stale after unmap"
    case .overwritten: "overwritten"
    case .latchedFault: "latched fault"
    case .bypassed: "bypassed"
    case .notAttached: "not attached"
    case .otherTable: "other table"
    case .malformed: "malformed"
    case .deviceDiffers: "device differs"
    case .unreadable: "unreadable"
    }
  }

  /// The name with its particulars.
  public var description: String {
    switch self {
    case .agrees, .notAttached: name
    case .missing(let level): "missing at level \(level)"
    case .wrongAddress(let found): "wrong address: leads to \(found)"
    case .wrongPermission(let flags): "wrong permission: \(flags.description)"
    case .staleAfterUnmap(let found): "stale after unmap: still leads to \(found)"
    case .overwritten(let found, let number): "overwritten by map #\(number): leads to \(found)"
    case .latchedFault(let cause): "latched fault hides a good mapping: cause \(cause)"
    case .bypassed(let why): "bypassed: \(why)"
    case .otherTable(let root): "other table: the device walks \(root.mode.name) at \(root.address)"
    case .malformed(let level, let problem): "malformed at level \(level): \(problem)"
    case .deviceDiffers(let how): "device differs: \(how)"
    case .unreadable(let address): "unreadable at \(address)"
    }
  }

  /// The name with what neighbouring pages share: no addresses.
  public var gist: String {
    switch self {
    case .wrongAddress, .staleAfterUnmap: name
    case .overwritten(_, let number): "overwritten by map #\(number)"
    default: description
    }
  }

  /// How bad it is, worst first: wrong memory before no memory before no protection.
  var severity: Int {
    switch self {
    case .wrongAddress, .overwritten: 0
    case .staleAfterUnmap: 1
    case .missing, .malformed: 2
    case .wrongPermission, .otherTable: 3
    case .latchedFault, .deviceDiffers: 4
    case .bypassed, .notAttached: 5
    case .unreadable: 6
    case .agrees: 7
    }
  }
}
