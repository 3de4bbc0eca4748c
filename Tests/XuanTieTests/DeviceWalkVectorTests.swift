import Foundation
import IOMMUModel
import PageTables
import Testing

@testable import XuanTie

/// 4,000 walks computed by the vendor's own device model over random small tables.
@Suite struct DeviceWalkVectorTests {
  struct Vector: Decodable {
    let td0, addr, physical: String
    let flag: UInt8
    let cause_before, cause_after: UInt16
    let words: [String: String]
    let success: Bool
  }

  static func number(_ text: String) -> UInt64 { UInt64(text.dropFirst(2), radix: 16) ?? .max }

  @Test func agreesWithEveryVector() throws {
    let vectors = try JSONDecoder().decode([Vector].self, from: Fixtures.data("device-walk-vectors.json"))
    #expect(vectors.count == 4000)
    for (number, vector) in vectors.enumerated() {
      var words: [UInt64: UInt64] = [:]
      for (address, value) in vector.words { words[Self.number(address)] = Self.number(value) }
      let access = try #require(Access(rawValue: vector.flag))
      let walk = XuanTieDevice.stageOne(
        Self.number(vector.td0), iova: IOVA(Self.number(vector.addr)), access: access,
        latched: vector.cause_before == 0 ? nil : XuanTieFault.cause(vector.cause_before),
        memory: WordMemory(words))
      #expect((walk.target != nil) == vector.success, "vector \(number)")
      #expect(walk.target?.rawValue ?? Self.number(vector.addr) == Self.number(vector.physical), "vector \(number)")
      #expect(walk.latched?.code ?? 0 == vector.cause_after, "vector \(number)")
      #expect(walk.failure == nil && walk.aborts == false, "vector \(number)")
    }
  }
}
