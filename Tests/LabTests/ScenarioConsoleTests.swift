import Foundation
import Testing

/// What a scenario prints without a debugger.
struct Expectation: Sendable, CustomTestStringConvertible {
  /// What the network card sends.
  enum Traffic {
    /// The kernel's driver does not drive the card.
    case none
    case nothing
    case flows
    /// Nothing before the line that contains this text, something after it.
    case flowsAfter(String)
  }

  let lab: Lab
  /// Lines that come one behind the other, runs of spaces counted as one; the machine is stopped after the last one.
  let lines: [String]
  let never: [String]
  let traffic: Traffic
  /// How often the kernel warns.
  let warnings: Int

  init(_ lab: Lab, _ lines: [String], never: [String] = [], traffic: Traffic = .none, warnings: Int = 0) {
    self.lab = lab
    self.lines = lines
    self.never = never
    self.traffic = traffic
    self.warnings = warnings
  }

  var testDescription: String { lab.testDescription }

  static let watchdog = ["eth0: NETDEV WATCHDOG", "eth0: Reset adapter unexpectedly"]
  static let enabled = "xuantie-iommu 2c000000.iommu: enabled"
  static let netDone = "init: net done, 0 steps failed"
  static let cookie = "Failed to set up IOMMU for device"
  static let remapping =
    #"No interrupt remapping support. Use the module param "allow_unsafe_interrupts" to enable VFIO IOMMU support"#
  static let serialPort = "of_serial 10000000.serial: Adding to iommu group"
  static let repair = [
    "init: net: 1 datagrams given to eth0, 0 packets sent by the card", "init: set eth0 down -> 0",
    "init: write 30 to xt_iommu.root_shift -> 2", "init: set eth0 up -> 0",
  ]

  static func mapped(at iovas: [String]) -> [String] {
    iovas.map { "init: VFIO_IOMMU_MAP_DMA iova \($0) size 0x400000 -> 0" }
  }
  static func dma(_ answers: (iova: String, works: Bool)...) -> [String] {
    answers.map {
      "init: dma: the card reads a descriptor at iova \($0.iova): "
        + ($0.works ? "done, status written back" : "NO ANSWER")
    }
  }
  static let windows = mapped(at: ["0x10000000", "0xc0000000", "0x20001000"])
  static let refused = ["0x100000000 size 0x400000 (past the aperture)", "0x30000800 size 0x400000 (unaligned)"].map {
    "init: VFIO_IOMMU_MAP_DMA iova \($0) -> -1 errno 22"
  }
  static let vfioDone = "init: vfio-map done, 0 steps failed"

  static let all: [Expectation] = [
    Expectation(
      Lab("pgdir-shift"), [enabled] + watchdog + watchdog,
      never: [cookie, serialPort], traffic: .nothing),
    // Longer than the watchdog needs.
    Expectation(
      Lab("fixed", append: "lab.seconds=14"), [enabled, netDone],
      never: watchdog + [cookie, serialPort], traffic: .flows),
    Expectation(
      Lab("dma-cookie", append: "lab.seconds=8"),
      ["pci 0000:00:01.0: Adding to iommu group 1", enabled, netDone],
      never: watchdog + [cookie], traffic: .flows),
    Expectation(
      Lab("dma-cookie-rescan", append: "lab.seconds=8"),
      [
        "pci 0000:00:01.0: Removing from iommu group 1", "init: write 1 to devices/0000:00:01.0/remove -> 1",
        "\(cookie) 0000:00:01.0; retaining platform DMA ops", "init: net done, 0 steps failed",
      ],
      never: watchdog, traffic: .flows),
    Expectation(
      Lab("all-buses", append: "lab.seconds=8"),
      [
        "platform 20000000.flash: Adding to iommu group", serialPort, "pci 0000:00:01.0: Adding to iommu group",
        netDone,
      ],
      never: watchdog + [cookie], traffic: .flows),
    Expectation(
      Lab("sticky-fault"), repair + watchdog + watchdog, never: ["RESUME"], traffic: .nothing),
    // After the write the card is reset once more before it transmits.
    Expectation(
      Lab("sticky-fault-resume"),
      repair + watchdog + ["init: write 1 to the IOMMU's RESUME -> 0", "init: net: 61 datagrams given to eth0"],
      traffic: .flowsAfter("RESUME")),
    Expectation(
      Lab("no-cache-coherency"),
      [
        "init: write vfio-pci to driver_override -> 8", "vfio-pci: probe of 0000:00:01.0 failed with error -22",
        "init: write 0000:00:01.0 to drivers_probe -> 12", "0000:00:01.0/driver: No such file or directory",
        "init: open /dev/vfio/1 -> -1 errno 2", "init: vfio-map done, 1 steps failed",
      ],
      never: ["VFIO_SET_IOMMU"]),
    Expectation(
      Lab("unsafe-interrupts"),
      [
        "init: vfio_iommu_type1.allow_unsafe_interrupts = N", remapping,
        "init: VFIO_SET_IOMMU type 1 (VFIO_TYPE1_IOMMU) -> -1 errno 1 (Operation not permitted)",
        "init: vfio-unsafe done, 1 steps failed",
      ]),
    Expectation(
      Lab("unsafe-interrupts", append: "vfio_iommu_type1.allow_unsafe_interrupts=1"),
      [
        "init: vfio_iommu_type1.allow_unsafe_interrupts = Y", "init: VFIO_SET_IOMMU type 1 (VFIO_TYPE1_IOMMU) -> 0",
        "init: vfio-unsafe done, 0 steps failed",
      ],
      never: [remapping]),
    Expectation(
      Lab("vfio-map"),
      ["init: memory behind the windows: 4 KiB pages"] + windows
        + dma(("0x10000000", true), ("0xc0000000", true), ("0x20001000", true)) + refused + [vfioDone],
      never: [remapping, "NO ANSWER"]),
    Expectation(
      Lab("vfio-map-huge"),
      ["init: memory behind the windows: huge pages"] + windows
        + dma(("0x10000000", true), ("0xc0000000", true), ("0x20001000", true)) + refused + [vfioDone],
      never: ["NO ANSWER"]),
    Expectation(
      Lab("vfio-pgdir-shift"),
      windows
        + dma(("0x10000000", true), ("0xc0000000", false), ("0x20001000", false), ("0x10000000 again", false))
        + [vfioDone]),
    Expectation(
      Lab("huge-page"),
      windows
        + dma(("0x10000000", false), ("0xc0000000", false), ("0x20001000", false), ("0x10000000 again", false))
        + [vfioDone]),
    Expectation(
      Lab("stale-unmap"),
      windows + dma(("0x10000000", true), ("0xc0000000", true), ("0x20001000", true))
        + ["init: VFIO_IOMMU_UNMAP_DMA iova 0x10000000 size 0x400000 -> 0"] + dma(("0x10000000 after its unmap", true))
        + [vfioDone]),
    // The other side of the same: where unmap clears, the card gets no answer.
    Expectation(
      Lab("stale-unmap", append: "xt_iommu.stale_unmap=0"),
      windows + dma(("0x10000000 again", true))
        + ["init: VFIO_IOMMU_UNMAP_DMA iova 0x10000000 size 0x400000 -> 0"]
        + dma(("0x10000000 after its unmap", false)) + [vfioDone]),
    Expectation(
      Lab("alias"),
      mapped(at: ["0x10000000", "0x50000000"]) + [
        "init: dma: the card works at iova 0x10000000: the memory of 0x10000000 was left alone",
        "init: dma: the card works at iova 0x10000000: the memory of 0x50000000 was written",
        "init: dma: the card works at iova 0x50000000: the memory of 0x10000000 was left alone",
        "init: dma: the card works at iova 0x50000000: the memory of 0x50000000 was left alone",
        "init: vfio-alias done, 0 steps failed",
      ],
      warnings: 1024),
    // The same two windows under the right shift.
    Expectation(
      Lab("alias", append: "xt_iommu.root_shift=30"),
      [
        "init: dma: the card works at iova 0x10000000: the memory of 0x10000000 was written",
        "init: dma: the card works at iova 0x10000000: the memory of 0x50000000 was left alone",
        "init: dma: the card works at iova 0x50000000: the memory of 0x10000000 was left alone",
        "init: dma: the card works at iova 0x50000000: the memory of 0x50000000 was written",
        "init: vfio-alias done, 0 steps failed",
      ]),
    // Four CPUs, other offsets in every structure.
    Expectation(
      Lab("fixed", config: "smp", append: "lab.seconds=14"),
      ["SMP", "Lock dependency validator", "Brought up 1 node, 4 CPUs", netDone],
      never: watchdog + [cookie, serialPort, "INFO: possible"], traffic: .flows),
  ]
}

/// Every scenario does what it is there for, with nobody watching.
@Suite struct ScenarioConsoleTests {
  @Test(.enabled(if: Lab.isOn, "needs the lab: make test-lab"), arguments: Expectation.all)
  func theConsoleShowsIt(_ expectation: Expectation) async throws {
    let console = try await expectation.lab.run { try await $0.console(until: expectation.lines) }
    for text in expectation.never + ["Kernel panic", "Oops", "BUG:"] {
      #expect(!console.contains(text), "\(text)\n\(console)")
    }
    #expect(console.components(separatedBy: "WARNING: CPU").count - 1 == expectation.warnings)

    let sent = console.matches(of: /(\d+) packets sent by the card/).compactMap { Int($0.1) }
    switch expectation.traffic {
    case .none: #expect(sent.isEmpty)
    case .nothing: #expect(sent.count > 1 && sent.allSatisfy { $0 == 0 }, "\(sent)")
    // All but the first datagram, which is given to the card before its link is up.
    case .flows: #expect(sent.count > 1 && sent == sent.sorted() && (sent.last ?? 0) > 9, "\(sent)")
    case .flowsAfter(let text):
      let before = console.components(separatedBy: text)[0].matches(of: /(\d+) packets sent by the card/).count
      #expect(sent.prefix(before).allSatisfy { $0 == 0 } && (sent.last ?? 0) > 0, "\(sent), \(before) of them before")
    }
  }

  /// No scenario is left out, and none is made up.
  @Test func everyScenarioHasAnExpectation() throws {
    let lines = try String(contentsOfFile: Lab.top + "/lab/linux/scenarios", encoding: .utf8).split(separator: "\n")
    let names = lines.filter { !$0.hasPrefix("#") }.map { $0.prefix { $0 != " " } }
    #expect(Set(names).count == names.count)
    #expect(Set(Expectation.all.map(\.lab.scenario)) == Set(names.map(String.init)))
  }
}
