import IOMMUModel
import LinuxKernel
import PageTables
import Testing

/// A kernel's device tree and the devices that wait in it, at addresses of this test's own.
@Suite struct DeviceTreeTests {
  private static let layout = HandlingLayout(
    handling: DriverFaultHandling(
      interrupt: 13, interruptName: nil, interruptIndex: 1, device: KVA(pointer(0x100)), handler: "handler",
      registers: nil))

  private static let members: [(type: String, path: String, offset: UInt64, size: UInt64)] = [
    ("struct device", "of_node", 0, 8), ("struct device", "kobj.name", 8, 8),
    ("struct device_node", "full_name", 0, 8), ("struct device_node", "properties", 8, 8),
    ("struct device_node", "parent", 16, 8), ("struct device_node", "child", 24, 8),
    ("struct device_node", "sibling", 32, 8), ("struct device_node", "phandle", 40, 4),
    ("struct property", "name", 0, 8), ("struct property", "length", 8, 4), ("struct property", "value", 16, 8),
    ("struct property", "next", 24, 8),
    ("struct device_private", "deferred_probe", 0, 16), ("struct device_private", "device", 16, 8),
    ("struct device_private", "deferred_probe_reason", 24, 8),
  ]

  private let memory = SparseMemory()
  private let target = FakeTarget()

  private static func pointer(_ place: UInt64) -> UInt64 { 0xff60_0000_0000_0000 + place }
  private func put(_ value: UInt64, at place: UInt64) { memory.write(value, at: GPA(0x8000_0000 + place)) }
  private func put(_ text: String, at place: UInt64) {
    memory.write(Array(text.utf8) + [0], at: GPA(0x8000_0000 + place))
  }

  /// A property at `place`, before the one at `next`; its name and value lie behind it.
  private func put(property name: String, _ value: [UInt8], at place: UInt64, next: UInt64?) {
    put(Self.pointer(place + 0x40), at: place)
    put(UInt64(value.count), at: place + 8)
    put(Self.pointer(place + 0x80), at: place + 16)
    put(next.map(Self.pointer) ?? 0, at: place + 24)
    put(name, at: place + 0x40)
    memory.write(value, at: GPA(0x8000_0000 + place + 0x80))
  }

  private func cells(_ numbers: [UInt32]) -> [UInt8] {
    numbers.flatMap { number in [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: number >> $0) } }
  }

  /// `/soc/iommu@3010000` with these interrupts, below a `soc` that names the controller `plic@c000000`.
  init() {
    for member in Self.members {
      target.values["(unsigned long)&((\(member.type) *)0)->\(member.path)"] = member.offset
      target.values["sizeof(((\(member.type) *)0)->\(member.path))"] = member.size
    }
    target.values["(unsigned long)of_root"] = Self.pointer(0x1000)
    put(Self.pointer(0x2000), at: 0x100)
    // The root's child is soc, whose children are the IOMMU and the controller.
    node(0x1000, "", properties: nil, parent: nil, child: 0x1100, sibling: nil, handle: 0)
    node(0x1100, "soc", properties: 0x3000, parent: 0x1000, child: 0x2000, sibling: nil, handle: 0)
    node(0x2000, "iommu@3010000", properties: 0x4000, parent: 0x1100, child: nil, sibling: 0x2100, handle: 0x8000)
    node(0x2100, "plic@c000000", properties: 0x5000, parent: 0x1100, child: nil, sibling: nil, handle: 3)
    put(property: "interrupt-parent", cells([3]), at: 0x3000, next: nil)
    put(property: "#interrupt-cells", cells([1]), at: 0x5000, next: nil)
  }

  private func node(
    _ place: UInt64, _ name: String, properties: UInt64?, parent: UInt64?, child: UInt64?, sibling: UInt64?,
    handle: UInt64
  ) {
    put(name, at: place + 0x80)
    put(Self.pointer(place + 0x80), at: place)
    for (offset, link) in [(8, properties), (16, parent), (24, child), (32, sibling)] as [(UInt64, UInt64?)] {
      put(link.map(Self.pointer) ?? 0, at: place + offset)
    }
    put(handle, at: place + 40)
  }

  private func state(interrupts: [UInt32]) -> KernelState {
    put(property: "interrupts", cells(interrupts), at: 0x4000, next: nil)
    return KernelInspector(
      target: target, layouts: StructureLayouts(target: target),
      kernel: KernelMemory(memory: memory, linearOffset: 0xff5f_ffff_8000_0000, image: nil, translate: { _ in nil }),
      driver: Self.layout, mapFunction: nil
    ).state()
  }

  /// What QEMU 10.0 writes for its IOMMU beside a PLIC: source and edge, where the controller takes the source alone.
  @Test func interruptsWrittenForAnotherController() throws {
    let handling = try #require(state(interrupts: [36, 1, 37, 1, 38, 1, 39, 1]).faultHandling)
    #expect(
      handling.node?.wires
        == .init(controller: "plic@c000000", cells: 1, numbers: [36, 1, 37, 1, 38, 1, 39, 1]))
    let found = try #require(handling.misrouting)
    #expect((found.taken, found.meant) == (1, 37))
    #expect(
      found.sentence
        == "The device tree's iommu@3010000 gives 2 numbers for each of its interrupts, and plic@c000000 takes 1: the driver "
        + "listens to source 1, and 37 is meant.")
  }

  @Test(arguments: [[36, 37, 38, 39], [36], [], [36, 1, 37, 4], [7, 7, 7, 7]] as [[UInt32]])
  func interruptsThatAreWhatTheyAre(_ interrupts: [UInt32]) {
    #expect(state(interrupts: interrupts).faultHandling?.misrouting == nil)
  }

  /// A controller that takes two, and one that cannot be found.
  @Test func otherControllers() {
    put(property: "#interrupt-cells", cells([2]), at: 0x5000, next: nil)
    let paired = state(interrupts: [36, 1, 37, 1, 38, 1, 39, 1]).faultHandling
    #expect(paired?.node?.wires?.cells == 2 && paired?.misrouting == nil)
    put(property: "interrupt-parent", cells([4]), at: 0x3000, next: nil)
    let lost = state(interrupts: [36, 1, 37, 1]).faultHandling
    #expect(lost?.node?.hasInterrupt == true && lost?.node?.wires == nil)
    // A tree whose nodes lead back to themselves comes to an end.
    node(0x2100, "plic@c000000", properties: 0x5000, parent: 0x1100, child: 0x1100, sibling: 0x2100, handle: 3)
    #expect(state(interrupts: [36, 1]).faultHandling?.node?.wires == nil)
  }

  @Test func devicesThatWait() {
    #expect(state(interrupts: []).deferred == nil)
    target.values["(unsigned long)&deferred_probe_pending_list"] = Self.pointer(0x6000)
    put(Self.pointer(0x6000), at: 0x6000)
    #expect(state(interrupts: []).deferred == [])
    // Two wait: one with a reason, one without.
    put(Self.pointer(0x6100), at: 0x6000)
    put(Self.pointer(0x6200), at: 0x6100)
    put(Self.pointer(0x6000), at: 0x6200)
    for (place, name) in [(0x6100, "3010000.iommu"), (0x6200, "0000:00:01.0")] as [(UInt64, String)] {
      put(Self.pointer(place + 0x40), at: place + 16)
      put(Self.pointer(place + 0x60), at: place + 0x48)
      put(name, at: place + 0x60)
    }
    put(Self.pointer(0x6400), at: 0x6118)
    put("platform: wait for supplier /cpus/cpu@0\n", at: 0x6400)
    #expect(
      state(interrupts: []).deferred?.map(\.words)
        == ["3010000.iommu: platform: wait for supplier /cpus/cpu@0", "0000:00:01.0"])
  }
}
