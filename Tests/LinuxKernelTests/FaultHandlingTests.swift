import IOMMUModel
import LinuxKernel
import PageTables
import Testing

/// How the driver of a kernel that ran hears of faults: Fixtures/kernel-log.
@Suite struct FaultHandlingTests {
  private let captured: CapturedKernel
  init() throws { captured = try CapturedKernel() }

  private func handling(handler: String = "xt_iommu_interrupt") throws -> KernelState.FaultHandling? {
    let target = captured.target
    let handling = DriverFaultHandling(
      interrupt: try target.evaluate("(unsigned long)xt_iommu->irq"), interruptName: "xmmu",
      device: KVA(try target.evaluate("(unsigned long)xt_iommu->dev")), handler: handler,
      registers: try target.offset(of: "base", in: "struct xt_iommu_device"))
    return KernelInspector(
      target: target, layouts: StructureLayouts(target: target), kernel: try captured.kernel(),
      driver: HandlingLayout(handling: handling), mapFunction: nil
    ).state().faultHandling
  }

  /// The interrupt has no name in the device tree, and the handler reads at 0x20.
  @Test func asCaptured() throws {
    #expect(
      try handling()
        == KernelState.FaultHandling(
          interrupt: 0, interruptName: "xmmu",
          node: .init(name: "iommu@2c000000", hasInterrupt: true, interruptNames: []), handler: "xt_iommu_interrupt",
          reads: [0x20]))
    #expect(try handling(handler: "another")?.reads == nil)
  }

  /// The properties of the node, by name.
  private func properties() throws -> [String: KVA] {
    let kernel = try captured.kernel()
    let reader = StructureReader(layouts: StructureLayouts(target: captured.target), kernel: kernel)
    let node = try reader.pointer(
      "of_node", of: "struct device", at: KVA(try captured.target.evaluate("(unsigned long)xt_iommu->dev")))
    var found: [String: KVA] = [:]
    var next = try reader.pointer("properties", of: "struct device_node", at: try #require(node))
    while let place = next {
      found[try reader.string("name", of: "struct property", at: place) ?? ""] = place
      next = try reader.pointer("next", of: "struct property", at: place)
    }
    return found
  }

  private func rename(_ property: KVA, _ name: String) throws {
    let kernel = try captured.kernel()
    let text = KVA(try kernel.word(at: property))
    captured.memory.write(Array(name.utf8) + [0], at: try #require(kernel.physical(text)))
  }

  @Test func otherDeviceTrees() throws {
    let properties = try properties()
    #expect(Set(properties.keys).isSuperset(of: ["compatible", "interrupts", "reg", "#iommu-cells"]))
    // A property whose value is text takes the name of the one that is missing.
    try rename(try #require(properties["compatible"]), "interrupt-names")
    #expect(try handling()?.node?.interruptNames == ["xuantie-iommu"])
    try rename(try #require(properties["interrupts"]), "no")
    #expect(try handling()?.node?.hasInterrupt == false)
    try rename(try #require(properties["reg"]), "interrupts-extended")
    #expect(try handling()?.node?.hasInterrupt == true)
  }

  /// A list that leads back into itself ends, and so does a length that no property has.
  @Test func brokenDeviceTrees() throws {
    let properties = try properties()
    let compatible = try #require(properties["compatible"])
    try rename(compatible, "interrupt-names")
    let kernel = try captured.kernel()
    captured.memory.write(UInt64(UInt32.max), count: 4, at: try #require(kernel.physical(compatible + 8)))
    #expect(try handling()?.node?.interruptNames.first == "xuantie-iommu")
    captured.memory.write(compatible.rawValue, at: try #require(kernel.physical(compatible + 24)))
    #expect(try handling()?.node?.name == "iommu@2c000000")
    captured.memory.write(0x10, at: try #require(kernel.physical(compatible + 16)))
    #expect(try handling() != nil && handling()?.node == nil)
  }
}
