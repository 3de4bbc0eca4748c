public import IOMMUModel
public import LinuxKernel
import PageTables

/// The checklist of an IOMMU's bring-up: what has to be true before a device's DMA is translated and VFIO hands it out.
public struct Probe {
  /// One item.
  public struct Item: Hashable, Sendable {
    /// How it stands.
    public enum State: String, Sendable {
      /// As it should be.
      case pass
      /// Not as it should be.
      case fail
      /// It could not be told.
      case unknown
      /// Not as VFIO wants it, in a kernel without VFIO.
      case irrelevant
    }

    /// How it stands.
    public let state: State
    /// What is asked: `default domains`.
    public let name: String
    /// The value seen.
    public let value: String
    /// Where it was seen: a symbol, a register, a structure's member.
    public let place: String
    /// What to do about a failure; empty where nothing is to be done.
    public let advice: String
  }

  /// The items, in the order in which a kernel comes to them.
  public let items: [Item]

  /// The items, by what was read; what could not be is unknown. `waiting` are faults that software has yet to take; `imported` is what a configuration was found to be that
  /// somebody imported.
  public init(
    state: KernelState, paging: KernelPaging?, profile: any DriverProfile, registers: RegisterValues?,
    contexts: [DeviceContext], waiting: [LatchedFault] = [], hearsFaults: Bool?, configuration: EmbeddedConfiguration,
    imported: String?
  ) {
    var isWithoutVFIO = false
    if case .found(let found) = configuration { isWithoutVFIO = found.isWithoutVFIO }
    let failure: Item.State = isWithoutVFIO ? .irrelevant : .fail
    items =
      [
        Self.configuration(configuration, imported: imported), Self.registered(state), Self.operations(state, profile),
        Self.enabled(registers, profile),
        Self.defaultDomains(state), Self.buses(state), Self.deviceTable(state, contexts), Self.dma(state),
        Self.rootShift(state, paging, contexts),
        Self.capability(state.cacheCoherency, failure),
      ] + Self.interrupts(state, failure) + [
        Self.faults(registers, waiting, profile), Self.faultInterrupt(hearsFaults, state.faultHandling),
        Self.faultRegisters(state.faultHandling, profile),
      ]
  }

  private static func configuration(_ configuration: EmbeddedConfiguration, imported: String?) -> Item {
    func item(_ state: Item.State, _ value: String, place: String = "kernel_config_data", advice: String = "") -> Item {
      Item(state: state, name: "kernel configuration", value: value, place: place, advice: advice)
    }
    let advice = "these options have to be built in (=y), and IOMMUFD has to be off: build the kernel anew."
    switch configuration {
    case .found(let found):
      return item(found.missing.isEmpty && found.wrong.isEmpty ? .pass : .fail, found.summary, advice: advice)
    case .unreadable(let why): return item(.unknown, why)
    case .absent:
      guard let imported else {
        return item(
          .unknown, "not compiled in (CONFIG_IKCONFIG): import the .config file with `iommu import`")
      }
      let isWrong = ["missing: ", "wrong: "].contains { imported.contains($0) }
      return item(
        isWrong ? .fail : imported.contains("not mentioned: ") ? .unknown : .pass, imported, place: "imported",
        advice: advice)
    }
  }

  private static func registered(_ state: KernelState) -> Item {
    Item(
      state: state.registered.map { $0 > 0 ? .pass : .fail } ?? .unknown, name: "registered with the core",
      value: (state.registered.map { counted($0, "IOMMU") } ?? "not readable")
        + state.waitingIOMMUs.map { "; \($0.words)" }.joined(),
      place: state.waitingIOMMUs.isEmpty ? "iommu_device_list" : "iommu_device_list, deferred_probe_pending_list",
      advice: "the driver's probe has to reach iommu_device_register().")
  }

  private static func operations(_ state: KernelState, _ profile: any DriverProfile) -> Item {
    guard let operation = state.mapOperation else {
      return Item(
        state: .unknown, name: "map operation", value: "no device has been taken", place: "iommu_ops", advice: "")
    }
    let problem = profile.mismatch(operation: operation)
    return Item(
      state: problem == nil ? .pass : .fail, name: "map operation", value: operation,
      place: "iommu_ops.default_domain_ops", advice: problem ?? "")
  }

  private static func enabled(_ registers: RegisterValues?, _ profile: any DriverProfile) -> Item {
    let place = "registers of \(profile.device.name)"
    guard let registers else {
      return Item(state: .unknown, name: "translation on", value: "not readable", place: place, advice: "")
    }
    let isOn = profile.device.isEnabled(registers)
    return Item(
      state: isOn ? .pass : .fail, name: "translation on", value: isOn ? "yes" : "no", place: place,
      advice: "the driver turns it on when its device table is set up.")
  }

  private static func defaultDomains(_ state: KernelState) -> Item {
    let bare = state.groups.filter { $0.defaultDomain == nil }
    let value =
      state.groups.isEmpty
      ? "no group" : bare.isEmpty ? "all \(state.groups.count) groups" : "none in \(counted(bare.count, "group"))"
    return Item(
      state: state.groups.isEmpty ? .unknown : bare.isEmpty ? .pass : .fail, name: "default domains", value: value,
      place: "iommu_group.default_domain",
      advice: "does domain_alloc fail, or take the DMA cookie that the core takes? `iommu record` from boot on tells.")
  }

  private static func buses(_ state: KernelState) -> Item {
    let taken = state.devices.filter { $0.group != nil }
    let strangers = taken.filter { !$0.isPCI }
    let shared = state.sharedRequesters
    return Item(
      state: taken.isEmpty ? .unknown : shared.isEmpty ? .pass : .fail, name: "one requester id a device",
      value: shared.isEmpty
        ? "\(counted(taken.count, "device"))\(strangers.isEmpty ? ", all PCI" : "")"
        : "\(shared.reduce(0) { $0 + $1.devices.count }) devices share \(counted(shared.count, "id")), "
          + "\(strangers.count) of \(taken.count) are not PCI",
      place: "devices_kset, dev->iommu->priv", advice: "let probe_device refuse (-ENODEV) what it cannot tell apart.")
  }

  private static func deviceTable(_ state: KernelState, _ contexts: [DeviceContext]) -> Item {
    let (place, advice) = (
      "device table in memory", "attach_dev writes the entry; without one every address passes through."
    )
    func item(_ state: Item.State, _ value: String) -> Item {
      Item(state: state, name: "device table", value: value, place: place, advice: advice)
    }
    if state.devices.isEmpty, !state.unknown.isEmpty {
      // Nobody knows who should be in the table; who is in it is known all the same.
      let translated = contexts.filter { if case .translated = $0.translation { true } else { false } }
      return translated.isEmpty
        ? item(.unknown, "no entry seen, no device known")
        : item(.pass, "\(counted(translated.count, "device")) with a valid entry")
    }
    let attached = state.devices.filter { $0.attached != nil }
    let bypassed = attached.filter { device in
      contexts.contains { context in
        if case .bypassed = context.translation { return context.requester == device.requester }
        return false
      }
    }
    if attached.isEmpty { return item(.fail, "no device is attached") }
    return bypassed.isEmpty
      ? item(.pass, "\(counted(attached.count, "attached device")) with a valid entry")
      : item(.fail, "no valid entry for \(bypassed.prefix(3).map(\.name).joined(separator: ", "))")
  }

  private static func dma(_ state: KernelState) -> Item {
    let driven = state.devices.filter { $0.group != nil && $0.driver != nil && $0.usesIOMMU != nil }
    // VFIO maps for its guest, not through the DMA layer.
    let direct = driven.filter { $0.usesIOMMU == false && !($0.driver ?? "").hasPrefix("vfio") }
    return Item(
      state: driven.isEmpty ? .unknown : direct.isEmpty ? .pass : .fail, name: "DMA through the IOMMU",
      value: driven.isEmpty
        ? "no device with a driver"
        : direct.isEmpty
          ? counted(driven.count, "driven device")
          : "around it: \(direct.prefix(3).map(\.name).joined(separator: ", "))",
      place: "dev->dma_ops",
      advice: "probe_finalize has to install iommu_dma_ops; it is skipped without a default domain.")
  }

  private static func rootShift(_ state: KernelState, _ paging: KernelPaging?, _ contexts: [DeviceContext]) -> Item {
    let tables = Set(contexts.compactMap { $0.firstStage?.mode })
    guard let cpu = paging?.mode, let table = tables.first else {
      return Item(
        state: .unknown, name: "CPU's paging and the table's",
        value: tables.isEmpty ? "no table yet" : "CPU not paging",
        place: "satp, descriptors", advice: "")
    }
    let shift = cpu.shift(atLevel: cpu.levels - 1)
    let right = table.shift(atLevel: table.levels - 1)
    // Two modes are no fault in themselves: only code that takes the CPU's constant for the table is.
    return Item(
      state: .pass, name: "CPU's paging and the table's",
      value: shift == right
        ? "both \(table.name)" : "CPU \(cpu.name), PGDIR_SHIFT \(shift); table \(table.name), root shift \(right)",
      place: "satp, descriptors", advice: "")
  }

  private static func capability(_ answer: KernelState.Answer, _ failure: Item.State) -> Item {
    let (state, value): (Item.State, String) =
      switch answer {
      case .yes: (.pass, "yes")
      case .no: (failure, "no")
      case .absent: (failure, "there is no .capable")
      case .unknown(let why): (.unknown, why)
      }
    return Item(
      state: state, name: "cache coherency", value: value, place: "ops->capable(IOMMU_CAP_CACHE_COHERENCY)",
      advice: "VFIO refuses to bind (-22) without it.")
  }

  private static func interrupts(_ state: KernelState, _ failure: Item.State) -> [Item] {
    guard let interrupts = state.interrupts else {
      return [
        Item(state: .unknown, name: "interrupts for VFIO", value: "not readable", place: "irq_domain_list", advice: "")
      ]
    }
    let isSafe = interrupts.withoutRemapping.isEmpty || state.interruptRemapping == .yes
    let allowed = interrupts.unsafeAllowed.map { $0 ? "1" : "0" } ?? "not built in"
    let domains =
      interrupts.messageDomains.isEmpty
      ? "no MSI domain, so nothing to remap"
      : isSafe ? "remapped" : "not remapped: \(interrupts.withoutRemapping.joined(separator: ", "))"
    return [
      Item(
        state: isSafe || interrupts.unsafeAllowed == true ? .pass : failure, name: "interrupts for VFIO",
        value: "\(domains); allow_unsafe_interrupts \(allowed)", place: "irq_domain_list, vfio_iommu_type1",
        advice: "VFIO_SET_IOMMU gives EPERM: vfio_iommu_type1.allow_unsafe_interrupts=1 allows it all the same.")
    ]
  }

  private static func faults(
    _ registers: RegisterValues?, _ waiting: [LatchedFault], _ profile: any DriverProfile
  ) -> Item {
    let fault = registers.flatMap(profile.device.latchedFault) ?? waiting.first
    let others = waiting.count > 1 ? ", the first of \(waiting.count) that nobody has read" : ""
    return Item(
      state: registers == nil ? .unknown : fault == nil ? .pass : .fail, name: "no fault latched",
      value: fault.map { "cause \($0.cause) of \($0.requester)\($0.address.map { " at \($0)" } ?? "")\(others)" }
        ?? (registers == nil ? "not readable" : "none"),
      place: "registers of \(profile.device.name)",
      advice: "`iommu diagnose`; a latched fault fails good mappings as well.")
  }

  private static func faultInterrupt(_ heard: Bool?, _ handling: KernelState.FaultHandling?) -> Item {
    if let misrouted = handling?.misrouting {
      return Item(
        state: .fail, name: "faults are heard of",
        value: "source \(misrouted.taken) of \(misrouted.controller) is listened to, \(misrouted.meant) is meant",
        place: "driver's irqs, device tree", advice: misrouted.sentence)
    }
    var value = heard.map { $0 ? "a handler is installed" : "no interrupt handler" } ?? "not readable"
    if heard == false, let node = handling?.node {
      if !node.hasInterrupt {
        value += ": \(node.name) has no interrupt"
      } else if let name = handling?.interruptName, !node.interruptNames.contains(name) {
        value += ": asked for by the name \"\(name)\", which \(node.name) does not have"
      }
    }
    return Item(
      state: heard.map { $0 ? .pass : .fail } ?? .unknown, name: "faults are heard of", value: value,
      place: "driver's irq, device tree",
      advice: "the name the driver asks for must be in the device tree's interrupt-names.")
  }

  private static func faultRegisters(_ handling: KernelState.FaultHandling?, _ profile: any DriverProfile) -> Item {
    let place = handling.map { "instructions of \($0.handler)" } ?? "driver's interrupt handler"
    guard let reads = handling?.reads else {
      return Item(state: .unknown, name: "fault registers", value: "not known which are read", place: place, advice: "")
    }
    let wrong = Symptoms.misplaced(in: profile.device).filter {
      reads.contains($0.taken.offset) && !reads.contains($0.meant.offset)
    }
    return Item(
      state: wrong.isEmpty ? .pass : .fail, name: "fault registers",
      value: wrong.first.map { "\(hex($0.taken.offset)) is read for \($0.meant.name), and is \($0.taken.name)" }
        ?? "read at \(reads.map { hex($0) }.joined(separator: ", "))",
      place: place,
      advice: wrong.first.map { "the device has \($0.meant.name) at \(hex($0.meant.offset))." } ?? "")
  }
}
