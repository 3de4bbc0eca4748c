import Glibc
import GuestMemory
import PageTables
import Randomness
import Testing

@Suite struct RAMRegionTests {
  @Test func theCapturedMachineHasROMFlashAndRAM() throws {
    let regions = try RAMRegion.all(inMemoryTree: try fixture("qemu/info-mtree-f.txt"))
    #expect(
      regions.map { "\($0.range) \($0.kind.rawValue) \($0.name) \(hex($0.offset))" } == [
        "0x1000-0xffff rom riscv_virt_board.mrom 0x0",
        "0x20000000-0x21ffffff romd virt.flash0 0x0",
        "0x22000000-0x23ffffff romd virt.flash1 0x0",
        "0x80000000-0x9fffffff ram riscv_virt_board.ram 0x0",
      ])
  }

  @Test func partsNamesWithSpacesAndAcceleratorsAreUnderstood() throws {
    let regions = try RAMRegion.all(
      inMemoryTree: """
        FlatView #0\r
         AS "I/O", root: io\r
         Root memory region: io\r
          0000000000000000-000000000000ffff (prio 0, ram): not this one\r
        \r
        FlatView #1\r
         AS "e1000e", root: bus master container\r
         AS "memory", root: system\r
         Root memory region: system\r
          0000000000000000-000000000009ffff (prio 0, ram): pc.ram KVM\r
          00000000000a0000-00000000000affff (prio 1, ramd): 0000:01:00.0 BAR 0 mmaps[0] KVM\r
          00000000000c0000-00000000000dffff (prio 1, rom): my rom (old) @0000000000001000 KVM\r
          0000000100000000-000000017fffffff (prio 0, nv-ram): mem @0000000080000000 owner:{obj path=/objects/m} KVM\r
          0000000180000000-0000000180000fff (prio -1, i/o): regs\r
        """)
    #expect(
      regions.map { "\($0.range) \($0.kind.rawValue) \($0.name) \(hex($0.offset))" } == [
        "0x0-0x9ffff ram pc.ram 0x0",
        "0xc0000-0xdffff rom my rom (old) 0x1000",
        "0x100000000-0x17fffffff nv-ram mem 0x80000000",
      ])
  }

  @Test func textThatIsNoMemoryTreeIsAnError() throws {
    #expect(
      text { try RAMRegion.all(inMemoryTree: "Target does not support this command.\n") }
        == "The monitor command 'info mtree -f' answered 'Target does not support this command.'. "
        + "Check that GDB is connected to QEMU's stub.")
    let head = "FlatView #0\n AS \"memory\", root: system\n"
    for line in ["-", "5-4", "0-zz", "0000000000000000-10000000000000000"] {
      let full = "\(line) (prio 0, ram): x"
      #expect(
        text { try RAMRegion.all(inMemoryTree: head + full) }
          == "The monitor command 'info mtree -f' answered '\(full)'. Check that GDB is connected to QEMU's stub.")
    }
    #expect(throws: MemoryError.self) { try RAMRegion.all(inMemoryTree: head + "0-5 (prio ") }
    #expect(throws: MemoryError.badRange(start: GPA(0), size: 0)) {
      try RAMRegion.all(inMemoryTree: head + "0000000000000000-ffffffffffffffff (prio 0, ram): all")
    }
    #expect(
      text { try RAMRegion.all(inMemoryTree: head) }
        == "The address space 'memory' of this machine holds no guest memory. "
        + "Check that it belongs to the guest under investigation.")
  }

  @Test func theHostAddressIsReadFromTheMonitorsAnswer() throws {
    let ram = RAMRegion(
      range: try MemoryRange(start: GPA(0x8000_0000), size: 0x2000_0000), kind: .ram, name: "riscv_virt_board.ram",
      offset: 0)
    #expect(ram.hostAddressCommand == "gpa2hva 0x80000000")
    let answer = "Host virtual address for 0x80000000 (riscv_virt_board.ram) is 0x7f9787e00000\r\n"
    #expect(try ram.hostAddress(in: answer) == HVA(0x7f97_87e0_0000))
    #expect(try ram.hostAddress(in: "Host virtual address for 0x80000000 (my is ram) is 0x1000") == HVA(0x1000))
    for refusal in [
      "Memory at address 0x2c000000is not RAM", "No memory is mapped at address 0x80000000", "",
      "Host virtual address for 0x80001000 (x) is 0x7f9787e00000", "Host virtual address for 0x80000000 (x) is (nil)",
    ] {
      #expect(
        text { try ram.hostAddress(in: refusal) }
          == "The monitor command 'gpa2hva 0x80000000' answered '\(refusal)'. Check that GDB is connected to QEMU's stub."
      )
    }
  }

  @Test func cutAndGarbledAnswersNeverCrash() throws {
    let tree = Array(try fixture("qemu/info-mtree-f.txt").utf8)
    var random = SeededNumbers()
    let start = try #require(tree.firstRange(of: Array("FlatView #3".utf8))).lowerBound
    for _ in 0..<60 {
      var view = Array(tree[start...].prefix(Int.random(in: 0..<1200, using: &random)))
      for _ in 0..<3 where !view.isEmpty {
        view[Int.random(in: view.indices, using: &random)] = UInt8.random(in: 0...255, using: &random)
      }
      _ = try? RAMRegion.all(inMemoryTree: String(decoding: view, as: UTF8.self))
    }
  }
}

@Suite struct ProcessMappingTests {
  @Test func aLineOfMapsIsUnderstood() throws {
    let shared = try #require(
      ProcessMapping(line: "7f0a03fff000-7f0a07fff000 rw-s 00200000 fe:00 16220416                   /tmp/my ram\\012x")
    )
    #expect(shared.start == HVA(0x7f0a_03ff_f000) && shared.end == HVA(0x7f0a_07ff_f000))
    #expect(shared.isShared && shared.isReadable && !shared.isDeleted)
    #expect(shared.fileOffset == 0x20_0000 && shared.inode == 16_220_416 && shared.path == "/tmp/my ram\nx")
    let memfd = try #require(ProcessMapping(line: "1000-2000 rw-s 00000000 00:01 5 /memfd:ram (deleted)"))
    #expect(memfd.isDeleted && memfd.path == "/memfd:ram")
    let nameless = try #require(ProcessMapping(line: "1000-2000 ---p 00000000 00:00 0 "))
    #expect(!nameless.isReadable && !nameless.isShared && nameless.path == "")
  }

  @Test(arguments: [
    "", "1000-2000", "2000-1000 rw-p 0 0:0 0", "zz-2000 rw-p 0 0:0 0", "1000-2000 rw 0 0:0 0", "- - - - -",
  ])
  func anotherLineIsNot(line: String) { #expect(ProcessMapping(line: line) == nil) }

  @Test func aRangeMayBeSeveralMappingsOfSharedFiles() throws {
    let folder = try TemporaryFolder()
    let path = try folder.file("ram", [UInt8](repeating: 1, count: 8192))
    var status = stat()
    try #require(stat(path, &status) == 0)
    let first = "1000-2000 rw-s 00000000 00:01 \(status.st_ino) \(path)"
    let second = "2000-3000 r--s 00001000 00:01 \(status.st_ino) \(path)"
    let range = try MemoryRange(start: GPA(0x8000_0000), size: 0x1800)
    func regions(_ lines: String...) -> [MappedFileMemory.Region]? {
      ProcessMapping.fileRegions(of: range, at: HVA(0x1800), in: lines.compactMap { ProcessMapping(line: $0) })
    }
    #expect(
      regions("0-1000 rw-p 0 0:0 0", first, second) == [
        .init(range: try MemoryRange(start: GPA(0x8000_0000), size: 0x800), path: path, fileOffset: 0x800),
        .init(range: try MemoryRange(start: GPA(0x8000_0800), size: 0x1000), path: path, fileOffset: 0x1000),
      ])
    #expect(regions(first) == nil, "a part is not mapped")
    #expect(regions(second) == nil, "the start is not mapped")
    #expect(regions(first, second.replacing("r--s", with: "r--p")) == nil, "a private part")
    #expect(regions(first, second + " (deleted)") == nil, "a deleted file")
    #expect(regions(first, second.replacing("\(status.st_ino)", with: "1")) == nil, "another file at that path")
  }
}
