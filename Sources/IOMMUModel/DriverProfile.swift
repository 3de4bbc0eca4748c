public import PageTables

/// One IOMMU driver: where to stop, how to read a call, what the call should leave in the tables, and which device walks
/// them. The rest of the project sees this protocol and never a tenant's name.
public protocol DriverProfile: Sendable {
  /// What an investigation file calls this variant, to read it without a kernel: `xuantie/pages`.
  var identifier: String { get }

  /// The driver and the variant of it: `xuantie-iommu, map_pages (6.x)`.
  var name: String { get }

  /// How the variant was recognised, as a phrase.
  var recognition: String { get }

  /// The functions to stop at.
  var functions: [DriverFunction] { get }

  /// The call that `function` was given, from its arguments in the order of ``DriverFunction/parameters``.
  func call(_ function: DriverFunction, arguments: [UInt64]) throws(TargetError) -> DriverCall

  /// The call that `function` was given, from its arguments by name; those of ``DriverFunction/optional`` may be missing.
  func call(_ function: DriverFunction, named arguments: [String: UInt64]) throws(TargetError) -> DriverCall

  /// The leaves that a map call should write; empty for an unmap.
  func leaves(of call: DriverCall, mode: PagingMode) -> [LeafRun]

  /// Whether unmap works on whole leaves: one that is asked for in part goes in whole, and where a range begins inside a leaf
  /// nothing is done. Linux `iommu_unmap` allows both.
  var unmapsWholeLeaves: Bool { get }

  /// The device on the other side.
  var device: any DeviceModel { get }

  /// The function's name for the index that each level takes in the driver's sources, root first, to point at a line:
  /// `vpn2_idx`.
  func indexName(atLevel level: Int) -> String

  /// What is wrong when the kernel's operations table holds the driver's map function as `operation` (`map`, `map_pages`);
  /// nil when that is what its parameters are for.
  func mismatch(operation: String) -> String?

  /// How many requester ids the driver's device table has room for; nil for all.
  var requesterLimit: Int? { get }

  /// Finds out where the driver keeps its domains and its device. Done once per symbol file.
  func layout(in target: any Target) throws(TargetError) -> any DriverLayout
}

extension DriverProfile {
  /// Page by page.
  public var unmapsWholeLeaves: Bool { false }

  /// The call by position; an optional argument that is missing counts as 0.
  public func call(_ function: DriverFunction, named arguments: [String: UInt64]) throws(TargetError) -> DriverCall {
    var values: [UInt64] = []
    for parameter in function.parameters {
      guard let value = arguments[parameter] ?? (function.optional.contains(parameter) ? 0 : nil) else {
        throw TargetError("\(function.symbol) cannot be told without its argument `\(parameter)`.")
      }
      values.append(value)
    }
    return try call(function, arguments: values)
  }
}

/// Where a driver's structures lie in this kernel: every offset from debug information.
public protocol DriverLayout: Sendable {
  /// The first-stage root of a domain, and the descriptor that the device's tables name it by.
  func domain(_ domain: KVA, in kernel: KernelMemory) throws(TargetError) -> Domain

  /// What the driver keeps of a device at `data`, the core's `dev->iommu->priv`.
  func attachment(_ data: KVA, in kernel: KernelMemory) throws(TargetError) -> DeviceAttachment

  /// The guest-physical address of the device's register block.
  func registerBlock(in kernel: KernelMemory, target: any Target) throws(TargetError) -> GPA

  /// Whether the driver has a handler for the device's faults; nil when it cannot be told.
  func hearsFaults(target: any Target) -> Bool?

  /// How the driver means to be told of faults; nil when it cannot be told.
  func faultHandling(target: any Target) -> DriverFaultHandling?
}

extension DriverLayout {
  /// Not known.
  public func faultHandling(target: any Target) -> DriverFaultHandling? { nil }
}

/// How a driver means to be told of its device's faults.
public struct DriverFaultHandling: Hashable, Sendable {
  /// The number of the interrupt that it has requested; 0 for none.
  public let interrupt: UInt64
  /// The name by which it asks for the interrupt; nil where it asks by number.
  public let interruptName: String?
  /// Which of the interrupts that the device tree lists for the device it is; nil where it asks by name.
  public let interruptIndex: Int?
  /// The kernel's `struct device` of the IOMMU.
  public let device: KVA
  /// The function that handles the interrupt.
  public let handler: String
  /// Where the structure that the handler is given holds the address of the registers; nil where it does not hold it itself.
  public let registers: UInt64?

  /// A way of being told.
  public init(
    interrupt: UInt64, interruptName: String?, interruptIndex: Int? = nil, device: KVA, handler: String,
    registers: UInt64?
  ) {
    (self.interrupt, self.interruptName, self.device) = (interrupt, interruptName, device)
    self.interruptIndex = interruptIndex
    (self.handler, self.registers) = (handler, registers)
  }
}

/// What a driver keeps of a device behind its IOMMU.
public struct DeviceAttachment: Hashable, Sendable {
  /// Whom the IOMMU takes the device for; nil where the driver leaves that to the kernel's core, which has it from the
  /// firmware (`dev->iommu->fwspec`).
  public let requester: RequesterID?
  /// The domain it is attached to, as map calls carry it; nil for none.
  public let domain: KVA?

  /// An attachment.
  public init(requester: RequesterID?, domain: KVA?) {
    self.requester = requester
    self.domain = domain
  }
}

/// A domain as the driver keeps it.
public struct Domain: Hashable, Sendable {
  /// The pointer that map calls carry.
  public let pointer: KVA
  /// The root that the driver writes to.
  public let root: TableRoot
  /// The descriptor that device-table entries of this domain point to; nil when the driver has none yet.
  public let descriptor: GPA?

  /// A domain.
  public init(pointer: KVA, root: TableRoot, descriptor: GPA?) {
    self.pointer = pointer
    self.root = root
    self.descriptor = descriptor
  }
}

/// An IOMMU family that can recognise its driver in a kernel.
public protocol Tenant: Sendable {
  /// The family's name.
  static var name: String { get }

  /// The profile that fits the kernel's symbols; nil when none of this family's symbols is there.
  static func profile(in target: any Target) throws(TargetError) -> (any DriverProfile)?

  /// All its profiles, to find the one that fits a call in a text or a name in a file.
  static var profiles: [any DriverProfile] { get }

  /// The family's devices as they are implemented in QEMU.
  static var implementations: [any DeviceImplementation] { get }
}

extension Tenant {
  /// The profile with this ``DriverProfile/identifier``; nil when it is not this family's.
  public static func profile(identifier: String) -> (any DriverProfile)? {
    profiles.first { $0.identifier == identifier }
  }

  /// None is known.
  public static var implementations: [any DeviceImplementation] { [] }
}
