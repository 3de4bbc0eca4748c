import IOMMUModel
import PageTables
import RISCVIOMMU

/// The RISC-V IOMMU's registers, directories, contexts, stages and queues over ``HostileMemory``, by the specification and by
/// QEMU.
struct RISCVSurface: Surface {
  private let specified = RISCVIOMMUDevice(.specification)
  private let device = RISCVIOMMUDevice()

  func feed(_ input: inout Input) throws {
    let registers = registers(&input)
    let requester = RequesterID(rawValue: input.below(4) == 0 ? UInt32(truncatingIfNeeded: input.number()) : 0)
    let process = input.below(3) == 0 ? UInt32(truncatingIfNeeded: input.number()) : nil
    let access = input.pick(Access.allCases)
    let probes = (0..<4).map { _ in IOVA(input.number()) }
    let (isPrivileged, executes) = (input.below(2) == 0, input.below(4) == 0)
    let memory = HostileMemory(&input, format: .rv64)

    for register in device.registers { if let value = registers[register.offset] { _ = register.meaning(value) } }
    for model in [specified, device] {
      let translator = model.translator(access: access, requester: requester, registers: registers, memory: memory)
      for iova in probes.sorted() {
        let run = translator.run(at: iova, limit: 1 << 30)
        require(run.pages > 0, "a run has a page")
        let last = (run.pages - 1) << 12
        for (place, further) in [(iova, 0), (iova + last, last)] {
          let single = model.translate(
            place, access: access, requester: requester, registers: registers, memory: memory)
          var result = run.result
          if case .translated(let address) = result { result = .translated(address + further) }
          require(result == single.result, "a run begins and ends as single accesses do")
        }
      }
    }
    for iova in probes {
      let transaction = Transaction(requester: requester, iova: iova, access: access)
      let (wanted, found) = (
        specified.translate(transaction, registers: registers, memory: memory),
        device.translate(transaction, registers: registers, memory: memory)
      )
      require(wanted.deviations.isEmpty, "the specification does not leave itself")
      require(found.result == wanted.result || !found.deviations.isEmpty, "a difference is told")
      _ = specified.translate(
        Transaction(
          requester: requester, iova: iova, access: access, executes: executes, process: process,
          isPrivileged: isPrivileged), registers: registers, memory: memory)
    }
    _ = try? device.cacheTags(of: requester, registers: registers, memory: memory)
    let cause = FaultCause(code: UInt16(truncatingIfNeeded: input.number()), name: "any")
    _ = try? device.reports(cause, of: requester, registers: registers, memory: memory)
    try readQueues(registers, memory)
    let contexts = try device.contexts(registers: registers, memory: memory, limit: 16)
    require(contexts.count <= 16, "no more contexts than asked for")
    for context in contexts.prefix(4) {
      let again = try device.context(of: context.requester, registers: registers, memory: memory)
      require(again == context, "a context is the same among others and alone")
    }
  }

  private func readQueues(_ registers: RegisterValues, _ memory: HostileMemory) throws {
    if let queue = FaultQueue(registers) {
      _ = queue.state
      for record in (try? queue.read(in: memory, limit: 16)) ?? [] { _ = record.description }
      let waiting = (try? queue.waiting(in: memory, limit: 16)) ?? []
      require(waiting.count <= 16 && UInt64(waiting.count) <= queue.unread, "no more records than wait")
      for record in waiting { _ = record.description }
      if let faults = try? device.faults(registers: registers, memory: memory, limit: 16) {
        require(faults == waiting.map(\.fault), "faults are the records that wait")
      }
    }
    if let queue = CommandQueue(registers) {
      _ = queue.state
      for command in (try? queue.done(in: memory, limit: 16)) ?? [] { _ = command.description }
      let waiting = (try? queue.waiting(in: memory, limit: 16)) ?? []
      require(waiting.count <= 16 && UInt64(waiting.count) <= queue.waiting, "no more commands than wait")
      for command in waiting { _ = command.description }
    }
  }

  /// Sensible ones that an input changes, so that most inputs come to the tables.
  private func registers(_ input: inout Input) -> RegisterValues {
    func page(_ place: GPA) -> UInt64 { (place.rawValue >> 12 & 0xfff_ffff_ffff) << 10 }
    var values = RegisterValues(byOffset: [
      0: input.pick([0x78_e2cf_0f10, 0x1f8_ffff_8f10, 0x78_e20f_0f10]),
      8: input.pick([0, 0, 0, 1, 4]),
      0x10: page(input.pick(HostileMemory.places)) | UInt64(input.below(3) + 2),
      0x18: page(input.pick(HostileMemory.places)) | UInt64(input.below(32)), 0x20: input.number(),
      0x24: input.number(), 0x28: page(input.pick(HostileMemory.places)) | UInt64(input.below(32)),
      0x30: input.number(), 0x34: input.number(), 0x48: input.number(), 0x4c: input.number(),
    ])
    if input.below(4) == 0 {
      for register in device.registers where input.below(2) == 0 { values.byOffset[register.offset] = input.number() }
    }
    return values
  }
}
