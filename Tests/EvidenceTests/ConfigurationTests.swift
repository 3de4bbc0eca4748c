import Investigation
import LinuxKernel
import Testing

@testable import Evidence

@Suite struct ConfigurationTests {
  private let needed = """
    CONFIG_IOMMU_IOVA=y
    CONFIG_IOMMU_API=y
    CONFIG_IOMMU_SUPPORT=y
    CONFIG_IOMMU_DMA=y
    # CONFIG_IOMMUFD is not set
    CONFIG_VFIO=y
    CONFIG_VFIO_CONTAINER=y
    CONFIG_VFIO_IOMMU_TYPE1=y
    CONFIG_VFIO_VIRQFD=y
    CONFIG_VFIO_PCI_CORE=y
    CONFIG_VFIO_PCI_MMAP=y
    CONFIG_VFIO_PCI_INTX=y
    CONFIG_VFIO_PCI=y
    CONFIG_PCI=y
    CONFIG_PCI_DOMAINS=y
    CONFIG_PCI_DOMAINS_GENERIC=y
    CONFIG_KVM_VFIO=y

    """
  private let whole = """
    #
    # Automatically generated file; DO NOT EDIT.
    # Linux/riscv 6.4.0 Kernel Configuration
    #
    CONFIG_CC_VERSION_TEXT="riscv64-linux-gnu-gcc (Debian 12.2.0-13) 12.2.0"

    #
    # General setup
    #
    CONFIG_KVM=y

    """

  @Test func asNeeded() {
    let result = Texts.read(whole + needed)
    #expect(result.configurations.map(\.summary) == ["all as needed"])
    #expect(result.configurations.first?.isWhole == true && result.isComplete)
    #expect(result.configurations.first?.version?.description == "6.4")
    #expect(Texts.read(needed).configurations.map(\.summary) == ["excerpt of 17 options: all as needed"])
  }

  @Test func everyOptionCounts() {
    for name in KernelConfiguration.needed {
      let line = "CONFIG_\(name)=y\n"
      for (text, summary) in [
        ("", "missing: \(name)"), ("# CONFIG_\(name) is not set\n", "missing: \(name)"),
        ("unset CONFIG_\(name)\n", "missing: \(name)"), ("CONFIG_\(name)=n\n", "missing: \(name)"),
        ("CONFIG_\(name)=m\n", "wrong: \(name)=m"),
      ] {
        let changed =
          whole
          + needed.replacing("\n\(line)", with: "\n\(text)").replacing(
            "CONFIG_IOMMU_IOVA=y\n", with: name == "IOMMU_IOVA" ? text : "CONFIG_IOMMU_IOVA=y\n")
        #expect(Texts.read(changed).configurations.map(\.summary) == [summary], "\(text)")
      }
    }
    let both = needed.replacing("# CONFIG_IOMMUFD is not set", with: "CONFIG_IOMMUFD=y").replacing(
      "CONFIG_VFIO=y\n", with: "")
    #expect(Texts.read(whole + both).configurations.map(\.summary) == ["missing: VFIO; wrong: IOMMUFD=y"])
    // An excerpt that does not mention an option does not say that it is missing.
    #expect(
      Texts.read(both).configurations.map(\.summary) == ["excerpt of 16 options: wrong: IOMMUFD=y; not mentioned: VFIO"]
    )
  }

  /// What an older kernel has not, and what only KVM asks for. An excerpt does not say which kernel it is of, nor that it
  /// has no KVM.
  @Test func whatAKernelDoesWithout() {
    func summaries(_ text: String) -> [String] { Texts.read(text).configurations.map(\.summary) }
    let old = whole.replacing("6.4.0", with: "6.1.192")
    let bare = needed.replacing("CONFIG_VFIO_CONTAINER=y\n", with: "").replacing("CONFIG_KVM_VFIO=y\n", with: "")
    #expect(summaries(whole + bare) == ["missing: VFIO_CONTAINER, KVM_VFIO"])
    #expect(summaries(old + bare) == ["missing: KVM_VFIO; not needed: VFIO_CONTAINER (from 6.2 on)"])
    #expect(
      summaries(old.replacing("CONFIG_KVM=y\n", with: "") + bare) == [
        "all as needed; not needed: VFIO_CONTAINER (from 6.2 on), KVM_VFIO (no KVM)"
      ])
    #expect(summaries(bare) == ["excerpt of 15 options: not mentioned: VFIO_CONTAINER, KVM_VFIO"])
    #expect(summaries(bare + "# CONFIG_KVM_VFIO is not set\n").first?.contains("missing: KVM_VFIO") == true)
  }

  @Test func captured() throws {
    let notes = try Texts.read(fixture: "field-notes.txt").configurations
    #expect(notes.map(\.summary) == ["excerpt of 17 options: all as needed"])
    #expect(
      try Texts.read(fixture: "riscv-iommu/kernel.config.set").configurations.map(\.summary) == [
        "missing: VFIO_CONTAINER, VFIO_IOMMU_TYPE1, VFIO_PCI_MMAP; wrong: IOMMUFD=y; not needed: KVM_VFIO (no KVM)"
      ])
  }

  @Test func whatIsNone() {
    #expect(Texts.read("CONFIG_VFIO").refusals.map(\.reason) == ["It names an option, but no value for it."])
    for prose in ["CONFIG_VFIO 应该打开", "Set CONFIG_VFIO=y in the kernel.", "# CONFIG_VFIO matters"] {
      #expect(Texts.read(prose).configurations.isEmpty && Texts.read(prose).refusals.isEmpty, "\(prose)")
    }
  }
}
