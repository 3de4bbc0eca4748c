import IOMMUModel
import PageTables
import Testing

@testable import XuanTie

/// The driver in a kernel's symbols, and its structures; what the debugger was asked is part of each expectation.
@Suite struct RecognitionTests {
  static let symbol = "(unsigned long)&xt_iommu_map"
  static let recognition = ["evaluate \(symbol)", "parameters xt_iommu_map"]

  static func message(_ body: () throws -> some Any) -> String? {
    do { _ = try body() } catch let error as TargetError { return error.description } catch { return "\(error)" }
    return nil
  }

  @Test(arguments: [
    ("xuantie/size", ["domain", "iova", "paddr", "size", "iommu_prot", "gfp"]),
    ("xuantie/pages", ["domain", "iova", "paddr", "pgsize", "pgcount", "iommu_prot", "gfp", "mapped"]),
  ])
  func theTwoShapes(_ identifier: String, _ parameters: [String]) throws {
    let target = FakeTarget(
      values: [Self.symbol: 0xffff_ffff_8014_ccf6], functions: ["xt_iommu_map": parameters])
    let profile = try #require(try XuanTie.profile(in: target))
    #expect(profile.identifier == identifier)
    #expect(profile.functions.first?.parameters == parameters)
    #expect(target.questions == Self.recognition)
  }

  @Test func aKernelWithoutTheDriver() throws {
    let target = FakeTarget()
    #expect(try XuanTie.profile(in: target) == nil)
    #expect(target.questions == [Self.recognition[0]])
  }

  @Test func aKernelWithoutDebugInformation() {
    let target = FakeTarget(values: [Self.symbol: 0xffff_ffff_8014_ccf6])
    #expect(Self.message { try XuanTie.profile(in: target) } == "No debug information for xt_iommu_map.")
    #expect(target.questions == Self.recognition)
  }

  @Test(
    arguments: [
      ([], ""), (["domain", "iova", "length", "prot"], "domain, iova, length, prot"),
    ] as [([String], String)])
  func anotherVariant(_ parameters: [String], _ list: String) {
    let target = FakeTarget(values: [Self.symbol: 1], functions: ["xt_iommu_map": parameters])
    #expect(
      Self.message { try XuanTie.profile(in: target) }
        == "xt_iommu_map has the parameters (\(list)): neither `size` (5.10) nor `pgsize` (6.x). "
        + "This variant of the driver is not known.")
  }

  @Test func byIdentifier() {
    #expect(XuanTie.name == "XuanTie")
    for identifier in ["xuantie/size", "xuantie/pages"] {
      #expect(XuanTie.profile(identifier: identifier)?.identifier == identifier)
    }
    for identifier in ["", "xuantie", "xuantie/", "XuanTie/size", "xuantie/pages ", "riscv/pages"] {
      #expect(XuanTie.profile(identifier: identifier) == nil)
    }
  }

  static let members = ["domain", "td.stage1.s1ppn", "td.stage1.s1mode", "td.tdcfg.tdtab_dma"]
    .map { "(unsigned long)&((struct xt_iommu_domain *)0)->\($0)" }
  /// What is not needed to follow a domain.
  static let attachment = ["rsid", "domain"].map { "(unsigned long)&((struct xt_iommu_master *)0)->\($0)" }

  /// Offsets of the 6.1 kernel that the evidence is from.
  static func kernel() -> FakeTarget {
    FakeTarget(values: Dictionary(uniqueKeysWithValues: zip(members + attachment, [72, 144, 162, 176, 40, 16])))
  }

  @Test func offsetsComeFromDebugInformation() throws {
    let target = Self.kernel()
    _ = try XuanTieDriver(signature: .pages).layout(in: target)
    #expect(target.questions == (Self.members + Self.attachment).map { "evaluate \($0)" })
    for missing in Self.members {
      let target = Self.kernel()
      target.values[missing] = nil
      #expect(
        Self.message { try XuanTieDriver(signature: .pages).layout(in: target) } == "Cannot evaluate \(missing).")
    }
  }

  static let offset: UInt64 = 0xff5f_ffff_7fe0_0000
  /// The embedded domain of the evidence and the structure's start in guest-physical memory.
  static let domain = KVA(0xff60_0000_0097_8ef8)
  static let start: UInt64 = 0x80b7_8eb0

  static func memory(ppn: UInt64 = 0x80b82, mode: UInt64 = 8, descriptor: UInt64 = 0x80b8_1000) -> KernelMemory {
    let memory = WordMemory([start + 144: ppn, start + 176: descriptor])
    memory.store(mode << 16 | 0x5a5a, at: start + 160)  // asid, s1mode
    memory.range = 0x8000_0000...0x9fff_ffff
    return KernelMemory(memory: memory, linearOffset: offset) {
      $0 == KVA(0xff20_0000_0062_0000) ? GPA(0x2c00_0000) : nil
    }
  }

  @Test func theDomain() throws {
    let layout = try XuanTieDriver(signature: .pages).layout(in: Self.kernel())
    #expect(
      try layout.domain(Self.domain, in: Self.memory())
        == Domain(
          pointer: Self.domain, root: TableRoot(address: GPA(0x80b8_2000), mode: .sv39), descriptor: GPA(0x80b8_1000)))
    // What lies behind s1mode is not part of it.
    #expect(try layout.domain(Self.domain, in: Self.memory(mode: 0xffff_ffff_000a)).root.mode == .sv57)
    #expect(try layout.domain(Self.domain, in: Self.memory(descriptor: 0)).descriptor == nil)
    #expect(try layout.domain(Self.domain, in: Self.memory(ppn: .max)).root.address == GPA(.max << 12))
  }

  @Test(arguments: [0, 2, 15, 0x100, 0x108, 0xffff] as [UInt64]) func modesThatNameNoTable(_ mode: UInt64) throws {
    let layout = try XuanTieDriver(signature: .pages).layout(in: Self.kernel())
    #expect(
      Self.message { try layout.domain(Self.domain, in: Self.memory(mode: mode)) }
        == "The domain at 0xff60000000978ef8 has s1mode \(mode), which names no page table.")
  }

  @Test func pointersThatLeadNowhere() throws {
    let layout = try XuanTieDriver(signature: .pages).layout(in: Self.kernel())
    for pointer: UInt64 in [0, 71, 0x1000, .max] {
      let message = Self.message { try layout.domain(KVA(pointer), in: Self.memory()) }
      #expect(
        message
          == "Kernel address \(KVA(pointer &- 72 &+ 144)) is neither in the linear map nor mapped by the CPU's page table."
      )
    }
  }

  @Test func theRegisterBlock() throws {
    let target = Self.kernel()
    let layout = try XuanTieDriver(signature: .pages).layout(in: target)
    let base = "(unsigned long)xt_iommu->base"
    #expect(
      Self.message { try layout.registerBlock(in: Self.memory(), target: target) } == "Cannot evaluate \(base).")
    target.values[base] = 0xff20_0000_0062_0000
    #expect(try layout.registerBlock(in: Self.memory(), target: target) == GPA(0x2c00_0000))
    #expect(target.questions.suffix(2) == ["evaluate \(base)", "evaluate \(base)"])
    target.values[base] = 0
    #expect(
      Self.message { try layout.registerBlock(in: Self.memory(), target: target) }
        == "xt_iommu->base is 0x0, which the CPU's page table does not map.")
  }

  /// Before the driver has found its device there is nothing to be told.
  @Test func howFaultsAreHeardOf() throws {
    let target = Self.kernel()
    let layout = try XuanTieDriver(signature: .pages).layout(in: target)
    #expect(layout.faultHandling(target: target) == nil && layout.hearsFaults(target: target) == nil)
    target.values["(unsigned long)xt_iommu->dev"] = 0xff60_0000_0069_1690
    target.values["(unsigned long)&((struct xt_iommu_device *)0)->base"] = 8
    #expect(layout.faultHandling(target: target) == nil)
    // An `int` that GDB has extended.
    for (irq, number) in [(0, 0), (15, 15), (0xffff_ffff_0000_0007, 7)] as [(UInt64, UInt64)] {
      target.values["(unsigned long)xt_iommu->irq"] = irq
      #expect(
        layout.faultHandling(target: target)
          == DriverFaultHandling(
            interrupt: number, interruptName: "xmmu", device: KVA(0xff60_0000_0069_1690),
            handler: "xt_iommu_interrupt", registers: 8))
      #expect(layout.hearsFaults(target: target) == (number != 0))
    }
  }
}
