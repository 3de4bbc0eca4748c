import IOMMUModel
import PageTables
import Testing

@testable import RISCVIOMMU

/// What a call's arguments say.
@Suite struct DriverCallTests {
  static let classic = RISCVIOMMUDriver(generation: .pages)
  static let range = RISCVIOMMUDriver(generation: .range)

  static func function(_ driver: RISCVIOMMUDriver, _ kind: CallKind) throws -> DriverFunction {
    try #require(driver.functions.first { $0.kind == kind })
  }

  /// The arguments of the captured call: riscv_64_map_range, Linux 7.2.13.
  @Test func theRegistersOfARange() throws {
    let call = try Self.range.call(
      Self.function(Self.range, .map),
      arguments: [0xff60_0000_0085_93c0, 0xffff_0000, 0x80b0_0000, 0x10000, 0xffff_ffff_0000_0007, 0xdc0, 0xff60])
    #expect(
      call
        == DriverCall(
          function: "riscv_64_map_range",
          operation: .map(
            target: GPA(0x80b0_0000), protection: [.read, .write, .cache], allocation: AllocationFlags(rawValue: 0xdc0)),
          domain: KVA(0xff60_0000_0085_93c0), iova: IOVA(0xffff_0000), length: 0x10000))
    #expect(call.extent == "64 KiB")
    let unmap = try Self.range.call(Self.function(Self.range, .unmap), arguments: [1, 0x6000_0000, 0x1000, 0])
    #expect(
      unmap
        == DriverCall(
          function: "riscv_64_unmap_range", operation: .unmap, domain: KVA(1), iova: IOVA(0x6000_0000), length: 0x1000))
    #expect(Self.range.leaves(of: unmap, mode: .sv57).isEmpty)
  }

  @Test func theRegistersOfPages() throws {
    let call = try Self.classic.call(
      Self.function(Self.classic, .map), arguments: [1, 0x4000_0000, 0x9000_0000, 0x20_0000, 3, 3, 0xcc0, 0])
    #expect(call.pages == DriverCall.Pages(size: 0x20_0000, count: 3) && call.length == 0x60_0000)
    #expect(call.target == GPA(0x9000_0000) && call.function == "riscv_iommu_map_pages")
    let unmap = try Self.classic.call(Self.function(Self.classic, .unmap), arguments: [1, 0x1000, 4096, 2, 0])
    #expect(unmap.length == 8192 && unmap.kind == .unmap && unmap.function == "riscv_iommu_unmap_pages")
  }

  @Test func argumentsThatMayBeMissing() throws {
    let function = try Self.function(Self.range, .map)
    let values: [String: UInt64] = ["iommu_table": 1, "iova": 0x1000, "paddr": 0x2000, "len": 0x1000, "prot": 1]
    #expect(
      try Self.range.call(function, named: values).operation
        == .map(target: GPA(0x2000), protection: .read, allocation: nil))
    for missing in values.keys {
      #expect(
        DriverTarget.message { try Self.range.call(function, named: values.filter { $0.key != missing }) }
          == "riscv_64_map_range cannot be told without its argument `\(missing)`.")
    }
    #expect(
      DriverTarget.message { try Self.range.call(function, arguments: [1, 2]) }
        == "riscv_64_map_range takes 7 arguments, but only 2 could be read.")
  }

  @Test func moreThanThereIs() throws {
    #expect(
      DriverTarget.message {
        try Self.classic.call(Self.function(Self.classic, .map), arguments: [1, 0x1000, 0, 1 << 40, 1 << 30, 3, 0, 0])
      }
        == "riscv_iommu_map_pages was asked for 1073741824 pages of 0x10000000000 bytes at IOVA 0x1000: more than 2^64 bytes."
    )
  }

  @Test(
    arguments: [
      (0x1000, 0, 4096), (0x20_0000, 1, 0x20_0000), (0x4000_0000, 2, 0x4000_0000), (1 << 39, 3, 1 << 39),
      // `get_page_size` takes the next smaller size.
      (0x1_0000, 0, 4096), (0x40_0000, 1, 0x20_0000),
    ] as [(UInt64, Int, UInt64)])
  func sizesOfPages(_ size: UInt64, _ level: Int, _ span: UInt64) throws {
    let call = try Self.classic.call(
      Self.function(Self.classic, .map), arguments: [1, 0, 1 << 40, size, 3, 3, 0xcc0, 0])
    let run = try #require(Self.classic.leaves(of: call, mode: .sv48).first)
    #expect(run.level == level && run.span == span && run.count == 3 && run.flags?.rawValue == 0xd7)
    #expect(run.leaf(2).address == GPA(1 << 40 + 2 * span))
    #expect(Self.classic.leaves(of: call, mode: .sv39).isEmpty == (level == 3))
    for mode in [PagingMode.sv32, .sv39x4] { #expect(Self.classic.leaves(of: call, mode: mode).isEmpty) }
  }

  /// Linux 6.13 writes V R U A without WRITE, V R W U A D with it, and never X.
  @Test(arguments: [(1, 0x53), (4, 0x53), (9, 0x53), (2, 0xd7), (3, 0xd7), (7, 0xd7), (0, 0x53)] as [(UInt64, UInt8)])
  func flagsOfPages(_ protection: UInt64, _ flags: UInt8) throws {
    let call = try Self.classic.call(
      Self.function(Self.classic, .map), arguments: [1, 0x1000, 0x8000_2000, 4096, 2, protection, 0xcc0, 0])
    let run = try #require(Self.classic.leaves(of: call, mode: .sv39).first)
    #expect(run.flags?.rawValue == flags && run.leaf(1).rawValue == 0x2000_0c00 | UInt64(flags))
  }
}
