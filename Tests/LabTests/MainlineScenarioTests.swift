import Foundation
import Testing

/// What the scenarios of the mainline pair show without the plugin: the kernel's console, QEMU's trace of the IOMMU, the
/// IOMMU's registers, and the tables in the machine's RAM.
@Suite struct MainlineScenarioTests {
  struct Case: Sendable, CustomTestStringConvertible {
    let scenario: String
    /// Lines of the console that come one behind the other; the machine is looked at after the last one.
    let lines: [String]
    /// What is nowhere on the console.
    let never: [String]
    let check: @Sendable (MainlineMachine) throws -> Void

    init(
      _ scenario: String, _ lines: [String], never: [String] = [],
      check: @escaping @Sendable (MainlineMachine) throws -> Void
    ) {
      self.scenario = scenario
      self.lines = lines
      self.never = never
      self.check = check
    }

    var testDescription: String { scenario }
  }

  static let translated = ["Adding to iommu group", "iommu_group/type = DMA"]
  static let faults = "riscv,iommu 3010000.iommu: Fault"
  static let lost = "init: clear the leaf of IOVA 0xfffff000 -> 0"
  /// The IOVA of a transmit ring of one page, which is the first mapping that the card gets.
  static let ring: UInt64 = 0xffff_f000

  static let cases = [
    Case("riscv-fixed", translated + ["init: net: 21 rounds"], never: [faults]) { machine in
      machine.expectTraffic(after: 11)
      #expect(machine.faults.isEmpty)
      #expect(machine.ddtpMode == 4)
      #expect(machine.faultQueue.head == 0 && machine.faultQueue.tail == 0)
      let page = MainlineMachine.page(of: try machine.entry(of: ring))
      let targets = Set(machine.translations(of: ring).map { $0.target & ~0xfff })
      #expect(targets == [page])
    },
    // The specification's base of 64 KiB is one page, QEMU's another.
    Case("riscv-napot", translated + ["4096 transmit descriptors -> 0", "init: net: 21 rounds"], never: [faults]) {
      machine in
      #expect(machine.counts.map(\.sent) == [0, 0, 0])
      #expect(machine.faults.isEmpty)
      let entries = try (0..<16).map { try machine.entry(of: 0xffff_0000 + $0 << 12) }
      let entry = try #require(entries.first)
      #expect(entries == Array(repeating: entry, count: 16))
      #expect(entry >> 63 == 1 && entry >> 10 & 0xf == 0b1000)
      let page = MainlineMachine.page(of: entry)
      let targets = Set(machine.translations(of: 0xffff_0000).map { $0.target & ~0xfff })
      #expect(targets == [page])
      #expect(page & 0xffff == 0x8000, "the specification puts zeros in place of the entry's lowest bits")
    },
    Case(
      "riscv-identity",
      ["iommu: Default domain type: Translated", "iommu_group/type = identity", "init: net: 21 rounds"], never: [faults]
    ) {
      machine in
      machine.expectTraffic(after: 11)
      #expect(machine.faults.isEmpty)
      #expect(machine.ddtpMode == 4)
      let context = try machine.deviceContext()
      #expect(context[0] & 1 == 1 && context[3] == 0, "valid, and without tables: \(context)")
      #expect(machine.translations.count > 50)
      #expect(machine.translations.allSatisfy { $0.iova == $0.target })
    },
    Case(
      "riscv-not-probed", ["iommu_group/type: No such file or directory", "NIC Link is Up", "init: net: 21 rounds"],
      never: ["riscv,iommu", "Adding to iommu group"]
    ) { machine in
      #expect(machine.counts.map(\.sent) == [0, 0, 0])
      #expect(machine.registers[0x10] == 0, "DDTP")
      #expect(machine.translations.count > 10)
      #expect(machine.translations.allSatisfy { $0.target == 0 })
      #expect(Set(machine.faults.map(\.cause)) == [256])
    },
    Case("riscv-faults-unread", translated + [lost, "init: net: 31 rounds"], never: [faults]) { machine in
      machine.expectSilence(after: 11)
      let entry = try machine.entry(of: ring)
      #expect(entry == 0)
      #expect(Set(machine.faults.map(\.cause)) == [13])
      #expect(machine.faultQueue.head == 0 && machine.faultQueue.tail > 0)
      #expect(machine.registers[0x08] == 2, "FCTL: interrupts by wire")
      #expect((machine.registers[0x50] ?? 0) >> 32 & 2 == 2, "IPSR: the fault queue's interrupt is pending")
    },
    Case(
      "riscv-msi-fault", translated + ["Fault 15 devid: 0x8 iotval: 28000000", "init: net: 21 rounds"],
      never: ["NIC Link is Up"]
    ) {
      machine in
      #expect(machine.counts.map(\.sent) == [0, 0, 0])
      #expect(!machine.faults.isEmpty)
      #expect(machine.faults.allSatisfy { $0.cause == 15 && $0.iova == 0x2800_0000 })
      #expect(machine.translations.allSatisfy { $0.iova == 0x2800_0000 && $0.target == 0 })
    },
    Case("riscv-stale-cache", translated + [lost, "init: net: 31 rounds"], never: [faults]) { machine in
      machine.expectTraffic(after: 11)
      #expect(machine.faults.isEmpty)
      let entry = try machine.entry(of: ring)
      #expect(entry == 0)
      let targets = Set(machine.translations(of: ring).map { $0.target & ~0xfff })
      let lost = try machine.lostEntry()
      #expect(targets == [MainlineMachine.page(of: lost)])
      // IOTINVAL.VMA has the address in units of 4 bytes.
      #expect(!machine.trace.contains { $0.contains("riscv_iommu_cmd") && $0.hasSuffix(" 0x3ffffc00") })
    },
    Case("riscv-cleared-leaf", translated + [lost, "Fault 13 devid: 0x8 iotval: fffff", "init: net: 31 rounds"]) {
      machine in
      machine.expectSilence(after: 11)
      let entry = try machine.entry(of: ring)
      #expect(entry == 0)
      #expect(machine.faults.allSatisfy { $0.cause == 13 && $0.iova & ~0xfff == ring })
      #expect(machine.faultQueue.head > 0)
      let ringAccesses = machine.translations(of: ring)
      let first = try #require(ringAccesses.firstIndex { $0.target == 0 })
      let page = MainlineMachine.page(of: try machine.lostEntry())
      #expect(first > 0 && ringAccesses[..<first].allSatisfy { $0.target & ~0xfff == page })
      #expect(ringAccesses[first...].allSatisfy { $0.target == 0 })
    },
  ]

  @Test(.enabled(if: Lab.isOn, "needs the lab: make test-lab"), arguments: cases)
  func theMachineShowsIt(_ expectation: Case) async throws {
    try await Lab(expectation.scenario).run { machine in
      let console = try await machine.console(until: expectation.lines)
      for text in expectation.never + ["Kernel panic", "Oops", "BUG:", "WARNING:"] {
        #expect(!console.contains(text), "\(text)\n\(console)")
      }
      try expectation.check(try await MainlineMachine(machine, console: console))
    }
  }

  /// No scenario is left out, and none is made up.
  @Test func everyScenarioHasACase() throws {
    let lines = try String(contentsOfFile: Lab.top + "/lab/mainline/scenarios", encoding: .utf8).split(separator: "\n")
    let names = lines.filter { !$0.hasPrefix("#") }.map { String($0.prefix { $0 != " " }) }
    #expect(Self.cases.map(\.scenario) == names)
  }

  /// Its QEMU cannot be debugged by name, and it has one kernel.
  @Test(.enabled(if: Lab.isOn, "needs the lab: make test-lab"))
  func whatThisPairHasNotIsSaid() async throws {
    try await Lab("riscv-fixed").run(stopped: true) { machine in
      let attached = try await Lab.command(["attach", "qemu", machine.directory])
      #expect(
        attached.errors == """
          lab/lab: this machine's QEMU has no symbols; what its IOMMU does is in \(machine.directory)/trace.log

          """)
      #expect(attached.status == .exited(2))
    }
    try await Lab.inScratch { directory in
      let result = try await Lab.command(["boot", "riscv-fixed", "--config", "smp", directory])
      #expect(result.errors == "lab/lab: riscv-fixed has no kernel 'smp'\n")
      #expect(result.status == .exited(2))
    }
  }
}
