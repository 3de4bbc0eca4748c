import IOMMUModel
import PageTables
import Testing

@testable import RISCVIOMMU

/// QEMU's device model in a debugger: its structures, and every access to them.
@Suite struct QEMUDeviceTests {
  /// Of QEMU 10.0.2, but for the address of the host bridges.
  static let offsets: [String: UInt64] = [
    "(unsigned long)&((RISCVIOMMUSpace *)0)->iova_mr": 0, "(unsigned long)&((RISCVIOMMUSpace *)0)->iommu": 448,
    "(unsigned long)&((RISCVIOMMUSpace *)0)->devid": 456, "(unsigned long)&((RISCVIOMMUState *)0)->regs_rw": 1120,
  ]
  static let buses: [String: UInt64] = [
    "(unsigned long)&pci_host_bridges": 0x3000, "(unsigned long)&((PCIHostState *)0)->bus": 1696,
    "(unsigned long)&((PCIHostState *)0)->next.le_next": 1712, "(unsigned long)&((PCIBus *)0)->iommu_opaque": 136,
    "(unsigned long)&((PCIBus *)0)->flags": 120, "(unsigned long)&((PCIBus *)0)->devices": 184,
    "(unsigned long)&((PCIBus *)0)->parent_dev": 2232, "(unsigned long)&((PCIDevice *)0)->config": 168,
    "(unsigned long)&((PCIDevice *)0)->name": 2208,
  ]

  static func target() -> DriverTarget { DriverTarget(values: offsets.merging(buses) { old, _ in old }) }

  /// QEMU's memory: bytes by address, zero elsewhere in 0x1000 to 0xffff, and what was read of it.
  final class Process {
    var bytes: [UInt64: UInt8] = [:]
    private(set) var reads: [String] = []

    func write(_ value: UInt64, at address: UInt64, size: UInt64 = 8) {
      for byte in 0..<size { bytes[address + byte] = UInt8(truncatingIfNeeded: value >> (byte * 8)) }
    }

    var memory: HostMemory {
      HostMemory { [self] address, count throws(TargetError) in
        reads.append("\(address) \(count)")
        guard 0x1000..<0x10000 ~= address.rawValue else {
          throw TargetError("Cannot access memory at address \(address).")
        }
        return (0..<UInt64(count)).map { bytes[address.rawValue + $0] ?? 0 }
      }
    }
  }

  /// A space of device 00:01.0 at 0x2000, the IOMMU at 0x4000, its registers at 0x5000, two host bridges.
  static func process() -> Process {
    let process = Process()
    process.write(0x4000, at: 0x2000 + 448)
    process.write(0xffff_ffff_0000_0008, at: 0x2000 + 456)
    process.write(0x5000, at: 0x4000 + 1120)
    process.write(0x6000, at: 0x3000)
    process.write(0x7000, at: 0x6000 + 1696)
    process.write(0x8000, at: 0x6000 + 1712)
    process.write(0x9000, at: 0x8000 + 1696)
    process.write(0x4000, at: 0x9000 + 136)
    process.write(0xc000, at: 0x9000 + 184 + 8 * 8)
    for (position, byte) in "e1000e".utf8.enumerated() { process.bytes[0xc000 + 2208 + UInt64(position)] = byte }
    return process
  }

  @Test func whoAsksThroughARegion() throws {
    let layout = try QEMUDevice().layout(in: Self.target())
    let process = Self.process()
    func client() throws -> DeviceClient { try layout.client(HVA(0x2000), in: process.memory) }
    #expect(
      try client() == DeviceClient(requester: RequesterID(rawValue: 8), name: "e1000e", state: HVA(0x4000)))
    // Nobody is in the slot any more.
    process.write(0, at: 0x9000 + 184 + 8 * 8)
    #expect(try client().name == nil)
    // Behind a bridge: the buses there are not looked for.
    process.write(0x310, at: 0x2000 + 456, size: 4)
    #expect(
      try client() == DeviceClient(requester: RequesterID(rawValue: 0x310), name: nil, state: HVA(0x4000)))
  }

  /// A list of bridges that never ends does.
  @Test func bridgesThatAreNone() throws {
    let layout = try QEMUDevice().layout(in: Self.target())
    let process = Self.process()
    process.write(0, at: 0x9000 + 136)
    process.write(0x8000, at: 0x8000 + 1712)
    #expect(try layout.client(HVA(0x2000), in: process.memory).name == nil)
    #expect(process.reads.count < 300)
    process.write(0xffff_ffff_ffff_fff0, at: 0x3000)
    #expect(try layout.client(HVA(0x2000), in: process.memory).name == nil)
  }

  /// As the guest reads them, each at its offset with its size, in two reads.
  @Test func theRegisters() throws {
    let layout = try QEMUDevice().layout(in: Self.target())
    let process = Self.process()
    for position in 0..<0x400 as Range<UInt64> { process.bytes[0x5000 + position] = UInt8(position & 0xff) }
    let registers = try layout.registers(HVA(0x4000), in: process.memory)
    #expect(Set(registers.byOffset.keys) == Set(RISCVIOMMUDevice().registers.map(\.offset)))
    #expect(registers[0x10] == 0x1716_1514_1312_1110 && registers[0x24] == 0x2726_2524)
    #expect(registers[0x2f8] == 0xfffe_fdfc_fbfa_f9f8)
    #expect(process.reads == ["0x4460 8", "0x5000 768"])
  }

  @Test func whatIsNotThere() throws {
    let layout = try QEMUDevice().layout(in: Self.target())
    let process = Process()
    #expect(
      DriverTarget.message { try layout.client(HVA(0x2000), in: process.memory) }
        == "The RISCVIOMMUSpace at 0x2000 has no IOMMU.")
    #expect(
      DriverTarget.message { try layout.registers(HVA(0x4000), in: process.memory) }
        == "The RISCVIOMMUState at 0x4000 has no registers.")
    for address in [0, 0x20, UInt64.max] {
      #expect(DriverTarget.message { try layout.client(HVA(address), in: process.memory) } != nil)
      #expect(DriverTarget.message { try layout.registers(HVA(address), in: process.memory) } != nil)
    }
    for expression in Self.offsets.keys {
      let target = Self.target()
      target.values[expression] = nil
      #expect(DriverTarget.message { try QEMUDevice().layout(in: target) } == "Cannot evaluate \(expression).")
    }
    // Without the host bridges a device has no name, and that is all.
    let nameless = try QEMUDevice().layout(in: DriverTarget(values: Self.offsets))
    #expect(
      try nameless.client(HVA(0x2000), in: Self.process().memory)
        == DeviceClient(requester: RequesterID(rawValue: 8), name: nil, state: HVA(0x4000)))
  }

  @Test func asATenantsDevice() {
    #expect(RISCVIOMMU.implementations.map(\.model.name) == [RISCVIOMMUDevice().name])
    #expect(RISCVIOMMUDevice().translateFunction == QEMUDevice().function.symbol)
    let function = QEMUDevice().function
    #expect([function.region, function.address, function.access] == ["iommu_mr", "addr", "flag"])
    #expect(QEMUDevice().typeName == "riscv-iommu")
  }
}
