import Children
import GuestMemory
import PageTables
import Testing

@Suite struct CallableMemoryTests {
  /// Answers with the page number's low byte and writes down what it was asked.
  private final class Debugger {
    var requests: [String] = []
    var bad: GPA?

    func read(_ address: GPA, _ count: Int) throws -> [UInt8] {
      requests.append("\(address)+\(hex(UInt64(count)))")
      if let bad, bad >= address, bad < address + UInt64(count) { throw TestFailure("Cannot access memory") }
      return (0..<count).map { UInt8(truncatingIfNeeded: (address + UInt64($0)).rawValue >> 12) }
    }
  }

  @Test func aPageIsAskedForOnceUntilTheGuestRan() throws {
    let debugger = Debugger()
    let memory = CallableMemory(reader: debugger.read)
    for address in stride(from: UInt64(0x5000), to: 0x6000, by: 8) { _ = try memory.word(at: GPA(address)) }
    #expect(debugger.requests == ["0x5000+0x1000"])
    memory.invalidate()
    _ = try memory.word(at: GPA(0x5000))
    #expect(debugger.requests == ["0x5000+0x1000", "0x5000+0x1000"])
  }

  @Test func unknownNeighboursAreOneRequest() throws {
    let debugger = Debugger()
    let memory = CallableMemory(reader: debugger.read)
    _ = try memory.word(at: GPA(0x3000))
    #expect(try memory.bytes(at: GPA(0x1ff8), count: 0x3010).last == 5)
    #expect(debugger.requests == ["0x3000+0x1000", "0x1000+0x2000", "0x4000+0x2000"])
    var buffer = [UInt8](repeating: 0, count: 3 * 4096)
    let read = buffer.withUnsafeMutableBytes { memory.readPages([GPA(0x8000), GPA(0x9000), GPA(0x7000)], into: $0) }
    #expect(read == 3)
    #expect(debugger.requests.suffix(2) == ["0x8000+0x2000", "0x7000+0x1000"])
  }

  @Test func pagesThatLieApartAreOneRequestWhereThereIsAWayToAskSo() throws {
    let debugger = Debugger()
    var together: [[GPA]] = []
    let memory = CallableMemory(
      reader: debugger.read,
      pageReader: { pages in
        together.append(pages)
        return try pages.flatMap { try debugger.read($0, 4096) }
      })
    _ = try memory.word(at: GPA(0x3000))
    debugger.requests = []
    let pages = [GPA(0x9000), GPA(0x3000), GPA(0x5000), GPA(0x9000)]
    var buffer = [UInt8](repeating: 0, count: pages.count * 4096)
    #expect(buffer.withUnsafeMutableBytes { memory.readPages(pages, into: $0) } == 4)
    #expect(stride(from: 0, to: buffer.count, by: 4096).map { buffer[$0] } == [9, 3, 5, 9])
    // What is known, and what is wanted twice, is not asked for again.
    #expect(together == [[GPA(0x9000), GPA(0x5000)]])
    #expect(debugger.requests == ["0x9000+0x1000", "0x5000+0x1000"])

    // One bad page spoils the request, not the pages before it.
    debugger.bad = GPA(0x7008)
    let others = [GPA(0x1000), GPA(0x7000), GPA(0xb000)]
    #expect(buffer.withUnsafeMutableBytes { memory.readPages(others, into: $0) } == 1)
    #expect(buffer[0] == 1)

    // No more than 64 together: a debugger that reads cannot be interrupted.
    together = []
    let many = (0..<150).map { GPA(UInt64($0) * 0x2000 + 0x10_0000) }
    var large = [UInt8](repeating: 0, count: many.count * 4096)
    #expect(large.withUnsafeMutableBytes { memory.readPages(many, into: $0) } == 150)
    #expect(together.map(\.count) == [64, 64, 22])
  }

  @Test func aBadPageAmongGoodOnesIsTheOneThatFails() throws {
    let debugger = Debugger()
    debugger.bad = GPA(0x7008)
    let memory = CallableMemory(reader: debugger.read)
    #expect(
      text { try memory.bytes(at: GPA(0x4000), count: 0x6000) }
        == "Cannot read guest-physical address 0x7000: Cannot access memory.")
    debugger.requests = []
    var buffer = [UInt8](repeating: 0, count: 5 * 4096)
    let pages = (4..<9).map { GPA(UInt64($0) << 12) }
    #expect(buffer.withUnsafeMutableBytes { memory.readPages(pages, into: $0) } == 3)
    #expect(buffer[0x2fff] == 6)
    #expect(debugger.requests == ["0x7000+0x2000", "0x7000+0x1000"])
  }

  @Test func anAnswerOfTheWrongLengthIsAnError() throws {
    for length in [0, 4095, 4097] {
      let memory = CallableMemory { _, _ in [UInt8](repeating: 0, count: length) }
      #expect(
        text { try memory.word(at: GPA(0x1000)) }
          == "Cannot read guest-physical address 0x1000: the debugger answered \(length) bytes, asked for 4096.")
    }
  }

  @Test func nothingOutsideRAMIsEverAskedFor() throws {
    let debugger = Debugger()
    let ram = [try MemoryRange(start: GPA(0x1000), size: 0x1800), try MemoryRange(start: GPA(0x8000), size: 0x1000)]
    let memory = CallableMemory(ranges: ram, reader: debugger.read)
    #expect(
      text { try memory.word(at: GPA(0x2c00_0018)) }
        == "Cannot read guest-physical address 0x2c000018: "
        + "outside guest RAM, which holds 0x1000-0x27ff, 0x8000-0x8fff.")
    #expect(debugger.requests.isEmpty)
    // RAM ends in this page: only what was asked for, so that no register behind it is touched.
    #expect(try memory.bytes(at: GPA(0x1ffc), count: 8) == [1, 1, 1, 1, 2, 2, 2, 2])
    #expect(debugger.requests == ["0x1000+0x1000", "0x2000+0x4"])
  }

  @Test func theEndOfTheAddressSpaceIsNotPassed() throws {
    let memory = CallableMemory { _, count in [UInt8](repeating: 1, count: count) }
    #expect(try memory.bytes(at: GPA(.max - 3), count: 4) == [1, 1, 1, 1])
    #expect(
      text { try memory.bytes(at: GPA(.max - 3), count: 5) }
        == "Cannot read guest-physical address 0x0: the read passes the end of the address space.")
  }
}
