public import IOMMUModel
import PageTables
import RISCVInterpreter

/// Reads how Linux has set up devices, groups and domains, without running anything in it.
///
/// Structures: Linux 5.10 to 6.x `drivers/base/core.c` (`devices_kset`), `drivers/iommu/iommu.c` (`iommu_group`),
/// `kernel/irq/irqdomain.c` (`irq_domain_list`). Which members there are is asked, never concluded from a version.
public struct KernelInspector {
  let target: any Target
  let reader: StructureReader
  let kernel: KernelMemory
  let driver: any DriverLayout
  private let mapFunction: String?

  /// An inspector of the kernel that `target` holds; `driver` knows the IOMMU driver's own structures, `mapFunction` is the
  /// symbol of its map function.
  public init(
    target: any Target, layouts: StructureLayouts, kernel: KernelMemory, driver: any DriverLayout, mapFunction: String?
  ) {
    self.target = target
    self.mapFunction = mapFunction
    self.kernel = kernel
    self.driver = driver
    reader = StructureReader(layouts: layouts, kernel: kernel)
  }

  /// Everything that can be read now. What cannot is told in ``KernelState/unknown``.
  public func state() -> KernelState {
    var state = KernelState()
    func attempt(_ body: () throws(TargetError) -> Void) {
      do throws(TargetError) { try body() } catch { state.unknown.append(error.description) }
    }
    attempt { () throws(TargetError) in try addDevices(to: &state) }
    attempt { () throws(TargetError) in state.interrupts = try interrupts() }
    state.faultHandling = faultHandling()
    state.registered = (try? target.evaluate("(unsigned long)&iommu_device_list")).flatMap {
      try? reader.list(KVA($0), of: "struct iommu_device", linkedBy: "list").count
    }
    state.deferred = try? deferred()
    return state
  }

  /// Devices that wait for a supplier, another driver or a resource (Linux 5.10 to 7.2 `drivers/base/dd.c`).
  private func deferred() throws(TargetError) -> [KernelState.Deferred] {
    let type = "struct device_private"
    let head = KVA(try target.evaluate("(unsigned long)&deferred_probe_pending_list"))
    var found: [KernelState.Deferred] = []
    for waiting in try reader.list(head, of: type, linkedBy: "deferred_probe") {
      guard let device = try reader.pointer("device", of: type, at: waiting),
        let name = try reader.string("kobj.name", of: Self.device, at: device)
      else { continue }
      let reason = (try? reader.string("deferred_probe_reason", of: type, at: waiting)) ?? nil
      found.append(KernelState.Deferred(device: name, reason: (reason ?? "").filter { !$0.isNewline }))
    }
    return found
  }

  // MARK: Devices, groups, domains

  static let device = "struct device"
  private static let groupType = "struct iommu_group"

  /// The addresses of all devices that the driver core knows.
  private func allDevices() throws(TargetError) -> [KVA] {
    let set = KVA(try global("devices_kset"))
    guard set.rawValue != 0 else { throw TargetError("The kernel has no devices yet: `devices_kset` is not set up.") }
    return try reader.list(set, of: Self.device, linkedBy: "kobj.entry")
  }

  /// From 6.12 the DMA layer has a bit in place of a table: a member of its own, in 7.2 one of `enum struct_device_flags`
  /// (`include/linux/device.h`). Bits have no offset, so they are left to GDB.
  private func isMappedByIOMMULayer(_ address: KVA) -> Bool? {
    let bits = ["->dma_iommu", "->flags[0] >> DEV_FLAG_DMA_IOMMU & 1"]
    return bits.lazy.compactMap { try? target.evaluate("((\(Self.device) *)\(address))\($0)") }.first.map { $0 != 0 }
  }

  private func global(_ name: String) throws(TargetError) -> UInt64 {
    do { return try target.evaluate("(unsigned long)\(name)") } catch {
      throw TargetError("This kernel's devices cannot be listed: \(error)")
    }
  }

  private func addDevices(to state: inout KernelState) throws(TargetError) {
    let ownOperations = try? target.evaluate("(unsigned long)&iommu_dma_ops")
    var groups: [KVA: Int] = [:]
    var domains: Set<KVA> = []
    for address in try allDevices() {
      guard let name = try reader.string("kobj.name", of: Self.device, at: address) else { continue }
      let bus =
        try reader.pointer("bus", of: Self.device, at: address)
        .flatMap { bus throws(TargetError) in try reader.string("name", of: "struct bus_type", at: bus) } ?? ""
      let group = try? reader.pointer("iommu_group", of: Self.device, at: address)
      if group == nil && bus != "pci" { continue }
      var device = KernelState.Device(name: name, bus: bus, requester: RequesterID(bdf: name))
      device.driver = try? reader.pointer("driver", of: Self.device, at: address)
        .flatMap { try reader.string("name", of: "struct device_driver", at: $0) }
      if let ownOperations, reader.has("dma_ops", of: Self.device) {
        device.usesIOMMU = try reader.value("dma_ops", of: Self.device, at: address) == ownOperations
      } else {
        device.usesIOMMU = isMappedByIOMMULayer(address)
      }
      if let group {
        if groups[group] == nil { groups[group] = try add(group, to: &state, domains: &domains) }
        device.group = groups[group]
      }
      if let kept = try? reader.pointer([("iommu", Self.device), ("priv", "struct dev_iommu")], from: address) {
        let attachment = try? driver.attachment(kept, in: kernel)
        if let requester = attachment.flatMap({ $0.requester ?? firmwareRequester(of: address) }) {
          device.requester = requester
        }
        device.attached = attachment?.domain
        if let domain = attachment?.domain, domains.insert(domain).inserted { add(domain: domain, to: &state) }
      }
      if state.mapOperation == nil, let operation = mapOperation(ofDriverOf: address) {
        // One driver has them all, so the first device that it has taken can ask.
        state.mapOperation = operation
        state.cacheCoherency = capability("IOMMU_CAP_CACHE_COHERENCY", of: address)
        state.interruptRemapping = capability("IOMMU_CAP_INTR_REMAP", of: address)
      }
      state.devices.append(device)
    }
    state.groups.sort { $0.id < $1.id }
    // The driver core adds a device when its parent's driver finds it: bus order reads better.
    state.devices.sort {
      ($0.isPCI ? 0 : 1, $0.requester?.rawValue ?? 0, $0.name) < (
        $1.isPCI ? 0 : 1, $1.requester?.rawValue ?? 0, $1.name
      )
    }
  }

  /// The first of the ids by which the firmware's description of the machine names the device to its IOMMU
  /// (`struct iommu_fwspec`, Linux 5.10 to 7.2 `include/linux/iommu.h`); nil when it names none.
  private func firmwareRequester(of device: KVA) -> RequesterID? {
    let type = "struct iommu_fwspec"
    guard
      let specification = try? reader.pointer([("iommu", Self.device), ("fwspec", "struct dev_iommu")], from: device),
      let count = try? reader.value("num_ids", of: type, at: specification), count > 0,
      let id = try? reader.value("ids[0]", of: type, at: specification)
    else { return nil }
    return UInt32(exactly: id).map(RequesterID.init(rawValue:))
  }

  /// Adds the group at `address` with its domains; returns its number.
  private func add(
    _ address: KVA, to state: inout KernelState, domains: inout Set<KVA>
  ) throws(TargetError) -> Int {
    let group = KernelState.Group(
      id: Int(truncatingIfNeeded: try reader.value("id", of: Self.groupType, at: address) & 0xffff_ffff),
      defaultDomain: try reader.pointer("default_domain", of: Self.groupType, at: address),
      domain: try reader.pointer("domain", of: Self.groupType, at: address))
    state.groups.append(group)
    for case let domain? in [group.defaultDomain, group.domain] where domains.insert(domain).inserted {
      add(domain: domain, to: &state)
    }
    return group.id
  }

  private func add(domain pointer: KVA, to state: inout KernelState) {
    let table = try? driver.domain(pointer, in: kernel)
    state.domains.append(
      KernelState.Domain(
        pointer: pointer, type: (try? reader.value("type", of: "struct iommu_domain", at: pointer)) ?? 0,
        root: table.flatMap { $0.root.address.rawValue == 0 ? nil : $0.root }, descriptor: table?.descriptor))
  }

  /// The operations of the IOMMU driver that has taken the device.
  private func operations(ofDriverOf device: KVA) throws(TargetError) -> KVA? {
    try reader.pointer(
      [("iommu", Self.device), ("iommu_dev", "struct dev_iommu"), ("ops", "struct iommu_device")], from: device)
  }

  /// Which operation the driver's map function is registered as: `map` in `iommu_ops` (5.10), `map_pages` there (5.14) or in
  /// `iommu_domain_ops` (from 5.18), `map_range` in `pt_iommu_ops` (7.2).
  private func mapOperation(ofDriverOf device: KVA) -> String? {
    guard let mapFunction, let function = try? target.evaluate("(unsigned long)&\(mapFunction)"),
      let operations = try? operations(ofDriverOf: device)
    else { return nil }
    var tables = [(operations, "struct iommu_ops")]
    if let domains = try? reader.pointer("default_domain_ops", of: "struct iommu_ops", at: operations) {
      tables.append((domains, "struct iommu_domain_ops"))
    }
    for (table, type) in tables {
      for member in ["map_pages", "map"] where (try? reader.value(member, of: type, at: table)) == function {
        return member
      }
    }
    return tableOperation(function, of: device)
  }

  /// Where the driver leaves its tables to `drivers/iommu/generic_pt`, they have operations of their own.
  private func tableOperation(_ function: UInt64, of device: KVA) -> String? {
    let (type, member) = ("struct pt_iommu", "map_range")
    guard reader.has("ops", of: type),
      let domain = try? reader.pointer([("iommu_group", Self.device), ("domain", Self.groupType)], from: device),
      (try? reader.value("is_iommupt", of: "struct iommu_domain", at: domain)) == 1,
      let operations = try? reader.pointer("ops", of: type, at: domain),
      (try? reader.value(member, of: "struct pt_iommu_ops", at: operations)) == function
    else { return nil }
    return member
  }

  /// What the IOMMU driver of `device` answers to a capability, found by following its `.capable` instruction by
  /// instruction: nothing runs in the guest.
  ///
  /// Linux `include/linux/iommu.h`: `capable(cap)` until 5.19, `capable(dev, cap)` from 6.0.
  private func capability(_ name: String, of device: KVA) -> KernelState.Answer {
    do throws(TargetError) {
      let capability = try target.evaluate("(unsigned long)\(name)")
      guard let operations = try operations(ofDriverOf: device) else {
        return .unknown("no driver has taken the device")
      }
      guard let capable = try reader.pointer("capable", of: "struct iommu_ops", at: operations) else { return .absent }
      let count = try target.parameters(of: target.function(at: capable)).count
      let arguments = count == 1 ? [capability] : [device.rawValue, capability]
      let kernel = self.kernel
      let interpreter = FunctionInterpreter(
        globalPointer: try? target.evaluate("(unsigned long)&'__global_pointer$'"),
        read: { address, count in try kernel.bytes(at: address, count: count) })
      do throws(InterpretationError) {
        // `bool` is the low byte of a0.
        return try interpreter.call(capable, arguments: arguments) & 0xff == 0 ? .no : .yes
      } catch { return .unknown(error.description) }
    } catch { return .unknown(error.description) }
  }

  // MARK: Interrupts

  /// What `irq_domain_check_msi_remap` (Linux 5.10 to 6.1, `kernel/irq/irqdomain.c`) would look at.
  private func interrupts() throws(TargetError) -> KernelState.Interrupts {
    let type = "struct irq_domain"
    let head = KVA(try target.evaluate("(unsigned long)&irq_domain_list"))
    let message = try target.evaluate("(unsigned long)IRQ_DOMAIN_FLAG_MSI")
    // 6.2 renamed it.
    let old = try? target.evaluate("(unsigned long)IRQ_DOMAIN_FLAG_MSI_REMAP")
    let remapping: UInt64 =
      if let old { old } else { try target.evaluate("(unsigned long)IRQ_DOMAIN_FLAG_ISOLATED_MSI") }
    var found = KernelState.Interrupts(
      unsafeAllowed: (try? target.evaluate("(unsigned long)allow_unsafe_interrupts")).map { $0 & 0xff != 0 },
      messageDomains: [], withoutRemapping: [])
    for domain in try reader.list(head, of: type, linkedBy: "link") {
      guard try reader.value("flags", of: type, at: domain) & message != 0 else { continue }
      let name = (try? reader.string("name", of: type, at: domain)) ?? "\(domain)"
      found.messageDomains.append(name)
      var ancestor: KVA? = domain
      var isRemapped = false
      for _ in 0..<64 {
        guard let place = ancestor, !isRemapped else { break }
        isRemapped = try reader.value("flags", of: type, at: place) & remapping != 0
        ancestor = reader.has("parent", of: type) ? try reader.pointer("parent", of: type, at: place) : nil
      }
      if !isRemapped { found.withoutRemapping.append(name) }
    }
    return found
  }
}
