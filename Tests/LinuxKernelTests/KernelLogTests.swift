import IOMMUModel
import LinuxKernel
import PageTables
import Randomness
import Testing

@Suite struct KernelLogTests {
  private func failure(_ log: SimulatedLog, _ values: [String: UInt64] = SimulatedLog.values) -> String {
    let target = FakeTarget(values: values)
    do {
      return "\(try KernelLog(in: target).records(of: target, in: log.kernel).count) records"
    } catch { return error.description }
  }

  private func small() -> SimulatedLog { SimulatedLog(countBits: 3, sizeBits: 8, fitsExactly: false) }

  @Test func aFreshLogIsEmpty() throws {
    #expect(try small().read() == [])
  }

  @Test func messagesInOrder() throws {
    let log = small()
    log.write(Array("first".utf8), level: 0, time: 0)
    log.write(Array("two\nlines".utf8), level: 7, time: 1_234_567_890)
    log.write([], level: 4, time: 99_999_999_999_999)
    log.write(Array("in the making".utf8), stage: .reserved)
    log.write([0x80, 0x1b], stage: .committed)
    let records = try log.read()
    #expect(
      records == [
        KernelLogRecord(sequence: 0, time: 0, level: 0, text: "first"),
        KernelLogRecord(sequence: 1, time: 1_234_567_890, level: 7, text: "two\nlines"),
        KernelLogRecord(sequence: 2, time: 99_999_999_999_999, level: 4, text: ""),
        KernelLogRecord(sequence: 4, time: 0, level: 6, text: "\u{fffd}\u{1b}", isOpen: true),
      ])
    #expect(
      records.flatMap(\.consoleLines) == [
        "[    0.000000] first", "[    1.234567] two", "[    1.234567] lines", "[99999.999999] ",
        "[    0.000000] \u{fffd}\u{1b}",
      ])
  }

  /// Every length of text against every ring, long past the first wrap of each array.
  @Test(arguments: [false, true])
  func whatIsLeftAfterWraps(fitsExactly: Bool) throws {
    var random = SeededNumbers()
    for (countBits, sizeBits) in [(1, 5), (2, 8), (3, 7), (4, 7), (5, 9), (3, 10)] as [(UInt64, UInt64)] {
      let log = SimulatedLog(countBits: countBits, sizeBits: sizeBits, fitsExactly: fitsExactly)
      for round in 0..<300 {
        let count = Int.random(in: 0..<4, using: &random) == 0 ? 0 : Int.random(in: 0...40, using: &random)
        let text = random.bytes(count).map { $0 & 0x3f | 0x20 }
        let stage: SimulatedLog.Stage = Int.random(in: 0..<8, using: &random) == 0 ? .committed : .finalized
        log.write(text, level: round & 7, time: random.next() >> 8, stage: stage)
        let found = try log.read()
        guard found == log.records else {
          Issue.record(
            "2^\(countBits) messages, 2^\(sizeBits) bytes, round \(round), seed \(random.seed): \(found), not \(log.records)"
          )
          return
        }
      }
    }
  }

  /// A message that is being written keeps its room, and those behind it find none.
  @Test func aReservedMessageAtTheTail() throws {
    let log = small()
    log.write(Array("held".utf8), stage: .reserved)
    var written = 0
    for _ in 0..<20 where log.write(Array("behind it".utf8)) { written += 1 }
    #expect(written == 7)
    #expect(try log.read().count == 7)
    #expect(try log.read() == log.records)
  }

  @Test func aFewReads() throws {
    let log = SimulatedLog(countBits: 8, sizeBits: 12, fitsExactly: false)
    for number in 0..<1000 { log.write(Array("message \(number)".utf8)) }
    let before = log.memory.reads
    #expect(try log.read().count > 100)
    #expect(log.memory.reads - before <= 7)
    // A log that has hardly begun is not read whole.
    let begun = SimulatedLog(countBits: 12, sizeBits: 17, fitsExactly: false)
    begun.write(Array("message".utf8))
    let bytes = begun.memory.bytesRead
    #expect(try begun.read().count == 1)
    #expect(begun.memory.bytesRead - bytes < 512)
  }

  @Test func aLogThatIsNotThere() {
    var values = SimulatedLog.values
    values["(unsigned long)prb"] = 0
    let waiting = "let the kernel run on and stop it again."
    #expect(failure(small(), values) == "The kernel's log is not set up yet (prb is 0): \(waiting)")
    let log = small()
    log.memory.write(0, at: log.header(8))
    #expect(
      failure(log) == "The kernel's log is not set up yet (the ring at \(SimulatedLog.ring) has no memory): \(waiting)")
    values["(unsigned long)prb"] = 0x1000
    #expect(
      failure(small(), values)
        == "Kernel address 0x1000 is neither in the linear map nor mapped by the CPU's page table.")
    values["(unsigned long)prb"] = nil
    #expect(failure(small(), values) == "Cannot evaluate (unsigned long)prb.")
    #expect(failure(small(), [:]).hasPrefix("Cannot evaluate (unsigned long)&((struct printk_ringbuffer *)0)"))
    values = SimulatedLog.values
    values["sizeof(struct prb_desc)"] = 1 << 40
    #expect(
      failure(small(), values)
        == "The debug information says that the size of struct prb_desc is 1099511627776: "
        + "these are not the kernel's symbols.")
  }

  /// Every block reaches to the end of the text: together they would say many times what the ring holds.
  @Test func blocksThatOverlap() {
    let log = SimulatedLog(countBits: 6, sizeBits: 12, fitsExactly: false)
    for _ in 0..<40 { log.write(Array("12345678".utf8)) }
    let end = UInt64(0) &- 1 << 12 &+ 40 * 16
    for slot in 0..<64 {
      log.memory.write(end, at: SimulatedLog.descriptors + UInt64(slot) * 40 + 32)
      log.memory.write(0xffff, count: 2, at: SimulatedLog.infos + UInt64(slot) * 56 + 26)
    }
    #expect(
      failure(log)
        == "The kernel's log at \(SimulatedLog.ring) is damaged, or the symbols are another kernel's: its messages have more "
        + "text than the 640 bytes in use.")
  }

  @Test func sizesThatCannotBe() {
    func failure(_ offset: UInt64, _ value: UInt64, count: Int = 8) -> String {
      let log = small()
      log.write(Array("text".utf8))
      log.memory.write(value, count: count, at: log.header(offset))
      return self.failure(log)
    }
    let start = "The kernel's log at \(SimulatedLog.ring) is damaged, or the symbols are another kernel's:"
    let sizes = "bytes of text are no sizes that a kernel chooses."
    #expect(failure(4, 27, count: 4) == "\(start) 2^27 messages and 2^8 \(sizes)")
    #expect(failure(4, 0, count: 4) == "\(start) 2^0 messages and 2^8 \(sizes)")
    #expect(failure(60, 0xffff_ffff, count: 4) == "\(start) 2^3 messages and 2^4294967295 \(sizes)")
    #expect(
      failure(40, 5) == "\(start) it has room for 8 messages and claims to hold 15.")
    #expect(failure(80, 8) == "\(start) it has room for 256 bytes of text and claims to hold 264.")
    // As large as a ring may be, and not there.
    let log = small()
    log.memory.write(26, count: 4, at: log.header(4))
    log.memory.write(1 << 26 - 10, at: log.header(40))
    log.memory.write(0, at: log.header(32))
    #expect(self.failure(log).hasSuffix("are more than can be read at once."))
  }

  /// A writer has taken a number, and the descriptor still is what the message before in its place left.
  @Test func aDescriptorOfAnotherMessage() throws {
    let log = small()
    log.write(Array("one".utf8))
    log.write(Array("two".utf8))
    // The first message has index 0; eight messages earlier or later have it as well.
    let descriptor = SimulatedLog.descriptors + 8
    let word = try log.memory.word(at: descriptor)
    log.memory.write(word ^ 8, at: descriptor)
    #expect(try log.read().map(\.text) == ["two"])
  }

  /// Texts that are not where the descriptors say.
  @Test func textThatIsNotThere() {
    let log = small()
    log.write(Array("text".utf8))
    log.write(Array("more text".utf8))
    log.memory.write(0x1234, at: SimulatedLog.data)
    #expect(failure(log) == "1 records")
    log.memory.write(0x1234, at: SimulatedLog.data + 16)
    #expect(
      failure(log)
        == "The kernel's log at \(SimulatedLog.ring) holds 2 messages, but none has its text where it should be: "
        + "the symbols are another kernel's, or this kernel keeps its log in a way not known here.")
  }

  /// Any bytes anywhere: records or a sentence, never a trap, and no more memory than the limit.
  @Test func garbage() {
    var random = SeededNumbers()
    var records = 0, failures = 0
    for _ in 0..<500 {
      let log = SimulatedLog(countBits: 3, sizeBits: 8, fitsExactly: false)
      for _ in 0..<Int.random(in: 0..<30, using: &random) { log.write(random.bytes(20)) }
      for _ in 0..<Int.random(in: 1..<6, using: &random) {
        let place = [
          log.header(.random(in: 0..<96, using: &random)),
          SimulatedLog.descriptors + .random(in: 0..<320, using: &random),
          SimulatedLog.infos + .random(in: 0..<448, using: &random),
          SimulatedLog.data + .random(in: 0..<256, using: &random),
        ].randomElement(using: &random)
        let value = Bool.random(using: &random) ? random.next() : .random(in: 0..<64, using: &random)
        if let place { log.memory.write(value, count: .random(in: 1...8, using: &random), at: place) }
      }
      do {
        _ = try log.read()
        records += 1
      } catch {
        #expect(error.description.hasSuffix("."))
        failures += 1
      }
    }
    #expect(records > 0 && failures > 0, "seed \(random.seed)")
  }
}
