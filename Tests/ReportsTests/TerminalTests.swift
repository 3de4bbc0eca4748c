import IOMMUModel
import Investigation
import LinuxKernel
import PageTables
import Randomness
import Simulation
import Testing

@testable import Reports

/// Every text that a command prints, to the letter.
@Suite(.serialized) struct TerminalTests {
  // Recorded once; serialized, because an investigation is for one thread.
  nonisolated(unsafe) private static let recorded = Result { (try Shown(rootShift: 48), try Shown(rootShift: 30)) }
  let wrong: Shown
  let fixed: Shown
  init() throws { (wrong, fixed) = try Self.recorded.get() }
  private let version = KernelVersion(major: 6, minor: 1)

  @Test func calls() throws {
    #expect(
      Terminal.call(try wrong.call(1), version: version)
        == """
        map #1   0000:00:01.0 (rsid 8)   xt_iommu_map <- e1000_alloc_ring_dma
          iova   0xfffff000 (4294963200)   1 x 4 KiB   ->  0x106172000   READ|WRITE|CACHE   GFP_KERNEL|__GFP_ZERO (0xdc0)
        """)
    #expect(
      Terminal.call(try wrong.call(3), version: version)
        == """
        map #3   0000:00:01.0 (rsid 8)   xt_iommu_map
          iova   0xffffc000 (4294950912)   2 x 4 KiB   ->  0x106180000   WRITE|CACHE   GFP_ATOMIC (0xa20)
        """)
    #expect(
      Terminal.call(try wrong.call(1, map: false), version: version)
        == """
        unmap #1   0000:00:01.0 (rsid 8)   xt_iommu_unmap
          iova   0xffffb000 (4294946816)   1 x 4 KiB
        """)
    #expect(
      Terminal.call(
        RecordedCall(number: 0, call: try wrong.call(4).call, root: nil, requester: nil, callers: ["iommu_map"]),
        version: nil)
          == """
          map   no requester   xt_iommu_map
            iova   0xffffb000 (4294946816)   1 x 4 KiB   ->  0x106190000   READ|CACHE   __GFP_HIGH|__GFP_KSWAPD_RECLAIM|0x200 (0xa20)
          """)
  }

  @Test func predictions() throws {
    #expect(
      try wrong.prediction(wrong.call(1))
        == """
          expects  level 2 [  3]  0x80b78018 = new table
                   level 1 [511]  = new table
                   level 0 [511]  = 0x4185c807   V R W -> 0x106172000
        """)
    #expect(
      try wrong.prediction(wrong.call(3))
        == """
          expects  level 2 [  3]  0x80b78018 = new table
                   level 1 [511]  = new table
                   level 0 [508]  = 0x41860007   V R W -> 0x106180000
                   level 0 [509]  = 0x41860407   last of 2 leaves
        """)
    #expect(
      try wrong.prediction(wrong.call(5))
        == """
          expects  level 2 [  0]  0x80b7c000 = 0x202e0001   table 0x80b80000
                   level 1 [128]  0x80b80400 = 0x202e0401   table 0x80b81000
                   level 0 [  0]  0x80b81000 = 0x48000007   V R W -> 0x120000000
                   level 0 [  3]  = 0x48000c07   last of 4 leaves
        """)
    #expect(
      try fixed.prediction(fixed.call(3))
        == """
          expects  level 2 [  3]  0x80b78018 = 0x202df801   table 0x80b7e000
                   level 1 [511]  0x80b7eff8 = 0x202dfc01   table 0x80b7f000
                   level 0 [508]  0x80b7ffe0 = 0x41860007   V R W -> 0x106180000
                   level 0 [509]  = 0x41860407   last of 2 leaves
        """)
    let call = DriverCall(
      function: "xt_iommu_map", operation: .map(target: GPA(0), protection: .read, allocation: nil), domain: KVA(0),
      iova: IOVA(0), length: 100)
    #expect(
      try Terminal.prediction(
        call, runs: [], geometry: PagingMode.sv39.geometry, root: TableRoot(address: GPA(0), mode: .sv39),
        memory: wrong.findings.memory) == "  writes nothing: the driver refuses this size")
  }

  @Test func outcomes() throws {
    #expect(
      try wrong.outcome(wrong.call(1))
        == """
          wrote    level 2 [  0]  0x80b78000 = 0x202df801  table 0x80b7e000
                   level 1 [511]  0x80b7eff8 = 0x202dfc01  table 0x80b7f000
                   level 0 [511]  0x80b7fff8 = 0x4185c807  V R W -> 0x106172000
          device   level 2 [  3]  0x80b78018 = 0x0         not valid
                   this IOVA faults: cause 16 (S1_PTE_INVALID)
          verdict  missing at level 2: 1 of 1 page
          cause    the root is indexed with shift 48, PGDIR_SHIFT of the CPU's Sv57; this table is Sv39: 30   (6 of 6 calls; `iommu diagnose`)
        """)
    #expect(
      try wrong.outcome(wrong.call(1, map: false))
        == """
          device  level 2 [  3]  0x80b78018 = 0x0  not valid
                  this IOVA faults: cause 16 (S1_PTE_INVALID)
        """)
    #expect(
      try wrong.outcome(wrong.call(5))
        == """
          wrote   level 2 [  0]  0x80b7c000 = 0x202e0001  table 0x80b80000
                  level 1 [128]  0x80b80400 = 0x202e0401  table 0x80b81000
                  level 0 [  0]  0x80b81000 = 0x4c000007  V R W -> 0x130000000
          device  level 2 [  0]  0x80b7c000 = 0x202e0001  table 0x80b80000
                  this IOVA faults: cause 16 (S1_PTE_INVALID)
                  but a cause from an earlier access ends the walk after level 2
        """)
    #expect(
      try wrong.outcome(wrong.call(6))
        == """
          wrote    level 2 [  0]  0x80b7c000 = 0x202e0001  table 0x80b80000
                   level 1 [128]  0x80b80400 = 0x202e0401  table 0x80b81000
                   level 0 [  0]  0x80b81000 = 0x4c000007  V R W -> 0x130000000
          device   level 2 [  1]  0x80b7c008 = 0x0         not valid
                   this IOVA faults: cause 16 (S1_PTE_INVALID)
          verdict  missing at level 2: 4 of 4 pages
          cause    the root is indexed with shift 48, PGDIR_SHIFT of the CPU's Sv57; this table is Sv39: 30   (6 of 6 calls; `iommu diagnose`)
        """)
    #expect(
      try fixed.outcome(fixed.call(1))
        == """
          wrote   level 2 [  3]  0x80b78018 = 0x202df801  table 0x80b7e000
                  level 1 [511]  0x80b7eff8 = 0x202dfc01  table 0x80b7f000
                  level 0 [511]  0x80b7fff8 = 0x4185c807  V R W -> 0x106172000
          device  level 0 [511]  0x80b7fff8 = 0x4185c807  V R W -> 0x106172000
                  this IOVA goes to 0x106172000
        """)
  }

  @Test func walks() throws {
    let wrongRoot = try #require(wrong.call(1).root)
    let wrongWalk = wrongRoot.mode.geometry.walk(IOVA(0xffff_f000), root: wrongRoot.address, in: wrong.findings.memory)
    #expect(
      try Terminal.walk(wrongWalk, requester: wrong.call(1).requester)
        == """
        walk 0xfffff000   Sv39 root 0x80b78000   0000:00:01.0
          level 2 [  3]  0x80b78018 = 0x0  not valid
          not mapped: the entry at level 2 is not valid
        """)
    #expect(
      Terminal.deviceWalk(try wrong.translation(wrong.call(1)), name: "QEMU xmmuv1", access: .read)
        == """
        device walk, QEMU xmmuv1, read
          DTE level 1    0x80b76000 = 0x80b7a000
          DTE            0x80b7a040 = 0x80b79005
          TD[0]          0x80b79000 = 0x8000000000080b78
          level 2 [  3]  0x80b78018 = 0x0                 not valid
          this IOVA faults: cause 16 (S1_PTE_INVALID)
        """)
    let fixedRoot = try #require(fixed.call(1).root)
    let fixedWalk = fixedRoot.mode.geometry.walk(IOVA(0xffff_f000), root: fixedRoot.address, in: fixed.findings.memory)
    #expect(
      try Terminal.walk(fixedWalk, requester: fixed.call(1).requester)
        == """
        walk 0xfffff000   Sv39 root 0x80b78000   0000:00:01.0
          level 2 [  3]  0x80b78018 = 0x202df801  table 0x80b7e000
          level 1 [511]  0x80b7eff8 = 0x202dfc01  table 0x80b7f000
          level 0 [511]  0x80b7fff8 = 0x4185c807  V R W -> 0x106172000
          maps to 0x106172000 (4 KiB leaf, V R W)
        """)
    #expect(
      Terminal.deviceWalk(try fixed.translation(fixed.call(1)), name: "QEMU xmmuv1", access: .read)
        == """
        device walk, QEMU xmmuv1, read
          DTE level 1    0x80b76000 = 0x80b7a000
          DTE            0x80b7a040 = 0x80b79005
          TD[0]          0x80b79000 = 0x8000000000080b78
          level 2 [  3]  0x80b78018 = 0x202df801          table 0x80b7e000
          level 1 [511]  0x80b7eff8 = 0x202dfc01          table 0x80b7f000
          level 0 [511]  0x80b7fff8 = 0x4185c807          V R W -> 0x106172000
          this IOVA goes to 0x106172000
        """)
  }

  @Test func theDevice() throws {
    #expect(
      Terminal.devices(try wrong.scenario.investigator.contexts(), state: KernelState())
        == """
        device        rsid  descriptor  translation
        0000:00:01.0  8     0x80b79000  Sv39 root 0x80b78000
        0000:00:02.0  16    0x80b7d000  Sv39 root 0x80b7c000
        """)
    let values = try #require(wrong.findings.registers)
    let device = wrong.findings.profile.device
    #expect(
      Terminal.registers(values, device: device, block: GPA(0x2c00_0000))
        == """
        QEMU xmmuv1 registers at 0x2c000000
          0x0     IOMMUCAP                                0x0                 one stage
          0x8     RSIDDIV                                 0x8                 two-level device table, split at bit 8
          0x18    DTBASE                                  0x80b76000          device table
          0x20    IOMMUCAUSE (the driver calls it FTVAL)  0x8000000000080010  pending: 0000:00:01.0 cause 16 (S1_PTE_INVALID)
          0x28    FTVAL                                   0xfffff008          last faulting address
          0x30    IOMMUINTNO                              0xd                 interrupt 13
          0x1000  IOMMUCAPEN                              0x1                 translation on
          0x1008  IOMMUINTEN                              0x1                 interrupt on
        """)
  }

  /// What was not looked at is said, in words and as data.
  @Test func whatWasInterruptedIsNotAll() throws {
    func findings(endingWith work: String) throws -> Findings {
      let progress = WorkProgress { $0.work == work }
      return try wrong.scenario.investigator.findings(reason: "interrupted", progress: progress)
    }
    let compared = try findings(endingWith: "comparing")
    #expect(
      Terminal.check(of: compared, limit: nil) == """
        Nothing compared.
        The comparison was interrupted: other pages were not looked at.
        """)
    #expect(Structured.check(of: compared, limit: nil).jsonLine.contains(#""complete": false, "pages": 0"#))
    #expect(
      Terminal.diagnosis(of: compared) == "The search was interrupted: there may be more causes, and better ones.")
    let searched = try findings(endingWith: "looking for causes")
    #expect(Terminal.check(of: searched, limit: nil) == Terminal.check(of: wrong.findings, limit: nil))
    #expect(Structured.diagnosis(of: searched).jsonLine.contains(#""complete": false, "clean": false"#))
  }

  @Test func checksAndDiagnoses() throws {
    #expect(
      Terminal.check(wrong.findings.check, limit: 20)
        == """
        0x10000000-0x10003fff  -> 0x120000000  map #5        overwritten by map #6: leads to 0x130000000; device: refuses, cause 16 (S1_PTE_INVALID)
        0x50000000-0x50003fff  -> 0x130000000  map #6        missing at level 2, cause 16 (S1_PTE_INVALID)
        0xffffc000-0xffffffff  4 pages         map #1 to #3  missing at level 2, cause 16 (S1_PTE_INVALID)
        Neighbours are together: `iommu check -all` lists each of 5 ranges.
        12 of 13 pages disagree: 4 overwritten, 8 missing.
        """)
    #expect(
      Terminal.check(wrong.findings.check, limit: nil)
        == """
        0x10000000-0x10003fff  -> 0x120000000  map #5  overwritten by map #6: leads to 0x130000000; device: refuses, cause 16 (S1_PTE_INVALID)
        0x50000000-0x50003fff  -> 0x130000000  map #6  missing at level 2, cause 16 (S1_PTE_INVALID)
        0xffffc000-0xffffdfff  -> 0x106180000  map #3  missing at level 2, cause 16 (S1_PTE_INVALID)
        0xffffe000-0xffffefff  -> 0x106173000  map #2  missing at level 2, cause 16 (S1_PTE_INVALID)
        0xfffff000-0xffffffff  -> 0x106172000  map #1  missing at level 2, cause 16 (S1_PTE_INVALID)
        12 of 13 pages disagree: 4 overwritten, 8 missing.
        """)
    #expect(
      Terminal.check(wrong.findings.check, limit: 1)
        == """
        0x10000000-0x10003fff  -> 0x120000000  map #5  overwritten by map #6: leads to 0x130000000; device: refuses, cause 16 (S1_PTE_INVALID)
        … 4 more ranges: `iommu check -all`.
        12 of 13 pages disagree: 4 overwritten, 8 missing.
        """)
    #expect(
      Terminal.check(fixed.findings.check, limit: 20)
        == """
        All 13 pages agree: 12 mapped, 1 unmapped.
        """)
    #expect(
      Terminal.diagnosis(wrong.findings.diagnosis)
        == """
        1. the root is indexed with shift 48, PGDIR_SHIFT of the CPU's Sv57; this table is Sv39: 30   (6 of 6 calls)
           for      6 of 6 recorded map calls have their entries exactly where this shift puts them.
           for      The CPU runs Sv57, where PGDIR_SHIFT is 48; it follows the CPU's mode and is right for this table only by luck.
           for      Shifts 32 to 47 and 49 to 63 fit as well: no recorded IOVA has a bit that tells them apart.
           against  P4D_SHIFT (39) would leave the same entries; PGDIR_SHIFT is the constant that indexes a root.
           breaks   8 of 12 mapped pages are missing in the device's eyes: it faults on them.
           breaks   4 pages of 1 map call lost their entry to another IOVA while mapped: addresses that differ only in bits which the wrong index leaves out share one entry.
           breaks   Cause 16 (S1_PTE_INVALID) of 0000:00:01.0 is latched and outlives the repair: until it is cleared, good mappings fail as well. An 8-byte write to RESUME (offset 0x1018) clears it, and nothing else does.
           look at  drivers/iommu/xuantie-iommu.c:431: compute vpn2_idx with shift 30 (Sv39, level 2), whatever mode the CPU runs; the same in unmap and iova_to_phys.
        2. the driver takes offset 0x20 for FTVAL: there the device has IOMMUCAUSE, and FTVAL at 0x28   (1 of 1 latched fault)
           for      The driver's sources have FTVAL at 0x20, and no name for 0x28.
           for      The driver would read 0x8000000000080010 there now, which is IOMMUCAUSE: pending: 0000:00:01.0 cause 16 (S1_PTE_INVALID).
           for      The device's FTVAL holds 0xfffff008, the last faulting address.
           breaks   What the driver reports as FTVAL is the value of IOMMUCAUSE.
           look at  read FTVAL at 0x28, and IOMMUCAUSE at 0x20 for what it is.
           open     Which offset this kernel's driver reads: `iommu probe` in a GDB on the kernel.
        """)
    #expect(
      Terminal.diagnosis(fixed.findings.diagnosis)
        == """
        No cause to name: all 6 recorded map calls left the tables as they should.
        """)
  }

  @Test func whatIsKnown() throws {
    let path = wrong.workspace.file("a.iommulens")
    #expect(
      try Terminal.opened(wrong.scenario.investigator.requireStore())
        == """
        Investigation \(path): 6 maps, 1 unmap, 1 note.
        """)
    #expect(
      Terminal.status(wrong.scenario.investigator)
        == """
        side    the kernel's
        driver  xuantie-iommu, map_pages (6.x signature): xt_iommu_map has a parameter `pgsize`
        kernel  Linux version 6.1.0 (build@host) (gcc 12.2.0) #1 SMP
        paging  Sv57, satp 0xa000000000081234: PGDIR_SHIFT 48, P4D_SHIFT 39
        memory  remote protocol, page by page: `set iommu memory remote` asks for it
        device  QEMU xmmuv1 at 0x2c000000, 8 of 8 registers read
        file    Investigation \(path): 6 maps, 1 unmap, 1 note.
        """)
    let empty = wrong.workspace.file("empty.iommulens")
    let store = try InvestigationStore(path: empty, side: "test")
    #expect(try Terminal.opened(store) == "Investigation \(empty): new.")
  }

  private func dump(_ shown: Shown, raw: Bool, filter: DumpFilter = DumpFilter()) throws -> String {
    var text = ""
    let root = try #require(shown.call(1).root)
    try Terminal.dump(root, memory: shown.findings.memory, filter: filter, raw: raw) { text += $0 }
    return text
  }

  @Test func dumps() throws {
    #expect(
      try dump(wrong, raw: false)
        == """
        0x3fffc000-0x3fffdfff -> 0x106180000  8 KiB  V R W
        0x3fffe000-0x3fffefff -> 0x106173000  4 KiB  V R W
        0x3ffff000-0x3fffffff -> 0x106172000  4 KiB  V R W

        """)
    #expect(
      try dump(wrong, raw: true)
        == """
                       0x0  level 2 [  0]  0x80b78000 = 0x202df801  V
                0x3fe00000  level 1 [511]  0x80b7eff8 = 0x202dfc01  V
                0x3fffc000  level 0 [508]  0x80b7ffe0 = 0x41860007  V R W
                0x3fffd000  level 0 [509]  0x80b7ffe8 = 0x41860407  V R W
                0x3fffe000  level 0 [510]  0x80b7fff0 = 0x4185cc07  V R W
                0x3ffff000  level 0 [511]  0x80b7fff8 = 0x4185c807  V R W

        """)
    #expect(try dump(wrong, raw: false, filter: DumpFilter(first: IOVA(1 << 32))) == "Nothing is mapped.\n")
    #expect(try dump(wrong, raw: true, filter: DumpFilter(first: IOVA(1 << 32))) == "No entries.\n")
    var text = ""
    try Terminal.dump(
      wrong.call(1).root ?? TableRoot(address: GPA(0), mode: .sv39), memory: wrong.findings.memory,
      filter: DumpFilter(), raw: false, poll: { true }
    ) { text += $0 }
    #expect(text == "stopped at 0x0: interrupted\n")
  }

  /// A dump puts its lines together byte by byte; they are those of ``Terminal/line(_:)-(DumpItem)``, whatever the entries.
  @Test func dumpsOfAnyEntriesHaveTheLinesOfTheirItems() throws {
    for round in 0..<20 {
      var numbers = SeededNumbers(round: round)
      let memory = SimulatedMemory()
      memory[0x8000_0000] = 0x8000_1000 >> 2 | 1
      memory[0x8000_1000] = 0x8000_2000 >> 2 | 1
      for index in 0..<UInt64(512) {
        let frame = numbers.chance(50) ? index : UInt64.random(in: 0..<1 << 44, using: &numbers)
        memory[0x8000_2000 + index * 8] = frame << 10 | (numbers.chance(80) ? 7 : numbers.next() & 0xff)
        if index > 0, numbers.chance(20) { memory[0x8000_1000 + index * 8] = numbers.next() & ~(0x7ff << 53 | 7) | 7 }
      }
      let items = PagingMode.sv39.dump(root: GPA(0x8000_0000), in: memory)
      var text = ""
      try Terminal.dump(
        TableRoot(address: GPA(0x8000_0000), mode: .sv39), memory: memory, filter: DumpFilter(), raw: false
      ) { text += $0 }
      #expect(text == items.map { Terminal.line($0) + "\n" }.joined(), "seed \(numbers.seed)")
      #expect(items.contains { if case .malformed = $0 { true } else { false } }, "seed \(numbers.seed)")
    }
  }

  @Test func dumpLines() {
    let iovas = IOVA(0x20_0000)...IOVA(0x3f_ffff)
    let entry = PageTableEntry(rawValue: 0x2000_0005)
    let lost = UnreadableMemory(address: GPA(0x9000_0000), reason: "outside guest RAM")
    #expect(
      Terminal.line(
        DumpItem.malformed(
          level: 1, entryAddress: GPA(0x8000_0008), entry: entry, problem: .writableNotReadable, iova: iovas))
        == "0x200000-0x3fffff malformed at level 1: W without R (0x80000008 = 0x20000005)")
    #expect(
      Terminal.line(DumpItem.unreadable(lost, level: 0, iova: iovas))
        == "0x200000-0x3fffff level 0 table: Cannot read guest-physical address 0x90000000: outside guest RAM.")
    #expect(
      Terminal.line(RawItem.unreadable(lost, level: 0, iova: iovas))
        == "0x200000-0x3fffff level 0 table: Cannot read guest-physical address 0x90000000: outside guest RAM.")
    #expect(
      Terminal.line(
        DumpItem.mapping(Mapping(iova: IOVA(0), target: GPA(0x4000_0000), size: 0x4000_1000, flags: [.valid, .read])))
        == "0x0-0x40000fff -> 0x40000000  1048580 KiB  V R")
  }

  @Test func walksThatEndEarly() {
    let memory = SimulatedMemory()
    memory[0x8000_0000] = 0x2000_0005
    memory[0x8000_0008] = (0x8000_1000 >> 12) << 10 | 1
    memory.unreadable = [GPA(0x8000_1000)]
    func walk(_ iova: UInt64) -> String {
      Terminal.walk(PagingMode.sv39.geometry.walk(IOVA(iova), root: GPA(0x8000_0000), in: memory), requester: nil)
    }
    #expect(
      walk(0) == """
        walk 0x0   Sv39 root 0x80000000
          level 2 [  0]  0x80000000 = 0x20000005  malformed: W without R
          malformed at level 2: W without R
        """)
    #expect(
      walk(0x4000_0000) == """
        walk 0x40000000   Sv39 root 0x80000000
          level 2 [  1]  0x80000008 = 0x20000401  table 0x80001000
          Cannot read guest-physical address 0x80001000: outside guest RAM.
        """)
    #expect(
      walk(1 << 40) == """
        walk 0x10000000000   Sv39 root 0x80000000
          not canonical: the bits above the mode's input do not follow the specification
        """)
  }

  @Test func devicesThatAreNotTranslated() {
    #expect(
      Terminal.devices([], state: KernelState())
        == "No device has a valid context: every address passes through untranslated.")
    let contexts = [
      DeviceContext(
        requester: RequesterID(rawValue: 8), words: [], translation: .bypassed("TD mode 0: bare"),
        descriptor: GPA(0x8000_0000)),
      DeviceContext(
        requester: RequesterID(rawValue: 0x1_0100), words: [], translation: .refused("TD mode 5 is unknown"),
        descriptor: nil),
    ]
    #expect(
      Terminal.devices(contexts, state: KernelState()) == """
        device        rsid  descriptor  translation
        0000:00:01.0  8     0x80000000  bypassed: TD mode 0: bare
        0001:01:00.0  256   -           refused: TD mode 5 is unknown
        """)
    #expect(
      Terminal.registers(RegisterValues(byOffset: [0x18: 1]), device: wrong.findings.profile.device, block: GPA(0))
        .split(separator: "\n").prefix(4) == [
          "QEMU xmmuv1 registers at 0x0", "  0x0     IOMMUCAP                                -    cannot be read",
          "  0x8     RSIDDIV                                 -    cannot be read",
          "  0x18    DTBASE                                  0x1  device table",
        ])
  }

  /// What is said of `mistakes` that no shift explains.
  private func said(_ mistakes: SimulatedDriver.Mistakes) -> (check: String, diagnosis: String) {
    let recording = Recording(SimulatedDriver())
    let domain = recording.driver.domain(of: Scenario.card)
    recording.driver.mistakes = mistakes
    recording.map(domain, 0x1000, to: 0x1_0000_0000, count: 2)
    recording.unmap(domain, 0x1000)
    return (Terminal.check(recording.check(), limit: 20), Terminal.diagnosis(recording.diagnosis(cpu: .sv57)))
  }

  @Test func mistakesBesideTheIndices() {
    let lost = said(.losesEntries)
    #expect(
      lost.check == """
        0x2000-0x2fff  -> 0x100001000  map #1  missing at level 2, cause 16 (S1_PTE_INVALID)
        1 of 2 pages disagree: 1 missing.
        """)
    #expect(
      lost.diagnosis == """
        1. map returns and its entries are nowhere in the domain's table   (1 of 1 wrong call)
           for      Map #1 at 0x1000 left no entry, and no index shift puts one where it would be found.
           look at  does it write at all, and into the table that the domain's descriptor names?
           open     What the call returned: `iommu break map -limit 1`, `continue`, `finish`, then `p $a0`.
        """)
    let stale = said(.forgetsToClear)
    #expect(
      stale.check == """
        0x1000-0x1fff  unmapped  unmap #1  stale after unmap: still leads to 0x100000000
        1 of 2 pages disagree: 1 stale after unmap.
        """)
    #expect(
      stale.diagnosis == """
        1. unmap leaves its entries as they are   (1 of 1 wrong unmap)
           for      Unmap #1 of 1 x 4 KiB at 0x1000 has returned, and 0x1000 is stale after unmap: still leads to 0x100000000.
           breaks   The device can still reach 1 page after the unmap, whoever uses that memory now.
           look at  the driver's unmap has to clear the leaf of every page of the range, then invalidate the IOTLB.
        """)
    let weak = said(.losesWrite)
    #expect(
      weak.check == """
        0x2000-0x2fff  -> 0x100001000  map #1  wrong permission: V R; device: refuses, cause 15 (S1_PTE_NO_RW)
        1 of 2 pages disagree: 1 wrong permission.
        """)
    #expect(
      weak.diagnosis == """
        1. WRITE is lost on the way into the leaf   (1 of 1 wrong call)
           for      2 of 2 leaves with wrong permissions hold exactly what it would write.
           for      Map #1 at 0x1000: the leaf should be 0x40000007 and is 0x40000003.
           look at  the way from iommu_prot (IOMMU_READ bit 0, IOMMU_WRITE bit 1) to the leaf (R bit 1, W bit 2).
           open     Only calls for READ|WRITE went wrong: one with another protection would tell these explanations apart.
        2. every page is mapped for reading only, whatever is asked for   (1 of 1 wrong call)
           for      2 of 2 leaves with wrong permissions hold exactly what it would write.
           for      Map #1 at 0x1000: the leaf should be 0x40000007 and is 0x40000003.
           look at  the way from iommu_prot (IOMMU_READ bit 0, IOMMU_WRITE bit 1) to the leaf (R bit 1, W bit 2).
           open     Only calls for READ|WRITE went wrong: one with another protection would tell these explanations apart.
        """)
    let nothing = Recording(SimulatedDriver())
    #expect(Terminal.check(nothing.check(), limit: 20) == "Nothing to check: no recorded call covers it.")
    #expect(
      Terminal.diagnosis(nothing.diagnosis())
        == "Nothing to diagnose: no map call has been recorded and verified. `iommu record map` records them.")
  }

  @Test func garbageIsLeftOutAndTold() {
    let recording = Recording(SimulatedDriver())
    let domain = recording.driver.domain(of: Scenario.card)
    let call = DriverCall(
      function: "xt_iommu_map", operation: .map(target: GPA(0), protection: .read, allocation: nil),
      domain: domain.pointer, iova: IOVA(0), length: 1 << 60)
    recording.record(call, domain)
    #expect(
      Terminal.check(recording.check(), limit: 20) == """
        Nothing to check: no recorded call covers it.
        Left out: 1 map call for more than a table can translate.
        """)
  }

  @Test func aLatchedFaultIsTold() {
    let recording = Recording(SimulatedDriver())
    recording.map(recording.driver.domain(of: Scenario.card), 0x1000, to: 0x1_0000_0000)
    recording.driver.latchFault(of: Scenario.card, at: 0)
    #expect(
      Terminal.check(recording.check(), limit: 20) == """
        0x1000-0x1fff  -> 0x100000000  map #1  device: latched fault hides a good mapping: cause 16 (S1_PTE_INVALID)
        1 of 1 page disagree: 1 latched fault.
        """)
  }

  @Test func whatTheTargetSaysCannotMoveTheCursor() {
    let call = DriverCall(
      function: "xt\u{1b}[2Jmap\r\n", operation: .unmap, domain: KVA(0), iova: IOVA(0), length: 4096)
    let recorded = RecordedCall(number: 1, call: call, root: nil, requester: nil, callers: ["driver\u{202e}evil\u{7}"])
    #expect(
      Terminal.call(recorded, version: nil) == """
        unmap #1   no requester   xt\u{fffd}[2Jmap\u{fffd}\u{fffd} <- driver\u{fffd}evil\u{fffd}
          iova   0x0 (0)   4 KiB
        """)
  }
}
