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
  /// Where the call was read: a file and line, `notes.txt:268`; nil for one seen in a debugger.
  public let origin: String?

  /// A call seen.
  public init(
    id: EventID? = nil, number: Int, call: DriverCall, root: TableRoot?, requester: RequesterID?,
    callers: [String] = [], origin: String? = nil
  ) {
    self.id = id
    self.number = number
    self.call = call
    self.root = root
    self.requester = requester
    self.callers = callers
    self.origin = origin
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
  /// What the tables held where they disagreed: the first leaf that did and the last, or that one alone.
  public let samples: [Sample]

  /// A leaf that was not as it should be, and what the walk for it ended at.
  public struct Sample: Hashable, Sendable {
    /// The leaf's IOVA.
    public let iova: IOVA
    /// The entry that the call should have written; 0 after an unmap.
    public let expected: UInt64
    /// The level and value of the entry at which the walk ended.
    public let level: Int, found: UInt64

    /// A sample.
    public init(iova: IOVA, expected: UInt64, level: Int, found: UInt64) {
      (self.iova, self.expected, self.level, self.found) = (iova, expected, level, found)
    }
  }

  /// What was found.
  public init(
    leaves: Int, agreeing: Int, verdict: Verdict, iova: IOVA?, shifts: [ShiftSet], samples: [Sample] = []
  ) {
    (self.leaves, self.agreeing, self.verdict, self.iova) = (leaves, agreeing, verdict, iova)
    (self.shifts, self.samples) = (shifts, samples)
  }

  /// Whether all leaves were as they should be.
  public var agrees: Bool { verdict == .agrees }
}

extension Verification.Sample {
  /// As an investigation file keeps it: four hexadecimal numbers.
  var stored: String {
    [iova.rawValue, expected, UInt64(truncatingIfNeeded: level), found].map { String($0, radix: 16) }
      .joined(separator: ":")
  }

  /// The sample in that form, as UTF-8; nil for anything else.
  init?(stored: some Collection<UInt8>) {
    var numbers: (UInt64?, UInt64?, UInt64?, UInt64?)
    var digits = 0
    for byte in stored {
      if byte == UInt8(ascii: ":") {
        guard digits > 0, numbers.0 == nil else { return nil }
        numbers = (numbers.1, numbers.2, numbers.3, nil)
        digits = 0
        continue
      }
      guard digits < 16, let digit = Character(UnicodeScalar(byte)).hexDigitValue else { return nil }
      numbers.3 = (numbers.3 ?? 0) << 4 | UInt64(digit)
      digits += 1
    }
    guard digits > 0, let iova = numbers.0, let expected = numbers.1, let level = numbers.2, let found = numbers.3,
      level < 8
    else { return nil }
    self.init(iova: IOVA(iova), expected: expected, level: Int(level), found: found)
  }
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
