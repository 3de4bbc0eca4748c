import IOMMUModel
import PageTables

/// Mappings that are right in the tables and that the device does not follow.
extension Symptoms {
  /// Why a device does not do what the tables say.
  private enum Reason: Hashable {
    /// Only because a fault is latched.
    case latched
    /// It reads on after a leaf at this level.
    case superpage(level: Int)
    case bypassed(RequesterID, String)
    case notAttached
    case otherTable(TableRoot)
    case refused(RequesterID, String)
    case other
  }

  func deviceCauses(after others: [Diagnosis.Hypothesis]) -> [Diagnosis.Hypothesis] {
    guard let registers = context.registers, let memory = context.memory else { return [] }
    let suspects = lines.filter {
      $0.tables == .agrees && $0.device != .agrees && !isTakenApart($0, in: memory)
    }
    let reasons = Dictionary(grouping: suspects) { reason(of: $0, registers: registers, memory: memory) }
    var found: [Diagnosis.Hypothesis] = []
    for (reason, lines) in reasons {
      guard let first = lines.min(by: { $0.iova < $1.iova }) else { continue }
      let support = Diagnosis.Support(
        explained: lines.reduce(0) { $0 + pages($1.length) }, total: check?.disagreeingPages ?? 0, unit: "page")
      var hypothesis: Diagnosis.Hypothesis
      switch reason {
      case .latched:
        guard let latched = latchedFault(support, registers: registers, memory: memory, others: others) else {
          continue
        }
        hypothesis = latched
      case .superpage(let level): hypothesis = superpage(level, first, support, registers: registers, memory: memory)
      case .bypassed(let requester, let why):
        hypothesis = Diagnosis.Hypothesis(
          cause: .bypassed(requester), title: "\(requester) is not translated: \(why)", support: support,
          evidence: [
            "Mappings are made for it, the first at \(first.iova), and the device passes its addresses through."
          ],
          effects: ["What it puts on the bus is a physical address: no memory is protected from it."],
          remedy: profile.device.isEnabled(registers)
            ? "is the device attached to its domain, and does attach write its device table entry and descriptor?"
            : "the driver's set-up has to switch translation on: `iommu regs`.",
          openQuestion: "`iommu devices` shows every entry beside the kernel's view.")
      case .notAttached:
        let others = Set(lines.map(\.call)).count - 1
        hypothesis = Diagnosis.Hypothesis(
          cause: .notAttached, title: "no device uses the domain at \(first.call.call.domain)", support: support,
          evidence: [
            "Map #\(first.call.number) at \(first.iova)"
              + (others == 0 ? "" : " and \(counted(others, "other call"))")
              + " went into it, and no device table entry names its descriptor."
          ],
          remedy: "attach the device before mapping, or see who made the domain: `iommu domains`.")
      case .otherTable(let root):
        let written = first.call.root ?? root
        hypothesis = Diagnosis.Hypothesis(
          cause: .otherTable,
          title: written.address == root.address
            ? "the device walks the table at \(root.address) as \(root.mode.name), the driver writes it as \(written.mode.name)"
            : "the device walks the \(root.mode.name) table at \(root.address), the driver writes the \(written.mode.name) one "
              + "at \(written.address)",
          support: support,
          evidence: ["The descriptor that the device table names has the root and mode that the device takes."],
          remedy: "the descriptor's root and mode must be those of the domain that is attached: see attach.")
      case .refused(let requester, let why):
        hypothesis = Diagnosis.Hypothesis(
          cause: .otherTable, title: "\(requester) cannot be translated: \(why)", support: support,
          evidence: ["Mappings are made for it, the first at \(first.iova), and its descriptor is not one to walk by."],
          remedy: "the descriptor's root and mode must be those of the domain that is attached: see attach.")
      case .other:
        hypothesis = Diagnosis.Hypothesis(
          cause: .otherTable, title: "the device does not follow tables that are right", support: support,
          evidence: ["At \(first.iova): \(first.device.description)."],
          remedy: "`iommu walk \(first.iova) -device-walk` shows both walks.")
        hypothesis.precedence = -2
      }
      let own = Set(lines)
      credit(&hypothesis) { own.contains($0) }
      found.append(hypothesis)
    }
    return found.sorted { $0.title < $1.title }
  }

  private func reason(
    of line: CrossCheck.Line, registers: RegisterValues, memory: any PhysicalMemory
  ) -> Reason {
    if case .otherTable(let root) = line.device { return .otherTable(root) }
    guard let requester = line.call.requester else { return .notAttached }
    if case .bypassed(let why) = line.device { return .bypassed(requester, why) }
    guard let root = line.call.root, line.expected != nil else { return .other }
    let device = profile.device
    switch try? device.context(of: requester, registers: registers, memory: memory).translation {
    case .bypassed(let why): return .bypassed(requester, why)
    case .refused(let why): return .refused(requester, why)
    case .translated, nil: break
    }
    let clean = device.latchedFault(registers) == nil ? registers : device.resumed(registers).registers
    // Neighbours with one verdict are one line, and one latch gives all of them the same: some pages stand for the rest.
    for position in Verifier.sample(line.length / 4096, limit: 8) {
      let iova = line.iova + position &* 4096
      let expected = line.expected.map { $0 + position &* 4096 }
      let translation = device.translate(
        iova, access: line.call.access, requester: requester, registers: clean, memory: memory)
      // An access that works and latches a cause all the same is the ruin of the next one.
      if let expected, translation.result == .translated(expected), translation.latched == nil { continue }
      let leaf = root.mode.geometry.walk(iova, root: root.address, in: memory).steps.last
      if let leaf, leaf.level > 0, leaf.entry.isLeaf { return .superpage(level: leaf.level) }
      return .other
    }
    return .latched
  }

  private func latchedFault(
    _ support: Diagnosis.Support, registers: RegisterValues, memory: any PhysicalMemory,
    others: [Diagnosis.Hypothesis]
  ) -> Diagnosis.Hypothesis? {
    guard let fault = profile.device.latchedFault(registers) else { return nil }
    var hypothesis = Diagnosis.Hypothesis(
      cause: .latchedFault,
      title: "a fault that was never cleared hides good mappings: cause \(fault.cause) of \(fault.requester)"
        + (fault.address.map { " at \($0)" } ?? ""),
      support: support,
      evidence: ["With the fault cleared the device would follow the tables on \(counted(support.explained, "page"))."],
      remedy:
        "\(profile.device.resumed(registers).how): the driver's fault handler has to do it, once the cause is repaired."
    )
    // The address is that of the last access that failed; the first may have been any that would fail without the latch.
    if let culprit = firstLatching(fault.cause, registers: registers, memory: memory) {
      hypothesis.role = .consequence
      hypothesis.evidence.append(
        "An access to \(culprit) would latch the same cause again: that is to be repaired first.")
    } else {
      hypothesis.evidence.append(
        "No access to what is mapped now would latch it again: its cause has been repaired since.")
    }
    return hypothesis
  }

  /// What a latched fault does once everything else is repaired; nil where none is latched, or a hypothesis says it.
  func faultThatWillStay(beside others: [Diagnosis.Hypothesis]) -> String? {
    guard let registers = context.registers, let fault = profile.device.latchedFault(registers), !lines.isEmpty,
      !others.contains(where: { $0.cause == .latchedFault })
    else { return nil }
    return
      "Cause \(fault.cause) of \(fault.requester) is latched and outlives the repair: until it is cleared, good mappings "
      + "fail as well. \(profile.device.resumed(registers).how.capitalizedFirst)."
  }

  /// Where an access would latch `cause` if nothing were latched before it; nil when none of those looked at would.
  private func firstLatching(_ cause: FaultCause, registers: RegisterValues, memory: any PhysicalMemory) -> IOVA? {
    let clean = profile.device.resumed(registers).registers
    for line in lines.prefix(256) {
      guard let requester = line.call.requester, line.expected != nil else { continue }
      for position in Verifier.sample(line.length / 4096, limit: 8) {
        let iova = line.iova + position &* 4096
        let translation = profile.device.translate(
          iova, access: line.call.access, requester: requester, registers: clean, memory: memory)
        if translation.latched == cause { return iova }
      }
    }
    return nil
  }

  private func superpage(
    _ level: Int, _ line: CrossCheck.Line, _ support: Diagnosis.Support, registers: RegisterValues,
    memory: any PhysicalMemory
  ) -> Diagnosis.Hypothesis {
    let size = line.call.root.map { $0.mode.geometry.leafSize(atLevel: level) } ?? 0
    var evidence = [
      "Map #\(line.call.number) at \(line.iova): the specification walk ends at a leaf at level \(level), the device's does not."
    ]
    if let requester = line.call.requester {
      let translation = profile.device.translate(
        line.iova, access: line.call.access, requester: requester,
        registers: profile.device.resumed(registers).registers, memory: memory)
      evidence += translation.deviations.map { "The device: \($0)." }
    }
    var hypothesis = Diagnosis.Hypothesis(
      cause: .superpageMisread(level: level),
      title: "\(profile.device.name) misreads leaves of \(size >> 20) MiB: it walks on behind them", support: support,
      evidence: evidence,
      remedy: "write 4 KiB leaves for this device, or repair its walk; the tables are right by the specification.")
    hypothesis.precedence = 2
    return hypothesis
  }
}

extension RecordedCall {
  /// What a device does with the mapping.
  var access: Access {
    let protection = call.protection ?? []
    return protection.contains(.write) ? (protection.contains(.read) ? .readWrite : .write) : .read
  }
}

extension String {
  /// The same as the start of a sentence.
  fileprivate var capitalizedFirst: String { prefix(1).uppercased() + dropFirst() }
}
