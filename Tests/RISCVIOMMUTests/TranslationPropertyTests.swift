import IOMMUModel
import PageTables
import Randomness
import Testing

@testable import RISCVIOMMU

/// Random directories, contexts, tables and accesses against the oracle.
@Suite struct TranslationPropertyTests {
  static func end(_ translation: DeviceTranslation) -> Oracle.End {
    switch translation.result {
    case .bypassed: .passed
    case .translated(let target): .to(target.rawValue)
    case .refused(let cause): .cause(Int(cause?.code ?? 0))
    case .unreadable(let failure): failure.reason.contains("Sv32x4") ? .unknown : .unreadable
    }
  }

  private static func asked(_ machine: Machine, _ address: UInt64, _ access: Access) -> Oracle.Asked {
    Oracle.Asked(
      id: machine.device, process: machine.process, isPrivileged: machine.isPrivileged, address: address,
      reads: access.reads, writes: access.writes)
  }

  private static func transaction(_ machine: Machine, _ address: UInt64, _ access: Access) -> Transaction {
    Transaction(
      requester: RequesterID(rawValue: UInt32(truncatingIfNeeded: machine.device)), iova: IOVA(address), access: access,
      process: machine.process.map { UInt32(truncatingIfNeeded: $0) }, isPrivileged: machine.isPrivileged)
  }

  @Test(arguments: [false, true]) func agreesWithTheOracle(_ isQEMU: Bool) {
    let device = RISCVIOMMUDevice(isQEMU ? .qemu10 : .specification)
    var ends: [String: Int] = [:]
    for round in 0..<700 {
      var random = SeededNumbers(round: round)
      let machine = Machine(&random)
      let oracle = machine.oracle(isQEMU: isQEMU)
      for _ in 0..<6 {
        let address = machine.address(&random)
        for access in Access.allCases {
          var asked = Self.asked(machine, address, access)
          var transaction = Self.transaction(machine, address, access)
          if !isQEMU && access != .none && random.chance(10) { (asked.executes, transaction.executes) = (true, true) }
          let wanted = oracle.access(asked)
          let translation = device.translate(transaction, registers: machine.registers, memory: machine.memory)
          let found = Self.end(translation)
          ends["\(wanted)".hasPrefix("to") ? "to" : "\(wanted)", default: 0] += 1
          guard found == wanted else {
            Issue.record(
              "seed \(SeededNumbers.run) round \(round) \(hex(address)) \(asked): \(found) instead of \(wanted)")
            return
          }
          if isQEMU {
            let specified = RISCVIOMMUDevice(.specification).translate(
              transaction, registers: machine.registers, memory: machine.memory)
            guard specified.result == translation.result || !translation.deviations.isEmpty else {
              Issue.record(
                "seed \(SeededNumbers.run) round \(round) \(hex(address)) \(access): \(found) differs silently from \(specified.result)"
              )
              return
            }
          } else {
            #expect(translation.deviations == [])
          }
        }
      }
    }
    // The rounds reach what they are for.
    #expect((ends["to"] ?? 0) > 2000 && (ends["passed"] ?? 0) > 100 && (ends["unreadable"] ?? 0) > 50)
    for cause in [13, 15, 21, 23, 258, 259, 260, 262, 263] {
      #expect((ends["cause(\(cause))"] ?? 0) > 0, "cause \(cause): \(ends.keys.sorted())")
    }
    if !isQEMU { for cause in [12, 20] { #expect((ends["cause(\(cause))"] ?? 0) > 0, "cause \(cause)") } }
  }

  @Test(arguments: [Implementation.specification, .qemu10]) func manyPagesAreToldAsOneByOne(_ model: Implementation) {
    let device = RISCVIOMMUDevice(model)
    var (pages, long) = (0, 0)
    for round in 0..<100 {
      var random = SeededNumbers(round: round)
      let machine = Machine(&random)
      let memory: any PhysicalMemory = random.chance(80) ? ResidentPages(of: machine.memory) : machine.memory
      let requester = RequesterID(rawValue: UInt32(truncatingIfNeeded: machine.device))
      for access in Access.allCases {
        let translator = device.translator(
          access: access, requester: requester, registers: machine.registers, memory: memory)
        for _ in 0..<4 {
          var iova = machine.address(&random)
          let limit = random.pick([1, 2, 600, 1 << 30, .max] as [UInt64])
          for _ in 0..<4 {
            let run = translator.run(at: IOVA(iova), limit: limit)
            if run.pages > 1 { long += 1 }
            guard run.pages > 0, run.pages <= limit, run.pages - 1 <= (UInt64.max - iova) >> 12 else {
              Issue.record("seed \(SeededNumbers.run) round \(round) \(hex(iova)): \(run.pages) pages of \(limit)")
              return
            }
            let inRun: [UInt64] = Array(0..<min(run.pages, 8)) + [run.pages / 2, run.pages - 1]
            for page in inRun {
              pages += 1
              let wanted = device.translate(
                IOVA(iova &+ page << 12), access: access, requester: requester, registers: machine.registers,
                memory: machine.memory)
              guard Self.tells(run, page, wanted) else {
                Issue.record(
                  "seed \(SeededNumbers.run) round \(round) \(hex(iova)) \(access) page \(page): \(run), not \(wanted)")
                return
              }
            }
            iova &+= run.pages << 12
          }
        }
      }
    }
    #expect(pages > 5000 && long > 100)
  }

  /// Whether page `page` of `run` is told as it is by itself.
  private static func tells(_ run: DeviceRun, _ page: UInt64, _ wanted: DeviceTranslation) -> Bool {
    var result = run.result
    if case .translated(let target) = result { result = .translated(target + page << 12) }
    guard result == wanted.result, let last = run.last else { return result == wanted.result && wanted.steps.isEmpty }
    guard let own = wanted.steps.last else { return false }
    return own.level == last.level && own.entry.isValid == last.entry.isValid
      && own.entry.isPointer == last.entry.isPointer && (page > 0 || own == last)
  }
}
