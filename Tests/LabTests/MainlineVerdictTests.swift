import Foundation
import Testing

/// What the plugin says of every scenario of the mainline pair, from a GDB that has recorded since the first instruction of
/// the boot, and has QEMU's trace besides.
@Suite(.enabled(if: Lab.isOn, "needs the lab: make test-lab"), .timeLimit(.minutes(30))) struct MainlineVerdictTests {
  typealias Case = VerdictTests.Case

  static let cases: [Case] = [
    Case(
      lab: VerdictTests.net("riscv-fixed"),
      lines: [
        "driver  riscv-iommu, map_range (generic_pt, 7.1 on): riscv_64_map_range has a parameter `len`",
        "device  QEMU 10.0 riscv-iommu at 0x3010000, 20 of 20 registers read",
        "0000:00:01.0  8     e1000e  1      IOMMU", "pass  kernel configuration", "pass  registered with the core",
        "pass  translation on",
        "pass  device table", "pass  DMA through the IOMMU",
        "-     cache coherency               there is no .capable", "pass  no fault latched",
        "pass  faults are heard of", "No item fails.", "All ",
        "No cause to name: all ",
      ], nowhere: ["disagree", "\n1. "]),
    Case(
      lab: VerdictTests.net("riscv-napot"),
      lines: [
        "0xffff0000-0xffff7fff  8 pages  map #1  device: wrong address",
        "0xffff9000-0xffffffff  7 pages  map #1  device: wrong address",
        "1. QEMU 10.0 riscv-iommu ignores N in contiguous (Svnapot) entries: it takes 0xffff0000 to 0x80b",
        "   for      The entry at 0x80b",
        "   for      The tables are right: map #1 asked for just that.",
      ], nowhere: ["\n2. "]),
    Case(
      lab: VerdictTests.net("riscv-identity"),
      lines: [
        "fail  device table", "Nothing to check: no recorded call covers it.",
        "1. the device's addresses pass untranslated: 0x80",
        "   for      2 of 2 groups are in an identity domain: the kernel asked for it, by iommu.passthrough, or because it "
          + "is built without IOMMU_DMA.",
      ], nowhere: ["\n2. "]),
    Case(
      lab: VerdictTests.net("riscv-not-probed"),
      lines: [
        "fail  registered with the core      0 IOMMUs; 3010000.iommu: platform: wait for supplier /cpus/cpu@0",
        "1. the IOMMU was never set up: no driver has registered one, and the device refuses what it is asked   (",
        "   for      The core knows of no IOMMU: iommu_device_list is empty.",
        "   for      No driver has taken 3010000.iommu: platform: wait for supplier /cpus/cpu@0 (",
      ], nowhere: ["\n2. "]),
    Case(
      lab: VerdictTests.net("riscv-faults-unread"),
      lines: [
        "fail  no fault latched              cause 13 (read page fault) of 0000:00:01.0 at 0xfffff",
        "fail  faults are heard of           source 1 of plic@c000000 is listened to, 37 is meant",
        "0xfffff000-0xffffffff  -> 0x80b",
        "1. entries that were right have been cleared by something that was not recorded",
        "2. faults are silent: the driver listens to source 1 of plic@c000000, and the device raises 37   (",
        "   for      The first is cause 13 (read page fault) of 0000:00:01.0 at 0xfffff",
        "   for      The driver has requested interrupt ",
      ], nowhere: ["\n3. "]),
    Case(
      lab: VerdictTests.net("riscv-msi-fault"),
      lines: [
        "pass  no fault latched", "All ",
        "1. 0000:00:01.0's interrupts are refused: it writes them to 0x28000000, where nothing is mapped   (",
        "   for      Its interrupts are messages, which are writes as any other: the kernel has the interrupt domain PCI-MSI",
      ], nowhere: ["\n2. "]),
    Case(
      lab: VerdictTests.net("riscv-stale-cache"),
      lines: [
        "0xfffff000-0xffffffff  -> 0x80b",
        "1. entries that were right have been cleared by something that was not recorded",
        "2. the device can still reach 0xfffff000 through its cache: the entry is gone, and nothing has invalidated it since",
        "   for      The entry at 0x80b",
      ], nowhere: ["\n3. "]),
    Case(
      lab: VerdictTests.net("riscv-cleared-leaf"),
      lines: [
        "pass  no fault latched", "0xfffff000-0xffffffff  -> 0x80b",
        "1. entries that were right have been cleared by something that was not recorded",
      ], nowhere: ["through its cache", "faults are silent", "\n2. "]),
  ]

  @Test(arguments: cases) func namesTheCause(_ wanted: Case) async throws {
    let output = try await wanted.lab.debug(
      """
      set pagination off
      iommu record
      hbreak \(wanted.stop)
      continue
      echo ==== said\\n
      iommu status
      python
      def attempt(command):
        try: gdb.execute(command)
        except gdb.error as error: print(error)
      end
      python attempt("iommu devices")
      iommu import $DIR/trace.log
      iommu probe
      iommu check
      iommu diagnose
      """)
    wanted.compare(output.components(separatedBy: "==== said\n").last ?? "", within: output)
  }
}
