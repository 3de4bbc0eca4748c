import IOMMUModel
import PageTables
import Testing

@testable import XuanTie

/// QEMU's device model in a debugger: its structures, and every access to them.
@Suite struct XMMUv1Tests {
  static let sizes = ["rsiddiv": 8, "dtbase": 8, "ftval": 8, "fault_rsid": 8, "irq_num": 8, "fault_cause": 4]
  static let state: [(String, UInt64)] = [
    ("dtbase", 0x460), ("rsiddiv", 0x468), ("ftval", 0x470), ("enable", 0x478), ("irq_enable", 0x479),
    ("stage_two", 0x47a), ("irq_num", 0x480), ("fault_pending", 0x488), ("fault_rsid", 0x490), ("fault_cause", 0x498),
  ]

  /// The offsets of the QEMU that the lab builds.
  static func target() -> FakeTarget {
    var values: [String: UInt64] = [:]
    for (name, offset) in state {
      values["(unsigned long)&((XMMUv1State *)0)->\(name)"] = offset
      values["sizeof(((XMMUv1State *)0)->\(name))"] = UInt64(sizes[name] ?? 1)
    }
    for (member, offset) in [
      ("XMMUDevice *)0)->xmmu", 0), ("XMMUDevice *)0)->bus", 8), ("XMMUDevice *)0)->devfn", 16),
      ("XMMUDevice *)0)->iommu", 32), ("PCIBus *)0)->flags", 120), ("PCIBus *)0)->devices", 184),
      ("PCIBus *)0)->parent_dev", 2232), ("PCIDevice *)0)->config", 168), ("PCIDevice *)0)->name", 2200),
    ] as [(String, UInt64)] {
      values["(unsigned long)&((" + member] = offset
    }
    return FakeTarget(values: values)
  }

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

  @Test func theRegistersAreOneRead() throws {
    let layout = try XMMUv1().layout(in: Self.target())
    let process = Process()
    process.write(0x80b7_6000, at: 0x1460)
    process.write(8, at: 0x1468)
    process.write(0xffff_f00c, at: 0x1470)
    process.write(0x00_01_01, at: 0x1478, size: 3)
    process.write(13, at: 0x1480)
    // Padding behind a bool holds anything.
    process.write(0xffff_ff01, at: 0x1488)
    process.write(8, at: 0x1490)
    process.write(0xffff_ffff_0000_0010, at: 0x1498)
    let registers = try layout.registers(HVA(0x1000), in: process.memory)
    #expect(
      registers.byOffset == [
        0x0: 0, 0x8: 8, 0x18: 0x80b7_6000, 0x20: 0x8000_0000_0008_0010, 0x28: 0xffff_f00c, 0x30: 13, 0x1000: 1,
        0x1008: 1,
      ])
    #expect(Set(registers.byOffset.keys) == Set(XuanTieDevice().registers.map(\.offset)))
    #expect(process.reads == ["0x1460 60"])
  }

  /// A fault that was taken back by RESUME leaves FTVAL alone.
  @Test func noFault() throws {
    let layout = try XMMUv1().layout(in: Self.target())
    let process = Process()
    process.write(0xffff_f00c, at: 0x1470)
    let registers = try layout.registers(HVA(0x1000), in: process.memory)
    #expect(registers[0x20] == 0 && registers[0x28] == 0xffff_f00c)
  }

  @Test func whoAsksThroughARegion() throws {
    let layout = try XMMUv1().layout(in: Self.target())
    let process = Process()
    process.write(0x9000, at: 0x2000)
    process.write(0x4000, at: 0x2008)
    process.write(8, at: 0x2010, size: 4)
    process.write(1, at: 0x4000 + 120)
    process.write(0x5000, at: 0x4000 + 184 + 8 * 8)
    for (position, byte) in "e1000e".utf8.enumerated() { process.bytes[0x5000 + 2200 + UInt64(position)] = byte }
    #expect(
      try layout.client(HVA(0x2020), in: process.memory)
        == DeviceClient(requester: RequesterID(rawValue: 8), name: "e1000e", state: HVA(0x9000)))
    // Behind a bridge, whose configuration says bus 0x12; nobody is in the slot any more.
    process.write(0, at: 0x4000 + 120)
    process.write(0x6000, at: 0x4000 + 2232)
    process.write(0x7000, at: 0x6000 + 168)
    process.write(0x12, at: 0x7019, size: 1)
    process.write(0, at: 0x4000 + 184 + 8 * 8)
    #expect(
      try layout.client(HVA(0x2020), in: process.memory)
        == DeviceClient(requester: RequesterID(rawValue: 0x1208), name: nil, state: HVA(0x9000)))
  }

  @Test func whatIsNotThere() throws {
    let layout = try XMMUv1().layout(in: Self.target())
    let process = Process()
    #expect(
      RecognitionTests.message { try layout.client(HVA(0x2020), in: process.memory) }
        == "The XMMUDevice at 0x2000 has no IOMMU or no bus.")
    for address in [0, 0x20, UInt64.max] {
      #expect(RecognitionTests.message { try layout.client(HVA(address), in: process.memory) } != nil)
      #expect(RecognitionTests.message { try layout.registers(HVA(address), in: process.memory) } != nil)
    }
    // Symbols of something else.
    for (expression, value) in [
      ("sizeof(((XMMUv1State *)0)->enable)", 0 as UInt64), ("sizeof(((XMMUv1State *)0)->dtbase)", 4096),
      ("(unsigned long)&((XMMUv1State *)0)->ftval", .max),
    ] {
      let target = Self.target()
      target.values[expression] = value
      #expect(RecognitionTests.message { try XMMUv1().layout(in: target) }?.hasSuffix("are not understood.") == true)
    }
    for expression in Self.target().values.keys {
      let target = Self.target()
      target.values[expression] = nil
      #expect(RecognitionTests.message { try XMMUv1().layout(in: target) } == "Cannot evaluate \(expression).")
    }
  }

  @Test func asATenantsDevice() {
    #expect(XuanTie.implementations.map(\.model.name) == ["QEMU xmmuv1"])
    #expect(XuanTie.implementations.map(\.model.name) == ["QEMU xmmuv1"])
    let function = XMMUv1().function
    #expect(
      [function.symbol, function.region, function.address, function.access] == [
        "xmmuv1_translate", "mr", "addr", "flag",
      ])
  }
}
