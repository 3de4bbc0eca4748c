import IOMMUModel
import PageTables
import XuanTie

/// The device's registers, device table and walk over ``HostileMemory``, and its driver's calls.
struct DeviceSurface: Surface {
  private let device = XuanTieDevice()

  func feed(_ input: inout Input) throws {
    let driver = XuanTieDriver(signature: input.pick(XuanTieDriver.Signature.allCases))
    let registers = registers(&input)
    let requester = RequesterID(rawValue: UInt32(truncatingIfNeeded: input.number()))
    let access = input.pick([Access.read, .write, .readWrite])
    let probes = (0..<6).map { _ in IOVA(input.number()) }
    let readsTable = input.below(8) == 0
    let memory = HostileMemory(&input, format: .rv64)

    for register in device.registers { if let value = registers[register.offset] { _ = register.meaning(value) } }
    _ = device.latchedFault(registers)
    require(device.latchedFault(device.resumed(registers).registers) == nil, "no fault is latched after a resume")
    let translator = device.translator(access: access, requester: requester, registers: registers, memory: memory)
    for iova in probes.sorted() {
      let run = translator.run(at: iova, limit: 1 << 30)
      require(run.pages > 0, "a run has a page")
      let last = (run.pages - 1) << 12
      for (place, further) in [(iova, 0), (iova + last, last)] {
        let single = device.translate(
          place, access: access, requester: requester, registers: registers, memory: memory)
        var result = run.result
        if case .translated(let address) = result { result = .translated(address + further) }
        require(result == single.result, "a run begins and ends as single accesses do")
      }
    }
    for function in driver.functions {
      guard let call = try? driver.call(function, arguments: probes.map(\.rawValue) + [1, 1]) else { continue }
      for run in driver.leaves(of: call, mode: .sv39) {
        require(
          run.iova == call.iova && run.count > 0 && run.count <= call.length / 4096, "leaves are within their call")
      }
    }
    // Thousands of look-ups.
    guard readsTable else { return }
    let contexts = try device.contexts(registers: registers, memory: memory, limit: 64)
    require(contexts.count <= 64, "no more contexts than asked for")
    for context in contexts.prefix(4) {
      let again = try device.context(of: context.requester, registers: registers, memory: memory)
      require(again == context, "a context is the same among others and alone")
    }
  }

  /// Sensible ones that an input changes, so that most inputs come to the tables.
  private func registers(_ input: inout Input) -> RegisterValues {
    var values = RegisterValues(byOffset: [
      0x8: UInt64(input.below(20)), 0x18: input.pick(HostileMemory.places).rawValue,
    ])
    if input.below(4) == 0 {
      for register in device.registers where input.below(2) == 0 { values.byOffset[register.offset] = input.number() }
    }
    return values
  }
}
