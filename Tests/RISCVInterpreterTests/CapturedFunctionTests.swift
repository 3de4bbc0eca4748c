import Foundation
import PageTables
import RISCVInterpreter
import Testing

/// The `.capable` of a driver in a kernel that ran: Fixtures/kernel-log/capable.txt.
@Suite struct CapturedFunctionTests {
  private static let text =
    #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(2)
    .joined(separator: "/") + "/Fixtures/kernel-log/capable.txt"

  /// The function follows its option, which the kernel was booted with as 0.
  @Test func cacheCoherency() throws {
    var values: [Substring: UInt64] = [:]
    var bytes: [UInt64: UInt8] = [:]
    for line in String(decoding: try Data(contentsOf: URL(filePath: Self.text)), as: UTF8.self).split(separator: "\n") {
      let sides = line.split(separator: " = 0x")
      if sides.count == 2 {
        let value = try #require(UInt64(sides[1], radix: 16))
        values[sides[0]] = value
        continue
      }
      let words = line.split(separator: " ")
      let (address, digits) = (try #require(UInt64(words[0].dropFirst(2), radix: 16)), Array(words[1]))
      for index in 0..<digits.count / 2 {
        bytes[address + UInt64(index)] = UInt8(String(digits[index * 2...index * 2 + 1]), radix: 16)
      }
    }
    let function = KVA(try #require(values["(unsigned long)xt_iommu_ops.capable"]))
    let option = try #require(values["(unsigned long)&cache_coherency"])
    let gp = try #require(values["(unsigned long)&'__global_pointer$'"])
    let capability = try #require(values["(unsigned long)IOMMU_CAP_CACHE_COHERENCY"])

    func call(_ capability: UInt64) throws -> UInt64 {
      let interpreter = FunctionInterpreter(globalPointer: gp) { address, count in
        try (0..<UInt64(count)).map { offset in
          guard let byte = bytes[address.rawValue &+ offset] else { throw GuestProgram.Unmapped() }
          return byte
        }
      }
      return try interpreter.call(function, arguments: [0, capability])
    }
    #expect(try call(capability) == 0)
    bytes[option] = 1
    #expect(try call(capability) == 1)
    for other in 0..<8 as Range<UInt64> where other != capability { #expect(try call(other) == 0) }
  }
}
