import IOMMUModel
import LinuxKernel
import PageTables

/// Accesses that the device refused and that no recorded call maps: seen in its answers, not in the tables.
extension Symptoms {
  /// Why they were refused; empty where nothing was.
  func refusalCauses() -> [Diagnosis.Hypothesis] {
    let refused = context.translations.map { Array($0.lines.filter { $0 == .nobodyMapped(isRefused: true) }) } ?? []
    guard !refused.isEmpty else { return [] }
    var hypothesis: Diagnosis.Hypothesis
    if let state = context.state, state.registered == 0 {
      hypothesis = neverProbed(refused)
    } else {
      var pages: [Page: Bool?] = [:]
      func isMapped(_ line: TranslationCheck.Line) -> Bool? {
        let page = Page(requester: line.translation.requester, iova: line.translation.iova.page)
        if let known = pages[page] { return known }
        let answer = self.isMapped(page)
        pages[page] = .some(answer)
        return answer
      }
      // What the tables map was mapped before anybody recorded.
      let judged = refused.map { (line: $0, isMapped: isMapped($0)) }
      let unmapped = judged.filter { $0.isMapped != true }.map(\.line)
      let known = judged.filter { $0.isMapped == false }.map(\.line)
      guard let found = doorbell(unmapped) ?? known.first.map({ unmappedAccess(known, $0) }) else { return [] }
      hypothesis = found
    }
    hypothesis.present = lines.isEmpty ? 0.5 : 0
    return [hypothesis]
  }

  /// A page that somebody asked for.
  private struct Page: Hashable {
    let requester: RequesterID?
    let iova: IOVA
  }

  private func support(_ refused: [TranslationCheck.Line]) -> Diagnosis.Support {
    Diagnosis.Support(explained: refused.count, total: context.translations?.lines.count ?? 0, unit: "run")
  }

  /// What was seen, and the fault that the device told of it.
  private func evidence(_ refused: [TranslationCheck.Line]) -> [String] {
    let pages = Set(refused.map { $0.translation.iova.rawValue >> 12 })
    let fault = context.deviceFaults.first { line in refused.contains { line.mentions($0.translation.iova.rawValue) } }
    let sentences = refused.prefix(2).map(\.sentence)
    return (sentences.first == sentences.last ? Array(sentences.prefix(1)) : sentences)
      + (pages.count > 1 ? ["\(counted(pages.count, "page")) in all."] : [])
      + [fault?.quoted].compactMap { $0 }
  }

  private func neverProbed(_ refused: [TranslationCheck.Line]) -> Diagnosis.Hypothesis {
    let waiting = context.state?.waitingIOMMUs ?? []
    var hypothesis = Diagnosis.Hypothesis(
      cause: .neverProbed,
      title: "the IOMMU was never set up: no driver has registered one, and the device refuses what it is asked",
      support: support(refused),
      evidence: ["The core knows of no IOMMU: iommu_device_list is empty."]
        + waiting.map { "No driver has taken \($0.words) (deferred_probe_pending_list)." } + evidence(refused),
      effects: ["No device behind it can do DMA, and no line of the log says why."],
      remedy:
        "what the driver's probe waits for"
        + (waiting.isEmpty ? ", which /sys/kernel/debug/devices_deferred names" : "")
        + ": a supplier in the device tree that never comes, as an interrupt controller for its messages (fw_devlink).")
    hypothesis.precedence = 6
    return hypothesis
  }

  private func unmappedAccess(
    _ refused: [TranslationCheck.Line], _ first: TranslationCheck.Line
  ) -> Diagnosis.Hypothesis {
    Diagnosis.Hypothesis(
      cause: .unmappedAccess,
      title: "the device asks for \(first.translation.iova), which nothing maps",
      support: support(refused), evidence: evidence(refused),
      remedy:
        "whose address it is: one that was taken back too early, that was never mapped, or that the device made up.",
      openQuestion: "Who had it before: `iommu record` from boot on.")
  }

  /// A device that sends its interrupts as writes, to where nothing is mapped: it only writes there, to one page.
  private func doorbell(_ refused: [TranslationCheck.Line]) -> Diagnosis.Hypothesis? {
    guard let first = refused.first, let requester = first.translation.requester,
      refused.allSatisfy({
        $0.translation.access == .write && $0.translation.requester == requester
          && $0.translation.last.rawValue >> 12 == first.translation.iova.rawValue >> 12
      }),
      let state = context.state, let device = state.devices.first(where: { $0.requester == requester }),
      let domain = state.interrupts?.messageDomains.first(where: { $0.contains(device.name) })
    else { return nil }
    var hypothesis = Diagnosis.Hypothesis(
      cause: .doorbellUnmapped,
      title:
        "\(device.name)'s interrupts are refused: it writes them to \(first.translation.iova), where nothing is mapped",
      support: support(refused),
      evidence: evidence(refused) + [
        "Its interrupts are messages, which are writes as any other: the kernel has the interrupt domain \(domain) for them."
      ],
      effects: ["No interrupt of the device arrives. Its driver waits, and DMA itself works."],
      remedy:
        "the page of the interrupt controller has to be mapped in the device's domain when an interrupt is set up "
        + "(iommu_dma_prepare_msi), or by the device context's MSI page table. Until then: wired interrupts.",
      openQuestion: "Whether the device was given that address: its MSI or MSI-X table holds it.")
    hypothesis.precedence = 3
    return hypothesis
  }

  /// Whether the tables that the device is sent to map a page; nil where they cannot be looked at, as through a second stage.
  private func isMapped(_ page: Page) -> Bool? {
    guard let requester = page.requester, let registers = context.registers, let memory = context.memory,
      let device = try? profile.device.context(of: requester, registers: registers, memory: memory),
      case .translated(let root?, nil) = device.translation
    else { return nil }
    func walk(_ memory: some PhysicalMemory) -> Walk.Outcome {
      root.mode.geometry.walk(page.iova, root: root.address, in: memory).outcome
    }
    switch walk(memory) {
    case .mapped: return true
    case .unreadable: return nil
    case .notMapped, .malformed, .notCanonical: return false
    }
  }
}

extension KernelState {
  /// IOMMUs that no driver has taken, by the name that firmware gives them.
  var waitingIOMMUs: [Deferred] { (deferred ?? []).filter { $0.device.contains("iommu") } }
}
