public import IOMMUModel
public import PageTables

/// How Linux has set up the devices behind an IOMMU, at one moment. What could not be read is nil or said in ``unknown``.
public struct KernelState: Codable, Hashable, Sendable {
  /// A device of the kernel's: `struct device`.
  public struct Device: Codable, Hashable, Sendable {
    /// Its name: `0000:00:01.0`.
    public var name: String
    /// Its bus: `pci`, `platform`.
    public var bus: String
    /// The bound driver; nil for none.
    public var driver: String?
    /// The number of its IOMMU group; nil while the IOMMU core does not know it.
    public var group: Int?
    /// The requester id that the IOMMU driver keeps for it, else the one in a PCI device's name.
    public var requester: RequesterID?
    /// The domain that the IOMMU driver has attached it to.
    public var attached: KVA?
    /// Whether its DMA mappings go through the IOMMU layer.
    public var usesIOMMU: Bool?

    /// A device.
    public init(
      name: String, bus: String, driver: String? = nil, group: Int? = nil, requester: RequesterID? = nil,
      attached: KVA? = nil, usesIOMMU: Bool? = nil
    ) {
      (self.name, self.bus, self.driver, self.group) = (name, bus, driver, group)
      (self.requester, self.attached, self.usesIOMMU) = (requester, attached, usesIOMMU)
    }

    /// Whether it sits on a PCI bus, as everything with a requester id of its own does.
    public var isPCI: Bool { bus == "pci" }
  }

  /// An IOMMU group: devices that cannot be told apart by the IOMMU.
  public struct Group: Codable, Hashable, Sendable {
    /// Its number, as in /sys/kernel/iommu_groups.
    public var id: Int
    /// The domain that its devices' own DMA uses; nil for none, which means that they go around the IOMMU.
    public var defaultDomain: KVA?
    /// The domain in use now; VFIO's while a guest has the group.
    public var domain: KVA?

    /// A group.
    public init(id: Int, defaultDomain: KVA?, domain: KVA?) {
      (self.id, self.defaultDomain, self.domain) = (id, defaultDomain, domain)
    }
  }

  /// A domain that a group or a device names.
  public struct Domain: Codable, Hashable, Sendable {
    /// `struct iommu_domain *`, as map calls carry it.
    public var pointer: KVA
    /// `iommu_domain.type`; Linux `include/linux/iommu.h`.
    public var type: UInt64
    /// Its table; nil before the first attach.
    public var root: TableRoot?
    /// The descriptor that the device's tables name it by.
    public var descriptor: GPA?

    /// A domain.
    public init(pointer: KVA, type: UInt64, root: TableRoot?, descriptor: GPA?) {
      (self.pointer, self.type, self.root, self.descriptor) = (pointer, type, root, descriptor)
    }

    /// What the type means: bit 0 paging, bit 1 used by the DMA layer, bit 2 identity, bit 3 flush queue.
    public var kind: String {
      switch type {
      case 0: "blocked"
      case 1: "unmanaged (VFIO or a driver of its own)"
      case 3: "DMA"
      case 4: "identity"
      case 11: "DMA, flushed lazily"
      default: "type \(hex(type))"
      }
    }
  }

  /// What VFIO asks of interrupts before it gives a device away.
  public struct Interrupts: Codable, Hashable, Sendable {
    /// The parameter `vfio_iommu_type1.allow_unsafe_interrupts`; nil where VFIO's type 1 is not built in.
    public var unsafeAllowed: Bool?
    /// Interrupt domains that carry MSIs, by name.
    public var messageDomains: [String]
    /// Those of them behind which nothing remaps interrupts.
    public var withoutRemapping: [String]

    /// What was found.
    public init(unsafeAllowed: Bool?, messageDomains: [String], withoutRemapping: [String]) {
      self.unsafeAllowed = unsafeAllowed
      (self.messageDomains, self.withoutRemapping) = (messageDomains, withoutRemapping)
    }
  }

  /// How the IOMMU driver is told of faults, and what it would read then.
  public struct FaultHandling: Codable, Hashable, Sendable {
    /// The number of the interrupt that the driver has requested; 0 for none.
    public var interrupt: UInt64
    /// The name by which it asks for the interrupt; nil where it asks by number.
    public var interruptName: String?
    /// Which of its node's interrupts the driver has requested; nil where it asks by name.
    public var interruptIndex: Int?
    /// The IOMMU's node in the device tree; nil where it could not be read, or there is none.
    public var node: Node?
    /// The function that handles the interrupt.
    public var handler: String
    /// The offsets of the device's registers that the handler reads, from its instructions; nil where none was found.
    public var reads: [UInt64]?

    /// A node of the device tree.
    public struct Node: Codable, Hashable, Sendable {
      /// Its name: `iommu@2c000000`.
      public var name: String
      /// Whether it has an interrupt.
      public var hasInterrupt: Bool
      /// The names that it gives to its interrupts.
      public var interruptNames: [String]
      /// The wires of its interrupts; nil where it has none, or they could not be read.
      public var wires: Wires?

      /// A node.
      public init(name: String, hasInterrupt: Bool, interruptNames: [String], wires: Wires? = nil) {
        (self.name, self.hasInterrupt, self.interruptNames) = (name, hasInterrupt, interruptNames)
        self.wires = wires
      }
    }

    /// The interrupts that a node lists, as its interrupt controller takes them (Devicetree specification 0.4, section 2.4).
    public struct Wires: Codable, Hashable, Sendable {
      /// The controller's node: `plic@c000000`.
      public var controller: String
      /// Its `#interrupt-cells`: how many numbers make an interrupt, the source first.
      public var cells: Int
      /// The numbers of the property `interrupts`.
      public var numbers: [UInt32]

      /// What was read.
      public init(controller: String, cells: Int, numbers: [UInt32]) {
        (self.controller, self.cells, self.numbers) = (controller, cells, numbers)
      }

      private func sources(of cells: Int) -> [UInt32] {
        cells < 1 ? [] : stride(from: 0, through: numbers.count - cells, by: cells).map { numbers[$0] }
      }

      /// The source that the kernel takes for interrupt `index`, and the one that is meant, where the numbers were written for
      /// a controller that takes one more of them: read as they are, one source comes several times. Nil where they are as
      /// they should be.
      public func misreading(of index: Int) -> (taken: UInt32, meant: UInt32)? {
        let taken = sources(of: cells), meant = sources(of: cells + 1)
        guard taken.indices.contains(index), meant.indices.contains(index), Set(taken).count < taken.count,
          Set(meant).count == meant.count, taken[index] != meant[index]
        else { return nil }
        return (taken[index], meant[index])
      }
    }

    /// An interrupt that the kernel looks for at another source than the device has.
    public struct Misrouting: Hashable, Sendable {
      /// The device's node and that of its interrupt controller.
      public let node, controller: String
      /// How many numbers the controller takes for an interrupt.
      public let cells: Int
      /// The source that the driver listens to, and the one that is meant.
      public let taken, meant: UInt32

      /// What the device tree says, and what comes of it.
      public var sentence: String {
        "The device tree's \(node) gives \(cells + 1) numbers for each of its interrupts, and \(controller) takes \(cells): "
          + "the driver listens to source \(taken), and \(meant) is meant."
      }
    }

    /// Where the driver listens to another source than the device raises, by what the device tree lists; nil where it does
    /// not.
    public var misrouting: Misrouting? {
      guard interrupt != 0, let node, let wires = node.wires, let index = interruptIndex,
        let (taken, meant) = wires.misreading(of: index)
      else { return nil }
      return Misrouting(
        node: node.name, controller: wires.controller, cells: wires.cells, taken: taken, meant: meant)
    }

    /// What was found.
    public init(
      interrupt: UInt64, interruptName: String?, interruptIndex: Int? = nil, node: Node?, handler: String,
      reads: [UInt64]?
    ) {
      (self.interrupt, self.interruptName, self.node) = (interrupt, interruptName, node)
      self.interruptIndex = interruptIndex
      (self.handler, self.reads) = (handler, reads)
    }
  }

  /// An IOMMU driver's answer to a question of the core: `ops->capable`.
  public enum Answer: Codable, Hashable, Sendable {
    /// It says yes.
    case yes
    /// It says no.
    case no
    /// It has no such callback, which the core takes for no.
    case absent
    /// It could not be told, and why.
    case unknown(String)

    /// Whether the core takes it for a no.
    public var isRefusal: Bool { self == .no || self == .absent }
  }

  /// A device that no driver has taken yet (`deferred_probe_pending_list`).
  public struct Deferred: Codable, Hashable, Sendable {
    /// The device's name: `3010000.iommu`.
    public let device: String
    /// What the driver core noted: `platform: wait for supplier /cpus/cpu@0`; empty where it noted nothing.
    public let reason: String

    /// A device, and why it waits.
    public init(device: String, reason: String) { (self.device, self.reason) = (device, reason) }

    /// `3010000.iommu: platform: wait for supplier /cpus/cpu@0`.
    public var words: String { reason.isEmpty ? device : "\(device): \(reason)" }
  }

  /// Devices in a group, and PCI devices without one.
  public var devices: [Device] = []
  /// Groups by number.
  public var groups: [Group] = []
  /// Domains, in the order in which groups name them.
  public var domains: [Domain] = []
  /// IOMMUs registered with the core; nil when it could not be read.
  public var registered: Int?
  /// Devices whose driver waits for something; nil when that could not be read.
  public var deferred: [Deferred]?
  /// The member of the operations table that holds the driver's map function: `map` (5.10), `map_pages` (from 5.14).
  public var mapOperation: String?
  /// Whether DMA through the IOMMU is cache-coherent; without it VFIO refuses to bind (Linux 6.x `drivers/vfio/group.c`).
  public var cacheCoherency: Answer = .unknown("not asked")
  /// Whether the IOMMU remaps interrupts.
  public var interruptRemapping: Answer = .unknown("not asked")
  /// What VFIO needs of interrupts; nil when it could not be read.
  public var interrupts: Interrupts?
  /// How the IOMMU driver is told of faults; nil when it could not be read.
  public var faultHandling: FaultHandling?
  /// What could not be read, a sentence each.
  public var unknown: [String] = []

  /// Nothing known.
  public init() {}

  /// Requester ids that several devices were given, with the devices' names.
  public var sharedRequesters: [(requester: RequesterID, devices: [String])] {
    Dictionary(grouping: devices.filter { $0.group != nil && $0.requester != nil }) { $0.requester?.rawValue ?? 0 }
      .filter { $0.value.count > 1 }.sorted { $0.key < $1.key }
      .map { (RequesterID(rawValue: $0.key), $0.value.map(\.name)) }
  }

  /// The group with this number.
  public func group(_ id: Int?) -> Group? { id.flatMap { id in groups.first { $0.id == id } } }
  /// The domain at this address.
  public func domain(_ pointer: KVA?) -> Domain? {
    pointer.flatMap { pointer in domains.first { $0.pointer == pointer } }
  }
}
