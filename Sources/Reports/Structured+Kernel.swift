public import Evidence
public import IOMMUModel
public import Investigation
public import LinuxKernel
public import PageTables

extension Structured {
  /// What is known on the kernel's side; what cannot be found out is null, and `unknown` says why.
  public static func status(_ investigator: Investigator, log: TraceFollower? = nil) -> Structured {
    var unknown: [Structured] = []
    func told(_ what: String, _ body: () throws -> Structured) -> Structured {
      do { return try body() } catch {
        unknown.append(["what": .text(what), "reason": .text("\(error)")])
        return nil
      }
    }
    let driver = told("driver") {
      let profile = try investigator.profile()
      return ["name": .text(profile.name), "recognition": .text(profile.recognition)]
    }
    let banner = try? investigator.target.string("linux_banner")
    let paging = investigator.kernelPaging().map { satp, paging -> Structured in
      [
        "satp": .init(satp), "mode": .init(paging.mode?.rawValue),
        "constants": .list(paging.constants.map { ["name": .text($0.name), "shift": .number($0.shift)] }),
      ]
    }
    let memory = told("memory") { .text(try investigator.memory().explanation) }
    let device = told("device") {
      let (values, profile) = (try investigator.registers(), try investigator.profile())
      return self.device(profile.device, values, block: try investigator.registerBlock())
    }
    let file = told("file") { try investigator.store.map(counts) ?? nil }
    return answer(
      "status",
      [
        "side": .text(SessionSide.kernel.rawValue), "driver": driver,
        "kernel": .init(banner.map { String($0.split(separator: "\n").first ?? "") }), "paging": .init(paging),
        "memory": memory, "device": device, "log": log.map(self.log) ?? nil, "file": file, "unknown": .list(unknown),
      ])
  }

  private static func log(_ log: TraceFollower) -> Structured {
    ["path": .text(log.path), "lines_read": .number(log.lineCount)]
  }

  /// What is known on QEMU's side; what cannot be found out is null, and `unknown` says why.
  public static func status(_ investigator: DeviceInvestigator) -> Structured {
    var unknown: [Structured] = []
    func told(_ what: String, _ body: () throws -> Structured) -> Structured {
      do { return try body() } catch {
        unknown.append(["what": .text(what), "reason": .text("\(error)")])
        return nil
      }
    }
    let device = told("device") {
      self.device(
        try investigator.device(), try investigator.registers(), block: try investigator.registerBlock())
    }
    let memory = told("memory") { .text(try investigator.memory().explanation) }
    let file = told("file") { try investigator.store.map(counts) ?? nil }
    return answer(
      "status",
      [
        "side": .text(SessionSide.qemu.rawValue), "function": .init(investigator.implementation()?.function.symbol),
        "memory": memory, "device": device, "file": file, "unknown": .list(unknown),
      ])
  }

  private static func device(_ device: any DeviceModel, _ values: RegisterValues, block: GPA) -> Structured {
    [
      "name": .text(device.name), "block": .init(block), "registers_read": .number(values.byOffset.count),
      "registers": .number(device.registers.count),
    ]
  }

  private static func counts(_ store: InvestigationStore) throws(InvestigationError) -> Structured {
    let counts = try store.counts()
    return [
      "path": .text(store.path), "maps": .number(counts["map"] ?? 0), "unmaps": .number(counts["unmap"] ?? 0),
      "translations": .number(counts["translation"] ?? 0), "notes": .number(counts["note"] ?? 0),
    ]
  }

  /// The registers.
  public static func registers(_ values: RegisterValues, device: any DeviceModel, block: GPA) -> Structured {
    answer(
      "regs",
      [
        "device": .text(device.name), "block": .init(block),
        "registers": .list(
          device.registers.map { register in
            let value = values[register.offset]
            return [
              "offset": .init(register.offset), "name": .text(register.name), "driver_name": .init(register.driverName),
              "value": .init(value), "meaning": .init(value.map(register.meaning)),
            ]
          }),
      ])
  }

  /// Who is behind the IOMMU: the kernel's devices, each with its context, and the contexts of requesters that the kernel's
  /// structures do not tell of.
  public static func devices(_ contexts: [DeviceContext], state: KernelState) -> Structured {
    let named = Set(state.devices.compactMap(\.requester))
    return answer(
      "devices",
      [
        "devices": .list(
          state.devices.map { device in
            [
              "name": .text(device.name), "bus": .text(device.bus), "requester": .init(device.requester),
              "rsid": .init(device.requester?.rsid), "driver": .init(device.driver), "group": .init(device.group),
              "domain": .init(device.attached), "uses_iommu": .init(device.usesIOMMU),
              "context": .init(contexts.first { $0.requester == device.requester }),
            ]
          }),
        "others": .list(
          contexts.filter { !named.contains($0.requester) && ($0.descriptor != nil || state.devices.isEmpty) }.map {
            ["requester": .init($0.requester), "rsid": .number($0.requester.rsid), "context": .init($0)]
          }),
        "shared_requesters": .list(
          state.sharedRequesters.map { ["rsid": .number($0.requester.rsid), "devices": .init($0.devices)] }),
      ])
  }

  /// The domains that groups and devices use; `poll` as `PagingMode.dump` takes it.
  public static func domains(
    _ state: KernelState, memory: any PhysicalMemory, poll: (() -> Bool)? = nil
  ) -> Structured {
    answer(
      "domains",
      [
        "domains": .list(
          state.domains.map { domain in
            let mapped = domain.root.map { Terminal.mapped($0, memory: memory, poll: poll) }
            return [
              "domain": .init(domain.pointer), "type": .init(domain.type), "kind": .text(domain.kind),
              "groups": .init(state.groups.filter { $0.domain == domain.pointer }.map(\.id)),
              "default_of": .init(state.groups.filter { $0.defaultDomain == domain.pointer }.map(\.id)),
              "root": .init(domain.root), "descriptor": .init(domain.descriptor),
              "mapped_bytes": mapped.map { Structured(bytes: $0.bytes) } ?? nil, "mapped_ranges": .init(mapped?.ranges),
            ]
          }),
        "groups_without_default": .init(state.groups.filter { $0.defaultDomain == nil }.map(\.id)),
      ])
  }

  /// The checklist of the bring-up.
  public static func probe(_ probe: Probe) -> Structured {
    answer(
      "probe",
      [
        "failing": .number(probe.items.count { $0.state == .fail }),
        "items": .list(
          probe.items.map { item in
            [
              "state": .text(item.state.rawValue), "name": .text(item.name),
              "value": .text(item.value), "place": .text(item.place),
              "advice": item.state == .fail && !item.advice.isEmpty ? .text(item.advice) : nil,
            ]
          }),
      ])
  }
}

extension DeviceContext: StructuredConvertible {
  var structured: Structured {
    ["descriptor": .init(descriptor), "translation": .init(translation), "words": .init(words)]
  }
}

extension DeviceContext.Translation: StructuredConvertible {
  var structured: Structured {
    switch self {
    case .translated(let first, let second):
      ["kind": "translated", "first_stage": .init(first), "second_stage": .init(second)]
    case .bypassed(let why): ["kind": "bypassed", "reason": .text(why)]
    case .refused(let why): ["kind": "refused", "reason": .text(why)]
    }
  }
}
