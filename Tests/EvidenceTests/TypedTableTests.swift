import IOMMUModel
import Investigation
import PageTables
import Randomness
import Simulation
import Testing

@testable import Evidence

/// Tables that somebody wrote down entry by entry.
@Suite struct TypedTableTests {
  static let owner = "dte[8] = 0x80baf005, td word 0 = 0x8000000000080b93, driver s1ppn<<12 = 0x80b93000\n"
  static let root = TableRoot(address: GPA(0x80b9_3000), mode: .sv39)

  let workspace: Workspace

  init() throws { workspace = try Workspace() }

  private func store(_ name: String = "a") throws -> InvestigationStore {
    try InvestigationStore(path: workspace.file("\(name).iommulens"), side: "test")
  }

  private func tables(_ extraction: Extraction) -> [TypedTable] {
    extraction.findings.compactMap { if case .table(let table) = $0.evidence { table } else { nil } }
  }

  private func findings(_ text: String) throws -> Findings {
    let store = try store("\(text.hashValue)")
    _ = try EvidenceImport([Texts.read(text)], into: store, profiles: Texts.profiles)
    return try Findings(offline: store, tenants: Scenario.tenants)
  }

  private func alias() throws -> String {
    String(decoding: try Texts.fixture("vfio/d-alias-tables-with-pgdir-bug.txt"), as: UTF8.self)
  }

  @Test func everyEntryHasItsPlace() throws {
    let read = try Texts.read(fixture: "vfio/d-alias-tables-with-pgdir-bug.txt")
    #expect(read.refusals.isEmpty && read.isComplete)
    let table = try #require(tables(read).first)
    #expect(table.root == Self.root && table.requester == RequesterID(rawValue: 8))
    let entries = Dictionary(uniqueKeysWithValues: table.entries.map { ($0.name, $0) })
    func entry(_ name: String) -> TypedEntry? { entries[name] }
    #expect(entry("root[0]")?.address == GPA(0x80b9_3000) && entry("root[0]")?.content == .value(0x202e_c001))
    #expect(entry("root[0].level1[129]")?.address == GPA(0x80bb_0000 + 129 * 8))
    // From the words behind an entry, and from where walks end.
    #expect(entry("root[0].level1[128].level0[0]")?.content == .value(0x2030_0007))
    #expect(entry("root[0].level1[129].level0[511]")?.content == .leaf(GPA(0x80ff_f000)))
    #expect(entry("root[1]")?.content == .invalid && entry("root[1]")?.address == GPA(0x80b9_3008))
    #expect(entries.count == 15)
    // First and last page of a mapping are one call, of as many bytes as it has.
    #expect(read.calls.map(\.call.length) == [0x20_0000, 0x20_0000, 0x40_0000, 0x40_0000])
    #expect(read.calls.allSatisfy { $0.root == Self.root && $0.call.protection == nil })
  }

  @Test func aSummaryNamesEveryTableButItsRoot() throws {
    let read = try Texts.read(fixture: "pgdir-shift/tables-walk-summary.txt")
    let entries = try #require(tables(read).first).entries
    #expect(entries.count == 7 && entries.first?.address == GPA(0x80bd_2000 + 511 * 8))
    #expect(entries.last?.address == GPA(0x80bd_3000 + 511 * 8) && entries.last?.content == .value(0x202f_4407))
    #expect(
      read.refusals == [
        Refusal(
          lines: 3...3, reason: "root[0] is an entry of a root table, but the text does not say where that table is.")
      ])
    #expect(read.isComplete)
  }

  /// What the tables show decides, not the words at the end of a line.
  @Test func theWordsOfATextDecideNothing() throws {
    let text = try alias()
    let plain = try findings(text.replacing("   MISMATCH", with: ""))
    #expect(plain.diagnosis.hypotheses.first?.wrongShift?.level == 2 && !plain.diagnosis.isClean)
    let right = String(decoding: try Texts.fixture("vfio/b-huge-pages-tables.txt"), as: UTF8.self)
    let accused = try findings(right.split(separator: "\n").map { "\($0)   MISMATCH" }.joined(separator: "\n"))
    #expect(accused.diagnosis.isClean && accused.check.disagreements.isEmpty && accused.check.mappedPages == 10)
  }

  @Test func aliasedMappingsAreFoundToBeOverwritten() throws {
    let findings = try findings(try alias())
    let overwritten = findings.check.disagreements.filter {
      if case .overwritten(_, by: 3) = $0.tables { true } else { false }
    }
    #expect(Set(overwritten.map(\.call.number)) == [1, 2] && overwritten.count == 4)
    let first = try #require(findings.diagnosis.hypotheses.first)
    #expect(findings.diagnosis.hypotheses.count == 1 && first.explainsAll && first.support.total == 4)
    #expect(first.wrongShift?.shifts.contains(ShiftSet(48)) == true)
    #expect(first.wrongShift?.shifts.contains(ShiftSet(30)) == false)
  }

  /// The same two pages, the second mapping where a shift of 30 puts it: a machine that is right is not accused, and one
  /// whose entries go wrong without any shift is not accused of one.
  @Test func otherTablesLeadToOtherConclusions() throws {
    let entries = """
      root[0] = 0x00000000202ec001
        level1[128] = 0x00000000202f8001  pointer, level 0 has 1 valid 4 KiB entries, first [0] = 0x0000000020800407
      root[1] = 0x00000000202f4801
        level1[128] = 0x00000000202f8401  pointer, level 0 has 1 valid 4 KiB entries, first [0] = 0x0000000020300407

      """
    func walk(_ iova: String, _ target: String, _ end: String) -> String {
      "iova \(iova) mapped to \(target) (pgsize 4096 pgcount 1): device walk -> \(end)\n"
    }
    let right = try findings(
      Self.owner + entries + walk("0x10000000", "0x82001000", "0x82001000")
        + walk("0x50000000", "0x80c01000", "0x80c01000"))
    #expect(right.check.mappedPages == 2 && right.diagnosis.calls == 2 && right.diagnosis.isClean)
    let wrong = try findings(
      Self.owner + entries + walk("0x10000000", "0x82002000", "0x82001000")
        + walk("0x50000000", "0x80c02000", "0x80c01000"))
    #expect(wrong.check.disagreeingPages == 2)
    #expect(wrong.diagnosis.hypotheses.map(\.cause) == [.pageNumberOff(by: -1)])
  }

  @Test func whatNoTextShowsIsNotCompared() throws {
    let findings = try findings(
      Self.owner + """
        root[0] = 0x202ec001
        iova 0x10000000 mapped to 0x82000000 (pgsize 4096 pgcount 1): device walk -> invalid at shift 30 index 1
        iova 0x10000000 mapped to 0x82000000 (pgsize 4096 pgcount 1): device walk -> invalid at shift 21 index 128
        """)
    #expect(findings.calls.count == 1 && findings.check.disagreeingPages == 1)
    let store = try store("entries")
    try store.setFact("entry 0x1000", "0x801, root[0]")
    let memory = try store.recordedMemory()
    #expect(try memory.word(at: GPA(0x1000)) == 0x801)
    for (address, isUnrecorded) in [(0x1008, true), (0x2000, true), (0x3000, false)] as [(UInt64, Bool)] {
      do {
        _ = try memory.word(at: GPA(address))
        Issue.record("\(hex(address)) was read")
      } catch { #expect(error.isUnrecorded == isUnrecorded) }
    }
  }

  @Test func malformedTablesAreTold() {
    func reasons(_ lines: String...) -> [String] {
      let read = Texts.read(Self.owner + lines.joined(separator: "\n"))
      #expect(read.isComplete)
      return read.refusals.map { "\($0.lines.lowerBound): \($0.reason)" }
    }
    #expect(reasons("root[512] = 0x1") == ["2: root[512] is out of range: a table has 512 entries, 0 to 511."])
    #expect(reasons("root[511] = 0x1") == [])
    #expect(reasons("root[0] = nowhere") == ["2: root[0] has no number of 64 bits as its value."])
    #expect(reasons("root[0] = 0x202f4g01") == ["2: root[0] has no number of 64 bits as its value."])
    #expect(reasons("root[0] = 0x1ffffffffffffffff") == ["2: root[0] has no number of 64 bits as its value."])
    #expect(
      reasons("root[0] = 0x202ec001", "  level2[0] = 0x1") == [
        "3: level2[0] is out of range: below the root of an Sv39 table are levels 1 and 0."
      ])
    #expect(
      reasons("root[0] = 0x202ec001", "root[0].level0[3] = 0x7") == [
        "3: level0[3] does not follow root[0]: below it is level 1."
      ])
    #expect(
      reasons("root[0] = 0x202ec001", "root[1] = 0x0", "root[0] = 0x202ec401") == [
        "4: root[0] is given twice with different values: 0x202ec001 in line 2, 0x202ec401 here."
      ])
    #expect(reasons("root[0] = 0x202ec001", "root[0] = 0x202ec001") == [])
    #expect(reasons("  level1[0] = 0x1") == ["2: level1[0] stands below no entry of level 2 that was read."])
    #expect(
      reasons("root[0] = 0x0", "  level1[0] = 0x1") == ["3: root[0] points to no table."])
    #expect(
      reasons("root[0] = 0x202ec001  ppn<<12 0x80bb1000 flags 0x1") == [
        "2: root[0] is 0x202ec001, whose page is 0x80bb0000, not 0x80bb1000."
      ])
    #expect(
      reasons("root[0] = 0x202ec001", "level1[x] = 0x1") == [
        "3: It starts as an entry of a table does, and is none."
      ])
  }

  @Test func walksThatCannotBeAreTold() {
    func reason(_ end: String, _ mapped: String = "0x10000000 mapped to 0x82000000 (pgsize 4096 pgcount 1)") -> String?
    {
      let text =
        Self.owner + """
          root[0] = 0x202ec001
            level1[128] = 0x202f8001  pointer, level 0 has 1 valid 4 KiB entries, first [0] = 0x20800007
          iova \(mapped): device walk -> \(end)
          """
      let read = Texts.read(text)
      #expect(read.refusals.allSatisfy { $0.lines == 4...4 } && read.calls.count == 1 - read.refusals.count)
      return read.refusals.first?.reason
    }
    #expect(reason("0x82000000") == nil)
    #expect(
      reason("0x82001000")
        == "The walk contradicts root[0].level1[128].level0[0], which line 3 gives as 0x20800007.")
    #expect(
      reason("invalid at shift 12 index 0")
        == "The walk contradicts root[0].level1[128].level0[0], which line 3 gives as 0x20800007.")
    #expect(reason("invalid at shift 30 index 0") == "The walk ends at root[0], which line 2 gives as 0x202ec001.")
    #expect(reason("nowhere") == "The walk ends in a way that is not known here.")
    #expect(
      reason("0x82000008") == "The walk ends at 0x82000008, which is at another place in its page than 0x10000000.")
    #expect(
      reason("0x82000000", "0x50000000 mapped to 0x82000000 (pgsize 4096 pgcount 1)")
        == "The walk passes root[1], which no line gives.")
    #expect(
      reason("0x82000000", "0x10000000 mapped to 0x82000000 (pgsize 18446744073709551615 pgcount 2)")
        == "2 pages of 18446744073709551615 bytes are no range that can be mapped.")
  }

  @Test func ownersThatCannotBeAreTold() {
    func reason(_ owner: String) -> String? {
      let read = Texts.read(owner + "\nroot[0] = 0x1")
      return read.refusals.first?.reason
    }
    #expect(
      reason("dte[8] = 0x80baf005, td word 0 = 0x8000000000080b93, driver s1ppn<<12 = 0x80b94000")
        == "The descriptor names the table at 0x80b93000, the driver the one at 0x80b94000: which of them is written out "
        + "is not said.")
    #expect(
      reason("dte[8] = 0x80baf005, td word 0 = 0x80b93")
        == "The descriptor 0x80b93 names no page table: its mode is 0.")
    #expect(
      reason("dte[8] = 0x80baf005, td word 0 = 0x1000000000080b93")
        == "The descriptor 0x1000000000080b93 names an Sv32 table, which is not read entry by entry.")
    // An entry that is not valid names no requester.
    let read = Texts.read("dte[8] = 0x80baf004, td word 0 = 0x8000000000080b93\nroot[0] = 0x1")
    #expect(tables(read).first?.requester == nil && tables(read).first?.root == Self.root)
  }

  @Test func entriesKeep() {
    for content in [.value(0x202f_4801), .invalid, .leaf(GPA(0x821f_f000))] as [TypedEntry.Content] {
      let entry = TypedEntry(address: GPA(0x80b8_2018), content: content, name: "root[3]")
      #expect(TypedEntry(factName: entry.factName, value: entry.factValue) == entry)
    }
    for value in ["", "0x1", "valid, root[3]", "leads to 5, root[3]", "0xg, root[3]"] {
      #expect(TypedEntry(factName: "entry 0x1000", value: value) == nil)
    }
    #expect(TypedEntry(factName: "satp", value: "0x1, root[3]") == nil)
  }

  /// Cut or changed anywhere, such a text is read or refused line by line.
  @Test func damagedTablesAreAccountedFor() throws {
    let bytes = try Texts.fixture("vfio/d-alias-tables-with-pgdir-bug.txt")
    var numbers = SeededNumbers(seed: 5)
    for round in 0..<60 {
      var damaged = bytes
      for _ in 0..<Int.random(in: 1...4, using: &numbers) {
        let position = Int.random(in: damaged.indices, using: &numbers)
        damaged[position] = Array("0123456789abcdefx[]= .".utf8).randomElement(using: &numbers) ?? 0x30
      }
      if Bool.random(using: &numbers) { damaged.removeLast(Int.random(in: 0..<damaged.count, using: &numbers)) }
      let read = Texts.reader.read(damaged, name: "text")
      #expect(read.isComplete)
      let store = try store("\(round)")
      _ = try EvidenceImport([read], into: store, profiles: Texts.profiles)
      if try !store.counts().isEmpty { _ = try Findings(offline: store, tenants: Scenario.tenants) }
    }
  }
}
