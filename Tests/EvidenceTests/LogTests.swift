import Investigation
import Testing

@testable import Evidence

@Suite struct LogTests {
  @Test func meanings() {
    for (text, meaning) in [
      ("NETDEV WATCHDOG: eth0 (e1000e): transmit queue 0 timed out 9960 ms", LogLine.Meaning.watchdog),
      ("e1000e 0000:00:01.0 eth0: Reset adapter unexpectedly", .adapterReset),
      ("Failed to set up IOMMU for device riscv-pmu; retaining platform DMA ops", .dmaSetupFailed),
      ("vfio-pci: probe of 0000:00:01.0 failed with error -22", .bindRefused),
      ("vfio-pci 0000:00:01.0: probe with driver vfio-pci failed with error -22", .bindRefused),
      (
        "vfio_iommu_type1_attach_group: No interrupt remapping support.  Use the module param \"allow_unsafe_interrupts\" to",
        .unsafeInterrupts
      ),
      ("pci 0000:00:01.0: Adding to iommu group 1", .groupAdded),
      ("riscv,iommu 3010000.iommu: Fault 13 devid: 0x8 iotval: ffefc002 iotval2: 0", .fault),
    ] {
      for (line, time) in [
        ("[    1.500000] \(text)", UInt64(1_500_000_000)), ("[ 42.248201] \(text)", 42_248_201_000),
        ("<4>[12345.000001] \(text)", 12_345_000_001_000), ("send 1 -> 1000[    0.000001] \(text)", 1000),
      ] {
        #expect(Texts.read(line).logs == [LogLine(origin: "text", line: 1, time: time, text: text, meaning: meaning)])
      }
      #expect(Texts.read(text).logs == [LogLine(origin: "text", line: 1, time: nil, text: text, meaning: meaning)])
      // A sentence that quotes it is no evidence.
      for prose in ["The log says `\(text)`.", "| 7 | \(text) |", "日志: \(text)"] {
        #expect(Texts.read(prose).logs.isEmpty, "\(prose)")
      }
    }
    #expect(Texts.read("[    0.1] iommu: Default domain type: Translated").logs.first?.meaning == .driver)
    #expect(Texts.read("iommu: Default domain type: Translated").logs.isEmpty)
    #expect(Texts.read("[    0.2] VFIO - User Level meta-driver version: 0.3").logs.first?.meaning == .other)
    #expect(Texts.read("[    0.3] clk: Disabling unused clocks").noise == [.log: 1])
    #expect(Texts.read("WARN_ONCE(1, \"NETDEV WATCHDOG: %s (%s): transmit queue %u timed out %u ms\\n\",").logs.isEmpty)
  }

  @Test func transmitTimeouts() {
    let old = TransmitTimeout("NETDEV WATCHDOG: eth0 (e1000e): transmit queue 2 timed out 9960 ms")
    #expect(old?.interface == "eth0" && old?.driver == "e1000e" && old?.queue == 2 && old?.milliseconds == 9960)
    let oldest = TransmitTimeout("NETDEV WATCHDOG: eth0 (e1000e): transmit queue 0 timed out")
    #expect(oldest?.queue == 0 && oldest?.milliseconds == nil)
    let new = TransmitTimeout(
      "e1000e 0000:00:01.0 eth0: NETDEV WATCHDOG: CPU: 0: transmit queue 1 timed out 5004 ms")
    #expect(new?.interface == "eth0" && new?.driver == "e1000e 0000:00:01.0" && new?.queue == 1)
    #expect(new?.milliseconds == 5004)
    for broken in ["", "NETDEV WATCHDOG: ", "NETDEV WATCHDOG: eth0", "NETDEV WATCHDOG: eth0 (x): transmit queue"] {
      #expect(TransmitTimeout(broken) == nil)
    }
  }

  @Test func aWarningIsOne() throws {
    let notes = try Texts.read(fixture: "field-notes.txt")
    let warning = try #require(
      notes.findings.first { if case .log(let line) = $0.evidence { line.meaning == .warning } else { false } })
    #expect(warning.lines == 144...174)
    let log = try Texts.read(fixture: "vfio/d-console-alias-with-pgdir-bug.log")
    #expect(log.logs.filter { $0.meaning == .warning }.map(\.line) == [198, 223])
    #expect(
      log.logs.first { $0.meaning == .warning }?.text
        == "WARNING: CPU: 0 PID: 1 at drivers/vfio/vfio_iommu_type1.c:1154 vfio_unmap_unpin+0x206/0x242 <- vfio_remove_dma "
        + "<- vfio_iommu_type1_ioctl <- vfio_fops_unl_ioctl <- sys_ioctl <- ret_from_syscall")
    // A line of somebody else's in the middle does not end it.
    let mixed = Texts.read(
      """
      [    1.000000] WARNING: CPU: 0 PID: 1 at a.c:1 f+0x2/0x4
      [    1.000001] CPU: 0 PID: 1 Comm: init Not tainted 6.1.192 #8
      send 5 -> 1000
      [    1.000002] epc : f+0x2/0x4
      [    1.000003]  a2 : 0000000000000004 a3 : ff5fffff7fe00000 a4 : 0000000080be0000
      [    1.000004] [<ffffffff8018f978>] f+0x2/0x4
      [    1.000005] [<ffffffff8018f9d2>] g.part.0+0x1e/0xf0
      [    1.000006] ---[ end trace 0000000000000000 ]---
      [    1.000007] pci 0000:00:01.0: Adding to iommu group 1
      """)
    #expect(
      mixed.logs.map(\.text) == [
        "WARNING: CPU: 0 PID: 1 at a.c:1 f+0x2/0x4 <- g", "pci 0000:00:01.0: Adding to iommu group 1",
      ])
    #expect(mixed.findings.map(\.lines) == [1...8, 1...8, 9...9])
    #expect(mixed.findings.contains { $0.evidence == .release("6.1.192 #8") })
  }

  @Test func theBannerCountsMoreThanAWarning() throws {
    let log = try Texts.read(fixture: "vfio/d-console-alias-with-pgdir-bug.log")
    #expect(log.facts[Fact.banner]?.hasPrefix("Linux version 6.1.192 (root@vm)") == true)
    #expect(!log.findings.contains { if case .release = $0.evidence { true } else { false } })
  }
}
