import Foundation
import PageTables
import RISCVInterpreter
import Randomness
import Testing

/// Which registers a handler reads, found without running it: Programs/handlers.c, and the handler of a kernel that ran.
@Suite struct MemberReadsTests {
  /// `base` in the programs' `struct device`.
  static let base: UInt64 = 8
  static let handlers: [(name: String, reads: [UInt64])] = [
    ("seldom", [0x20]), ("both", [0x20, 0x28]), ("either", [0x30, 0x1008]), ("loop", [0x8]), ("elsewhere", []),
    ("computed", []),
  ]

  @Test(arguments: ["-O1", "-O2", "-O3", "-Os"], ["rv64imac", "rv64ima"])
  func compiled(level: String, architecture: String) async throws {
    let program = try await GuestProgram(
      [level, "-march=\(architecture)"], source: GuestProgram.path(of: "handlers.c"))
    for (name, reads) in Self.handlers {
      let found = MemberReads.offsets(
        in: try program.address(name), argument: 1, member: Self.base, read: program.read)
      #expect(found == reads, "\(name)")
    }
  }

  /// Whatever the code is, it ends: random halfwords, and a function in which every instruction jumps back.
  @Test func anyCodeEnds() {
    var numbers = SeededNumbers()
    for _ in 0..<200 {
      let image = numbers.bytes(8192)
      let program = GuestProgram(image: image, symbols: [:])
      let found = MemberReads.offsets(in: GuestProgram.base, argument: 1, member: 8, read: program.read)
      #expect(found.count <= 4096, "IOMMULENS_SEED=\(numbers.seed)")
    }
    // c.j -2, and a jump to itself.
    for bits: [UInt8] in [[0xfd, 0xbf], [0x01, 0xa0]] {
      let program = GuestProgram(image: (0..<4096).flatMap { _ in bits }, symbols: [:])
      #expect(
        MemberReads.offsets(in: GuestProgram.base + 4096, argument: 1, member: 8, read: program.read).isEmpty)
    }
    let empty = GuestProgram(image: [], symbols: [:])
    #expect(MemberReads.offsets(in: GuestProgram.base, argument: 1, member: 8, read: empty.read).isEmpty)
    #expect(MemberReads.offsets(in: GuestProgram.base, argument: 8, member: 8, read: empty.read).isEmpty)
  }
}
