import IOMMUModel
import LinuxKernel
import PageTables

/// What keeps an IOMMU from being used at all: seen in the kernel's structures, not in its calls.
extension Symptoms {
  func bringUpCauses() -> [Diagnosis.Hypothesis] {
    guard let state = context.state else { return logCauses(KernelState()) }
    return ([noDefaultDomain(state), sharedRequester(state)].compactMap { $0 } + beyondTable(state) + logCauses(state))
      .map {
        var hypothesis = $0
        // Before any call there is nothing in the tables to explain.
        hypothesis.present = lines.isEmpty ? 1 : 0.5
        return hypothesis
      }
  }

  private func noDefaultDomain(_ state: KernelState) -> Diagnosis.Hypothesis? {
    let bare = state.groups.filter { $0.defaultDomain == nil }
    guard !bare.isEmpty else { return nil }
    let second = context.cookies.first(where: \.isSecond)
    let devices = state.devices.filter { device in bare.contains { $0.id == device.group } }
    let direct = devices.filter { $0.usesIOMMU == false && $0.driver != nil }
    var evidence = [
      "\(bare.count) of \(counted(state.groups.count, "group")) \(bare.count == 1 ? "has" : "have") no default domain: "
        + "\(devices.prefix(4).map(\.name).joined(separator: ", "))\(devices.count > 4 ? " and others" : "")."
    ]
    if let device = direct.first {
      // The core tells only of a device that comes after the IOMMU.
      let told = context.log.last { $0.meaning == .dmaSetupFailed }
      evidence.append(
        "\(device.name) goes around the IOMMU: its DMA operations are the direct ones, and nothing protects memory from it. "
          + (told?.quoted ?? "No error line says so."))
    }
    let title: String
    let remedy: String
    var question: String?
    if let second {
      title = "the default domain is lost to a second DMA cookie: the driver takes the one that the core takes itself"
      evidence += context.cookies.filter { $0.domain == second.domain }.suffix(2).map(\.sentence)
      evidence.append("__iommu_domain_alloc then frees the domain, and the group is left without one.")
      let driver = context.cookies.last { $0.domain == second.domain && !$0.isSecond }?.callers.first ?? "the driver"
      remedy = "remove the call of iommu_get_dma_cookie from \(driver): since 5.19 the core makes it."
    } else {
      title = "groups have no default domain: the driver's domain_alloc failed, or the core threw its domain away"
      remedy = "does domain_alloc accept IOMMU_DOMAIN_DMA, and does it leave the DMA cookie to the core?"
      question =
        "Who asks for a DMA cookie twice: start the machine stopped, `iommu record`, `continue`; `iommu diagnose` then tells."
    }
    var hypothesis = Diagnosis.Hypothesis(
      cause: .noDefaultDomain(secondCookie: second != nil), title: title,
      support: Diagnosis.Support(explained: bare.count, total: state.groups.count, unit: "group"), evidence: evidence,
      remedy: remedy, openQuestion: question)
    hypothesis.precedence = 6
    return hypothesis
  }

  private func sharedRequester(_ state: KernelState) -> Diagnosis.Hypothesis? {
    // Within one group sharing is what a group is for.
    let shared = state.sharedRequesters.filter { shared in
      Set(state.devices.filter { shared.devices.contains($0.name) }.compactMap(\.group)).count > 1
    }
    guard let worst = shared.max(by: { $0.devices.count < $1.devices.count }) else { return nil }
    let strangers = state.devices.filter { worst.devices.contains($0.name) && !$0.isPCI }
    let buses = Set(strangers.map(\.bus)).sorted().joined(separator: ", ")
    let known = Set(state.devices.filter { $0.group != nil }.map(\.name))
    return Diagnosis.Hypothesis(
      cause: .sharedRequester,
      title: strangers.isEmpty
        ? "\(worst.devices.count) devices in different groups have the requester id \(worst.requester.rsid)"
        : "devices that have no requester id were taken in (bus: \(buses)): \(worst.devices.count) devices share id "
          + "\(worst.requester.rsid)",
      support: Diagnosis.Support(
        explained: shared.reduce(0) { $0 + $1.devices.count }, total: known.count, unit: "device"),
      evidence: [
        "They are in \(Set(state.devices.filter { worst.devices.contains($0.name) }.compactMap(\.group)).count) groups with a "
          + "domain each, and the device table has one entry for all: \(worst.devices.prefix(4).joined(separator: ", "))"
          + (worst.devices.count > 4 ? " and others." : ".")
      ],
      effects: ["Only the table of the one attached last is in force for this requester id."],
      remedy: strangers.isEmpty
        ? "devices that the IOMMU cannot tell apart belong in one group: see the driver's device_group. Each PCI segment needs "
          + "an IOMMU of its own."
        : "let the driver's probe_device refuse (-ENODEV) what is not on a bus that it can tell apart: the core offers it "
          + "every device of every bus since 6.0.")
  }

  private func beyondTable(_ state: KernelState) -> [Diagnosis.Hypothesis] {
    guard let limit = profile.requesterLimit else { return [] }
    let beyond = state.devices.filter { $0.group != nil && $0.requester.map { $0.rsid >= limit } == true }
    guard let first = beyond.first, let requester = first.requester else { return [] }
    return [
      Diagnosis.Hypothesis(
        cause: .beyondTable(requester),
        title:
          "\(first.name) has the requester id \(requester.rsid), and the driver's device table ends at \(limit - 1)",
        support: Diagnosis.Support(
          explained: beyond.count, total: state.devices.count { $0.group != nil }, unit: "device"),
        evidence: [
          "The device looks up all 16 bits of an id: what it takes for this one's entry is whatever lies behind the table."
        ],
        remedy: "size the device table for 16 bits of requester id.")
    ]
  }

  // MARK: What logs say, with the reason in the kernel's state

  private func logCauses(_ state: KernelState) -> [Diagnosis.Hypothesis] {
    var found: [Diagnosis.Hypothesis] = []
    if let line = context.log.last(where: { $0.meaning == .bindRefused }), state.cacheCoherency != .yes {
      let why: String
      switch state.cacheCoherency {
      case .no: why = "The driver's .capable answers no to IOMMU_CAP_CACHE_COHERENCY."
      case .absent: why = "The driver has no .capable, which the core takes for no."
      case .unknown(let reason): why = "What .capable answers is not known: \(reason)."
      case .yes: why = ""
      }
      var hypothesis = Diagnosis.Hypothesis(
        cause: .noCacheCoherency, title: "VFIO refuses to bind: the IOMMU driver does not report cache coherency",
        support: Diagnosis.Support(explained: 1, total: 1, unit: "refusal"), evidence: [line.quoted, why],
        remedy: "let the driver's .capable return true for IOMMU_CAP_CACHE_COHERENCY where DMA is coherent.")
      hypothesis.precedence = state.cacheCoherency.isRefusal ? 5 : 1
      found.append(hypothesis)
    }
    if let line = context.log.last(where: { $0.meaning == .unsafeInterrupts }), state.interrupts?.unsafeAllowed != true
    {
      var evidence = [line.quoted]
      if let interrupts = state.interrupts {
        evidence.append("vfio_iommu_type1.allow_unsafe_interrupts is 0.")
        if !interrupts.withoutRemapping.isEmpty {
          evidence.append(
            "MSI domains behind which nothing remaps interrupts: \(interrupts.withoutRemapping.joined(separator: ", "))."
          )
        }
      }
      var hypothesis = Diagnosis.Hypothesis(
        cause: .unsafeInterrupts, title: "VFIO refuses to attach: interrupts are not remapped",
        support: Diagnosis.Support(explained: 1, total: 1, unit: "refusal"), evidence: evidence,
        remedy:
          "vfio_iommu_type1.allow_unsafe_interrupts=1 on the kernel's command line, if the guest is trusted with it; "
          + "else an interrupt controller that remaps.")
      hypothesis.precedence = 5
      found.append(hypothesis)
    }
    return found
  }
}
