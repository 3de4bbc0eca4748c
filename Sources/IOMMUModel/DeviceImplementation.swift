public import PageTables

/// One device model of QEMU as a program: where to stop in it, how to read what it was asked, and where it keeps its state.
/// The counterpart of ``DriverProfile`` on the other side of the bus; the rest of the project sees this protocol and never
/// a tenant's name.
public protocol DeviceImplementation: Sendable {
  /// What it does, as a model.
  var model: any DeviceModel { get }

  /// The function that translates one address. It returns QEMU's `IOMMUTLBEntry`.
  var function: DeviceFunction { get }

  /// The name of its type in QEMU's object model, by which its register block is found: `riscv-xmmuv1`.
  var typeName: String { get }

  /// Finds out where the device keeps its state. Done once per symbol file.
  func layout(in target: any Target) throws(TargetError) -> any DeviceLayout
}

/// A translate function with its parameters: QEMU's `IOMMUMemoryRegionClass.translate`.
public struct DeviceFunction: Hashable, Sendable {
  /// The symbol.
  public let symbol: String
  /// The parameter that is the IOMMU memory region, the one that is the address, and the one that is the access wanted.
  public let region: String, address: String, access: String

  /// A function `symbol` with these parameters.
  public init(symbol: String, region: String, address: String, access: String) {
    (self.symbol, self.region, self.address, self.access) = (symbol, region, address, access)
  }
}

/// Where a device's structures lie in this build of QEMU: every offset from debug information.
public protocol DeviceLayout: Sendable {
  /// Who asks through the IOMMU memory region at `region`.
  func client(_ region: HVA, in memory: HostMemory) throws(TargetError) -> DeviceClient

  /// The device's registers as the guest would read them now, from its state; offsets as ``DeviceModel/registers`` has
  /// them.
  func registers(_ state: HVA, in memory: HostMemory) throws(TargetError) -> RegisterValues
}

/// A device behind the IOMMU, as the IOMMU's implementation knows it.
public struct DeviceClient: Hashable, Sendable {
  /// Whom the IOMMU takes it for.
  public let requester: RequesterID
  /// Its model's name: `e1000e`; nil when it has none.
  public let name: String?
  /// The IOMMU's state.
  public let state: HVA

  /// A client of the IOMMU at `state`.
  public init(requester: RequesterID, name: String?, state: HVA) {
    (self.requester, self.name, self.state) = (requester, name, state)
  }
}

/// Where QEMU keeps what a requester id is made of: `PCIBus` and `PCIDevice` (QEMU 7.2 `include/hw/pci`).
public struct HostPCILayout: Sendable {
  let flags, devices, parent, config, name: UInt64

  /// The offsets, from debug information.
  public init(in target: any Target) throws(TargetError) {
    flags = try target.offset(of: "flags", in: "PCIBus")
    devices = try target.offset(of: "devices", in: "PCIBus")
    parent = try target.offset(of: "parent_dev", in: "PCIBus")
    config = try target.offset(of: "config", in: "PCIDevice")
    name = try target.offset(of: "name", in: "PCIDevice")
  }

  /// The requester `devfn` on the bus at `bus`: bus<<8 | devfn. A root bus has number 0 (an expander's is not known to
  /// `PCIBus`); another one has what its bridge's configuration says now, PCI_SECONDARY_BUS at 0x19: the guest may renumber.
  public func requester(bus: HVA, devfn: UInt64, in memory: HostMemory) throws(TargetError) -> RequesterID {
    var number: UInt64 = 0
    if try memory.integer(at: bus + flags, size: 4) & 1 == 0, let bridge = try memory.pointer(at: bus + parent),
      let configuration = try memory.pointer(at: bridge + config)
    {
      number = try memory.integer(at: configuration + 0x19, size: 1)
    }
    return RequesterID(rawValue: UInt32(truncatingIfNeeded: number << 8 | devfn & 0xff))
  }

  /// The model name of the device `devfn` on the bus at `bus`; nil when there is none.
  public func deviceName(bus: HVA, devfn: UInt64, in memory: HostMemory) -> String? {
    guard let device = try? memory.pointer(at: bus + devices + (devfn & 0xff) * 8),
      let name = try? memory.string(at: device + name), !name.isEmpty
    else { return nil }
    return name
  }
}
