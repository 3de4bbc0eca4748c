public import IOMMUModel
public import Investigation
public import LinuxKernel
public import PageTables

extension Terminal {
  /// Who is behind the IOMMU, as the kernel and the device's tables see it.
  ///
  /// `contexts` are those of the device's tables that are not empty, and those of the kernel's devices.
  public static func devices(_ contexts: [DeviceContext], state: KernelState) -> String {
    var rest = contexts
    var rows = [["device", "rsid", "driver", "group", "DMA", "descriptor", "translation"]]
    for device in state.devices {
      let context = device.requester.flatMap { requester in contexts.first { $0.requester == requester } }
      rest.removeAll { $0.requester == context?.requester }
      rows.append([
        device.isPCI ? device.name : "\(device.name) (\(device.bus))",
        device.requester.map { "\($0.rsid)" } ?? "-", device.driver ?? "-", device.group.map { "\($0)" } ?? "none",
        device.usesIOMMU.map { $0 ? "IOMMU" : "direct" } ?? "-", context?.descriptor?.description ?? "-",
        context.map(translation) ?? "-",
      ])
    }
    for context in rest where context.descriptor != nil || state.devices.isEmpty {
      rows.append([
        context.requester.description, "\(context.requester.rsid)", "-", "-", "-",
        context.descriptor?.description ?? "-", translation(context),
      ])
    }
    if state.devices.isEmpty {
      if rest.isEmpty { return "No device has a valid context: every address passes through untranslated." }
      // Without the kernel's structures three columns would be empty.
      rows = rows.map { [$0[0], $0[1], $0[5], $0[6]] }
    }
    var lines = aligned(rows.map { $0.map(printable) }, indent: "")
    for shared in state.sharedRequesters {
      lines.append(
        "Requester id \(shared.requester.rsid) is shared by \(counted(shared.devices.count, "device")): the last one "
          + "attached owns its entry in the device table.")
    }
    return lines.joined(separator: "\n")
  }

  private static func translation(_ context: DeviceContext) -> String {
    switch context.translation {
    case .translated(let first, let second):
      [first, second].compactMap { $0 }.map { "\($0.mode.name) root \($0.address)" }.joined(separator: ", ")
    case .bypassed(let why): "bypassed: \(why)"
    case .refused(let why): "refused: \(why)"
    }
  }

  /// The checklist of the bring-up: how each item stands, what was seen and where, and what to do about a failure.
  public static func probe(_ probe: Probe) -> String {
    var rows = probe.items.map { [mark($0.state), $0.name, printable($0.value), "(\($0.place))"] }
    // Names in the kernel are long words: in a narrow terminal they follow the value, instead of having a column.
    if !Layout.fits(rows) { rows = rows.map { [$0[0], $0[1], "\($0[2])  \($0[3])"] } }
    var lines = aligned(rows, indent: "")
    let failed = probe.items.filter { $0.state == .fail }
    lines.append(
      failed.isEmpty
        ? (probe.items.allSatisfy { $0.state == .unknown } ? "No item could be told." : "No item fails.")
        : "\(counted(failed.count, "item")) of \(probe.items.count) \(failed.count == 1 ? "fails" : "fail"):")
    lines += failed.filter { !$0.advice.isEmpty }.map { "  \($0.name): \(printable($0.advice))" }
    return lines.joined(separator: "\n")
  }

  private static func mark(_ state: Probe.Item.State) -> String {
    switch state {
    case .pass, .fail: state.rawValue
    case .unknown: "?"
    case .irrelevant: "-"
    }
  }

  /// The domains that groups and devices use, and what is mapped in them; `poll` as
  /// `PagingMode.dump` takes it.
  public static func domains(
    _ state: KernelState, memory: any PhysicalMemory, poll: (() -> Bool)? = nil
  ) -> String {
    var rows = [["domain", "type", "groups", "table", "descriptor", "mapped"]]
    for domain in state.domains {
      let groups = state.groups.compactMap { group -> String? in
        if group.domain == domain.pointer {
          return group.defaultDomain == domain.pointer ? "\(group.id)" : "\(group.id) (instead of its default)"
        }
        return group.defaultDomain == domain.pointer ? "\(group.id) (default, not in use)" : nil
      }
      rows.append([
        domain.pointer.description, domain.kind, groups.isEmpty ? "-" : groups.joined(separator: ", "),
        domain.root.map { "\($0.mode.name) \($0.address)" } ?? "none: never attached",
        domain.descriptor?.description ?? "-", domain.root.map { words(mapped($0, memory: memory, poll: poll)) } ?? "-",
      ])
    }
    var lines = rows.count > 1 ? aligned(rows, indent: "") : ["No group has a domain."]
    let bare = state.groups.filter { $0.defaultDomain == nil }
    if !bare.isEmpty {
      lines.append(
        "No default domain: group\(bare.count == 1 ? "" : "s") \(bare.map { "\($0.id)" }.joined(separator: ", ")). "
          + "DMA of \(bare.count == 1 ? "its" : "their") devices goes around the IOMMU.")
    }
    return lines.joined(separator: "\n")
  }

  /// How much is mapped below a root; less where `poll` ended it.
  static func mapped(
    _ root: TableRoot, memory: any PhysicalMemory, poll: (() -> Bool)?
  ) -> (bytes: UInt64, ranges: Int) {
    var (bytes, ranges) = (UInt64(0), 0)
    for item in root.mode.dump(root: root.address, in: memory, filter: DumpFilter(), poll: poll) {
      guard case .mapping(let mapping) = item else { continue }
      bytes &+= mapping.size
      ranges += 1
    }
    return (bytes, ranges)
  }

  private static func words(_ mapped: (bytes: UInt64, ranges: Int)) -> String {
    mapped.bytes == 0 ? "nothing" : "\(size(mapped.bytes)) in \(counted(mapped.ranges, "range"))"
  }
}
