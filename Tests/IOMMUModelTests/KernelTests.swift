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

  /// RAM whose bytes say in which page they are and how far into it, and which counts its reads.
  final class Pages: PhysicalMemory {
    private(set) var reads: [(address: GPA, count: Int)] = []

    static func byte(at address: GPA) -> UInt8 { UInt8(truncatingIfNeeded: address.rawValue ^ address.rawValue >> 12) }

    func read(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) throws(UnreadableMemory) {
      guard address >= GPA(0x8000_0000), address + UInt64(buffer.count) <= GPA(0xa000_0000) else {
        throw UnreadableMemory(address: address, reason: "outside guest RAM")
      }
      reads.append((address, buffer.count))
      for index in buffer.indices { buffer[index] = Self.byte(at: address + UInt64(index)) }
    }
  }

  @Test func manyBytes() throws {
    let memory = Pages()
    var asked: [KVA] = []
    // vmalloc: pages 0 and 1 are neighbours in guest memory, 2 is elsewhere, 3 is not mapped.
    let vmalloc = KVA(0xff20_0000_0000_0000)
    let kernel = KernelMemory(
      memory: memory, linearOffset: 0xff5f_ffff_7fe0_0000,
      image: KernelImage(start: KVA(0xffff_ffff_8000_0000), size: 0x3000, offset: 0xffff_fffe_ffe0_0000)
    ) { address in
      asked.append(address)
      let offset = UInt64(address.pageOffset)
      switch (address - vmalloc) >> 12 {
      case 0, 1: return GPA(0x8100_0000 + (address - vmalloc))
      case 2: return GPA(0x8300_0000 + offset)
      default: return nil
      }
    }
    func expect(_ address: KVA, _ count: Int, _ pieces: [(GPA, Int)], asked expected: [KVA] = []) throws {
      let (before, questions) = (memory.reads.count, asked.count)
      let bytes = try kernel.bytes(at: address, count: count)
      let right = pieces.flatMap { piece in (0..<piece.1).map { Pages.byte(at: piece.0 + UInt64($0)) } }
      #expect(bytes == right, "\(address)")
      #expect(asked[questions...] == expected[...])
      // Whether an address is in the linear map is found out with one word.
      let reads = memory.reads[before...].filter { $0.count != 8 }
      #expect(reads.map(\.address) == pieces.map(\.0))
    }
    // The image, to its last byte; the linear map; vmalloc from within a page.
    try expect(KVA(0xffff_ffff_8000_0ffc), 0x2004, [(GPA(0x8020_0ffc), 0x2004)])
    try expect(KVA(0xff60_0000_0000_0010), 0x10000, [(GPA(0x8020_0010), 0x10000)])
    try expect(
      vmalloc + 0x800, 0x1900, [(GPA(0x8100_0800), 0x1800), (GPA(0x8300_0000), 0x100)],
      asked: [vmalloc + 0x800, vmalloc + 0x1000, vmalloc + 0x2000])
    #expect(try kernel.bytes(at: KVA(0), count: 0) == [])
    #expect(try kernel.bytes(at: KVA(0), count: -1) == [])

    func failure(_ address: KVA, _ count: Int) -> String {
      do { return "\(try kernel.bytes(at: address, count: count).count) bytes" } catch { return error.description }
    }
    let unmapped = "is neither in the linear map nor mapped by the CPU's page table."
    #expect(failure(vmalloc + 0x2ff8, 16) == "Kernel address \(vmalloc + 0x3000) \(unmapped)")
    // One byte more than the image has.
    #expect(failure(KVA(0xffff_ffff_8000_2fff), 2) == "Kernel address 0xffffffff80003000 \(unmapped)")
    let many = "are more than can be read at once."
    #expect(failure(vmalloc, .max) == "9223372036854775807 bytes at kernel address \(vmalloc) \(many)")
    #expect(failure(KVA(.max), 2) == "2 bytes at kernel address 0xffffffffffffffff \(many)")
  }

  /// What `kernel_map` has to say for an image to be known.
  @Test func theImage() {
    struct Symbols: Target {
      let values: [String: UInt64]
      func evaluate(_ expression: String) throws(TargetError) -> UInt64 {
        guard let value = values[expression] else { throw TargetError("No symbol.") }
        return value
      }
      func string(_ expression: String) throws(TargetError) -> String { throw TargetError("No symbol.") }
      func parameters(of function: String) throws(TargetError) -> [String] { throw TargetError("No symbol.") }
      func read(_ address: KVA, count: Int) throws(TargetError) -> [UInt8] { throw TargetError("No memory.") }
      func read(_ address: GPA, count: Int) throws(TargetError) -> [UInt8] { throw TargetError("No memory.") }
      func function(at address: KVA) throws(TargetError) -> String { throw TargetError("No symbol.") }
      func isInside(_ function: String, _ place: CallPlace?) -> Bool { false }
      func connection() -> String? { nil }
      func monitor(_ command: String) throws(TargetError) -> String { throw TargetError("No monitor.") }
    }
    var values: [String: UInt64] = [
      "kernel_map.virt_addr": 0xffff_ffff_8000_0000, "kernel_map.size": 0x43_6000,
      "kernel_map.va_kernel_pa_offset": 0xffff_fffe_ffe0_0000,
    ]
    let image = KernelImage(start: KVA(0xffff_ffff_8000_0000), size: 0x43_6000, offset: 0xffff_fffe_ffe0_0000)
    #expect(KernelImage(in: Symbols(values: values)) == image)
    values["sizeof(kernel_map.xiprom)"] = 8
    #expect(KernelImage(in: Symbols(values: values)) == nil)
    values["sizeof(kernel_map.xiprom)"] = nil
    values["kernel_map.va_kernel_pa_offset"] = 0
    #expect(KernelImage(in: Symbols(values: values)) == nil)
    #expect(KernelImage(in: Symbols(values: [:])) == nil)
  }
}
