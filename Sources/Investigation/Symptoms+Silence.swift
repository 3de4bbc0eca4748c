import IOMMUModel
import LinuxKernel
import PageTables

/// Why nobody was told of a fault, or was told the wrong thing: never why the access failed.
extension Symptoms {
  /// What keeps a latched fault from being reported as it is; `others` are what is wrong besides. A device that holds a fault
  /// and does no harm with it is left alone.
  func silence(after others: [Diagnosis.Hypothesis]) -> [Diagnosis.Hypothesis] {
    guard let registers = context.registers else { return [] }
    guard let fault = profile.device.latchedFault(registers) else { return [unread(registers)].compactMap { $0 } }
    guard !others.isEmpty else { return [] }
    return [unheard(fault, registers: registers)].compactMap { $0 } + misplaced(registers: registers)
  }

  private static let support = Diagnosis.Support(explained: 1, total: 1, unit: "latched fault")

  // MARK: A queue that nobody reads

  /// More faults than any queue holds.
  static let queueLimit = 1 << 20

  /// Faults that wait in a queue. A driver that hears of them reads them at once, so that none waits at a stop.
  private func unread(_ registers: RegisterValues) -> Diagnosis.Hypothesis? {
    guard let memory = context.memory,
      let faults = try? profile.device.faults(registers: registers, memory: memory, limit: Self.queueLimit),
      let first = faults.first
    else { return nil }
    let waiting = "\(counted(faults.count, "fault")) \(faults.count == 1 ? "waits" : "wait") in the device's queue"
    let misrouted = context.state?.faultHandling?.misrouting
    var hypothesis = Diagnosis.Hypothesis(
      cause: .faultsUnheard,
      title: misrouted.map {
        "faults are silent: the driver listens to source \($0.taken) of \($0.controller), and the device raises \($0.meant)"
      } ?? "faults are silent: \(waiting), and nobody has read \(faults.count == 1 ? "it" : "one")",
      support: Diagnosis.Support(explained: faults.count, total: faults.count, unit: "queued fault"),
      evidence: [
        "The first is cause \(first.cause) of \(first.requester)\(first.address.map { " at \($0)" } ?? "")."
      ] + (misrouted.map { ["\(waiting).", $0.sentence] } ?? []),
      effects: ["A full queue takes no more. Why the accesses failed is another matter."],
      remedy: misrouted.map {
        "the property `interrupts` of \($0.node), which firmware or QEMU writes: \(counted($0.cells, "number")) for each, "
          + "or an interrupt controller that takes \($0.cells + 1)."
      } ?? "does the queue's interrupt arrive? How the device sends it (wired or as a message), where that leads, and "
        + "whether the driver's handler runs: `break` at it, /proc/interrupts.")
    if let told = context.log.last(where: { $0.meaning == .fault }) { hypothesis.counterEvidence.append(told.quoted) }
    if let handling = context.state?.faultHandling {
      hypothesis.evidence.append(
        handling.interrupt == 0
          ? "The driver has requested no interrupt, so that \(handling.handler) never runs."
          : "The driver has requested interrupt \(handling.interrupt) for \(handling.handler): it was not heard.")
    }
    hypothesis.role = .silence
    hypothesis.precedence = 2
    return hypothesis
  }

  // MARK: No handler

  private func unheard(_ fault: LatchedFault, registers: RegisterValues) -> Diagnosis.Hypothesis? {
    let told = context.log.last { $0.meaning == .fault } ?? report(fault, registers: registers)
    let handling = context.state?.faultHandling
    // Without a word about the handler only a log that goes on beyond the trouble can tell that nobody was told.
    guard context.interruptIsUnheard ?? (told == nil && context.log.contains(where: \.isOfTrouble)) else { return nil }
    var hypothesis = Diagnosis.Hypothesis(
      cause: .faultsUnheard,
      title: context.interruptIsUnheard == true
        ? "faults are silent: the driver has no handler for the device's interrupt"
        : "faults are silent: no line of the log tells of the one that is latched",
      support: Self.support,
      evidence: [
        "Cause \(fault.cause) of \(fault.requester) is latched\(fault.address.map { " at \($0)" } ?? ""), and nobody has "
          + "cleared it."
      ],
      effects: [
        "A fault shows only in what fails with it, as a network card's watchdog, and stays latched. Why the access failed "
          + "is another matter."
      ],
      remedy: remedy(handling))
    if told == nil, !context.log.isEmpty {
      let count = context.log.count
      hypothesis.evidence.append(
        count == 1
          ? "The one line of logs about the devices says nothing of a fault."
          : "None of the \(count) lines of logs about the devices tells of a fault.")
    }
    if let handling, handling.interrupt == 0, context.interruptIsUnheard == true {
      hypothesis.evidence.append("The driver has requested no interrupt, so that \(handling.handler) never runs.")
    }
    if let told { hypothesis.counterEvidence.append(told.quoted) }
    if profile.device.raisesInterrupt(registers) == false {
      hypothesis.counterEvidence.append(
        "The device's interrupt is switched off: a handler would not have heard of the fault either.")
    }
    explain(&hypothesis, by: handling)
    if context.interruptIsUnheard == nil {
      hypothesis.openQuestion = "Whether the driver has a handler: `iommu probe` in a GDB on the kernel."
    } else if handling == nil {
      hypothesis.openQuestion =
        "Why it has none, the interrupt or its name in the device tree: `iommu probe` in a GDB on the kernel."
    }
    hypothesis.role = .silence
    hypothesis.precedence = 2
    return hypothesis
  }

  /// The driver's line with the fault's address, or with what it takes for it.
  private func report(_ fault: LatchedFault, registers: RegisterValues) -> LogLine? {
    let values = [fault.address?.rawValue] + Self.misplaced(in: profile.device).map { registers[$0.taken.offset] }
    return context.log.last { line in
      line.meaning == .driver && values.contains { $0.map(line.mentions) == true }
    }
  }

  /// What the device tree has to do with it.
  private func explain(_ hypothesis: inout Diagnosis.Hypothesis, by handling: KernelState.FaultHandling?) {
    guard let handling, handling.interrupt == 0, let node = handling.node else { return }
    if !node.hasInterrupt {
      hypothesis.evidence.append("The device tree's \(node.name) has no interrupt.")
    } else if let name = handling.interruptName, !node.interruptNames.contains(name) {
      hypothesis.evidence.append(
        "The driver asks for the interrupt by the name \"\(name)\", and the device tree's \(node.name) "
          + (node.interruptNames.isEmpty
            ? "has no interrupt-names."
            : "names \(node.interruptNames.map { "\"\($0)\"" }.joined(separator: ", ")) only."))
    } else if let name = handling.interruptName {
      hypothesis.counterEvidence.append(
        "The device tree's \(node.name) names \"\(name)\": it is not for the name that the driver has no interrupt.")
    }
  }

  private func remedy(_ handling: KernelState.FaultHandling?) -> String {
    let clearing = "The handler then has to clear the fault as well."
    guard let handling, handling.interrupt == 0, let node = handling.node else {
      return "the interrupt that the driver requests, by which name or number. \(clearing)"
    }
    if !node.hasInterrupt { return "give \(node.name) its interrupt in the device tree. \(clearing)" }
    guard let name = handling.interruptName, !node.interruptNames.contains(name) else {
      return "why the driver's request failed: its interrupt controller, the error that probe ignores. \(clearing)"
    }
    return
      "interrupt-names = \"\(name)\" in the device tree's \(node.name), or a driver that asks by number. \(clearing)"
  }

  // MARK: Another register

  /// Registers whose name the driver gives to another offset than the device.
  private func misplaced(registers: RegisterValues) -> [Diagnosis.Hypothesis] {
    // Of a driver that is not known nothing is said.
    guard !(profile is UnknownDriver) else { return [] }
    return Self.misplaced(in: profile.device).compactMap { misplaced($0.taken, meant: $0.meant, registers: registers) }
  }

  /// The registers that the driver takes for others, and those that it means.
  static func misplaced(in device: any DeviceModel) -> [(taken: Register, meant: Register)] {
    device.registers.compactMap { taken in
      device.registers.first { $0.name == taken.driverName && $0.offset != taken.offset }.map { (taken, $0) }
    }
  }

  private func misplaced(
    _ taken: Register, meant: Register, registers: RegisterValues
  ) -> Diagnosis.Hypothesis? {
    let name = meant.name
    let handling = context.state?.faultHandling
    // A handler that was seen to read the right one, or neither, is not the driver that the profile knows.
    if let reads = handling?.reads, !reads.contains(taken.offset) || reads.contains(meant.offset) { return nil }
    let (wrong, right) = (registers[taken.offset], registers[meant.offset])
    let report = wrong.flatMap { wrong in context.log.last { $0.mentions(wrong) } }
    var hypothesis = Diagnosis.Hypothesis(
      cause: .registerMisplaced(driver: taken.offset, device: meant.offset),
      title:
        "the driver takes offset \(hex(taken.offset)) for \(name): there the device has \(taken.name), and \(name) at "
        + hex(meant.offset),
      support: Self.support,
      evidence: [
        handling?.reads == nil
          ? "The driver's sources have \(name) at \(hex(taken.offset)), and no name for \(hex(meant.offset))."
          : "\(handling?.handler ?? "") reads offset \(hex(taken.offset)), and nowhere \(hex(meant.offset)): its "
            + "instructions were followed."
      ],
      effects: ["What the driver reports as \(name) is the value of \(taken.name)."],
      remedy: "read \(name) at \(hex(meant.offset)), and \(taken.name) at \(hex(taken.offset)) for what it is.")
    if let wrong {
      let meaning = taken.meaning(wrong)
      hypothesis.evidence.append(
        "The driver would read \(hex(wrong)) there now"
          + (meaning.isEmpty ? "." : ", which is \(taken.name): \(meaning)."))
    }
    if let report { hypothesis.evidence.append(report.quoted) }
    if let right {
      let meaning = meant.meaning(right)
      hypothesis.evidence.append(
        "The device's \(name) holds \(hex(right))\(meaning.isEmpty ? "" : ", the \(meaning)").")
      if let line = context.log.last(where: { $0.mentions(right) && $0.meaning.isOfDriver }) {
        hypothesis.counterEvidence.append(line.quoted)
      }
    }
    if context.interruptIsUnheard == true {
      hypothesis.counterEvidence.append("Without a handler nothing reads it: this shows once there is one.")
    }
    if report == nil, handling?.reads == nil {
      hypothesis.openQuestion =
        "Which offset this kernel's driver reads: "
        + (handling == nil ? "`iommu probe` in a GDB on the kernel." : "`disassemble` its interrupt handler.")
    }
    hypothesis.role = .silence
    hypothesis.precedence = 1
    return hypothesis
  }
}

extension LogLine {
  /// Whether it tells of a device that suffers.
  fileprivate var isOfTrouble: Bool { meaning == .watchdog || meaning == .adapterReset }

  /// Whether `value` stands in it in hexadecimal, as a number of its own.
  func mentions(_ value: UInt64) -> Bool {
    value != 0
      && text.split(whereSeparator: { !($0.isASCII && ($0.isLetter || $0.isNumber)) }).contains {
        $0.hasPrefix("0x") && UInt64($0.dropFirst(2), radix: 16) == value
      }
  }
}

extension LogLine.Meaning {
  /// Whether the IOMMU's driver says it.
  fileprivate var isOfDriver: Bool { self == .driver || self == .fault }
}
