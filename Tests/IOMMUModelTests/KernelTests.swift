import PageTables
import Testing

@testable import IOMMUModel

/// The kernel's version, paging and memory.
@Suite struct KernelTests {
  @Test(
    arguments: [
      ("Linux version 5.10.4 (build@host) (riscv64-unknown-linux-gnu-gcc (GCC) 10.2.0) #1 SMP Tue Mar 2 2021", 5, 10),
      ("Linux version 6.4.0-rc1-00012-gabcdef (user@host) (clang version 16.0.0) #3 SMP PREEMPT\n", 6, 4),
      ("Linux version 6.1.0 (user@host) (riscv64-linux-gnu-gcc (Debian 12.2.0-13) 12.2.0, GNU ld 2.40) #5 SMP", 6, 1),
      ("Linux version 6.12+ (user@host) (gcc version 10.2) #1", 6, 12),
      ("Linux version 6.8-rc3 (user@host)", 6, 8), ("Linux version 10.0.1", 10, 0),
    ] as [(String, Int, Int)])
  func banners(_ banner: String, _ major: Int, _ minor: Int) {
    let version = KernelVersion(banner: banner)
    #expect(version == KernelVersion(major: major, minor: minor))
    #expect(version?.description == "\(major).\(minor)")
  }

  @Test(arguments: [
    "", "Linux version ", "Linux version 6", "Linux version 6 (gcc 10.2)", "linux version 6.1", "Linux version .1",
    "Linux version 6.", "Linux version 6.rc1", "Linux version x.1", "FreeBSD 14.0",
    "Linux version 99999999999999999999.1",
    "Linux version 6.99999999999999999999", "Linux version +6.1", "Linux version -6.1", "Linux version 6.１",
  ]) func noBanner(_ text: String) {
    #expect(KernelVersion(banner: text) == nil)
  }

  @Test func versionsOrder() {
    let versions = [(5, 10), (5, 17), (6, 1), (6, 2), (6, 3), (6, 10), (7, 0)].map(KernelVersion.init)
    #expect(versions.reversed().sorted() == versions)
    #expect(versions[4] > versions[3] && !(versions[3] < versions[3]))
  }

  /// `arch/riscv/include/asm/pgtable-64.h`, each mode's column.
  @Test(
    arguments: [
      (8, [30, 30, 30, 21, 12]), (9, [39, 39, 30, 21, 12]), (10, [48, 39, 30, 21, 12]), (0, []), (1, []), (11, []),
      (15, []),
    ] as [(UInt64, [Int])])
  func constants(_ code: UInt64, _ shifts: [Int]) {
    let paging = KernelPaging(satp: code << 60 | 0x1000_0008_0bc0)
    #expect(paging.constants.map(\.shift) == shifts)
    #expect(
      paging.constants.map(\.name)
        == (shifts.isEmpty ? [] : ["PGDIR_SHIFT", "P4D_SHIFT", "PUD_SHIFT", "PMD_SHIFT", "PAGE_SHIFT"]))
    #expect(paging.constants.map(\.followsMode) == (shifts.isEmpty ? [] : [true, true, false, false, false]))
  }

  @Test func constantsByShift() {
    let names = { (mode: PagingMode?, shifts: [Int]) in
      shifts.map { KernelPaging(mode: mode).constant(withShift: $0)?.name }
    }
    #expect(
      names(.sv57, [48, 39, 30, 21, 12, 0, 47]) == [
        "PGDIR_SHIFT", "P4D_SHIFT", "PUD_SHIFT", "PMD_SHIFT", "PAGE_SHIFT", nil, nil,
      ])
    #expect(names(.sv48, [48, 39, 30]) == [nil, "PGDIR_SHIFT", "PUD_SHIFT"])
    #expect(names(.sv39, [39, 30]) == [nil, "PGDIR_SHIFT"])
    #expect(names(nil, [30]) == [nil])
    #expect(KernelPaging(satp: 0xa000_1000_0008_0bc0).mode == .sv57)
  }

  /// RAM from 0x80000000 to 0x9fffffff whose words say where they lie.
  struct RAM: PhysicalMemory {
    func read(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) throws(UnreadableMemory) {
      guard address >= GPA(0x8000_0000), address + UInt64(buffer.count) <= GPA(0xa000_0000) else {
        throw UnreadableMemory(address: address, reason: "outside guest RAM")
      }
      withUnsafeBytes(of: address.rawValue.littleEndian) { buffer.copyBytes(from: $0) }
    }
  }

  /// Sv57, Sv48, Sv39 of 6.x and Sv39 of 5.10: page offset and `va_pa_offset` (page offset minus 0x80200000).
  @Test(
    arguments: [
      0xff60_0000_0000_0000, 0xffff_af80_0000_0000, 0xffff_ffd8_0000_0000, 0xffff_ffe0_0000_0000,
    ] as [UInt64])
  func theLinearMap(_ pageOffset: UInt64) throws {
    var asked: [KVA] = []
    let kernel = KernelMemory(memory: RAM(), linearOffset: pageOffset &- 0x8020_0000) { address in
      asked.append(address)
      return address == KVA(0xff20_0000_0062_0000) ? GPA(0x2c00_0000) : nil
    }
    #expect(kernel.physical(KVA(pageOffset)) == GPA(0x8020_0000))
    #expect(kernel.physical(KVA(pageOffset + 0x97_8ef9)) == GPA(0x80b7_8ef9))
    #expect(try kernel.word(at: KVA(pageOffset + 0x97_8ef8)) == 0x80b7_8ef8)
    #expect(kernel.physical(KVA(pageOffset - 0x20_0000)) == GPA(0x8000_0000))
    #expect(asked == [])
    // Neither side of RAM is in the linear map.
    #expect(kernel.physical(KVA(pageOffset - 0x20_0001)) == nil)
    #expect(kernel.physical(KVA(pageOffset + 0x1fe0_0000)) == nil)
    #expect(kernel.physical(KVA(0)) == nil)
    #expect(kernel.physical(KVA(.max)) == nil)
    #expect(asked.count == 4)
    #expect(kernel.physical(KVA(0xff20_0000_0062_0000)) == GPA(0x2c00_0000))
  }

  @Test func wordsThatCannotBeRead() {
    func message(_ address: KVA) -> String? {
      let kernel = KernelMemory(memory: RAM(), linearOffset: 0xff5f_ffff_7fe0_0000) {
        $0 == KVA(0x1000) ? GPA(0x2c00_0000) : nil
      }
      do { _ = try kernel.word(at: address) } catch { return error.description }
      return nil
    }
    #expect(message(KVA(0)) == "Kernel address 0x0 is neither in the linear map nor mapped by the CPU's page table.")
    #expect(message(KVA(0x1000)) == "Cannot read guest-physical address 0x2c000000: outside guest RAM.")
    #expect(message(KVA(0xff60_0000_0000_0000)) == nil)
    // Starts in the last word of RAM and ends behind it.
    #expect(message(KVA(0xff60_0000_1fdf_fffc)) == "Cannot read guest-physical address 0x9ffffffc: outside guest RAM.")
  }
}
