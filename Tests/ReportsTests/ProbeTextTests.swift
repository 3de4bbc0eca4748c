import IOMMUModel
import Investigation
import LinuxKernel
import PageTables
import Simulation
import Testing

@testable import Reports

/// `iommu probe`, word for word where it is about the kernel's configuration and about who hears of faults.
@Suite struct ProbeTextTests {
  private let driver = SimulatedDriver()

  private func probe(
    _ configuration: EmbeddedConfiguration = .absent, imported: String? = nil, hearsFaults: Bool? = nil,
    handling: KernelState.FaultHandling? = nil, _ change: (inout KernelState) -> Void = { _ in }
  ) -> Probe {
    var state = KernelState()
    state.faultHandling = handling
    change(&state)
    return Probe(
      state: state, paging: nil, profile: Recording(driver).profile, registers: driver.registers, contexts: [],
      hearsFaults: hearsFaults, configuration: configuration, imported: imported)
  }

  /// State and value of the item with this name.
  private func item(_ name: String, _ probe: Probe) -> String {
    probe.items.filter { $0.name == name }.map { "\($0.state.rawValue) \($0.value) (\($0.place)) \($0.advice)" }
      .joined(separator: "\n")
  }

  private static let advice =
    "these options have to be built in (=y), and IOMMUFD has to be off: build the kernel anew."

  /// A configuration as needed, but for `changes`.
  private func configuration(_ changes: [String: String] = [:], version: Int = 4) -> EmbeddedConfiguration {
    var options = Dictionary(uniqueKeysWithValues: KernelConfiguration.needed.map { ($0, String?("y")) })
    options["KVM"] = "y"
    options.merge(changes.mapValues { String?($0) }) { $1 }
    return .found(
      KernelConfiguration(options: options, isWhole: true, version: KernelVersion(major: 6, minor: version)))
  }

  @Test func configurations() {
    func told(_ configuration: EmbeddedConfiguration, imported: String? = nil) -> String {
      item("kernel configuration", probe(configuration, imported: imported))
    }
    #expect(told(configuration()) == "pass all as needed (kernel_config_data) \(Self.advice)")
    #expect(
      told(configuration(["VFIO": "m", "KVM_VFIO": "n", "IOMMUFD": "y"]))
        == "fail missing: KVM_VFIO; wrong: VFIO=m, IOMMUFD=y (kernel_config_data) \(Self.advice)")
    #expect(
      told(configuration(["VFIO_CONTAINER": "n"]))
        == "fail missing: VFIO_CONTAINER (kernel_config_data) \(Self.advice)")
    // There was none before 6.2, and without KVM nobody asks for its part of VFIO.
    #expect(
      told(configuration(["VFIO_CONTAINER": "n", "KVM": "n", "KVM_VFIO": "n"], version: 1))
        == "pass all as needed; not needed: VFIO_CONTAINER (from 6.2 on), KVM_VFIO (no KVM) (kernel_config_data) "
        + Self.advice)
    // Who builds a kernel without any of it wants to give no device away.
    let bare = Dictionary(
      uniqueKeysWithValues: KernelConfiguration.needed.filter { $0.contains("VFIO") }.map { ($0, "n") })
    #expect(
      told(configuration(bare))
        == "pass all as needed; not needed: VFIO (no option of it is set, and no device can be given to a guest) "
        + "(kernel_config_data) \(Self.advice)")
    #expect(
      told(configuration(bare.merging(["VFIO_PCI": "y"]) { $1 })).hasPrefix("fail missing: VFIO, VFIO_CONTAINER, "))
    // The kernel's own counts, whatever was imported.
    #expect(told(configuration(), imported: "missing: VFIO").hasPrefix("pass all as needed (kernel_config_data)"))
    #expect(told(.unreadable("It is damaged.")) == "unknown It is damaged. (kernel_config_data) ")
  }

  /// What VFIO would refuse is no failure where there is no VFIO.
  @Test func withoutVFIO() {
    let bare = Dictionary(
      uniqueKeysWithValues: KernelConfiguration.needed.filter { $0.contains("VFIO") }.map { ($0, "n") })
    for (configuration, state) in [(configuration(), "fail"), (configuration(bare), "irrelevant")] {
      let items = probe(configuration) { state in
        state.cacheCoherency = .absent
        state.interrupts = KernelState.Interrupts(
          unsafeAllowed: nil, messageDomains: ["PCI-MSI"], withoutRemapping: ["PCI-MSI"])
      }
      #expect(item("cache coherency", items).hasPrefix("\(state) there is no .capable "))
      #expect(item("interrupts for VFIO", items).hasPrefix("\(state) not remapped: PCI-MSI"))
    }
  }

  @Test func importedConfigurations() {
    func told(_ imported: String?) -> String { item("kernel configuration", probe(imported: imported)) }
    #expect(
      told(nil)
        == "unknown not compiled in (CONFIG_IKCONFIG): import the .config file with `iommu import` (kernel_config_data) "
    )
    for (summary, state) in [
      ("all as needed", "pass"), ("missing: VFIO", "fail"), ("wrong: IOMMUFD=y", "fail"),
      ("excerpt of 17 options: all as needed", "pass"), ("excerpt of 1 option: not mentioned: VFIO", "unknown"),
      ("excerpt of 2 options: missing: PCI; not mentioned: VFIO", "fail"),
    ] {
      #expect(told(summary) == "\(state) \(summary) (imported) \(Self.advice)")
    }
  }

  @Test func whoHearsOfFaults() {
    func handling(
      _ interrupt: UInt64 = 0, node: KernelState.FaultHandling.Node? = nil, reads: [UInt64]? = nil
    ) -> KernelState.FaultHandling {
      KernelState.FaultHandling(
        interrupt: interrupt, interruptName: "xmmu", node: node, handler: "xt_iommu_interrupt", reads: reads)
    }
    func heard(_ isHeard: Bool?, _ handling: KernelState.FaultHandling?) -> String {
      item("faults are heard of", probe(hearsFaults: isHeard, handling: handling)).components(separatedBy: " (").first
        ?? ""
    }
    func node(_ hasInterrupt: Bool, _ names: [String]) -> KernelState.FaultHandling.Node {
      .init(name: "iommu@2c000000", hasInterrupt: hasInterrupt, interruptNames: names)
    }
    #expect(heard(nil, nil) == "unknown not readable")
    #expect(heard(true, handling(15, node: node(true, ["xmmu"]))) == "pass a handler is installed")
    #expect(heard(false, nil) == "fail no interrupt handler")
    #expect(
      heard(false, handling(node: node(true, [])))
        == "fail no interrupt handler: asked for by the name \"xmmu\", which iommu@2c000000 does not have")
    #expect(
      heard(false, handling(node: node(false, []))) == "fail no interrupt handler: iommu@2c000000 has no interrupt")
    #expect(heard(false, handling(node: node(true, ["xmmu"]))) == "fail no interrupt handler")

    func registers(_ reads: [UInt64]?) -> String { item("fault registers", probe(handling: handling(reads: reads))) }
    let place = "(instructions of xt_iommu_interrupt)"
    #expect(
      registers([0x20])
        == "fail 0x20 is read for FTVAL, and is IOMMUCAUSE \(place) the device has FTVAL at 0x28.")
    #expect(registers([0x20, 0x28]) == "pass read at 0x20, 0x28 \(place) ")
    #expect(registers([0x28]) == "pass read at 0x28 \(place) ")
    #expect(registers(nil) == "unknown not known which are read \(place) ")
    #expect(
      item("fault registers", probe()) == "unknown not known which are read (driver's interrupt handler) ")
  }

  /// A report of a machine that has both quirks and nothing else wrong.
  @Test func theWholeText() {
    let text = Terminal.probe(
      probe(
        configuration(), hearsFaults: false,
        handling: KernelState.FaultHandling(
          interrupt: 0, interruptName: "xmmu",
          node: .init(name: "iommu@2c000000", hasInterrupt: true, interruptNames: []), handler: "xt_iommu_interrupt",
          reads: [0x20])))
    #expect(
      text.hasPrefix("pass  kernel configuration          all as needed  "), "\(text)")
    #expect(
      text.hasSuffix(
        """
        3 items of 14 fail:
          device table: attach_dev writes the entry; without one every address passes through.
          faults are heard of: the name the driver asks for must be in the device tree's interrupt-names.
          fault registers: the device has FTVAL at 0x28.
        """), "\(text)")
  }
}
