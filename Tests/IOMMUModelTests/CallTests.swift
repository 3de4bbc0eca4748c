import PageTables
import Testing

@testable import IOMMUModel

/// Ranges of calls and the leaves of a run, up to the last address there is.
@Suite struct CallTests {
  static func unmap(_ iova: UInt64, _ length: UInt64) -> DriverCall {
    DriverCall(function: "unmap", operation: .unmap, domain: KVA(1), iova: IOVA(iova), length: length)
  }

  @Test(
    arguments: [
      (0x1000, 0x1000, 0x1fff), (0x1000, 0, 0x1000), (0x1000, 1, 0x1000), (0xffff_f000, 0x1000, 0xffff_ffff),
      (0xffff_ffff_ffff_f000, 0x1000, .max), (0, .max, .max - 1), (.max, 1, .max), (.max, 0, .max),
      // The driver's own loop wraps as well.
      (0xffff_ffff_ffff_f000, 0x2000, 0xfff),
    ] as [(UInt64, UInt64, UInt64)])
  func lastByte(_ iova: UInt64, _ length: UInt64, _ last: UInt64) {
    #expect(Self.unmap(iova, length).last == IOVA(last))
  }

  @Test(
    arguments: [
      (0x1000, 0x1000, [0x1000, 0x1fff], [0xfff, 0x2000, 0, .max]), (0x1000, 0, [], [0xfff, 0x1000, 0x1001]),
      (0xffff_ffff_ffff_f000, 0x1000, [0xffff_ffff_ffff_f000, .max], [0, 0xffff_ffff_ffff_efff]),
      (0xffff_ffff_ffff_f000, 0x2000, [0xffff_ffff_ffff_f000, .max, 0, 0xfff], [0x1000, 0xffff_ffff_ffff_efff]),
      (0, .max, [0, .max - 1], [.max]), (5, .max, [5, .max, 0, 3], [4]),
    ] as [(UInt64, UInt64, [UInt64], [UInt64])])
  func covers(_ iova: UInt64, _ length: UInt64, _ inside: [UInt64], _ outside: [UInt64]) {
    let call = Self.unmap(iova, length)
    for address in inside { #expect(call.covers(IOVA(address)), "\(hex(address))") }
    for address in outside { #expect(!call.covers(IOVA(address)), "\(hex(address))") }
  }

  @Test func mapAndUnmap() {
    let map = DriverCall(
      function: "map", operation: .map(target: GPA(0x8000), protection: [.read], allocation: nil), domain: KVA(1),
      iova: IOVA(0), length: 4096)
    #expect(map.isMap && map.target == GPA(0x8000) && map.protection == [.read])
    let unmap = Self.unmap(0, 4096)
    #expect(!unmap.isMap && unmap.target == nil && unmap.protection == nil)
  }

  /// A run inside a contiguous group, above level 0: the pointer entries are memory's, the leaf is the run's.
  @Test func predictsAboveLevelZero() throws {
    struct Words: PhysicalMemory {
      let words: [UInt64: UInt64]
      func read(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) throws(UnreadableMemory) {
        guard let word = words[address.rawValue] else { throw UnreadableMemory(address: address, reason: "not there") }
        withUnsafeBytes(of: word.littleEndian) { buffer.copyBytes(from: $0) }
      }
    }
    let run = LeafRun(
      iova: IOVA(0x4020_0000), level: 1, count: 2, first: PageTableEntry(rawValue: 0x2000_0007), step: 0x8_0000,
      span: 0x20_0000)
    let geometry = PagingMode.sv39.geometry
    let memory = Words(words: [0x8000_0008: 0x2000_0401, 0x9000_0008: 0x2000_0403, 0xa000_0008: 0])
    #expect(
      try run.predictedEntries(1, geometry: geometry, root: GPA(0x8000_0000), in: memory) == [
        PredictedEntry(
          level: 2, index: 1, table: GPA(0x8000_0000), entryAddress: GPA(0x8000_0008),
          value: PageTableEntry(rawValue: 0x2000_0401)),
        PredictedEntry(
          level: 1, index: 2, table: GPA(0x8000_1000), entryAddress: GPA(0x8000_1010),
          value: PageTableEntry(rawValue: 0x2008_0007)),
      ])
    // A leaf or nothing where a pointer should be: the table below is not known.
    for root in [GPA(0x9000_0000), GPA(0xa000_0000)] {
      let predicted = try run.predictedEntries(0, geometry: geometry, root: root, in: memory)
      #expect(predicted.map(\.value) == [nil, PageTableEntry(rawValue: 0x2000_0007)])
      #expect(predicted.map(\.table) == [root, nil])
      #expect(predicted.map(\.entryAddress) == [root + 8, nil])
    }
    #expect(throws: UnreadableMemory(address: GPA(0xb000_0008), reason: "not there")) {
      try run.predictedEntries(0, geometry: geometry, root: GPA(0xb000_0000), in: memory)
    }
    // A level that the mode does not have ends in an entry of its own, not in a trap.
    let beyond = LeafRun(iova: IOVA(.max), level: 7, count: .max, first: run.first, step: .max, span: .max)
    #expect(try beyond.predictedEntries(.max, geometry: geometry, root: GPA(0), in: memory).count == 1)
  }
}
