import PageTables
import Testing

@Suite struct PageTableEntryTests {
  typealias Flags = PageTableEntry.Flags

  @Test func decodesTheLeafOfTheFieldNotesCall() {
    let leaf = PageTableEntry(rawValue: 0x4185_c807)
    #expect(leaf.flags == [.valid, .read, .write])
    #expect(leaf.address == GPA(0x1_0617_2000))
    #expect(leaf.isLeaf && !leaf.isPointer)
    #expect("\(leaf.flags) -> \(leaf.address)" == "V R W -> 0x106172000")
  }

  @Test(arguments: 0..<64) func everyBitIsInOneField(_ bit: Int) {
    let entry = PageTableEntry(rawValue: UInt64(1) << UInt64(bit))
    #expect(entry.flags.rawValue == (bit < 8 ? UInt8(1) << UInt8(bit) : 0))
    #expect(entry.rsw == (bit == 8 ? 1 : bit == 9 ? 2 : 0))
    #expect(entry.ppn == ((10..<54).contains(bit) ? UInt64(1) << UInt64(bit - 10) : 0))
    #expect(entry.address.rawValue == ((10..<54).contains(bit) ? UInt64(1) << UInt64(bit + 2) : 0))
    #expect(entry.reserved == ((54..<61).contains(bit) ? UInt64(1) << UInt64(bit) : 0))
    #expect(entry.pbmt == (bit == 61 ? 1 : bit == 62 ? 2 : 0))
    #expect(entry.isContiguous == (bit == 63))
    #expect(entry.isValid == (bit == 0))
    #expect(entry.problem(atLevel: 1) == nil)
  }

  @Test func sv32DropsWhatItDoesNotHave() {
    let entry = PageTableEntry(rawValue: .max, format: .sv32)
    #expect(entry.rawValue == 0xffff_ffff)
    #expect(entry.ppn == 0x3f_ffff && entry.reserved == 0 && entry.pbmt == 0 && !entry.isContiguous)
    #expect(entry.problem(atLevel: 0) == nil)
    #expect(entry.problem(atLevel: 1) == .misalignedSuperpage(lowBits: 0x3ff))
    #expect(PageTableEntry.Format.sv32.bytes == 4 && PageTableEntry.Format.rv64.bytes == 8)
  }

  /// RWX from 0 to 7: what the specification's table 4.5 calls it.
  @Test func kindsOfEntries() {
    let kinds = (0..<8).map { rwx in
      let entry = PageTableEntry(rawValue: UInt64(rwx) << 1 | 1)
      return entry.isPointer ? "pointer" : entry.problem(atLevel: 0) == nil ? "leaf" : "reserved"
    }
    #expect(kinds == ["pointer", "leaf", "reserved", "leaf", "leaf", "leaf", "reserved", "leaf"])
  }

  @Test(
    arguments: [
      (0x5, 0, "W without R"),
      (0xd, 2, "W without R"),
      (0x1, 0, "no R, W or X at level 0"),
      (0x0080_0000_0000_0003, 0, "reserved bits 0x80000000000000 set"),
      (0x1fc0_0000_0000_0001, 1, "reserved bits 0x1fc0000000000000 set"),
      (0x6000_0000_0000_0003, 0, "reserved PBMT 3"),
      (0x2000_0000_0000_0001, 1, "reserved PBMT 1"),
      (0x0000_0000_0000_0403, 1, "superpage with low PPN bits 0x1"),
      (0x0000_0000_0008_0003, 2, "superpage with low PPN bits 0x200"),
      (0x8000_0000_0000_0003, 0, "N with low PPN bits 0x0"),
      (0x8000_0000_0000_2403, 0, "N with low PPN bits 0x9"),
      (0x8000_0000_0000_2003, 1, "N with low PPN bits 0x8"),
      (0x8000_0000_0000_2001, 1, "N with low PPN bits 0x8"),
      (0x0000_0000_0000_00d1, 1, "U A D in a pointer"),
      (0x0000_0000_0000_0041, 2, "A in a pointer"),
    ] as [(UInt64, Int, String)]) func problemsByName(_ raw: UInt64, _ level: Int, _ text: String)
  {
    let problem = PageTableEntry(rawValue: raw).problem(atLevel: level)
    #expect(problem.map { "\($0)" } == text)
    // What is not valid is not wrong.
    #expect(PageTableEntry(rawValue: raw & ~1).problem(atLevel: level) == nil)
  }

  @Test(
    arguments: [
      (0x3, 0), (0xcf, 0), (0x21, 1), (0x301, 1), (0x2000_0000_0000_0003, 0), (0x4000_0000_0008_0003, 1),
      (0x8000_0000_202c_20df, 0), (0x003f_ffff_ffff_fcff, 0), (0x1000_0003, 2),
    ] as [(UInt64, Int)]) func goodEntriesHaveNoProblem(_ raw: UInt64, _ level: Int)
  {
    #expect(PageTableEntry(rawValue: raw).problem(atLevel: level) == nil)
  }

  @Test func flagsAsLetters() {
    #expect(Flags(rawValue: 0xff).description == "V R W X U G A D")
    #expect(Flags().description == "-")
    #expect(Flags(letters: "rw") == [.read, .write])
    #expect(Flags(letters: "DAGUXWRV") == Flags(rawValue: 0xff))
    #expect(Flags(letters: "") == [])
    #expect(Flags(letters: "rq") == nil)
    for bit in 0..<8 { #expect(Flags(letters: Flags(rawValue: 1 << bit).description)?.rawValue == 1 << bit) }
  }

  @Test func levelsThatDoNotExistDoNotTrap() {
    for level in [Int.min, -1, 3, 5, 64, .max] {
      for format in [PageTableEntry.Format.sv32, .rv64] {
        for raw in [0x3, 0x1, UInt64.max, 0x8000_0000_0000_2003] {
          _ = PageTableEntry(rawValue: raw, format: format).problem(atLevel: level)
        }
      }
      let geometry = PagingMode.sv39.geometry
      #expect(geometry.index(of: IOVA(.max), atLevel: level) == 0)
      #expect(geometry.entries(atLevel: level) == 0)
      _ = geometry.leafSize(atLevel: level)
      _ = geometry.entryAddress(table: GPA(.max), index: level)
      #expect(geometry.replacing(shift: 48, atLevel: level) == geometry)
      for shift in [Int.min, -1, 64, .max] { #expect(geometry.replacing(shift: shift, atLevel: 2) == geometry) }
    }
  }
}
