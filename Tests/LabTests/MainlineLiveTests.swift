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
}
