import PageTables
import Randomness
import Testing

@testable import GuestMemory

@Suite struct RangeTableTests {
  /// Letters are ranges in the order of their names, a column is one address; the last line is who answers.
  @Test(arguments: [
    """
    AAAA....
    ....BBBB
    AAAABBBB
    """,
    """
    AAAA....
    ..BBBB..
    AAAABB..
    """,
    """
    ..AAAA..
    BBBB....
    BBAAAA..
    """,
    """
    ..AA....
    BBBBBBBB
    BBAABBBB
    """,
    """
    AAAAAAAA
    ..BBBB..
    AAAAAAAA
    """,
    """
    ....AA..
    .BB.....
    ..CCCCC.
    .BBCAAC.
    """,
    """
    .A......
    .B......
    .A......
    """,
  ])
  func theFirstRangeWinsWhereSomeOverlap(picture: String) throws {
    let lines = picture.split(separator: "\n").map(Array.init)
    var ranges: [(range: MemoryRange, place: UInt64)] = []
    for (number, line) in lines.dropLast().enumerated() {
      let start = try #require(line.firstIndex { $0 != "." })
      let count = line.filter { $0 != "." }.count
      // Each range's place says which it is and how far into it.
      ranges.append((try MemoryRange(start: GPA(UInt64(start)), size: UInt64(count)), UInt64(number * 100 + start)))
    }
    let table = RangeTable(ranges, name: "the picture")
    for (address, winner) in (lines.last ?? []).enumerated() {
      let piece = table.piece(holding: GPA(UInt64(address)))
      guard let letter = winner.asciiValue, winner != "." else {
        #expect(piece == nil)
        continue
      }
      let place = try #require(piece).place + UInt64(address) - (try #require(piece).start)
      #expect(place == UInt64(letter - UInt8(ascii: "A")) * 100 + UInt64(address), "column \(address)")
    }
  }

  @Test func neighboursThatLieOneBehindTheOtherBecomeOnePiece() throws {
    let table = RangeTable(
      [
        (try MemoryRange(start: GPA(0x2000), size: 0x1000), 0x9000),
        (try MemoryRange(start: GPA(0x1000), size: 0x1000), 0x8000),
      ],
      name: "two")
    #expect(table.pieces.count == 1)
    #expect(table.residentPage(GPA(0x1800)) == UnsafeRawPointer(bitPattern: 0x8800))
  }

  @Test func theLastAddressOfAllIsReachedAndNotPassed() throws {
    let table = RangeTable([(try MemoryRange(start: GPA(.max - 9), size: 10), 100)], name: "the end")
    var spans: [Int] = []
    try table.forEachSpan(from: GPA(.max - 3), count: 4) { _, _, count in spans.append(count) }
    #expect(spans == [4])
    #expect(throws: UnreadableMemory.self) { try table.forEachSpan(from: GPA(.max - 3), count: 5) { _, _, _ in } }
  }

  @Test func aRangeMustHaveBytesAndEndInTheAddressSpace() throws {
    #expect(throws: MemoryError.badRange(start: GPA(5), size: 0)) { try MemoryRange(start: GPA(5), size: 0) }
    #expect(throws: MemoryError.badRange(start: GPA(5), size: .max)) { try MemoryRange(start: GPA(5), size: .max) }
    #expect(try MemoryRange(start: GPA(1), size: .max).last == GPA(.max))
    #expect(
      MemoryError.badRange(start: GPA(5), size: 0).description
        == "A range of 0x0 bytes from 0x5 is empty or passes the end of the address space. Correct its start or size.")
  }

  @Test func randomOverlapsAgreeWithPaintingThemBackwards() throws {
    var random = SeededNumbers()
    for _ in 0..<300 {
      var ranges: [(range: MemoryRange, place: UInt64)] = []
      var painted = [UInt64?](repeating: nil, count: 64)
      for number in 0..<Int.random(in: 1...12, using: &random) {
        let start = UInt64.random(in: 0..<60, using: &random)
        let size = UInt64.random(in: 1...(64 - start), using: &random)
        ranges.append((try MemoryRange(start: GPA(start), size: size), UInt64(number) << 32))
      }
      for (range, place) in ranges.reversed() {
        for offset in 0..<range.size { painted[Int(range.start.rawValue + offset)] = place + offset }
      }
      let table = RangeTable(ranges, name: "random")
      let found = (0..<64).map { address in
        table.piece(holding: GPA(UInt64(address))).map { $0.place + UInt64(address) - $0.start }
      }
      #expect(found == painted, "IOMMULENS_SEED=\(random.seed)")
    }
  }
}
