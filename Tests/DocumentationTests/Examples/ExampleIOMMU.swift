import IOMMUModel
import PageTables

// MARK: tenant
/// An IOMMU that does not exist, as small as a tenant can be.
enum ExampleIOMMU: Tenant {
  static let name = "Example"

  static func profile(in target: any Target) throws(TargetError) -> (any DriverProfile)? {
    // A symbol's address reads no target memory, so this works before the kernel runs.
    do { _ = try target.evaluate("(unsigned long)&example_map") } catch { return nil }
    return ExampleDriver()
  }

  static var profiles: [any DriverProfile] { [ExampleDriver()] }
}

// MARK: driver
/// The driver: `example_map(domain, iova, paddr, size, prot)` and `example_unmap(domain, iova, size)`.
struct ExampleDriver: DriverProfile {
  let identifier = "example"
  let name = "example-iommu"
  let recognition = "there is a function example_map"
  let requesterLimit: Int? = nil

  let functions = [
    DriverFunction(symbol: "example_map", kind: .map, parameters: ["domain", "iova", "paddr", "size", "prot"]),
    DriverFunction(symbol: "example_unmap", kind: .unmap, parameters: ["domain", "iova", "size"]),
  ]

  func call(_ function: DriverFunction, arguments: [UInt64]) throws(TargetError) -> DriverCall {
    guard arguments.count >= function.parameters.count else {
      throw TargetError("\(function.symbol) takes \(function.parameters.count) arguments, not \(arguments.count).")
    }
    let values = Dictionary(zip(function.parameters, arguments), uniquingKeysWith: { first, _ in first })
    var operation = DriverCall.Operation.unmap
    if let target = values["paddr"], let prot = values["prot"] {
      let protection = Protection(rawValue: UInt32(truncatingIfNeeded: prot))
      operation = .map(target: GPA(target), protection: protection, allocation: nil)
    }
    return DriverCall(
      function: function.symbol, operation: operation, domain: KVA(values["domain"] ?? 0),
      iova: IOVA(values["iova"] ?? 0), length: values["size"] ?? 0)
  }

  /// One 4 KiB leaf a page, V always, R and W as asked for.
  func leaves(of call: DriverCall, mode: PagingMode) -> [LeafRun] {
    guard let target = call.target, call.length > 0, call.length % 4096 == 0 else { return [] }
    var flags: PageTableEntry.Flags = .valid
    if call.protection?.contains(.read) == true { flags.insert(.read) }
    if call.protection?.contains(.write) == true { flags.insert(.write) }
    let first = PageTableEntry(rawValue: (target.rawValue >> 12) << 10 | UInt64(flags.rawValue))
    return [LeafRun(iova: call.iova, level: 0, count: call.length / 4096, first: first, step: 1 << 10, span: 4096)]
  }

  var device: any DeviceModel { ExampleDevice() }
  func indexName(atLevel level: Int) -> String { "index[\(level)]" }
  func mismatch(operation: String) -> String? { nil }

  func layout(in target: any Target) throws(TargetError) -> any DriverLayout {
    ExampleLayout(root: try target.offset(of: "root", in: "struct example_domain"))
  }
}

// MARK: layout
/// Where the driver keeps things: every offset from debug information.
struct ExampleLayout: DriverLayout {
  let root: UInt64

  func domain(_ domain: KVA, in kernel: KernelMemory) throws(TargetError) -> Domain {
    let table = TableRoot(address: GPA(try kernel.word(at: domain + root)), mode: .sv39)
    return Domain(pointer: domain, root: table, descriptor: nil)
  }

  func attachment(_ data: KVA, in kernel: KernelMemory) throws(TargetError) -> DeviceAttachment {
    throw TargetError("The example driver keeps nothing of a device.")
  }

  func registerBlock(in kernel: KernelMemory, target: any Target) throws(TargetError) -> GPA { GPA(0x3000_0000) }
  func hearsFaults(target: any Target) -> Bool? { nil }
}

// MARK: device
/// The device: two registers, one Sv39 table for everybody, walked as the specification says.
struct ExampleDevice: DeviceModel {
  let name = "example device"
  let registers = [Register(offset: 0, name: "ROOT"), Register(offset: 8, name: "FAULT")]

  func isEnabled(_ registers: RegisterValues) -> Bool { registers[0] != 0 }
  func latchedFault(_ registers: RegisterValues) -> LatchedFault? { nil }
  func resumed(_ registers: RegisterValues) -> (registers: RegisterValues, how: String) {
    (registers, "nothing is latched")
  }

  func contexts(
    registers: RegisterValues, memory: any PhysicalMemory, limit: Int
  ) throws(UnreadableMemory) -> [DeviceContext] { [] }

  func context(
    of requester: RequesterID, registers: RegisterValues, memory: any PhysicalMemory
  ) throws(UnreadableMemory) -> DeviceContext {
    let root = registers[0].map { TableRoot(address: GPA($0), mode: .sv39) }
    let translation = DeviceContext.Translation.translated(firstStage: root, secondStage: nil)
    return DeviceContext(requester: requester, words: [], translation: translation, descriptor: nil)
  }

  func translate(
    _ iova: IOVA, access: Access, requester: RequesterID, registers: RegisterValues, memory: any PhysicalMemory
  ) -> DeviceTranslation {
    guard let root = registers[0], root != 0 else {
      return DeviceTranslation(
        words: [], steps: [], result: .bypassed("ROOT is 0"), latched: nil, deviations: [])
    }
    let walk = PagingMode.sv39.geometry.walk(iova, root: GPA(root), in: memory)
    let result: DeviceTranslation.Result =
      switch walk.outcome {
      case .mapped(let target, _, let flags)
      where (!access.reads || flags.contains(.read)) && (!access.writes || flags.contains(.write)):
        .translated(target)
      case .unreadable(let failure): .unreadable(failure)
      default: .refused(FaultCause(code: 1, name: "NO_MAPPING"))
      }
    return DeviceTranslation(words: [], steps: walk.steps, result: result, latched: nil, deviations: [])
  }
}
