import GuestMemory
import PageTables
import Testing

@Suite struct OverlayMemoryTests {
  /// A column is a page from 0x1000 on, a line a source, each page filled with its source's letter.
  private func overlay(_ picture: String) throws -> OverlayMemory {
    OverlayMemory(
      try picture.split(separator: "\n").map { line in
        var pages: [GPA: [UInt8]] = [:]
        for (column, letter) in line.utf8.enumerated() where letter != UInt8(ascii: ".") {
          pages[GPA(UInt64(column + 1) << 12)] = [UInt8](repeating: letter, count: 4096)
        }
        return try SnapshotMemory(pages: pages)
      })
  }

  @Test func eachPageComesFromTheFirstSourceThatHasIt() throws {
    let memory = try overlay(
      """
      AA..A...
      .BBB....
      CCCCCCC.
      """)  // AABBACC.
    for (start, count) in [(0, 7), (1, 3), (3, 4), (6, 1)] {
      // Not aligned: the parts before the first and after the last page border count too.
      let bytes = try memory.bytes(at: GPA(UInt64(start + 1) << 12 | 0xff8), count: (count - 1) * 4096 + 8)
      let letters = (0..<count).map { bytes[$0 * 4096] }
      #expect(String(decoding: letters, as: UTF8.self) == "AABBACC".dropFirst(start).prefix(count))
    }
    #expect(memory.residentPage(GPA(0x3000))?.load(as: UInt8.self) == UInt8(ascii: "B"))
  }

  @Test func aReadAcrossAHoleFailsAtTheHole() throws {
    let memory = try overlay(
      """
      AA.....
      ...BB..
      """)
    #expect(
      text { try memory.bytes(at: GPA(0x1800), count: 0x4000) }
        == "Cannot read guest-physical address 0x3000: outside the recorded pages, which holds 0x1000-0x2fff.")
    var buffer = [UInt8](repeating: 0, count: 5 * 4096)
    let pages = (1...5).map { GPA(UInt64($0) << 12) }
    #expect(buffer.withUnsafeMutableBytes { memory.readPages(pages, into: $0) } == 2)
  }

  @Test func theErrorIsThatOfTheSourceThatCameFurthest() throws {
    let whole = try SnapshotMemory(pages: [GPA(0x1000): [UInt8](repeating: 0, count: 4096)])
    let nearly = CallableMemory(ranges: [try MemoryRange(start: GPA(0x2000), size: 0x10)]) { _, count in
      [UInt8](repeating: 0, count: count)
    }
    let memory = OverlayMemory([nearly, whole])
    #expect(
      text { try memory.bytes(at: GPA(0x2008), count: 16) }
        == "Cannot read guest-physical address 0x2010: outside guest RAM, which holds 0x2000-0x200f.")
    #expect(
      text { try OverlayMemory([]).word(at: GPA(8)) }
        == "Cannot read guest-physical address 0x8: no source of guest memory is open.")
  }

  @Test func aPageThatAnEarlierSourceAnswersIsNotTakenFromALaterOne() throws {
    let copying = CallableMemory(ranges: [try MemoryRange(start: GPA(0x1000), size: 0x1000)]) { _, count in
      [UInt8](repeating: 0xa, count: count)
    }
    let resident = try SnapshotMemory(pages: [
      GPA(0x1000): [UInt8](repeating: 0xb, count: 4096), GPA(0x2000): [UInt8](repeating: 0xb, count: 4096),
    ])
    let memory = OverlayMemory([copying, resident])
    #expect(memory.residentPage(GPA(0x1000)) == nil)
    #expect(memory.residentPage(GPA(0x2000)) != nil)
    #expect(try memory.bytes(at: GPA(0x1fff), count: 2) == [0xa, 0xb])
  }

  @Test func aReadPastTheEndOfTheAddressSpaceDoesNotGoOnAtZero() throws {
    let page = [UInt8](repeating: 1, count: 4096)
    let memory = OverlayMemory([
      try SnapshotMemory(pages: [GPA(0xffff_ffff_ffff_f000): page, GPA(0): page, GPA(0x1000): page])
    ])
    #expect(try memory.bytes(at: GPA(0xffff_ffff_ffff_f000), count: 4096) == page)
    for count in [4097, 8192, 12288] {
      #expect(
        text { try memory.bytes(at: GPA(0xffff_ffff_ffff_f000), count: count) }
          == "Cannot read guest-physical address 0x0: the read passes the end of the address space.")
    }
  }

  @Test func manyPagesAreReadInTurns() throws {
    let pages = (0..<1500).map { GPA(UInt64($0) << 12) }
    let content = Dictionary(
      uniqueKeysWithValues: pages.map { ($0, [UInt8](repeating: UInt8($0.rawValue >> 12 & 0xff), count: 4096)) })
    let memory = OverlayMemory([
      try SnapshotMemory(pages: content.filter { $0.key.rawValue & 0x1000 == 0 }),
      try SnapshotMemory(pages: content.filter { $0.key.rawValue & 0x1000 != 0 }),
    ])
    let bytes = try memory.bytes(at: GPA(0), count: 1500 * 4096)
    #expect((0..<1500).allSatisfy { bytes[$0 * 4096 + 9] == UInt8($0 & 0xff) })
  }
}
