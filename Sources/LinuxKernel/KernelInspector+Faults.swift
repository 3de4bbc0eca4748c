import IOMMUModel
import PageTables
import RISCVInterpreter

// How the IOMMU driver is told of faults.

extension KernelInspector {
  /// What the driver has requested, what the device tree offers, and what the handler would read; nil without a driver.
  func faultHandling() -> KernelState.FaultHandling? {
    guard let known = driver.faultHandling(target: target) else { return nil }
    return KernelState.FaultHandling(
      interrupt: known.interrupt, interruptName: known.interruptName, node: try? node(of: known.device),
      handler: known.handler, reads: reads(of: known))
  }

  /// Properties of one node that are looked at; more are those of a broken list.
  private static let propertyLimit = 1024

  /// Linux `include/linux/of.h`: a device's node is a list of properties.
  private func node(of device: KVA) throws(TargetError) -> KernelState.FaultHandling.Node? {
    let type = "struct device_node", property = "struct property"
    guard let address = try reader.pointer("of_node", of: Self.device, at: device),
      let name = try reader.string("full_name", of: type, at: address)
    else { return nil }
    var node = KernelState.FaultHandling.Node(name: name, hasInterrupt: false, interruptNames: [])
    var next = try reader.pointer("properties", of: type, at: address)
    for _ in 0..<Self.propertyLimit {
      guard let place = next else { break }
      switch try reader.string("name", of: property, at: place) {
      case "interrupts", "interrupts-extended": node.hasInterrupt = true
      case "interrupt-names":
        let count = try reader.value("length", of: property, at: place) & 0xffff_ffff
        guard let value = try reader.pointer("value", of: property, at: place) else { break }
        node.interruptNames = try kernel.bytes(at: value, count: Int(min(count, 4096))).split(separator: 0)
          .map { String(decoding: $0, as: UTF8.self) }
      default: break
      }
      next = try reader.pointer("next", of: property, at: place)
    }
    return node
  }

  /// `irqreturn_t handler(int irq, void *data)`: which registers it reads through what it is given.
  private func reads(of known: DriverFaultHandling) -> [UInt64]? {
    guard let member = known.registers, let handler = try? target.evaluate("(unsigned long)&\(known.handler)") else {
      return nil
    }
    let kernel = self.kernel
    let offsets = MemberReads.offsets(in: KVA(handler), argument: 1, member: member) { address, count in
      try kernel.bytes(at: address, count: count)
    }
    return offsets.isEmpty ? nil : offsets
  }
}
