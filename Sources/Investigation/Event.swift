public import IOMMUModel
public import PageTables

/// The number of an event within its investigation.
public struct EventID: RawRepresentable, Hashable, Comparable, Sendable {
  /// 1 for the first event.
  public let rawValue: Int64
  /// The event with this number.
  public init(rawValue: Int64) { self.rawValue = rawValue }
  /// Orders as recorded.
  public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
}

/// A driver call that was seen, with what was known of its domain at that moment.
public struct RecordedCall: Hashable, Sendable {
  /// The event; nil until stored.
  public var id: EventID?
  /// 1 for the first call of its kind in the investigation.
  public var number: Int
  /// The call.
  public let call: DriverCall
  /// The domain's root; nil when it could not be read.
  public let root: TableRoot?
  /// The requester that the domain is attached to, the lowest where there are several.
  public let requester: RequesterID?
  /// The functions above the driver's, innermost first; empty when they were not read.
  public var callers: [String]

  /// A call seen.
  public init(
    id: EventID? = nil, number: Int, call: DriverCall, root: TableRoot?, requester: RequesterID?, callers: [String] = []
  ) {
    self.id = id
    self.number = number
    self.call = call
    self.root = root
    self.requester = requester
    self.callers = callers
  }
}

/// What the tables held right after a call, and which index shifts would explain it.
public struct Verification: Hashable, Sendable {
  /// The leaves that were looked at: all, or an even sample of a large call.
  public let leaves: Int
  /// How many of them the specification walk finds as they should be.
  public let agreeing: Int
  /// The first disagreement.
  public let verdict: Verdict
  /// Where the first disagreement is.
  public let iova: IOVA?
  /// Per level, leaf tables first: bit s is set when every leaf lies where the driver would have put it with shift s at that
  /// level and the right shifts at the others. Empty for an unmap.
  public let shifts: [ShiftSet]

  /// Whether all leaves were as they should be.
  public var agrees: Bool { verdict == .agrees }
}

/// A set of shifts, 0 to 63.
public struct ShiftSet: OptionSet, Hashable, Sendable {
  /// Bit s for shift s.
  public let rawValue: UInt64
  /// The shifts whose bits are set.
  public init(rawValue: UInt64) { self.rawValue = rawValue }

  /// The set of one shift.
  public init(_ shift: Int) { self.init(rawValue: (0..<64).contains(shift) ? 1 << UInt64(shift) : 0) }

  /// The shifts, ascending.
  public var shifts: [Int] { (0..<64).filter { rawValue >> UInt64($0) & 1 == 1 } }

  /// Runs of shifts: `32 to 63`, `30`, `30 and 39`.
  public var description: String {
    var runs: [ClosedRange<Int>] = []
    for shift in shifts {
      if let last = runs.last, last.upperBound + 1 == shift {
        runs[runs.count - 1] = last.lowerBound...shift
      } else {
        runs.append(shift...shift)
      }
    }
    let words = runs.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound) to \($0.upperBound)" }
    return words.count < 2
      ? words.first ?? "none" : words.dropLast().joined(separator: ", ") + " and " + (words.last ?? "")
  }
}
