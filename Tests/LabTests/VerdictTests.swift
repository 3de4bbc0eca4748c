import Foundation
import Testing

/// What the plugin says of every scenario, from a GDB that has recorded since the first instruction of the boot: which cause
/// it names, unaided, and that it names none where there is none.
@Suite(.enabled(if: Lab.isOn, "needs the lab: make test-lab"), .timeLimit(.minutes(30))) struct VerdictTests {
  /// A scenario, where to stop it, and what must and must not be said there.
  struct Case: Sendable, CustomTestStringConvertible {
    let lab: Lab
    /// Lines that must be there, one behind the other; each is the beginning of a line. A tab stands for what fills a column,
    /// whose width is that of the longest row; of several lines in one, either may be there.
    let lines: [String]
    /// What may be nowhere.
    var nowhere: [String] = []
    /// Where the guest stops: when its program ends, or when it waits with everything mapped.
    var stop = "kernel_power_off"

    var testDescription: String { lab.testDescription }

    private static func pattern(_ line: String) -> String {
      let either = line.components(separatedBy: "\n").map { line in
        line.components(separatedBy: "\t").map(NSRegularExpression.escapedPattern).joined(separator: " {2,}")
      }
      return "(?:\(either.joined(separator: "|")))"
    }

    /// Records an issue where `said`, a part of `output`, lacks a line or has what may be nowhere.
    func compare(_ said: String, within output: String) {
      var rest = ("\n" + said)[...]
      for line in lines {
        let found =
          line == VerdictTests.allMissing
          ? rest.firstRange(of: /\n([0-9]+) of [0-9]+ pages disagree: \1 missing\./)
          : rest.range(of: "\n" + Self.pattern(line), options: .regularExpression)
        guard let found else {
          Issue.record("\"\(line)\" is missing:\n\(output)")
          return
        }
        rest = rest[found.upperBound...]
      }
      for text in nowhere where ("\n" + said).contains(text) {
        Issue.record("\"\(text)\" should not be there:\n\(output)")
      }
    }
  }

  /// A network card for some seconds, then the machine goes off.
  static func net(_ scenario: String, seconds: Int = 8, config: String = "default") -> Lab {
    Lab(scenario, config: config, append: "lab.seconds=\(seconds) lab.poweroff=1")
  }

  /// Stands for any number of pages, all of which disagree in one way; the card may just be taking one back.
  static let allMissing = "N of M pages disagree: N missing."
  static let rootShift =
    "1. the root is indexed with shift 48, PGDIR_SHIFT of the CPU's Sv57; this table is Sv39: 30   "

  /// What the pair has in every scenario and `iommu diagnose` tells of where it matters: while a fault is latched.
  static func silence(from position: Int) -> [String] {
    [
      "\(position). faults are silent: the driver has no handler for the device's interrupt   (1 of 1 latched fault)",
      "   for      The driver asks for the interrupt by the name \"xmmu\", and the device tree's iommu@2c000000 has no "
        + "interrupt-names.",
      "\(position + 1). the driver takes offset 0x20 for FTVAL: there the device has IOMMUCAUSE, and FTVAL at 0x28   (",
      "   for      xt_iommu_interrupt reads offset 0x20, and nowhere 0x28: its instructions were followed.",
    ]
  }
  static let isSilent = "faults are silent"

  static let cases: [Case] = [
    Case(
      lab: net("pgdir-shift"),
      lines: [
        "fail  no fault latched", allMissing, rootShift,
        "   look at  drivers/iommu/xuantie-iommu-map.c:",
      ] + silence(from: 2), nowhere: ["\n4. "]),
    Case(
      lab: net("pgdir-shift", config: "smp"), lines: [allMissing, rootShift] + silence(from: 2), nowhere: ["\n4. "]),
    Case(
      lab: net("fixed"),
      lines: [
        "0000:00:01.0  8     e1000e  1      IOMMU",
        "pass  kernel configuration          all as needed; not needed: VFIO_CONTAINER (from 6.2 on), KVM_VFIO (no KVM)",
        "pass  default domains", "pass  cache coherency", "pass  no fault latched",
        "fail  faults are heard of           no interrupt handler: asked for by the name \"xmmu\", which iommu@2c000000 does "
          + "not have",
        "fail  fault registers               0x20 is read for FTVAL, and is IOMMUCAUSE", "All ",
        "No cause to name: all ",
      ], nowhere: ["disagree", "\n1. "]),
    Case(
      lab: net("fixed", config: "smp"), lines: ["All ", "No cause to name: all "], nowhere: ["disagree", "\n1. "]),
    Case(
      lab: net("dma-cookie"),
      lines: [
        "0000:00:01.0  8     e1000e  1      direct  -           bypassed: DTE not valid", "No group has a domain.",
        "fail  default domains", "fail  DMA through the IOMMU",
        "1. the default domain is lost to a second DMA cookie: the driver takes the one that the core takes itself   (2 of 2 groups)",
        "   look at  remove the call of iommu_get_dma_cookie from xt_iommu_domain_alloc",
      ]),
    Case(
      lab: net("dma-cookie-rescan"),
      lines: [
        "fail  default domains",
        "1. the default domain is lost to a second DMA cookie: the driver takes the one that the core takes itself   (2 of 2 groups)",
      ], nowhere: ["No error line says so."]),
    Case(
      lab: net("all-buses"),
      lines: [
        "Requester id 0 is shared by ", "fail  one requester id a device",
        "1. devices that have no requester id were taken in (bus: platform): ",
      ], nowhere: ["disagree"]),
    Case(
      lab: net("sticky-fault", seconds: 16),
      lines: [
        "fail  no fault latched",
        "1. a fault that was never cleared hides good mappings: cause 16 (S1_PTE_INVALID) of 0000:00:01.0 at 0xfffff",
        "   for      No access to what is mapped now would latch it again: its cause has been repaired since.",
        "2. the root is indexed with shift 48,",
        "   against  From map #",
      ] + silence(from: 3), nowhere: ["\n5. "]),
    Case(
      lab: net("sticky-fault-resume", seconds: 26),
      lines: ["pass  no fault latched", "All ", "1. the root is indexed with shift 48,", "   against  From map #"],
      nowhere: [isSilent]),
    Case(
      lab: Lab("vfio-map", append: "lab.hold=1"),
      lines: [
        "0000:00:01.0  8     vfio-pci  1", "All 3074 pages agree: 3072 mapped, 2 unmapped.", "No cause to name: all ",
      ],
      nowhere: ["\n1. "], stop: "sys_ppoll"),
    Case(
      lab: Lab("vfio-map-huge", append: "lab.hold=1"),
      lines: ["All 3074 pages agree: 3072 mapped, 2 unmapped.", "No cause to name: all "], nowhere: ["\n1. "],
      stop: "sys_ppoll"),
    Case(
      lab: Lab("vfio-map", append: "lab.poweroff=1"), lines: ["All 3074 pages agree: 0 mapped, 3074 unmapped."],
      nowhere: ["\n1. "]),
    Case(
      lab: Lab("vfio-pgdir-shift", append: "lab.hold=1"),
      lines: [
        "3074 of 3074 pages disagree: 2 overwritten, 1024 missing, 2048 latched fault.", rootShift,
      ] + silence(from: 2) + [
        "4. a fault that was never cleared hides good mappings: cause 16",
        "   for      An access to 0xc0000000 would latch the same cause again: that is to be repaired first.",
      ], stop: "sys_ppoll"),
    Case(
      lab: Lab("huge-page", append: "lab.hold=1"),
      lines: [
        "1. QEMU xmmuv1 misreads leaves of 2 MiB: it walks on behind them   (2048 of 3072 pages)",
        "   for      The device: the walk goes on after the leaf at level 1.",
      ] + silence(from: 2) + ["4. a fault that was never cleared hides good mappings: cause 16"], stop: "sys_ppoll"),
    Case(
      lab: Lab("stale-unmap", append: "lab.poweroff=1"),
      lines: [
        "3074 of 3074 pages disagree: 3074 stale after unmap.", "1. unmap leaves its entries as they are   (",
        "   breaks   The device can still reach 3074 pages after the unmap, whoever uses that memory now.",
      ], nowhere: ["\n2. "]),
    Case(
      lab: Lab("alias", append: "lab.hold=1"),
      lines: [
        "2048 of 2050 pages disagree: 1024 overwritten, 1024 missing.", rootShift,
        "   breaks   1024 pages of 158 map calls lost their entry to another IOVA while mapped",
      ] + silence(from: 2), nowhere: ["\n4. "], stop: "sys_ppoll"),
    Case(
      lab: Lab("no-cache-coherency", append: "lab.poweroff=1"),
      lines: [
        "fail  cache coherency", "1. VFIO refuses to bind: the IOMMU driver does not report cache coherency   ",
        "   for      The driver's .capable answers no to IOMMU_CAP_CACHE_COHERENCY.",
      ]),
    Case(
      lab: Lab("unsafe-interrupts", append: "lab.poweroff=1"),
      lines: [
        "fail  interrupts for VFIO", "1. VFIO refuses to attach: interrupts are not remapped   ",
        "   for      MSI domains behind which nothing remaps interrupts: xt-lab-msi",
      ]),
    Case(
      lab: Lab("unsafe-interrupts", append: "vfio_iommu_type1.allow_unsafe_interrupts=1 lab.poweroff=1"),
      lines: ["pass  interrupts for VFIO", "No cause to name: "], nowhere: ["\n1. "]),
  ]

  @Test(arguments: cases) func theKnownCauseIsNamedFirst(scenario: Case) async throws {
    let output = try await scenario.lab.debug(
      """
      iommu record
      hbreak \(scenario.stop)
      continue
      echo ====\\n
      iommu devices
      iommu domains
      iommu probe
      iommu check
      iommu diagnose
      """)
    scenario.compare(output.components(separatedBy: "====\n").last ?? "", within: output)
  }

  /// Every scenario of the lab has a verdict.
  @Test func everyScenarioHasAVerdict() throws {
    let files = try ["linux", "mainline"].map {
      try String(contentsOfFile: Lab.top + "/lab/\($0)/scenarios", encoding: .utf8)
    }
    let names = files.joined(separator: "\n").split(separator: "\n").filter { !$0.hasPrefix("#") }.compactMap { line in
      line.split(separator: "|").first.map { $0.trimmingCharacters(in: .whitespaces) }
    }
    #expect(Set(names) == Set((Self.cases + MainlineVerdictTests.cases).map(\.lab.scenario)))
  }
}
