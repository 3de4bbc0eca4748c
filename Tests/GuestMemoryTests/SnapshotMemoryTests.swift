import GuestMemory
import PageTables
import Testing

@Suite struct SnapshotMemoryTests {
  @Test func neighbouringPagesReadAsOne() throws {
    let memory = try SnapshotMemory(pages: [
      GPA(0x80b8_2000): [UInt8](repeating: 1, count: 4096), GPA(0x80b8_3000): [UInt8](repeating: 2, count: 4096),
    ])
    #expect(try memory.bytes(at: GPA(0x80b8_2fff), count: 2) == [1, 2])
    #expect(
      text { try memory.word(at: GPA(0x80b8_4000)) }
        == "Cannot read guest-physical address 0x80b84000: "
        + "outside the recorded pages, which holds 0x80b82000-0x80b83fff.")
  }

  @Test func aPageOfTheWrongLengthOrPlaceIsRefused() throws {
    for (page, count) in [(GPA(0x1000), 4095), (GPA(0x1000), 0), (GPA(0x1008), 4096)] {
      #expect(
        text { try SnapshotMemory(pages: [page: [UInt8](repeating: 0, count: count)]) }
          == "The page at \(page) of \(count) bytes cannot be stored: a page has 4096 bytes and starts at a multiple of 4096. "
          + "Take the snapshot again.")
    }
  }

  @Test func noPagesAreNothingToRead() throws {
    let memory = try SnapshotMemory(pages: [:])
    #expect(
      text { try memory.word(at: GPA(0)) }
        == "Cannot read guest-physical address 0x0: outside the recorded pages, which holds nothing.")
  }
}
