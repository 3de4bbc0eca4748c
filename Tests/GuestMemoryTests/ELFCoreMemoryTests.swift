import GuestMemory
import PageTables
import Randomness
import Testing

@Suite struct ELFCoreMemoryTests {
  private let folder: TemporaryFolder
  init() throws { folder = try TemporaryFolder() }

  private func open(_ bytes: [UInt8]) throws -> ELFCoreMemory {
    try ELFCoreMemory(path: try folder.file("core", bytes))
  }

  /// A note, ROM at 0x1000 and RAM at 0x80000000; headers at 128, 184 and 240.
  private static let core = CoreWriter(segments: [
    .init(type: 4, physical: 0, bytes: Array("note".utf8)),
    .init(physical: 0x1000, bytes: [UInt8](repeating: 1, count: 0x1000)),
    .init(physical: 0x8000_0000, bytes: [UInt8](repeating: 2, count: 0x2000)),
  ])

  @Test func segmentsAreReadAtTheirPhysicalAddresses() throws {
    let memory = try open(Self.core.bytes)
    #expect(try memory.bytes(at: GPA(0x1000), count: 0x1000).allSatisfy { $0 == 1 })
    #expect(try memory.bytes(at: GPA(0x8000_0000), count: 0x2000).allSatisfy { $0 == 2 })
    #expect(memory.residentPage(GPA(0x8000_1000)) != nil)
    #expect(
      text { try memory.bytes(at: GPA(0x8000_1ffe), count: 4) }
        == "Cannot read guest-physical address 0x80002000: outside the core \(folder.path)/core, "
        + "which holds 0x1000-0x1fff, 0x80000000-0x80001fff.")
  }

  @Test func theFirstOfTwoOverlappingSegmentsWins() throws {
    // 0x1000  AAAA....
    //         ..BBBB..
    //         AAAABB..
    let memory = try open(
      CoreWriter(segments: [
        .init(physical: 0x1000, bytes: [UInt8](repeating: 0xa, count: 0x1000)),
        .init(physical: 0x1800, bytes: [UInt8](repeating: 0xb, count: 0x1000)),
      ]).bytes)
    #expect(try memory.bytes(at: GPA(0x1ffe), count: 4) == [0xa, 0xa, 0xb, 0xb])
  }

  @Test func whatASegmentClaimsAndDoesNotStoreIsUnreadable() throws {
    var core = Self.core
    core.segments[1].claimed = 0x4000
    let memory = try open(core.bytes)
    let failure = #expect(throws: UnreadableMemory.self) { try memory.bytes(at: GPA(0x1ff0), count: 32) }
    #expect(failure?.address == GPA(0x2000))
  }

  @Test func moreSegmentsThan16BitsCountAreFoundThroughSectionHeaderZero() throws {
    var core = CoreWriter(usesExtendedNumbering: true)
    core.segments = (0..<70_000).map { .init(physical: $0 * 0x2000, virtual: 0, bytes: [UInt8($0 & 0xff)]) }
    let memory = try open(core.bytes)
    #expect(try memory.bytes(at: GPA(69_999 * 0x2000), count: 1) == [UInt8(69_999 & 0xff)])
  }

  @Test(arguments: [
    (0, UInt64(0x2020_2050_4d55_444b), "it is compressed (kdump); write it without -z, -l and -s"),
    (1, UInt64(0), "it does not start with 7f 45 4c 46"),
    (4, UInt64(1), "EI_CLASS is 1, not 2 (64-bit)"),
    (5, UInt64(2), "EI_DATA is 2, not 1 (little-endian)"),
    (16, UInt64(2), "e_type is 2, not 4 (ET_CORE)"),
  ])
  func aFileThatIsNoCoreSaysWhy(offset: Int, value: UInt64, reason: String) throws {
    #expect(
      text { try open(Self.core.bytes.patched(offset, value)) }
        == "\(folder.path)/core is not an ELF core of a guest: \(reason). "
        + "Write one with QEMU's monitor: dump-guest-memory FILE.")
  }

  @Test func theCoreOfAProcessIsNoCoreOfAGuest() throws {
    var core = Self.core
    for index in core.segments.indices {
      core.segments[index].virtual = 0x5555_0000
      core.segments[index].physical = 0
    }
    #expect(
      text { try open(core.bytes) }
        == "\(folder.path)/core is not an ELF core of a guest: all its segments have p_paddr 0, so it is the core of a "
        + "process, perhaps of QEMU itself. Write one with QEMU's monitor: dump-guest-memory FILE.")
  }

  @Test(arguments: [
    (54, 2, UInt64(32), UInt64(54), "e_phentsize is 32, not 56"),
    (216, 8, UInt64(0x1001), UInt64(216), "p_filesz 0x1001 is greater than p_memsz 0x1000"),
    (
      208, 8, UInt64.max - 0xffe, UInt64(208),
      "0x1000 bytes from p_paddr 0xfffffffffffff001 pass the end of the address space"
    ),
  ])
  func aHeaderThatContradictsItselfSaysWhere(
    offset: Int, width: Int, value: UInt64, place: UInt64, reason: String
  ) throws {
    let bytes = width == 2 ? Self.core.bytes.patched(offset, UInt16(value)) : Self.core.bytes.patched(offset, value)
    #expect(
      text { try open(bytes) }
        == "The core \(folder.path)/core is malformed at byte \(hex(place)): \(reason). "
        + "Write it again with dump-guest-memory FILE.")
  }

  @Test(arguments: [
    (32, UInt64.max, "the program header table", UInt64.max),
    (32, UInt64(0x1_0000), "the program header table", UInt64(0x1_00a8)),
    (192, UInt64.max, "segment 1 (guest-physical 0x1000)", UInt64.max),
    (192, UInt64(0x3000), "segment 1 (guest-physical 0x1000)", UInt64(0x4000)),
  ])
  func whatLiesBehindTheFilesEndSaysWhere(offset: Int, value: UInt64, what: String, needed: UInt64) throws {
    let bytes = Self.core.bytes.patched(offset, value)
    #expect(
      text { try open(bytes) }
        == "\(folder.path)/core is truncated: \(what) ends at byte \(hex(needed)), the file has \(hex(UInt64(bytes.count))). "
        + "Write it again, with room on the disk, and wait until it is complete.")
  }

  @Test func aCountInSectionHeaderZeroNeedsOne() throws {
    let bytes = Self.core.bytes.patched(56, UInt16(0xffff))
    #expect(
      text { try open(bytes.patched(40, UInt64(0))) }
        == "The core \(folder.path)/core is malformed at byte 0x28: e_phnum is PN_XNUM, but e_shoff is 0. "
        + "Write it again with dump-guest-memory FILE.")
    #expect(
      text { try open(bytes.patched(40, UInt64(64)).patched(108, UInt32.max)) }
        == "The core \(folder.path)/core is malformed at byte 0x38: it has 4294967295 program headers, more than 1048576. "
        + "Write it again with dump-guest-memory FILE.")
    #expect(
      text { try open(bytes.patched(40, UInt64(0x4000))) }
        == "\(folder.path)/core is truncated: section header 0 ends at byte 0x4040, the file has \(hex(UInt64(bytes.count))). "
        + "Write it again, with room on the disk, and wait until it is complete.")
    #expect(
      text { try open(bytes) }
        == "The core \(folder.path)/core holds no guest memory. Check that it belongs to the guest under investigation."
    )
  }

  @Test func aCoreCutAnywhereIsAnErrorAndNeverACrash() throws {
    let bytes = Self.core.bytes
    for count in Array(1..<300) + [0x1000, 0x2000, bytes.count - 1] {
      #expect(throws: MemoryError.self, "\(count) bytes") { try open(Array(bytes[..<count])) }
    }
  }

  @Test func randomHeadersNeverCrash() throws {
    var random = SeededNumbers()
    let core = Self.core.bytes
    for _ in 0..<1500 {
      var bytes = core
      for _ in 0..<Int.random(in: 1...4, using: &random) {
        let edge: UInt64 = [0, 1, 0x1000, 0xffff, 1 << 63, .max, random.next()].randomElement(using: &random) ?? 0
        // Behind the identification, so that the rest is looked at.
        bytes = bytes.patched(Int.random(in: 16..<288, using: &random), edge)
      }
      guard let memory = try? open(bytes) else { continue }
      for address in [0, 0x1000, 0x8000_0000, UInt64.max - 4095, random.next()] {
        _ = try? memory.bytes(at: GPA(address), count: 8192)
        _ = memory.residentPage(GPA(address).page)?.loadUnaligned(as: UInt64.self)
      }
    }
  }
}
