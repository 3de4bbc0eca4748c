import Foundation
import GuestMemory
import IOMMUModel
import PageTables
import Testing

@testable import RISCVIOMMU

/// What was captured of the driver on Linux 7.2: Fixtures/riscv-iommu.
enum DriverEvidence {
  static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("Fixtures/riscv-iommu")

  static func data(_ name: String) throws -> Data { try Data(contentsOf: folder.appendingPathComponent(name)) }

  /// The rows of a table by the names of its columns.
  static func rows(_ name: String) throws -> [[String: String]] {
    let lines = String(decoding: try data(name), as: UTF8.self).split(separator: "\n")
      .map { $0.split(separator: ",", omittingEmptySubsequences: false).map(String.init) }
    let names = try #require(lines.first)
    return lines.dropFirst().map { Dictionary(uniqueKeysWithValues: zip(names, $0)) }
  }

  static func number(_ text: String?) throws -> UInt64 {
    let text = try #require(text)
    return try #require(text.hasPrefix("0x") ? UInt64(text.dropFirst(2), radix: 16) : UInt64(text))
  }

  /// Captured pages as memory.
  static func pages(_ name: String) throws -> SnapshotMemory {
    let object = try #require(try JSONSerialization.jsonObject(with: data(name)) as? [String: String])
    var pages: [GPA: [UInt8]] = [:]
    for (key, digits) in object {
      let text = Array(digits.utf8)
      pages[GPA(try number(key))] = try stride(from: 0, to: text.count, by: 2).map {
        try #require(UInt8(String(decoding: text[$0..<$0 + 2], as: UTF8.self), radix: 16))
      }
    }
    return try SnapshotMemory(pages: pages)
  }

  /// The root of all captured tables.
  static let root = GPA(0x80aa_b000)

  static let driver = RISCVIOMMUDriver(generation: .range)

  /// A map call of 7.2.
  static func map(_ iova: UInt64, _ target: UInt64, _ length: UInt64, _ protection: UInt64) throws -> DriverCall {
    try driver.call(
      try #require(driver.functions.first),
      arguments: [0xff60_0000_0085_93c0, iova, target, length, protection, 0xcc0, 0])
  }

  /// Every leaf that a call should leave, by IOVA.
  static func leaves(of call: DriverCall, mode: PagingMode = .sv57) -> [IOVA: (level: Int, entry: PageTableEntry)] {
    var leaves: [IOVA: (level: Int, entry: PageTableEntry)] = [:]
    for run in driver.leaves(of: call, mode: mode) {
      for position in 0..<run.count { leaves[run.iova(position)] = (run.level, run.leaf(position)) }
    }
    return leaves
  }
}
