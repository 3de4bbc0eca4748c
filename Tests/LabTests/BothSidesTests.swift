import Foundation
import Testing

/// One investigation that a GDB on the kernel and one on QEMU fill at the same time, from the first instruction of the boot
/// to its end: which cause it names, in either of them.
///
/// Both record without stopping for the user. The one on the kernel says what it has found while QEMU runs on, then
/// interrupts the other one, which has the last word.
@Suite(.enabled(if: Lab.isOn, "needs the lab: make test-lab"), .timeLimit(.minutes(20))) struct BothSidesTests {
  /// What is seen of the first page, from either side: 16 bytes are read, and as QEMU may not have told yet, 4 of them again.
  private static func firstPage(_ verdict: String) -> String {
    ["0x10000000\t16 in steps of 1", "0x10000000-0x1000000f\t20 translations in 2 runs"].map { "\($0)\t\(verdict)" }
      .joined(separator: "\n")
  }

  /// The worst line of the tables' side, then that of the translations, then the cause.
  static let cases: [VerdictTests.Case] = [
    VerdictTests.Case(
      lab: VerdictTests.net("pgdir-shift"),
      lines: [
        VerdictTests.allMissing, "0xfffff000  4 in steps of 4  map #1 -> ", VerdictTests.rootShift,
        "   for      The device was seen to refuse what is mapped, in 1 run of translations, first at 0xfffff000,",
      ] + VerdictTests.silence(from: 2), nowhere: ["\n5. "]),
    VerdictTests.Case(
      lab: VerdictTests.net("fixed"), lines: ["All ", "No cause to name: all "],
      nowhere: ["disagree", "\n1. ", "refused", "wrong", "after"]),
    VerdictTests.Case(
      lab: VerdictTests.net("sticky-fault", seconds: 16),
      lines: [
        "0xfffff000\t4 in steps of 4\tmap #1 -> ",
        "1. a fault that was never cleared hides good mappings: cause 16 (S1_PTE_INVALID) of 0000:00:01.0 at 0xfffff",
        "2. the root is indexed with shift 48,",
      ] + VerdictTests.silence(from: 3)),
    VerdictTests.Case(
      lab: VerdictTests.net("dma-cookie"),
      lines: [
        "Nothing to check: no recorded call covers it.",
        "1. the default domain is lost to a second DMA cookie: the driver takes the one that the core takes itself   (2 of 2 groups)",
        "2. the device's addresses pass untranslated: ",
      ], nowhere: ["\n3. "]),
    VerdictTests.Case(
      lab: Lab("stale-unmap", append: "lab.poweroff=1"),
      lines: [
        "3074 of 3074 pages disagree: 3074 stale after unmap.",
        firstPage("no map call\ttranslated after unmap #"),
        "1. unmap leaves its entries as they are   (166 of 166 wrong unmaps)",
        "   for      The device was seen to reach it, in ",
      ], nowhere: ["\n2. "]),
    VerdictTests.Case(
      lab: Lab("huge-page", append: "lab.hold=1"),
      lines: [
        "3072 of 3074 pages disagree: 3072 latched fault.",
        "1. QEMU xmmuv1 misreads leaves of 2 MiB: it walks on behind them   (2048 of 3072 pages)",
      ] + VerdictTests.silence(from: 2) + ["4. a fault that was never cleared hides good mappings: cause 16"],
      nowhere: ["\n5. "], stop: "sys_ppoll"),
    VerdictTests.Case(
      lab: Lab("alias", append: "lab.hold=1"),
      lines: [
        "2048 of 2050 pages disagree: 1024 overwritten, 1024 missing.",
        firstPage("map #2 -> "), VerdictTests.rootShift,
        "   for      The device was seen to go there, in 3 runs of translations: 0x10000000: 16 translations in steps of 1, "
          + "wrong address: leads to ",
      ] + VerdictTests.silence(from: 2), nowhere: ["\n4. "], stop: "sys_ppoll"),
  ]

  @Test(arguments: cases) func theCauseIsNamedFirst(scenario: VerdictTests.Case) async throws {
    let (kernel, qemu) = try await scenario.lab.run(stopped: true) { machine in
      async let qemu = machine.attach(
        .qemu,
        """
        iommu open $DIR/both.iommulens
        iommu record translate
        shell touch $DIR/qemu-records
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
        iommu check -all
        iommu diagnose
        shell kill -INT $(cat $DIR/qemu.pid)
        """, within: .seconds(280))
      return (kernel, try await qemu)
    }
    for output in [kernel, qemu] {
      scenario.compare(output.components(separatedBy: "====\n").last ?? "", within: output)
    }
  }
}
