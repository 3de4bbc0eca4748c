import IOMMUModel
import PageTables
import Randomness
import Testing

@testable import RISCVIOMMU

/// The queues in memory, their records in words, and whether they are read.
@Suite struct QueueTests {
  private static func registers(head: UInt64, tail: UInt64, control: UInt64 = 0x10003) -> RegisterValues {
    // Eight records from 0x80000000 on, in either queue.
    let base: UInt64 = 0x8000_0000 >> 2 | 2
    return RegisterValues(byOffset: [
      0x18: base, 0x20: head, 0x24: tail, 0x48: control, 0x28: base, 0x30: head, 0x34: tail, 0x4c: control,
    ])
  }

  @Test func recordsAreThoseBetweenHeadAndTail() throws {
    let memory = WordMemory()
    for index in 0..<8 as Range<UInt64> {
      memory[0x8000_0000 + index * 32] = 8 << 40 | 2 << 34 | 13
      memory[0x8000_0010 + index * 32] = 0xffff_0000 + index
    }
    func waiting(_ head: UInt64, _ tail: UInt64, _ limit: Int = 100) throws -> [UInt64] {
      try RISCVIOMMUDevice().faults(registers: Self.registers(head: head, tail: tail), memory: memory, limit: limit)
        .map { ($0.address?.rawValue ?? 0) - 0xffff_0000 }
    }
    #expect(try waiting(0, 0) == [])
    #expect(try waiting(2, 5) == [2, 3, 4])
    #expect(try waiting(6, 1) == [6, 7, 0])
    #expect(try waiting(6, 1, 2) == [6, 7])
    #expect(try waiting(6, 1, 0) == [] && waiting(6, 1, -1) == [])
    // Bits beyond the queue's size do not count.
    #expect(try waiting(10, 0xffff_fffd) == [2, 3, 4])
    let queue = try #require(FaultQueue(Self.registers(head: 2, tail: 5)))
    #expect(try queue.read(in: memory, limit: 2).map(\.address) == [IOVA(0xffff_0000), IOVA(0xffff_0001)])
    #expect(try queue.read(in: memory, limit: 100).map(\.address.rawValue) == [6, 7, 0, 1].map { 0xffff_0000 + $0 })
    #expect(queue.capacity == 8 && queue.unread == 3 && queue.address == GPA(0x8000_0000) && queue.isOn)
    #expect(FaultQueue(RegisterValues(byOffset: [0x28: 0, 0x30: 0])) == nil)
    #expect(try RISCVIOMMUDevice().faults(registers: RegisterValues(), memory: memory, limit: 9) == [])
    memory.holes = [0x8000_0000]
    #expect(throws: UnreadableMemory(address: GPA(0x8000_0000), reason: "a hole")) { try waiting(2, 5) }
  }

  @Test(
    arguments: [
      (0, 0, 0x10003, "no fault was reported yet"), (3, 3, 0x10003, "every fault was read"),
      (0, 3, 0x10003, "3 of 8 records wait to be read"), (0, 3, 3, "off: no fault is reported"),
      (1, 0, 0x10203, "7 of 8 records wait to be read; it ran over, and faults are lost until fqof is cleared"),
      (1, 1, 0x10103, "every fault was read; it could not be written, and faults are lost until fqmf is cleared"),
    ] as [(UInt64, UInt64, UInt64, String)])
  func theFaultQueueInWords(_ head: UInt64, _ tail: UInt64, _ control: UInt64, _ text: String) throws {
    let queue = try #require(FaultQueue(Self.registers(head: head, tail: tail, control: control)))
    #expect(queue.state == text)
    #expect(queue.losesFaults == text.contains("lost"))
  }

  @Test(
    arguments: [
      (3, 3, 0x10001, "every command was carried out"), (3, 5, 0x10001, "2 of 8 commands wait"),
      (3, 5, 1, "off: no command is carried out"), (3, 5, 0x10401, "stopped at command 3 by an illegal command"),
      (3, 5, 0x10201, "stopped at command 3 by a timeout"), (3, 5, 0x10101, "stopped at command 3 by a memory fault"),
    ] as [(UInt64, UInt64, UInt64, String)])
  func theCommandQueueInWords(_ head: UInt64, _ tail: UInt64, _ control: UInt64, _ text: String) throws {
    #expect(try #require(CommandQueue(Self.registers(head: head, tail: tail, control: control))).state == text)
  }

  @Test(
    arguments: [
      ([8 << 40 | 2 << 34 | 13, 0, 0x1234, 0], "0000:00:01.0 cause 13 (read page fault) at 0x1234, untranslated read"),
      (
        [8 << 40 | 3 << 34 | 3 << 32 | 5 << 12 | 23, 0, 0x1234, 0x8000_1235],
        "0000:00:01.0 cause 23 (write/AMO guest-page fault) at 0x1234 (guest's 0x80001234, of a first-stage table), "
          + "untranslated write, process 5, privileged"
      ),
      (
        [1 << 40 | 1 << 34 | 20, 0, 0x1000, 0x2000],
        "0000:00:00.1 cause 20 (instruction guest-page fault) at 0x1000 (guest's 0x2000), untranslated read for execute"
      ),
      ([273], "cause 273 (IOMMU MSI write access fault), no transaction"),
      (
        [8 << 40 | 9 << 34 | 260, 0, 4],
        "0000:00:01.0 cause 260 (transaction type disallowed) of message 0x4, message request"
      ),
      (
        [8 << 40 | 8 << 34 | 257, 0, 0],
        "0000:00:01.0 cause 257 (DDT entry load access fault) at 0x0, ATS translation request"
      ),
      ([5 << 34 | 1], "0000:00:00.0 cause 1 (instruction access fault) at 0x0, translated read for execute"),
      ([6 << 34 | 5], "0000:00:00.0 cause 5 (read access fault) at 0x0, translated read"),
      ([7 << 34 | 7], "0000:00:00.0 cause 7 (write/AMO access fault) at 0x0, translated write"),
      ([4 << 34 | 300], "0000:00:00.0 cause 300 (reserved) at 0x0, reserved transaction 4"),
      (
        [.max, .max, .max, .max],
        "00ff:ff:1f.7 cause 4095 (custom) at 0xffffffffffffffff, custom transaction 63, process 1048575, privileged"
      ),
      ([], "cause 0 (reserved), no transaction"),
    ] as [([UInt64], String)])
  func faultRecordsInWords(_ words: [UInt64], _ text: String) {
    #expect(FaultRecord(words: words).description == text)
  }

  @Test(
    arguments: [
      (0x1, 0, "IOTINVAL.VMA: forget all address spaces"),
      (0x2_0000_0001 | 7 << 44, 0, "IOTINVAL.VMA: forget all address spaces of guest 7"),
      (0x3_0000_5401 | 7 << 44, 0x400, "IOTINVAL.VMA: forget 0x1000 of address space 5 of guest 7"),
      (0x81, 0, "IOTINVAL.GVMA: forget all guests' second stages"),
      (0x481, 0x400, "IOTINVAL.GVMA: forget all guests' second stages"),
      (0x2_0000_0081 | 7 << 44, 0, "IOTINVAL.GVMA: forget the second stage of guest 7"),
      (0x2_0000_0481 | 7 << 44, 0x400, "IOTINVAL.GVMA: forget guest address 0x1000 of guest 7"),
      (0x1_0000_0081, 0, "illegal: IOTINVAL.GVMA with PSCV"),
      (0x2, 0, "IOFENCE.C: wait for the commands before"),
      (0x1002, 0, "IOFENCE.C: wait for the commands before and for reads"),
      (0x2002, 0, "IOFENCE.C: wait for the commands before and for writes"),
      (
        0x1234_0000_3c02, 0x2000_0000,
        "IOFENCE.C: wait for the commands before and for reads and writes, then write 0x1234 to 0x80000000, then raise the interrupt"
      ),
      (3, 0, "IODIR.INVAL_DDT: forget all contexts"),
      (0x802_0000_0003, 0, "IODIR.INVAL_DDT: forget the contexts of 0000:00:01.0"),
      (0x802_0000_5083, 0, "IODIR.INVAL_PDT: forget the context of process 5 of 0000:00:01.0"),
      (0x83, 0, "illegal: IODIR.INVAL_PDT without DV"),
      (0x800_0000_0004, 0x1800, "ATS.INVAL: have 0000:00:01.0 forget payload 0x1800"),
      (0x100_0803_0000_5084, 1, "ATS.PRGR: answer 0001:00:01.0, process 5, payload 0x1"),
      (0x200_0801_0000_5004, 1, "ATS.INVAL: have 0000:00:01.0 forget process 5, payload 0x1"),
      (0, 0, "illegal: opcode 0 function 0 is reserved"), (0x101, 0, "illegal: opcode 1 function 2 is reserved"),
      (0x7f, 0, "custom opcode 127"),
    ] as [(UInt64, UInt64, String)])
  func commandsInWords(_ first: UInt64, _ second: UInt64, _ text: String) {
    #expect(Command(first, second).description == text)
  }

  @Test func invalidationsNameWhatTheyTakeOut() {
    func takes(_ command: Command, space: UInt32? = 5, guest: UInt16?) -> Bool {
      command.invalidates(IOVA(0x1234), of: CacheTags(addressSpace: space, guest: guest))
    }
    #expect(takes(Command(0x1, 0), guest: nil) && !takes(Command(0x1, 0), guest: 7))
    #expect(!takes(Command(0x1, 0), space: nil, guest: nil))
    let ofGuest = Command(0x2_0000_0001 | 7 << 44, 0)
    #expect(takes(ofGuest, guest: 7) && !takes(ofGuest, guest: nil) && !takes(ofGuest, guest: 8))
    #expect(takes(Command(0x1_0000_5001, 0), guest: nil) && !takes(Command(0x1_0000_6001, 0), guest: nil))
    #expect(takes(Command(0x401, 0x400), guest: nil) && !takes(Command(0x401, 0x800), guest: nil))
    #expect(!takes(Command(0x2, 0), guest: nil) && !takes(Command(0x81, 0), guest: nil))
  }

  /// A ring of random size against a list.
  @Test func aRingIsAListThatWraps() throws {
    for round in 0..<200 {
      var random = SeededNumbers(round: round)
      let bits = UInt64(random.below(6))
      let count: UInt64 = 2 << bits
      let isBig = random.chance(30)
      let base = (random.next() & 0xff_ffff) << 10
      let (head, tail) = (random.next() & 0xffff_ffff, random.next() & 0xffff_ffff)
      let registers = RegisterValues(byOffset: [
        8: isBig ? 1 : 0, 0x18: base | bits, 0x20: head, 0x24: tail, 0x48: 0x10000,
      ])
      let memory = WordMemory()
      for index in 0..<count {
        let address = base << 2 + index * 16
        memory[address] = isBig ? index.byteSwapped : index
        memory[address + 8] = isBig ? (~index).byteSwapped : ~index
      }
      var wanted: [UInt64] = []
      var place = head % count
      while place != tail % count {
        wanted.append(place)
        place = (place + 1) % count
      }
      let queue = try #require(CommandQueue(registers))
      #expect(
        try queue.waiting(in: memory, limit: 1000) == wanted.map { Command($0, ~$0) },
        "seed \(SeededNumbers.run) round \(round)")
      let done = try queue.done(in: memory, limit: 1000).map(\.first)
      #expect(done.count + wanted.count == Int(count) - 1 && Set(done).isDisjoint(with: wanted))
      if let last = done.last { #expect((last + 1) % count == head % count) }
    }
  }
}
