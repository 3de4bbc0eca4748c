import Foundation
import Testing

/// The mainline pair with the device's side recorded live: from QEMU's log by the GDB on the kernel, or by a second GDB on a
/// QEMU that has symbols.
@Suite(.enabled(if: Lab.isOn, "needs the lab: make test-lab"), .timeLimit(.minutes(20))) struct MainlineLiveTests {
  /// Nothing is imported: calls and log are one record, in the order in which things happened.
  @Test func theLogIsFollowed() async throws {
    let output = try await VerdictTests.net("riscv-stale-cache").debug(
      """
      iommu record
      iommu record translate
      iommu status
      hbreak kernel_power_off
      continue
      echo ==== timeline\\n
      iommu timeline
      echo ==== said\\n
      iommu status
      iommu diagnose
      iommu record off
      iommu record off
      iommu import $DIR/trace.log
      """)
    let parts = output.components(separatedBy: "==== ")
    try #require(parts.count == 3, "\(output)")
    #expect(
      parts[0].contains("Follows $DIR/trace.log: what the device does from now on is recorded beside the calls.\n"),
      "\(parts[0])")
    #expect(parts[0].contains("\nlog     $DIR/trace.log is followed, 0 lines read\n"), "\(parts[0])")
    try expectOrder(of: parts[1])
    let said = VerdictTests.Case(
      lab: Lab("riscv-stale-cache"),
      lines: [
        "log     $DIR/trace.log is followed, ",
        "1. entries that were right have been cleared by something that was not recorded",
        "2. the device can still reach 0xfffff000 through its cache: the entry is gone, and nothing has invalidated it since",
        "   for      The entry at 0x80b", "Recording stopped.", "Nothing was being recorded.", "$DIR/trace.log: ",
        "Nothing new for ",
      ], nowhere: ["\n3. ", "translated after unmap", "was emptied", "are off"])
    said.compare(parts[2], within: output)
  }

  /// Events of a timeline: a call, what the device translated, what it was told to forget.
  private enum Event {
    case map(UInt64, bytes: UInt64)
    case unmap(UInt64, bytes: UInt64)
    case translation(UInt64)
    case invalidation(UInt64)
  }

  private func event(_ line: Substring) -> Event? {
    func number(_ text: Substring) -> UInt64 { UInt64(text.dropFirst(2), radix: 16) ?? 0 }
    if let call = line.firstMatch(of: /(map|unmap) #\d+  [0-9a-f:.]+  (0x[0-9a-f]+)  (\d+) (KiB|MiB)/) {
      let bytes = (UInt64(call.3) ?? 0) * (call.4 == "KiB" ? 1024 : 1 << 20)
      return call.1 == "map" ? .map(number(call.2), bytes: bytes) : .unmap(number(call.2), bytes: bytes)
    }
    if let told = line.firstMatch(of: /IOTINVAL\.VMA of (0x[0-9a-f]+)/) { return .invalidation(number(told.1)) }
    if let asked = line.firstMatch(of: #/  (?:read|write|read and write) (0x[0-9a-f]+)/#) {
      return .translation(number(asked.1))
    }
    return nil
  }

  /// Every translation lies behind the call that maps it, and every invalidation behind the unmap that it is for.
  private func expectOrder(of timeline: String) throws {
    let events = timeline.split(separator: "\n").compactMap(event)
    var mapped: Set<UInt64> = []
    var unmapped: Set<UInt64> = []
    var counts: (translations: Int, invalidations: Int) = (0, 0)
    for event in events {
      switch event {
      case .map(let iova, let bytes): for page in stride(from: 0, to: bytes, by: 4096) { mapped.insert(iova + page) }
      case .unmap(let iova, let bytes):
        for page in stride(from: 0, to: bytes, by: 4096) { unmapped.insert(iova + page) }
      case .translation(let iova):
        counts.translations += 1
        #expect(mapped.contains(iova & ~0xfff), "0x\(String(iova, radix: 16)) before its map call")
      case .invalidation(let iova):
        counts.invalidations += 1
        #expect(unmapped.contains(iova), "0x\(String(iova, radix: 16)) forgotten before its unmap call")
      }
    }
    #expect(counts.translations > 20 && counts.invalidations > 2, "\(timeline)")
  }

  /// The worst line of the tables' side, that of the translations, the cause.
  static let bothSides: [VerdictTests.Case] = [
    VerdictTests.Case(
      lab: symbols("riscv-fixed"), lines: ["All ", "No cause to name: all "],
      nowhere: ["disagree", "\n1. ", "refused", "wrong", "after"]),
    VerdictTests.Case(
      lab: symbols("riscv-napot"),
      lines: [
        "0xffff0000-0xffff7fff  8 pages  map #1  device: wrong address",
        "1. QEMU 10.0 riscv-iommu ignores N in contiguous (Svnapot) entries: it takes 0xffff0000 to 0x80b",
      ], nowhere: ["\n2. "]),
  ]

  private static func symbols(_ scenario: String) -> Lab {
    Lab(scenario, qemu: "symbols", append: "lab.seconds=8 lab.poweroff=1")
  }

  @Test(arguments: bothSides) func twoDebuggersNameTheCause(scenario: VerdictTests.Case) async throws {
    let (kernel, qemu) = try await scenario.lab.run(stopped: true) { machine in
      async let qemu = machine.attach(
        .qemu,
        """
        iommu open $DIR/both.iommulens
        iommu break translate -limit 1
        iommu record translate
        shell touch $DIR/qemu-records
        continue
        echo ==== stopped\\n
        iommu args
        iommu regs
        iommu devices
        finish
        continue
        echo ====\\n
        iommu check
        iommu diagnose
        """, within: .seconds(300))
      try await machine.appears("qemu-records")
      let kernel = try await machine.attach(
        .kernel,
        """
        iommu open $DIR/both.iommulens
        iommu record
        hbreak \(scenario.stop)
        continue
        echo ====\\n
        iommu check
        iommu diagnose
        shell kill -INT $(cat $DIR/qemu.pid)
        """, within: .seconds(280))
      return (kernel, try await qemu)
    }
    for output in [kernel, qemu] {
      scenario.compare(output.components(separatedBy: "====\n").last ?? "", within: output)
    }
    let stopped = VerdictTests.Case(
      lab: scenario.lab,
      lines: [
        "translate   0000:00:01.0 (rsid 8)   ", "  0x0    CAPABILITIES  0x78e2cf0f10", "0000:00:01.0  8     ",
      ])
    stopped.compare(qemu.components(separatedBy: "==== stopped\n").last ?? "", within: qemu)
  }
}
