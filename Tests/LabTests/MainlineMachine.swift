import Foundation
import Testing

/// A machine of the mainline pair at one moment: what it has printed and traced, its IOMMU's registers, and its RAM.
struct MainlineMachine {
  let console: String
  let trace: [String]
  /// The first 96 bytes of the IOMMU's registers, by offset.
  let registers: [UInt64: UInt64]
  /// From 0x80000000 on.
  private let ram: Data

  init(_ machine: Lab.Machine, console: String) async throws {
    let output = try await machine.attach(.kernel, "monitor xp /12gx 0x3010000")
    var registers: [UInt64: UInt64] = [:]
    for line in output.matches(of: /(?m)^0000000003010(\w{3}): 0x(\w{16}) 0x(\w{16})/) {
      let offset = UInt64(line.1, radix: 16) ?? 0
      registers[offset] = UInt64(line.2, radix: 16)
      registers[offset + 8] = UInt64(line.3, radix: 16)
    }
    try #require(registers.count == 12, "\(output)")
    self.registers = registers
    self.console = machine.console
    trace = machine.trace
    ram = try Data(contentsOf: URL(filePath: machine.directory + "/ram"), options: .alwaysMapped)
  }

  // MARK: The card

  /// What init counted, each time it said so.
  var counts: [(rounds: Int, sent: Int, echoes: Int)] {
    console.matches(of: /net: (\d+) rounds, (\d+) packets sent by the card, (\d+) echoes received/).compactMap {
      guard let rounds = Int($0.1), let sent = Int($0.2), let echoes = Int($0.3) else { return nil }
      return (rounds, sent, echoes)
    }
  }

  /// The card transmits and receives from the given round on.
  func expectTraffic(after round: Int) {
    let counts = counts.filter { $0.rounds >= round }
    #expect(counts.count > 1)
    for (before, after) in zip(counts, counts.dropFirst()) {
      #expect(after.sent > before.sent && after.echoes > before.echoes, "\(counts)")
    }
  }

  /// The card does neither from the given round on, and did before.
  func expectSilence(after round: Int) {
    let counts = counts.filter { $0.rounds >= round }
    #expect(counts.count > 1)
    for (before, after) in zip(counts, counts.dropFirst()) {
      #expect(after.sent == before.sent && after.echoes == before.echoes && before.echoes > 0, "\(counts)")
    }
  }

  // MARK: The trace

  /// The accesses of the card; the target of one that was refused is 0.
  var translations: [(iova: UInt64, target: UInt64)] {
    trace.compactMap { line in
      guard let match = line.wholeMatch(of: /riscv_iommu_dma .*translate 0000:01\.0 #0 \w\w 0x(\w+) -> 0x(\w+)/),
        let iova = UInt64(match.1, radix: 16), let target = UInt64(match.2, radix: 16)
      else { return nil }
      return (iova, target)
    }
  }

  /// Those in one page.
  func translations(of page: UInt64) -> [(iova: UInt64, target: UInt64)] {
    translations.filter { $0.iova & ~0xfff == page }
  }

  var faults: [(cause: UInt64, iova: UInt64)] {
    trace.compactMap { line in
      guard let match = line.wholeMatch(of: /riscv_iommu_flt .*fault 0000:01\.0 reason: 0x(\w+) iova: 0x(\w+)/),
        let reason = UInt64(match.1, radix: 16), let iova = UInt64(match.2, radix: 16)
      else { return nil }
      return (reason & 0xfff, iova)
    }
  }

  // MARK: The registers

  private var ddtp: UInt64 { registers[0x10] ?? 0 }
  /// 0 off, 1 bare, 2 to 4 one to three levels.
  var ddtpMode: UInt64 { ddtp & 0xf }

  var faultQueue: (head: UInt64, tail: UInt64) {
    let both = registers[0x30] ?? 0
    return (both & 0xffff_ffff, both >> 32)
  }

  // MARK: The tables

  /// The address that an entry leads to.
  static func page(of entry: UInt64) -> UInt64 { (entry >> 10 & 0xfff_ffff_ffff) << 12 }

  private func word(at address: UInt64) throws -> UInt64 {
    let offset = try #require(Int(exactly: address &- 0x8000_0000))
    try #require(offset >= 0 && offset + 8 <= ram.count, "0x\(String(address, radix: 16)) is not RAM")
    return (0..<8).reversed().reduce(0) { $0 << 8 | UInt64(ram[offset + $1]) }
  }

  /// The eight words of the card's device context; its id is 8, and each level of the directory has index 0 but the last.
  func deviceContext() throws -> [UInt64] {
    try #require((2...4).contains(ddtpMode), "no directory")
    var table = Self.page(of: ddtp)
    for _ in 0..<(ddtpMode - 2) { table = Self.page(of: try word(at: table)) }
    return try (0..<8).map { try word(at: table + 8 * 64 + $0 * 8) }
  }

  /// The entry at the lowest level for an IOVA, which has tables down to there.
  func entry(of iova: UInt64) throws -> UInt64 {
    let fsc = try deviceContext()[3]
    try #require((8...10).contains(fsc >> 60), "no tables")
    var entry = (fsc & 0xfff_ffff_ffff) << 10
    for level in (0...(fsc >> 60 - 6)).reversed() {
      entry = try word(at: Self.page(of: entry) + (iova >> (12 + 9 * level) & 0x1ff) * 8)
    }
    return entry
  }

  /// The entry that init has cleared, as it was.
  func lostEntry() throws -> UInt64 {
    let match = try #require(console.firstMatch(of: /cleared the leaf at 0x\w+, it was 0x(\w+)/))
    return try #require(UInt64(match.1, radix: 16))
  }
}
