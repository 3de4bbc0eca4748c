import Foundation
import IOMMUModel
import LinuxKernel
import PageTables
import Testing

/// The log of a kernel that booted, against what its console showed: Fixtures/kernel-log.
@Suite struct CapturedLogTests {
  @Test func theLogIsWhatTheConsoleShowed() throws {
    let captured = try CapturedKernel()
    let (target, memory) = (captured.target, captured.memory)
    let kernel = try captured.kernel { address in
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
    let captured = try CapturedKernel()
    let (target, memory) = (captured.target, captured.memory)
    let image = try #require(KernelImage(in: target))
    var asked: [KVA] = []
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
