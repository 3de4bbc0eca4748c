/// What was found right after calls, by call: the last word on each.
///
/// Of a million calls most are as they should be, and those are of few kinds: a call costs its event's number and that of its
/// kind. Only what is wrong is kept by itself.
public struct Verifications: Sendable {
  /// The calls, ascending, and the position of what was found of each.
  private var calls: [EventID] = []
  private var kinds: [UInt32] = []
  /// What was found, once for all calls that agree in the same way.
  let distinct: [Verification]

  /// Collects what was found, in the order in which it was.
  struct Collector {
    private var found: [(call: EventID, kind: UInt32)] = []
    private var distinct: [Verification] = []
    private var agreeing: [Verification: UInt32] = [:]
    /// Those of `agreeing` that were looked up last: comparing costs less than hashing.
    private var recent: [UInt32] = []
    private static let room = 4

    init(capacity: Int) { found.reserveCapacity(capacity) }

    /// Adds what was found right after `call`.
    mutating func add(_ verification: Verification, of call: EventID) {
      if verification.agrees {
        if let known = recent.first(where: { distinct[Int($0)] == verification }) {
          found.append((call, known))
          return
        }
        if let known = agreeing[verification] {
          note(known)
          found.append((call, known))
          return
        }
      }
      let kind = UInt32(truncatingIfNeeded: distinct.count)
      distinct.append(verification)
      if verification.agrees {
        agreeing[verification] = kind
        note(kind)
      }
      found.append((call, kind))
    }

    private mutating func note(_ kind: UInt32) {
      if recent.count == Self.room { recent.removeFirst() }
      recent.append(kind)
    }

    /// Everything by call.
    consuming func verifications() -> Verifications {
      let isAscending = zip(found, found.dropFirst()).allSatisfy { $0.call < $1.call }
      // The last word on a call comes last.
      if !isAscending {
        found = found.enumerated().sorted { ($0.element.call, $0.offset) < ($1.element.call, $1.offset) }.map(\.element)
      }
      return Verifications(found, distinct)
    }
  }

  /// What was found right after calls, in the order in which it was found.
  package init(_ found: some Collection<(call: EventID, verification: Verification)>) {
    var collector = Collector(capacity: found.count)
    for (call, verification) in found { collector.add(verification, of: call) }
    self = collector.verifications()
  }

  private init(_ found: [(call: EventID, kind: UInt32)], _ distinct: [Verification]) {
    self.distinct = distinct
    calls.reserveCapacity(found.count)
    kinds.reserveCapacity(found.count)
    for (call, kind) in found {
      if calls.last == call {
        kinds[kinds.count - 1] = kind
      } else {
        calls.append(call)
        kinds.append(kind)
      }
    }
  }

  /// What was found right after `call`; nil when nobody looked.
  public subscript(call: EventID) -> Verification? {
    var position = 0
    return kind(of: call, from: &position).map { distinct[Int($0)] }
  }

  /// The position in ``distinct`` of what was found right after `call`. Calls that are asked for in ascending order are found
  /// where `position` is.
  func kind(of call: EventID, from position: inout Int) -> UInt32? {
    if !calls.indices.contains(position) || calls[position] != call {
      var (low, high) = (0, calls.count)
      while low < high {
        let middle = (low + high) / 2
        if calls[middle] < call { low = middle + 1 } else { high = middle }
      }
      guard low < calls.count, calls[low] == call else { return nil }
      position = low
    }
    defer { position += 1 }
    return kinds[position]
  }
}

extension Verifications: RandomAccessCollection {
  /// 0.
  public var startIndex: Int { 0 }
  /// How many calls there are.
  public var endIndex: Int { calls.count }
  /// A call and what was found right after it, by the call's number.
  public subscript(position: Int) -> (call: EventID, verification: Verification) {
    (calls[position], distinct[Int(kinds[position])])
  }
}
