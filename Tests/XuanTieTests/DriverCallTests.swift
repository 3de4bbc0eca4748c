import IOMMUModel
import PageTables
import Testing

@testable import XuanTie

/// The driver's map and unmap calls in both shapes.
@Suite struct DriverCallTests {
  static let old = XuanTieDriver(signature: .size)
  static let new = XuanTieDriver(signature: .pages)

  static func call(
    _ driver: XuanTieDriver, _ kind: CallKind, _ arguments: [UInt64]
  ) throws -> DriverCall {
    try driver.call(try #require(driver.functions.first { $0.kind == kind }), arguments: arguments)
  }

  static func message(_ body: () throws -> some Any) -> String? {
    do { _ = try body() } catch let error as TargetError { return error.description } catch { return "\(error)" }
    return nil
  }

  @Test func names() {
    #expect(Self.old.identifier == "xuantie/size")
    #expect(Self.new.identifier == "xuantie/pages")
    #expect(Self.old.name == "xuantie-iommu, map (5.10 signature)")
    #expect(Self.new.name == "xuantie-iommu, map_pages (6.x signature)")
    #expect(Self.old.recognition == "xt_iommu_map has a parameter `size`")
    #expect(Self.new.recognition == "xt_iommu_map has a parameter `pgsize`")
    #expect((0...2).map(Self.new.indexName) == ["vpn0_idx", "vpn1_idx", "vpn2_idx"])
    #expect(Self.new.device.name == "QEMU xmmuv1")
  }

  @Test func functionsAndParameters() {
    #expect(
      Self.old.functions == [
        DriverFunction(
          symbol: "xt_iommu_map", kind: .map, parameters: ["domain", "iova", "paddr", "size", "iommu_prot", "gfp"],
          optional: ["gfp"]),
        DriverFunction(
          symbol: "xt_iommu_unmap", kind: .unmap, parameters: ["domain", "iova", "size", "gather"],
          optional: ["gather"]),
      ])
    #expect(
      Self.new.functions == [
        DriverFunction(
          symbol: "xt_iommu_map", kind: .map,
          parameters: ["domain", "iova", "paddr", "pgsize", "pgcount", "iommu_prot", "gfp", "mapped"],
          optional: ["gfp", "mapped"]),
        DriverFunction(
          symbol: "xt_iommu_unmap", kind: .unmap, parameters: ["domain", "iova", "pgsize", "pgcount", "gather"],
          optional: ["gather"]),
      ])
  }

  @Test func decodesFiveTen() throws {
    #expect(
      try Self.call(Self.old, .map, [0xff60_0000_0097_8ef8, 0xffff_f000, 0x1_0617_2000, 0x2000, 7, 0xdc0])
        == DriverCall(
          function: "xt_iommu_map",
          operation: .map(
            target: GPA(0x1_0617_2000), protection: [.read, .write, .cache],
            allocation: AllocationFlags(rawValue: 0xdc0)),
          domain: KVA(0xff60_0000_0097_8ef8), iova: IOVA(0xffff_f000), length: 0x2000))
    #expect(
      try Self.call(Self.old, .unmap, [0xff60_0000_0097_8ef8, 0xffff_f000, 0x2000, 0xff60_0000_1234_5678])
        == DriverCall(
          function: "xt_iommu_unmap", operation: .unmap, domain: KVA(0xff60_0000_0097_8ef8), iova: IOVA(0xffff_f000),
          length: 0x2000))
  }

  @Test func decodesSixX() throws {
    // The field notes' call: iova=4294963200, paddr=4397146112, pgsize=4096, pgcount=1, iommu_prot=7.
    let map = try Self.call(
      Self.new, .map, [0xff60_0000_0097_8ef8, 4_294_963_200, 4_397_146_112, 4096, 1, 7, 3520, 0xff20_0000_0000_0000])
    #expect(
      map
        == DriverCall(
          function: "xt_iommu_map",
          operation: .map(
            target: GPA(0x1_0617_2000), protection: [.read, .write, .cache],
            allocation: AllocationFlags(rawValue: 0xdc0)),
          domain: KVA(0xff60_0000_0097_8ef8), iova: IOVA(0xffff_f000), length: 4096,
          pages: .init(size: 4096, count: 1)))
    #expect(map.isMap && map.last == IOVA(0xffff_ffff))
    let unmap = try Self.call(Self.new, .unmap, [1, 0x2000_1000, 4096, 511, 2])
    #expect(
      unmap
        == DriverCall(
          function: "xt_iommu_unmap", operation: .unmap, domain: KVA(1), iova: IOVA(0x2000_1000), length: 4096 * 511,
          pages: .init(size: 4096, count: 511)))
    #expect(!unmap.isMap && unmap.target == nil && unmap.protection == nil)
  }

  @Test(arguments: XuanTieDriver.Signature.allCases) func missingArguments(_ signature: XuanTieDriver.Signature) {
    let driver = XuanTieDriver(signature: signature)
    for function in driver.functions {
      let needed = function.parameters.count
      for count in 0..<needed {
        #expect(
          Self.message { try driver.call(function, arguments: Array(repeating: 4096, count: count)) }
            == "\(function.symbol) takes \(needed) arguments, but only \(count) could be read.")
      }
      // What else lies in registers behind them does no harm.
      #expect(Self.message { try driver.call(function, arguments: Array(repeating: 4096, count: needed + 1)) } == nil)
    }
  }

  @Test func moreBytesThanThereAre() {
    #expect(
      Self.message { try Self.call(Self.new, .map, [0, 0xffff_f000, 0, 1 << 52, 4096, 7, 0xcc0, 0]) }
        == "xt_iommu_map was asked for 4096 pages of 0x10000000000000 bytes at IOVA 0xfffff000: more than 2^64 bytes.")
    #expect(
      Self.message { try Self.call(Self.new, .unmap, [0, 0x1000, .max, 2, 0]) }
        == "xt_iommu_unmap was asked for 2 pages of 0xffffffffffffffff bytes at IOVA 0x1000: more than 2^64 bytes.")
    #expect(Self.message { try Self.call(Self.new, .unmap, [0, 0x1000, .max, 1, 0]) } == nil)
    #expect(Self.message { try Self.call(Self.new, .unmap, [0, 0x1000, .max, 0, 0]) } == nil)
  }

  @Test func upperHalvesOf32BitArgumentsAreDropped() throws {
    for (driver, size) in [(Self.old, [4096]), (Self.new, [4096, 1])] as [(XuanTieDriver, [UInt64])] {
      let arguments: [UInt64] = [0, 0, 0] + size + [0xdead_beef_0000_0006, 0xffff_ffff_0000_0a20, 0]
      #expect(
        try Self.call(driver, .map, arguments).operation
          == .map(
            target: GPA(0), protection: [.write, .cache], allocation: AllocationFlags(rawValue: 0xa20)))
    }
    // A negative `int` keeps all of its 32 bits.
    #expect(try Self.call(Self.old, .map, [0, 0, 0, 4096, .max, 0]).protection?.rawValue == 0xffff_ffff)
  }

  /// READ gives R, WRITE gives R and W, nothing else matters: by READ + 2 * WRITE.
  static let leafBits: [UInt64] = [0b0001, 0b0011, 0b0111, 0b0111]

  @Test func protectionToLeaf() throws {
    for protection in 0..<UInt64(64) {
      let call = try Self.call(Self.new, .map, [0, 0x5000, 0x8123_4000, 4096, 3, protection, 0, 0])
      let runs = Self.new.leaves(of: call, mode: .sv39)
      #expect(runs.count == 1)
      let run = try #require(runs.first)
      #expect(run.iova == IOVA(0x5000) && run.level == 0 && run.count == 3 && run.span == 4096 && run.step == 0x400)
      for position in 0..<UInt64(3) {
        let wanted = (0x81234 + position) << 10 | Self.leafBits[Int(protection % 4)]
        #expect(run.leaf(position).rawValue == wanted, "prot \(protection)")
        #expect(run.iova(position) == IOVA(0x5000 + position * 4096))
      }
      #expect(run.leaf(0).problem(atLevel: 0) == (protection % 4 == 0 ? .pointerAtLevelZero : nil))
    }
  }

  @Test(arguments: [0, 1, 4095, 4097, 6144, .max, 1 << 63 | 1] as [UInt64]) func sizesThatTheDriverRefuses(
    _ size: UInt64
  ) throws {
    #expect(Self.old.leaves(of: try Self.call(Self.old, .map, [0, 0, 0, size, 7, 0]), mode: .sv39) == [])
    #expect(Self.new.leaves(of: try Self.call(Self.new, .map, [0, 0, 0, size, 1, 7, 0, 0]), mode: .sv39) == [])
  }

  @Test func onlyTheProductOfSizeAndCountMustBePages() throws {
    let call = try Self.call(Self.new, .map, [0, 0, 0, 512, 16, 7, 0, 0])
    #expect(Self.new.leaves(of: call, mode: .sv39).map(\.count) == [2])
    let huge = try Self.call(Self.new, .map, [0, 0, 0, 2_097_152, 2, 7, 0, 0])
    #expect(Self.new.leaves(of: huge, mode: .sv39).map(\.count) == [1024])
    #expect(Self.new.leaves(of: huge, mode: .sv39).map(\.level) == [0])
  }

  @Test func anUnmapWritesNoLeaves() throws {
    #expect(Self.new.leaves(of: try Self.call(Self.new, .unmap, [0, 0, 4096, 1, 0]), mode: .sv39) == [])
  }

  @Test func theTopOfTheAddressSpaceDoesNotTrap() throws {
    let memory = WordMemory()
    for (iova, target, size, count) in [
      (0xffff_ffff_ffff_f000, .max, 4096, 1), (0xffff_ffff_ffff_f000, .max, 4096, 3),
      (.max, .max, 1 << 63, 1), (.max, 0xffff_ffff_ffff_f000, 4096, (1 << 52) - 1),
    ] as [(UInt64, UInt64, UInt64, UInt64)] {
      let call = try Self.call(Self.new, .map, [.max, iova, target, size, count, .max, .max, .max])
      let run = try #require(Self.new.leaves(of: call, mode: .sv39).first)
      #expect(run.count == size * count / 4096)
      #expect(run.leaf(0).ppn == 0xfff_ffff_ffff)
      #expect(run.leaf(0).rawValue == 0xfff_ffff_ffff << 10 | 7)
      for position in [0, 1, run.count - 1, .max] {
        _ = run.leaf(position)
        _ = run.iova(position)
        for shift in [0, 30, 63] {
          let geometry = PagingMode.sv39.geometry.replacing(shift: shift, atLevel: 2)
          #expect(
            try run.predictedEntries(position, geometry: geometry, root: GPA(.max & ~0xfff), in: memory).count == 3)
        }
      }
      #expect(call.covers(IOVA(iova)))
      _ = call.last
    }
  }
}
