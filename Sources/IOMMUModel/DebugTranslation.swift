public import PageTables

/// A question to a device's debug interface: what would come of one access.
public struct DebugRequest: Hashable, Sendable {
  /// Whose access.
  public var requester: RequesterID
  /// Its address.
  public var iova: IOVA
  /// Whether it writes as well as reads.
  public var writes: Bool
  /// Whether it reads to execute.
  public var executes: Bool
  /// The process it is for; nil for none.
  public var process: UInt32?
  /// Whether it asks for supervisor privilege.
  public var isPrivileged: Bool

  /// A question.
  public init(
    requester: RequesterID, iova: IOVA, writes: Bool = false, executes: Bool = false, process: UInt32? = nil,
    isPrivileged: Bool = false
  ) {
    (self.requester, self.iova, self.writes) = (requester, iova, writes)
    (self.executes, self.process, self.isPrivileged) = (executes, process, isPrivileged)
  }

  /// `read and write for process 5, privileged`.
  public var words: String {
    "read" + (executes ? " for execute" : "") + (writes ? " and write" : "")
      + (process.map { " for process \($0)" } ?? "") + (isPrivileged ? ", privileged" : "")
  }
}

/// What a device's debug interface answered.
public struct DebugAnswer: Hashable, Sendable {
  /// How the access would end.
  public enum Result: Hashable, Sendable {
    /// At one of these addresses: as few as the answer leaves open, a page at least.
    case translated(ClosedRange<GPA>)
    /// Refused; the cause where the device tells it.
    case refused(FaultCause?)

    /// `in 0x88000000-0x883fffff`, `refused: cause 13 (read page fault)`.
    public var words: String {
      switch self {
      case .translated(let addresses): "in \(addresses.lowerBound)-\(addresses.upperBound)"
      case .refused(let cause?): "refused: cause \(cause)"
      case .refused(nil): "refused"
      }
    }
  }

  /// The register that holds the answer.
  public let value: UInt64
  /// What it says.
  public let result: Result
  /// Where the answer is not as the specification has it, a sentence each.
  public let deviations: [String]

  /// An answer.
  public init(value: UInt64, result: Result, deviations: [String]) {
    (self.value, self.result, self.deviations) = (value, result, deviations)
  }

  /// Whether this is what `translation` comes to, as far as the answer tells; nil where that could not be told.
  public func fits(_ translation: DeviceTranslation, of iova: IOVA) -> Bool? {
    if case .unreadable = translation.result { return nil }
    switch (result, translation.target(of: iova)) {
    case (.translated(let addresses), let target?): return addresses.contains(target)
    case (.refused, nil): return true
    default: return false
    }
  }
}

/// A value for a register.
public struct RegisterWrite: Hashable, Sendable {
  /// Bytes from the register block's start.
  public let offset: UInt64
  /// The value, of 8 bytes.
  public let value: UInt64

  /// A write of `value` at `offset`.
  public init(offset: UInt64, value: UInt64) { (self.offset, self.value) = (offset, value) }
}

/// Registers by which software asks a device for a translation.
///
/// To ask is to change the device: registers are written, and what it refuses it may report as a fault.
public protocol DebugTranslator: Sendable {
  /// Why the device cannot be asked, as a sentence; nil where it can.
  func obstacle(_ registers: RegisterValues) -> String?

  /// What to write, in this order. The last write starts the translation; an error for what the registers cannot hold.
  func writes(for request: DebugRequest) throws(TargetError) -> [RegisterWrite]

  /// Whether the device is still at a translation, by the register that was written last.
  func isBusy(_ control: UInt64) -> Bool

  /// The register that holds the answer.
  var response: UInt64 { get }

  /// What its value says.
  func answer(_ value: UInt64) -> DebugAnswer

  /// Why an answer may be another than that of a walk, as a sentence; nil where nothing comes before the walk.
  var caveat: String? { get }

  /// What should come of it: by the device's model, and by the specification.
  func expected(
    _ request: DebugRequest, registers: RegisterValues, memory: any PhysicalMemory
  ) -> (device: DeviceTranslation, specification: DeviceTranslation)

  /// How many faults were reported between two readings of the registers; nil where they do not tell.
  func reported(before: RegisterValues, after: RegisterValues) -> Int?
}
