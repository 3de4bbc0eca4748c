public import IOMMUModel
public import PageTables

/// What a device answered to somebody who asked it for a translation, and what else came of asking.
public struct AskedTranslation: Sendable {
  /// The question.
  public let request: DebugRequest
  /// The device.
  public let device: any DeviceModel
  /// Where its registers lie.
  public let block: GPA
  /// What was written, in order.
  public let writes: [RegisterWrite]
  /// The register that was read then.
  public let response: UInt64
  /// What it says.
  public let answer: DebugAnswer
  /// What should come of it, by the device's model and by the specification.
  public let expected: (device: DeviceTranslation, specification: DeviceTranslation)
  /// Why the answer is another than that of the device's model, where it is and a reason is known.
  public let caveat: String?
  /// How many faults the device has reported because of it; nil where it does not tell.
  public let reported: Int?
  /// Those of them that software has yet to read.
  public let faults: [LatchedFault]
}

extension Investigator {
  /// How long an answer may take.
  private static let patience = Duration.seconds(2)

  /// Asks the device for a translation. **Writes to its registers**: nothing else here changes the target. An open
  /// investigation gets a note of it.
  public func ask(_ request: DebugRequest) throws -> AskedTranslation {
    let device = try device()
    guard let translator = device.debugTranslator else {
      throw TargetError("\(device.name) has no registers by which it could be asked for a translation.")
    }
    let (before, block) = (try registers(), try registerBlock())
    if let obstacle = translator.obstacle(before) {
      throw TargetError("\(device.name) cannot be asked: \(obstacle)")
    }
    let expected = translator.expected(request, registers: before, memory: try memory().source)
    let writes = try translator.writes(for: request)
    // What was found out of registers and memory is no longer so, whatever happens.
    defer { targetRan() }
    for write in writes.dropLast() {
      try target.write(block + write.offset, bytes: Self.bytes(write.value))
      let found = try register(at: block + write.offset)
      guard found == write.value else {
        throw TargetError(
          "The write did not arrive: \(Self.name(write.offset, of: device)) at \(block + write.offset) holds "
            + "\(found.map(hex) ?? "nothing that can be read"), not \(hex(write.value)). Nothing was asked.")
      }
    }
    if let start = writes.last {
      try target.write(block + start.offset, bytes: Self.bytes(start.value))
      try wait(for: translator, started: start, at: block + start.offset, device)
    }
    guard let value = try register(at: block + translator.response) else {
      throw TargetError(
        "\(Self.name(translator.response, of: device)) at \(block + translator.response) could not be read.")
    }
    targetRan()
    let after = try registers()
    let reported = translator.reported(before: before, after: after)
    var faults: [LatchedFault] = []
    if let reported, reported > 0 {
      let waiting = try? device.faults(registers: after, memory: memory().source, limit: Symptoms.queueLimit)
      faults = Array((waiting ?? []).suffix(reported))
    }
    let answer = translator.answer(value)
    let isOther = answer.fits(expected.device, of: request.iova) == false
    let asked = AskedTranslation(
      request: request, device: device, block: block, writes: writes, response: translator.response,
      answer: answer, expected: expected, caveat: isOther ? translator.caveat : nil, reported: reported, faults: faults)
    if let store, store.readOnly == nil { try store.append(note: asked.note) }
    return asked
  }

  /// Returns when the device has answered.
  private func wait(
    for translator: any DebugTranslator, started: RegisterWrite, at address: GPA, _ device: any DeviceModel
  ) throws(TargetError) {
    let name = Self.name(started.offset, of: device)
    let deadline = ContinuousClock.now + Self.patience
    while true {
      guard let control = try register(at: address) else {
        throw TargetError("\(name) at \(address) could not be read.")
      }
      if !translator.isBusy(control) {
        guard control | 1 == started.value | 1 else {
          throw TargetError(
            "The write did not arrive: \(name) at \(address) holds \(hex(control)) after \(hex(started.value)) was written."
          )
        }
        return
      }
      guard ContinuousClock.now < deadline else {
        throw TargetError(
          "The device has not answered within \(Self.patience): \(name) is \(hex(control)), still busy. "
            + "`iommu regs` shows whether it does later.")
      }
    }
  }

  private static func bytes(_ value: UInt64) -> [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) } }

  private static func name(_ offset: UInt64, of device: any DeviceModel) -> String {
    device.registers.first { $0.offset == offset }?.name ?? hex(offset)
  }
}

extension AskedTranslation {
  /// What an investigation should remember of it.
  var note: String {
    let faults = reported.map { $0 == 0 ? "no fault was reported" : "\(counted($0, "fault")) reported because of it" }
    return "`iommu ask` wrote to \(device.name): \(request.requester), \(request.iova), \(request.words); "
      + "answer \(hex(answer.value)), \(faults ?? "whether a fault was reported is not known")"
  }
}
