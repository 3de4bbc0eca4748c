public import PageTables

/// What an access wants.
public enum Access: UInt8, Hashable, Sendable, CaseIterable {
  /// Neither: a probe. QEMU's IOMMU_NONE.
  case none = 0
  /// Read; IOMMU_RO.
  case read = 1
  /// Write; IOMMU_WO.
  case write = 2
  /// Both; IOMMU_RW.
  case readWrite = 3

  /// Whether it reads.
  public var reads: Bool { rawValue & 1 != 0 }
  /// Whether it writes.
  public var writes: Bool { rawValue & 2 != 0 }
}

/// A fault cause of one IOMMU: its number and the specification's or the device's name for it.
public struct FaultCause: Hashable, Sendable, CustomStringConvertible {
  /// The number in the cause register or fault record.
  public let code: UInt16
  /// The name.
  public let name: String

  /// Cause `code`.
  public init(code: UInt16, name: String) {
    self.code = code
    self.name = name
  }

  /// `16 (S1_PTE_INVALID)`.
  public var description: String { "\(code) (\(name))" }
}

/// A root table: where translation starts.
public struct TableRoot: Hashable, Codable, Sendable {
  /// The root table's address.
  public let address: GPA
  /// Its format.
  public let mode: PagingMode

  /// A root at `address`.
  public init(address: GPA, mode: PagingMode) {
    self.address = address
    self.mode = mode
  }
}

/// What the device's tables say of one requester.
public struct DeviceContext: Hashable, Sendable {
  /// What happens to the requester's addresses.
  public enum Translation: Hashable, Sendable {
    /// They pass through unchanged; why, as a phrase: `DTE not valid`.
    case bypassed(String)
    /// They are translated by one or two stages.
    case translated(firstStage: TableRoot?, secondStage: TableRoot?)
    /// They are refused.
    case refused(String)
  }

  /// A word read on the way to the context.
  public struct Word: Hashable, Sendable {
    /// What it is: `DTE`, `TD[0] stage 1`.
    public let name: String
    /// Where it lies.
    public let address: GPA
    /// Its value.
    public let value: UInt64

    /// The word `name`.
    public init(name: String, address: GPA, value: UInt64) {
      self.name = name
      self.address = address
      self.value = value
    }
  }

  /// Who is asking.
  public let requester: RequesterID
  /// The words read, in order.
  public let words: [Word]
  /// What they mean.
  public let translation: Translation
  /// The address of the descriptor that names the domain's table, by which calls and requesters are matched.
  public let descriptor: GPA?

  /// The context of `requester`.
  public init(requester: RequesterID, words: [Word], translation: Translation, descriptor: GPA?) {
    self.requester = requester
    self.words = words
    self.translation = translation
    self.descriptor = descriptor
  }

  /// The first stage's root, when there is one.
  public var firstStage: TableRoot? {
    if case .translated(let stage, _) = translation { return stage }
    return nil
  }
}

/// What a device does with one access, by a model of that device, its deviations from the specification included.
public struct DeviceTranslation: Hashable, Sendable {
  /// How it ended.
  public enum Result: Hashable, Sendable {
    /// Translated.
    case translated(GPA)
    /// Passed through unchanged, and why.
    case bypassed(String)
    /// Refused. Some devices refuse without latching a cause.
    case refused(FaultCause?)
    /// A word could not be read.
    case unreadable(UnreadableMemory)
  }

  /// The words read before the walk.
  public let words: [DeviceContext.Word]
  /// The entries read, in the order in which the device reads them.
  public let steps: [Walk.Step]
  /// How it ended.
  public let result: Result
  /// The cause latched afterwards, which may be an older one.
  public let latched: FaultCause?
  /// Where the device left the specification, a sentence each.
  public let deviations: [String]

  /// A translation.
  public init(
    words: [DeviceContext.Word], steps: [Walk.Step], result: Result, latched: FaultCause?, deviations: [String]
  ) {
    self.words = words
    self.steps = steps
    self.result = result
    self.latched = latched
    self.deviations = deviations
  }

  /// The address that the access reaches; nil when refused.
  public func target(of iova: IOVA) -> GPA? {
    switch result {
    case .translated(let address): address
    case .bypassed: GPA(iova.rawValue)
    case .refused, .unreadable: nil
    }
  }
}

/// A register of an IOMMU.
public struct Register: Hashable, Sendable {
  /// Bytes from the register block's start.
  public let offset: UInt64
  /// Its bytes, 4 or 8: how many a read must ask for.
  public let size: Int
  /// The device's name for it.
  public let name: String
  /// The driver's name for the same offset, where it differs.
  public let driverName: String?
  /// What a value means, in words; empty when there is nothing to say.
  public let meaning: @Sendable (UInt64) -> String

  /// A register at `offset`.
  public init(
    offset: UInt64, name: String, driverName: String? = nil, size: Int = 8,
    meaning: @escaping @Sendable (UInt64) -> String = { _ in "" }
  ) {
    self.offset = offset
    self.size = size
    self.name = name
    self.driverName = driverName
    self.meaning = meaning
  }

  /// The same offset and names.
  public static func == (left: Self, right: Self) -> Bool { left.offset == right.offset && left.name == right.name }
  /// Hashes the offset.
  public func hash(into hasher: inout Hasher) { hasher.combine(offset) }
}

/// Register values read at one moment; a register that could not be read has none.
public struct RegisterValues: Hashable, Sendable {
  /// Value by offset.
  public var byOffset: [UInt64: UInt64]

  /// These values.
  public init(byOffset: [UInt64: UInt64] = [:]) { self.byOffset = byOffset }

  /// The value at `offset`.
  public subscript(offset: UInt64) -> UInt64? { byOffset[offset] }
}

/// A fault that a device holds until somebody takes it.
public struct LatchedFault: Hashable, Sendable {
  /// Whose access it was.
  public let requester: RequesterID
  /// Why it failed.
  public let cause: FaultCause
  /// The address of the access that failed last; nil when the device does not tell.
  public let address: IOVA?

  /// A fault.
  public init(requester: RequesterID, cause: FaultCause, address: IOVA?) {
    self.requester = requester
    self.cause = cause
    self.address = address
  }
}

/// A device that walks tables, modelled from its implementation.
public protocol DeviceModel: Sendable {
  /// The implementation: `QEMU xmmuv1`.
  var name: String { get }

  /// The registers worth reading, in the order of their offsets.
  var registers: [Register] { get }

  /// Whether translation is on.
  func isEnabled(_ registers: RegisterValues) -> Bool

  /// Whether a fault raises the device's interrupt; nil when it cannot be told.
  func raisesInterrupt(_ registers: RegisterValues) -> Bool?

  /// The fault that is latched; nil for none.
  func latchedFault(_ registers: RegisterValues) -> LatchedFault?

  /// The faults that software has yet to take, oldest first, at most `limit`: those in a queue in memory, else the latched
  /// one.
  func faults(
    registers: RegisterValues, memory: any PhysicalMemory, limit: Int
  ) throws(UnreadableMemory) -> [LatchedFault]

  /// The registers as they would be after the latched fault had been cleared, and how that is done, as a phrase.
  func resumed(_ registers: RegisterValues) -> (registers: RegisterValues, how: String)

  /// Where machines that have the device map its registers, to know them in a monitor's transcript; nil when that differs
  /// from machine to machine.
  var usualRegisterBlock: GPA? { get }

  /// The implementation's function that translates one access, with QEMU's parameters `addr` and `flag`; nil when it is not
  /// known.
  var translateFunction: String? { get }

  /// How many bytes one translation that works covers, where that is always the same: QEMU asks for the next byte beyond it.
  /// Nil when it differs or is not known.
  var translationSpan: UInt64? { get }

  /// How to read the implementation's own trace; nil where it writes none that is known.
  var trace: DeviceTrace? { get }

  /// How the device itself can be asked for a translation; nil where it has no registers for that.
  var debugTranslator: (any DebugTranslator)? { get }

  /// Members of the implementation's state that tell a register's value, as ``registers(state:)`` takes them.
  var stateMembers: Set<String> { get }

  /// The registers that follow from members of the implementation's state.
  func registers(state: [String: UInt64]) -> RegisterValues

  /// The requesters whose contexts are not empty, in order. At most `limit`; hostile tables end it early.
  func contexts(
    registers: RegisterValues, memory: any PhysicalMemory, limit: Int
  ) throws(UnreadableMemory) -> [DeviceContext]

  /// The context of one requester, as the specification of the tables says.
  func context(
    of requester: RequesterID, registers: RegisterValues, memory: any PhysicalMemory
  ) throws(UnreadableMemory) -> DeviceContext

  /// What the device does with one access.
  func translate(
    _ iova: IOVA, access: Access, requester: RequesterID, registers: RegisterValues, memory: any PhysicalMemory
  ) -> DeviceTranslation

  /// What the device does with many accesses of one kind of one requester. A model that implements it looks the requester
  /// up once and tells pages together; without it every page is translated by itself.
  func translator(
    access: Access, requester: RequesterID, registers: RegisterValues, memory: any PhysicalMemory
  ) -> any DeviceTranslator
}

extension DeviceModel {
  /// The latched one.
  public func faults(
    registers: RegisterValues, memory: any PhysicalMemory, limit: Int
  ) throws(UnreadableMemory) -> [LatchedFault] {
    Array([latchedFault(registers)].compactMap { $0 }.prefix(max(limit, 0)))
  }
  /// Not known.
  public func raisesInterrupt(_ registers: RegisterValues) -> Bool? { nil }
  /// Not known.
  public var usualRegisterBlock: GPA? { nil }
  /// Not known.
  public var translateFunction: String? { nil }
  /// Not known.
  public var translationSpan: UInt64? { nil }
  /// None known.
  public var trace: DeviceTrace? { nil }
  /// It has none.
  public var debugTranslator: (any DebugTranslator)? { nil }
  /// None known.
  public var stateMembers: Set<String> { [] }
  /// None.
  public func registers(state: [String: UInt64]) -> RegisterValues { RegisterValues() }
}
