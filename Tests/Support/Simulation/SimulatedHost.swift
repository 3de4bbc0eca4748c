package import IOMMUModel
package import Investigation
package import PageTables
import XuanTie

/// A session on a simulated QEMU in which the card has a table, with a file.
package struct DeviceSession {
  package let workspace: Workspace
  package let host = SimulatedHost(SimulatedDriver())
  package let store: InvestigationStore
  package let investigator: DeviceInvestigator
  package let domain: SimulatedDriver.Domain

  package init() throws {
    workspace = try Workspace()
    let store = try InvestigationStore(path: workspace.file("a.iommulens"), side: "qemu")
    self.store = store
    investigator = DeviceInvestigator(target: host, tenants: Scenario.tenants) { store }
    domain = host.driver.domain(of: Scenario.card)
  }
}

/// A debugger on a simulated QEMU: its structures as debug information would give them, over the simulated driver's guest.
/// It writes down what it is asked. Every number here was made up.
package final class SimulatedHost: HostTarget {
  package let driver: SimulatedDriver
  /// Everything asked, in order.
  package private(set) var questions: [String] = []
  /// The functions above the translate function, innermost first, and parameters of theirs: `len` by position.
  package var callers: [String] = []
  package var arguments: [String: UInt64] = [:]
  /// Whether QEMU runs under the debugger; its id is no process's, so that nothing is read behind the debugger's back.
  package var isRunning = true
  package var program = "i386:x86-64"
  /// The stopped thread's registers.
  package var registers: [String: UInt64] = [:]
  /// What the symbols do not have.
  package var missing: Set<String> = []

  /// Where the IOMMU memory region of the card at 00:01.0 lies, and that of a device behind a bridge.
  package static let card: UInt64 = 0x5000_0020, behindBridge: UInt64 = 0x5000_1020
  /// The stack slots in which the answers of the first and of the other pieces of an access are wanted.
  package static let first: UInt64 = 0x6000_0100, rest: UInt64 = 0x6000_0040

  private static let ram: UInt64 = 0x7f00_0000_0000
  private static let state: UInt64 = 0x5001_0000
  private static let bridge: UInt64 = 0x5002_0000
  private var words: [UInt64: UInt64] = [:]

  package init(_ driver: SimulatedDriver) {
    self.driver = driver
    // FlatView with two ranges: RAM, and the device's registers from 0x1000 of its region on.
    let (view, ranges, ram, registers) = (Self.view, 0x5003_1000 as UInt64, 0x5003_2000 as UInt64, Self.state + 0x40)
    (words[view], words[view + 8]) = (ranges, 2)
    for (place, region, offset, start, size) in [
      (ranges, registers, 0x1000 as UInt64, 0x2c00_1000 as UInt64, 0x1f000 as UInt64),
      (ranges + 64, ram, 0, 0x8000_0000, 0x1000_0000),
    ] {
      (words[place], words[place + 8], words[place + 16], words[place + 32]) = (region, offset, start, size)
    }
    // ram, ram_device, rom_device, romd_mode, readonly, nonvolatile: one byte each.
    (words[ram], words[ram + 8], words[ram + 16], words[ram + 24]) = (1, 0x5003_3000, 0x5003_4000, 0)
    write("riscv_virt_board.ram", at: 0x5003_4000)
    words[0x5003_3000] = Self.ram
    (words[registers], words[registers + 24]) = (0, Self.state)
    // Object, its class, its type, the type's name.
    (words[Self.state], words[0x5003_5000], words[0x5003_6000]) = (0x5003_5000, 0x5003_6000, 0x5003_7000)
    write("riscv-xmmuv1", at: 0x5003_7000)
    // Two XMMUDevices, on the root bus and behind a bridge that the guest gave bus number 3.
    for (region, bus, devfn) in [
      (Self.card, 0x5004_0000 as UInt64, 8 as UInt64), (Self.behindBridge, 0x5004_1000, 0x10),
    ] {
      let device = region - 0x20
      (words[device], words[device + 8], words[device + 16]) = (Self.state, bus, devfn)
      let function = bus + 0x800
      (words[bus + 0x100 + devfn * 8], words[function + 8]) = (function, 0)
      write(devfn == 8 ? "e1000e" : "nvme", at: function + 16)
    }
    words[0x5004_0000] = 1
    (words[0x5004_1000], words[0x5004_1008], words[Self.bridge]) = (0, Self.bridge, Self.bridge + 0x100)
    setBridgeBus(3)
  }

  private static let view: UInt64 = 0x5003_0000

  /// PCI_SECONDARY_BUS, the byte at 0x19.
  package func setBridgeBus(_ number: UInt64) { words[Self.bridge + 0x118] = number << 8 }

  package func forgetQuestions() { questions = [] }

  private func write(_ text: String, at address: UInt64) {
    for (position, byte) in text.utf8.enumerated() {
      let place = address + UInt64(position)
      words[place & ~7, default: 0] |= UInt64(byte) << (place % 8 * 8)
    }
  }

  /// `XMMUv1State` from +0x400 on, made of the registers.
  private func stateWord(_ offset: UInt64) -> UInt64? {
    let registers = driver.registers
    let cause = registers[0x20] ?? 0
    switch offset {
    case 0x400: return registers[0x18]
    case 0x408: return registers[0x8]
    case 0x410: return registers[0x28]
    case 0x418: return (registers[0x1000] ?? 0) | (registers[0x1008] ?? 0) << 8 | (registers[0] ?? 0) << 16
    case 0x420: return registers[0x30]
    case 0x428: return cause >> 63
    case 0x430: return cause >> 16 & 0xffff
    case 0x438: return cause & 0xffff
    default: return nil
    }
  }

  // MARK: A translation

  /// What `xmmuv1_translate` does, with the debugger's two breakpoints in it: whether it asked to stop at each.
  package func translate(
    _ iova: UInt64, _ access: Access = .read, by region: UInt64 = SimulatedHost.card,
    answerAt place: UInt64 = SimulatedHost.rest, for investigator: DeviceInvestigator
  ) throws -> (entry: Bool, answer: Bool) {
    let entry = try enter(iova, access, by: region, answerAt: place, for: investigator)
    let requester = RequesterID(rawValue: region == Self.card ? 8 : 0x310)
    let translation = XuanTieDevice().translate(
      IOVA(iova), access: access, requester: requester, registers: driver.registers, memory: driver.memory)
    let target = translation.target(of: IOVA(iova))
    if target == nil { driver.latchFault(of: requester, at: iova) }
    (words[place], words[place + 8], words[place + 16]) = (0x5555, iova, target?.rawValue ?? iova)
    (words[place + 24], words[place + 32]) = (0, target == nil ? 0 : UInt64(access.rawValue))
    return (entry, try leave(place, for: investigator))
  }

  /// A thread at the function's entry; the upper half of the access's register is not its.
  package func enter(
    _ iova: UInt64, _ access: Access = .read, by region: UInt64 = SimulatedHost.card,
    answerAt place: UInt64 = SimulatedHost.rest, for investigator: DeviceInvestigator
  ) throws -> Bool {
    registers = [
      "$rdi": place, "$rsi": region, "$rdx": iova, "$rcx": 0xffff_0000_0000_0000 | UInt64(access.rawValue), "$rax": 1,
    ]
    return try investigator.enter(thread: .max)
  }

  /// A thread at its return instruction.
  package func leave(_ place: UInt64, for investigator: DeviceInvestigator) throws -> Bool {
    registers = ["$rdi": 1, "$rsi": 2, "$rdx": 3, "$rcx": 4, "$rax": place]
    return try investigator.leave(thread: .max)
  }

  /// An access in pieces of `step` bytes, the first one from a function further up.
  package func access(
    _ iova: UInt64, bytes: UInt64, step: UInt64, _ access: Access = .read, for investigator: DeviceInvestigator
  ) throws {
    for piece in 0..<bytes / step {
      _ = try translate(
        iova + piece * step, access, answerAt: piece == 0 ? Self.first : Self.rest, for: investigator)
    }
  }

  // MARK: What a debugger answers

  private static let values: [String: UInt64] = [
    "(unsigned long)&xmmuv1_translate": 0x5555_0000_0990,
    "(unsigned long)address_space_memory.current_map": view,
    "sizeof(IOMMUTLBEntry)": 40, "sizeof(FlatRange)": 64,
  ]
  private static let offsets: [String: UInt64] = [
    "XMMUDevice.xmmu": 0, "XMMUDevice.bus": 8, "XMMUDevice.devfn": 16, "XMMUDevice.iommu": 0x20,
    "XMMUv1State.dtbase": 0x400, "XMMUv1State.rsiddiv": 0x408, "XMMUv1State.ftval": 0x410,
    "XMMUv1State.enable": 0x418, "XMMUv1State.irq_enable": 0x419, "XMMUv1State.stage_two": 0x41a,
    "XMMUv1State.irq_num": 0x420, "XMMUv1State.fault_pending": 0x428, "XMMUv1State.fault_rsid": 0x430,
    "XMMUv1State.fault_cause": 0x438,
    "IOMMUTLBEntry.iova": 8, "IOMMUTLBEntry.translated_addr": 16, "IOMMUTLBEntry.addr_mask": 24,
    "IOMMUTLBEntry.perm": 32,
    "PCIBus.flags": 0, "PCIBus.parent_dev": 8, "PCIBus.devices": 0x100, "PCIDevice.config": 0, "PCIDevice.name": 16,
    "FlatView.ranges": 0, "FlatView.nr": 8, "FlatRange.mr": 0, "FlatRange.offset_in_region": 8,
    "FlatRange.addr.start": 16, "FlatRange.addr.size": 32,
    "MemoryRegion.ram": 0, "MemoryRegion.ram_device": 1, "MemoryRegion.rom_device": 2, "MemoryRegion.romd_mode": 3,
    "MemoryRegion.readonly": 4, "MemoryRegion.nonvolatile": 5, "MemoryRegion.ram_block": 8, "MemoryRegion.name": 16,
    "MemoryRegion.owner": 24, "RAMBlock.host": 0, "Object.class": 0, "ObjectClass.type": 0, "struct TypeImpl.name": 0,
  ]
  private static let sizes: [String: UInt64] = [
    "enable": 1, "irq_enable": 1, "stage_two": 1, "fault_pending": 1, "fault_cause": 4,
  ]

  package func function(at address: KVA) throws(TargetError) -> String {
    questions.append("function \(address)")
    throw TargetError("No symbol matches \(address).")
  }

  package func isInside(_ function: String, _ place: CallPlace?) -> Bool { false }

  package func evaluate(_ expression: String) throws(TargetError) -> UInt64 {
    if let value = registers[expression] { return value }
    questions.append("evaluate \(expression)")
    guard !missing.contains(where: { expression.contains($0) }) else {
      throw TargetError("No symbol in \(expression).")
    }
    if let value = Self.values[expression] { return value }
    let (start, middle) = ("(unsigned long)&((", " *)0)->")
    if expression.hasPrefix(start) {
      let parts = expression.dropFirst(start.count).split(separator: middle, maxSplits: 1)
      if parts.count == 2, let offset = Self.offsets["\(parts[0]).\(parts[1])"] { return offset }
    }
    let state = "sizeof(((XMMUv1State *)0)->"
    if expression.hasPrefix(state) { return Self.sizes[String(expression.dropFirst(state.count).dropLast())] ?? 8 }
    throw TargetError("No symbol in current context: \(expression).")
  }

  package func read(_ address: HVA, count: Int) throws(TargetError) -> [UInt8] {
    questions.append("read host \(address) \(count)")
    if address.rawValue >= Self.ram {
      do { return try driver.memory.bytes(at: GPA(address.rawValue - Self.ram + 0x8000_0000), count: count) } catch {
        throw TargetError("Cannot access memory at address \(address).")
      }
    }
    guard 0x5000_0000..<0x7000_0000 ~= address.rawValue else {
      throw TargetError("Cannot access memory at address \(address).")
    }
    return (0..<count).map { offset in
      let place = address.rawValue + UInt64(offset)
      let word = stateWord((place & ~7) &- Self.state) ?? words[place & ~7] ?? 0
      return UInt8(truncatingIfNeeded: word >> (place % 8 * 8))
    }
  }

  package func process() -> Int32? { isRunning ? .max : nil }
  package func architecture() -> String { program }

  package func callers(of function: String, limit: Int) -> [String] {
    questions.append("callers of \(function)")
    return Array(callers.prefix(limit))
  }

  package func argument(_ name: String, ofCaller depth: Int, above function: String) -> UInt64? {
    guard depth < callers.count else { return nil }
    return arguments["\(callers[depth]).\(name)"]
  }

  package func connection() -> String? { nil }

  package func string(_ expression: String) throws(TargetError) -> String { throw refuse("string \(expression)") }
  package func parameters(of function: String) throws(TargetError) -> [String] {
    throw refuse("parameters \(function)")
  }
  package func read(_ address: KVA, count: Int) throws(TargetError) -> [UInt8] { throw refuse("read KVA \(address)") }
  package func read(_ address: GPA, count: Int) throws(TargetError) -> [UInt8] { throw refuse("read GPA \(address)") }
  package func monitor(_ command: String) throws(TargetError) -> String { throw refuse("monitor \(command)") }

  private func refuse(_ question: String) -> TargetError {
    questions.append(question)
    return TargetError("The simulated QEMU does not answer: \(question).")
  }
}
