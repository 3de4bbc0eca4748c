import IOMMUModel
import Investigation
import PageTables
import Testing

@testable import Evidence

@Suite struct RegisterTests {
  @Test func monitor() throws {
    let read = try Texts.read(fixture: "pgdir-shift/registers-before-and-after.txt")
    #expect(read.registers.count == 3 && read.refusals.isEmpty && read.isComplete)
    #expect(
      read.registers.last
        == RegisterValues(byOffset: [
          0x0: 0, 0x8: 8, 0x18: 0x80b7_6000, 0x20: 0x8000_0000_0008_0010, 0x28: 0xffff_f00c, 0x30: 13, 0x1000: 1,
          0x1008: 1,
        ]))
    // Four bytes of a register read as 0, whatever is in it.
    #expect(Texts.read("000000002c000008: 0x00000000").registers.isEmpty)
    let memory = Texts.read("(qemu) xp /2gx 0x80b82000\n0000000080b82000: 0x00000000202f4801 0x0000000000000000")
    #expect(memory.registers.isEmpty && memory.refusals.map(\.lines) == [2...2])
    #expect(
      Texts.read("(qemu) xp /2gx 0x2c000018\n000000002c000018: 0x0000000080b76000 0x0000000000000010").registers == [
        RegisterValues(byOffset: [0x18: 0x80b7_6000, 0x20: 0x10])
      ])
  }

  @Test func state() throws {
    let captured = try Texts.read(fixture: "pgdir-shift/qemu-state-later.txt").registers
    let expected = RegisterValues(byOffset: [
      0x0: 0, 0x8: 8, 0x18: 0x80b7_6000, 0x20: 0x8000_0000_0008_0010, 0x28: 0xffff_f00c, 0x30: 13, 0x1000: 1, 0x1008: 1,
    ])
    #expect(captured == [expected])
    let pretty = Texts.read(
      """
      $1 = {
        dtbase = 2159501312,
        rsiddiv = 8,
        ftval = 4294963212,
        enable = true,
        irq_enable = true,
        stage_two = false,
        irq_num = 13,
        fault_pending = true,
        fault_rsid = 8,
        fault_cause = 16,
      }
      """)
    #expect(pretty.registers == [expected])
    // Without its requester a cause is no register.
    let little = Texts.read("{dtbase = 0x1000, rsiddiv = 8, fault_cause = 16, fault_pending = 1}").registers
    #expect(little == [RegisterValues(byOffset: [0x18: 0x1000, 0x8: 8])])
    #expect(Texts.read("{enable = 1, other = 2}").registers.isEmpty)
  }

  @Test func satp() throws {
    for text in [
      "(gdb) p/x $satp\n$6 = 0xa000100000080bc0", "(gdb) p $satp\n$1 = -6917511435454510144",
      "satp           0xa000100000080bc0\t-6917511435455198272", " satp     a000100000080bc0",
      "$satp = 0xa000100000080bc0",
    ] {
      #expect(Texts.read(text).facts == [Fact.satp: "0xa000100000080bc0"], "\(text)")
    }
    #expect(try Texts.read(fixture: "pgdir-shift/kernel-paging-values.txt").facts == [Fact.satp: "0xa000100000080bc0"])
    // Before paging is on it tells nothing.
    #expect(Texts.read("(gdb) p/x $satp\n$1 = 0x0").facts.isEmpty)
    #expect(Texts.read("(gdb) p/x $satp\nNo symbol").refusals.map(\.lines) == [1...1])
    #expect(Texts.read("satp is the register").facts.isEmpty)
  }

  @Test func sourceIndices() throws {
    let notes = try Texts.read(fixture: "field-notes.txt").findings.compactMap { finding -> SourceIndex? in
      if case .sourceIndex(let index) = finding.evidence { index } else { nil }
    }
    #expect(notes.map(\.name) == ["vpn2_idx", "vpn1_idx", "vpn0_idx"])
    #expect(notes.map(\.shift) == ["PGDIR_SHIFT", "PMD_SHIFT", "PAGE_SHIFT"])
    #expect(notes.first?.origin == "field-notes.txt:394" && notes.first?.mask == "PAGE_TABLE_LEVEL_MASK")
    for index in notes { #expect(SourceIndex(factName: index.factName, value: index.factValue) == index) }
    #expect(
      notes.first.map { [$0.factName, $0.factValue] } == [
        "source index vpn2_idx", "(iova >> PGDIR_SHIFT) & PAGE_TABLE_LEVEL_MASK at field-notes.txt:394",
      ])
    func read(_ line: String) -> Bool { !Texts.read(line).findings.isEmpty }
    #expect(read("  u64 idx = (addr >> 30) & 0x1ff;"))
    for other in [
      "x = (a >> 3);", "x == (a >> 3) & 7", "if (x = (a >> 3) && 7)", "x = (a >> 3) & 7 | 1;", "x += (a >> 3) & 7;",
    ] {
      #expect(!read(other), "\(other)")
    }
    #expect(
      SourceIndex(factName: "satp", value: "0x0") == nil && SourceIndex(factName: "source index a", value: "b") == nil)
  }
}
