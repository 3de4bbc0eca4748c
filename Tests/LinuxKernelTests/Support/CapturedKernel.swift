import IOMMUModel
import LinuxKernel
import PageTables
import Testing

/// A kernel that ran, as Fixtures/kernel-log has it; what was not captured is zero.
struct CapturedKernel {
  let target: FakeTarget
  let memory = SparseMemory()

  init() throws {
    var values: [String: UInt64] = [:]
    for line in try Fixtures.text("kernel-log/values.txt").split(separator: "\n") {
      let sides = line.split(separator: " = 0x")
      try #require(sides.count == 2)
      values[String(sides[0])] = try #require(UInt64(sides[1], radix: 16))
    }
    target = FakeTarget(values: values)
    for line in try Fixtures.text("kernel-log/memory.txt").split(separator: "\n") {
      let words = line.split(separator: " ")
      let address = try #require(UInt64(words[0].dropFirst(2), radix: 16))
      let digits = Array(words[1])
      let bytes = try stride(from: 0, to: digits.count, by: 2).map { index in
        try #require(UInt8(String(digits[index...index + 1]), radix: 16))
      }
      memory.write(bytes, at: GPA(address))
    }
  }

  /// Its memory by its own addresses.
  func kernel(translate: ((KVA) -> GPA?)? = nil) throws -> KernelMemory {
    let values = target.values
    return KernelMemory(
      memory: memory, linearOffset: try target.evaluate("kernel_map.va_pa_offset"), image: KernelImage(in: target),
      translate: translate ?? { address in
        values["gva2gpa \(address.page)"].map { GPA($0 + UInt64(address.pageOffset)) }
      })
  }

  /// Where one of its addresses lies.
  func physical(_ expression: String) throws -> GPA {
    try #require(try kernel().physical(KVA(try target.evaluate(expression))))
  }
}
