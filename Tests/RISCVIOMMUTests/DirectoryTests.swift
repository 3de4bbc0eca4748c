import IOMMUModel
import PageTables
import Randomness
import Testing

@testable import RISCVIOMMU

/// The contexts of a directory, of good and of hostile ones.
@Suite struct DirectoryTests {
  /// `contexts` is `context(of:)` for every device id with a valid context.
  @Test(arguments: [1, 2, 3], [6, 7] as [UInt64]) func contextsAreThoseOfEveryDevice(_ levels: Int, low: UInt64) throws
  {
    for round in 0..<12 {
      var random = SeededNumbers(round: round)
      let memory = WordMemory()
      let capabilities: UInt64 = 0x78_e28f_0f10 | (low == 6 ? 1 << 22 : 0)
      let registers = RegisterValues(byOffset: [0: capabilities, 0x10: 0x9000_0000 >> 2 | UInt64(levels) + 1])
      let widths = [low, low + 9, 24]
      var (next, wanted): (UInt64, Set<UInt32>) = (0x9000_1000, [])
      // Ids near each other share tables.
      let base = random.next()
      for _ in 0..<20 {
        let id =
          (random.chance(50) ? random.next() : base &+ UInt64(random.below(40))) & ((1 << widths[levels - 1]) - 1)
        var table: UInt64 = 0x9000_0000
        for level in stride(from: levels - 1, to: 0, by: -1) {
          let index = level == 2 ? id / (1 << (low + 9)) : id / (1 << low) % 512
          if memory[table + index * 8] == 0 {
            memory[table + index * 8] = next / 4096 * 1024 + 1
            next += 4096
          }
          table = memory[table + index * 8] / 1024 * 4096
        }
        let size: UInt64 = low == 6 ? 64 : 32
        let place = table + id % (1 << low) * size
        memory[place] = random.chance(80) ? 1 : random.chance(50) ? 1 << 12 | 1 : 0
        memory[place + 24] = random.chance(50) ? 8 << 60 | id : 0
        if memory[place] & 1 == 1 { wanted.insert(UInt32(id)) } else { wanted.remove(UInt32(id)) }
      }
      let device = RISCVIOMMUDevice()
      let found = try device.contexts(registers: registers, memory: memory, limit: 1000)
      #expect(found.map(\.requester.rawValue) == wanted.sorted(), "seed \(SeededNumbers.run) round \(round)")
      for context in found {
        #expect(try context == device.context(of: context.requester, registers: registers, memory: memory))
      }
      let few = try device.contexts(registers: registers, memory: memory, limit: 3)
      #expect(few == Array(found.prefix(3)))
    }
  }

  @Test func offAndBareHaveNoContexts() throws {
    for mode in [0, 1, 9] as [UInt64] {
      let registers = RegisterValues(byOffset: [0: 0x78_e2cf_0f10, 0x10: mode])
      #expect(try RISCVIOMMUDevice().contexts(registers: registers, memory: WordMemory(), limit: 9) == [])
    }
  }

  /// Every entry of one page leads to the page again: 2^17 tables, of which so many are looked at.
  @Test func aDirectoryThatLeadsToItselfEnds() throws {
    let uniform = UniformMemory(entry: 0x9000_0000 >> 2 | 1)
    let registers = RegisterValues(byOffset: [0: 0x78_e2cf_0f10, 0x10: 0x9000_0000 >> 2 | 4])
    // As a context the word is valid, and refused.
    let all = try DirectoryScan(registers, memory: PageCache(of: uniform), limit: .max).devices
    // All but the root and the tables of the middle level are leaf tables.
    #expect(all == Array(0..<UInt32(64 * (DirectoryScan.tableLimit - 1 - 4))))
    let found = try RISCVIOMMUDevice().contexts(registers: registers, memory: uniform, limit: 300)
    #expect(found.map(\.requester.rawValue) == Array(0..<300))
    #expect(try RISCVIOMMUDevice().contexts(registers: registers, memory: uniform, limit: 5).count == 5)

    // Without a valid context none is found, however long the directory.
    let memory = WordMemory()
    for index in 0..<512 as Range<UInt64> {
      memory[0x9000_0000 + index * 8] = 0x9000_1000 >> 2 | 1
      memory[0x9000_1000 + index * 8] = 0x9000_2000 >> 2 | 1
    }
    #expect(try RISCVIOMMUDevice().contexts(registers: registers, memory: memory, limit: 9) == [])
    memory.holes = [0x9000_2000]
    #expect(throws: UnreadableMemory(address: GPA(0x9000_2000), reason: "a hole")) {
      try RISCVIOMMUDevice().contexts(registers: registers, memory: memory, limit: 9)
    }
  }

  /// One word everywhere.
  private final class UniformMemory: PhysicalMemory {
    let entry: UInt64
    init(entry: UInt64) { self.entry = entry }
    func read(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) throws(UnreadableMemory) {
      for offset in 0..<buffer.count {
        buffer[offset] = UInt8(truncatingIfNeeded: entry >> ((address.rawValue &+ UInt64(offset)) % 8 * 8))
      }
    }
  }
}
