import PageTables
import Testing

@Suite struct PageTableEntryTests {
  @Test func decodesTheLeafOfTheFieldNotesCall() {
    let leaf = PageTableEntry(rawValue: 0x4185_c807)
    #expect(leaf.flags == [.valid, .read, .write])
    #expect(leaf.address == GPA(0x1_0617_2000))
  }
}
