import IOMMUModel
import PageTables
import RISCVInterpreter

// How the IOMMU driver is told of faults.

extension KernelInspector {
  /// What the driver has requested, what the device tree offers, and what the handler would read; nil without a driver.
  func faultHandling() -> KernelState.FaultHandling? {
    guard let known = driver.faultHandling(target: target) else { return nil }
    return KernelState.FaultHandling(
      interrupt: known.interrupt, interruptName: known.interruptName, interruptIndex: known.interruptIndex,
      node: try? node(of: known.device), handler: known.handler, reads: reads(of: known))
  }

  /// Properties of one node that are looked at; more are those of a broken list.
  private static let propertyLimit = 1024
  private static let node = "struct device_node"

  /// Linux 5.10 to 7.2 `include/linux/of.h`: a device's node is a list of properties.
  private func node(of device: KVA) throws(TargetError) -> KernelState.FaultHandling.Node? {
    guard let address = try reader.pointer("of_node", of: Self.device, at: device),
      let name = try reader.string("full_name", of: Self.node, at: address)
    else { return nil }
    let wired = try property("interrupts", of: address)
    let extended = try property("interrupts-extended", of: address)
    let names = try property("interrupt-names", of: address) ?? []
    return KernelState.FaultHandling.Node(
      name: name, hasInterrupt: wired != nil || extended != nil,
      interruptNames: names.split(separator: 0).map { String(decoding: $0, as: UTF8.self) },
      wires: extended == nil ? wired.flatMap { try? wires($0, of: address) } ?? nil : nil)
  }

  /// The value of a node's property, at most 4 KiB of it; nil where it has none of this name.
  private func property(_ name: String, of node: KVA) throws(TargetError) -> [UInt8]? {
    let property = "struct property"
    var next = try reader.pointer("properties", of: Self.node, at: node)
    for _ in 0..<Self.propertyLimit {
      guard let place = next else { break }
      if try reader.string("name", of: property, at: place) == name {
        let count = try reader.value("length", of: property, at: place) & 0xffff_ffff
        guard let value = try reader.pointer("value", of: property, at: place) else { return [] }
        return try kernel.bytes(at: value, count: Int(min(count, 4096)))
      }
      next = try reader.pointer("next", of: property, at: place)
    }
    return nil
  }

  /// The numbers of `interrupts`, and the controller that takes them.
  private func wires(_ interrupts: [UInt8], of node: KVA) throws(TargetError) -> KernelState.FaultHandling.Wires? {
    guard let handle = try interruptParent(of: node), let controller = try self.node(withHandle: handle),
      let name = try reader.string("full_name", of: Self.node, at: controller),
      let cells = try property("#interrupt-cells", of: controller).flatMap({ Self.numbers($0).first })
    else { return nil }
    return KernelState.FaultHandling.Wires(
      controller: name, cells: Int(min(cells, 16)), numbers: Self.numbers(interrupts))
  }

  /// The handle of a node's interrupt controller, which it names itself or has from a node above it.
  private func interruptParent(of node: KVA) throws(TargetError) -> UInt32? {
    var next: KVA? = node
    for _ in 0..<64 {
      guard let place = next else { break }
      if let named = try property("interrupt-parent", of: place) { return Self.numbers(named).first }
      next = try reader.pointer("parent", of: Self.node, at: place)
    }
    return nil
  }

  /// The node with this handle, anywhere in the tree.
  private func node(withHandle handle: UInt32) throws(TargetError) -> KVA? {
    var waiting = [KVA(try target.evaluate("(unsigned long)of_root"))]
    for _ in 0..<StructureReader.listLimit {
      guard let place = waiting.popLast() else { break }
      if try reader.value("phandle", of: Self.node, at: place) == UInt64(handle) { return place }
      for link in ["sibling", "child"] {
        if let next = try reader.pointer(link, of: Self.node, at: place) { waiting.append(next) }
      }
    }
    return nil
  }

  /// A device tree's numbers have four bytes, the highest first.
  private static func numbers(_ bytes: [UInt8]) -> [UInt32] {
    stride(from: 0, through: bytes.count - 4, by: 4).map { start in
      bytes[start..<start + 4].reduce(0) { $0 << 8 | UInt32($1) }
    }
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
