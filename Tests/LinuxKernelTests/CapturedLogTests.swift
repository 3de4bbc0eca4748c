import Foundation
import IOMMUModel
import LinuxKernel
import PageTables
import Testing

/// The log of a kernel that booted, against what its console showed: Fixtures/kernel-log.
@Suite struct CapturedLogTests {
  private static func values() throws -> [String: UInt64] {
    var values: [String: UInt64] = [:]
    for line in try Fixtures.text("kernel-log/values.txt").split(separator: "\n") {
      let sides = line.split(separator: " = 0x")
      try #require(sides.count == 2)
      let value = try #require(UInt64(sides[1], radix: 16))
      values[String(sides[0])] = value
    }
    return values
  }

  private static func memory() throws -> SparseMemory {
    let memory = SparseMemory()
    for line in try Fixtures.text("kernel-log/memory.txt").split(separator: "\n") {
      let words = line.split(separator: " ")
      let address = try #require(UInt64(words[0].dropFirst(2), radix: 16))
      let digits = Array(words[1])
      let bytes = try stride(from: 0, to: digits.count, by: 2).map { index in
        try #require(UInt8(String(digits[index...index + 1]), radix: 16))
      }
      memory.write(bytes, at: GPA(address))
    }
    return memory
  }

  @Test func theLogIsWhatTheConsoleShowed() throws {
    let target = FakeTarget(values: try Self.values())
    let memory = try Self.memory()
    let kernel = KernelMemory(
      memory: memory, linearOffset: try target.evaluate("kernel_map.va_pa_offset"), image: KernelImage(in: target)
    ) { address in
      Issue.record("\(address) was translated")
      return nil
    }
    let records = try KernelLog(in: target).records(of: target, in: kernel)
    #expect(memory.reads <= 7)

    // The console shows levels below 7; what the firmware and the program on it said has no time.
    let console = try Fixtures.text("kernel-log/console.txt").split(separator: "\n").map(String.init)
    let shown = console.filter { $0.wholeMatch(of: /\[ *[0-9]+\.[0-9]{6}\] .*/) != nil }
    #expect(shown.count > 80)
    #expect(records.filter { $0.level < 7 }.flatMap(\.consoleLines) == shown)
    #expect(records.map(\.sequence) == Array(0..<UInt64(records.count)))
    #expect(records.contains { $0.level == 7 })
    #expect(
      records.last(where: { $0.text.contains("vfio") }).map { "\($0.level) \($0.text)" }
        == "4 vfio-pci: probe of 0000:00:01.0 failed with error -22")
  }

  /// A kernel that does not tell where its image lies: each page of it is asked for once.
  @Test func theSameWithoutTheImagesPlace() throws {
    let target = FakeTarget(values: try Self.values())
    let image = try #require(KernelImage(in: target))
    var asked: [KVA] = []
    let memory = try Self.memory()
    let linear = try target.evaluate("kernel_map.va_pa_offset")
    let kernel = KernelMemory(memory: memory, linearOffset: linear) { address in
      asked.append(address.page)
      return address >= image.start && address - image.start < image.size ? GPA(address.rawValue &- image.offset) : nil
    }
    let log = try KernelLog(in: target)
    let told = try log.records(of: target, in: KernelMemory(memory: memory, linearOffset: linear, image: image))
    #expect(try log.records(of: target, in: kernel) == told)
    // Neighbouring arrays share a page; none is asked for more than twice.
    #expect(asked.count <= Set(asked).count + 4)
    #expect(asked.count < 40)
  }
}
