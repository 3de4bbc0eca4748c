public import IOMMUModel
import PageTables

/// QEMU's device model `hw/riscv/xmmuv1.c` as a program that a debugger holds.
///
/// `IOMMUTLBEntry xmmuv1_translate(IOMMUMemoryRegion *mr, hwaddr addr, IOMMUAccessFlags flag, int iommu_idx)`: the region is
/// the member `iommu` of an `XMMUDevice`, one for every PCI function.
public struct XMMUv1: DeviceImplementation {
  /// The implementation.
  public init() {}

  /// The model of it.
  public var model: any DeviceModel { XuanTieDevice() }

  /// `xmmuv1_translate`.
  public var function: DeviceFunction {
    DeviceFunction(symbol: "xmmuv1_translate", region: "mr", address: "addr", access: "flag")
  }

  /// `riscv-xmmuv1`.
  public var typeName: String { "riscv-xmmuv1" }

  /// The offsets of `XMMUDevice` and `XMMUv1State`, from debug information.
  public func layout(in target: any Target) throws(TargetError) -> any DeviceLayout {
    let device = "XMMUDevice"
    return XMMUv1Layout(
      region: try target.offset(of: "iommu", in: device), state: try target.offset(of: "xmmu", in: device),
      bus: try target.offset(of: "bus", in: device), devfn: try target.offset(of: "devfn", in: device),
      pci: try HostPCILayout(in: target), fields: try XMMUv1Layout.Fields(in: target))
  }
}

extension XuanTie {
  /// QEMU's `xmmuv1`.
  public static var implementations: [any DeviceImplementation] { [XMMUv1()] }
}

/// Where this build keeps `XMMUDevice` and `XMMUv1State`.
struct XMMUv1Layout: DeviceLayout {
  /// The members of `XMMUv1State` that registers are made of, with their places and sizes in bytes.
  struct Fields {
    private static let names = [
      "stage_two", "rsiddiv", "dtbase", "fault_pending", "fault_rsid", "fault_cause", "ftval", "irq_num", "enable",
      "irq_enable",
    ]
    /// The part of the state that holds them all.
    let start: UInt64, count: Int
    private let places: [String: (offset: Int, size: Int)]

    init(in target: any Target) throws(TargetError) {
      var found: [(name: String, offset: UInt64, size: UInt64)] = []
      for name in Self.names {
        let offset = try target.offset(of: name, in: "XMMUv1State")
        let size = try target.evaluate("sizeof(((XMMUv1State *)0)->\(name))")
        guard offset < 1 << 20, 1...8 ~= size else {
          throw TargetError("XMMUv1State's `\(name)` is \(size) bytes at \(offset): these symbols are not understood.")
        }
        found.append((name, offset, size))
      }
      let start = found.map(\.offset).min() ?? 0
      self.start = start
      count = Int(truncatingIfNeeded: (found.map { $0.offset + $0.size }.max() ?? 0) - start)
      places = Dictionary(
        uniqueKeysWithValues: found.map {
          ($0.name, (Int(truncatingIfNeeded: $0.offset - start), Int(truncatingIfNeeded: $0.size)))
        })
    }

    /// The member `name` in the bytes of that part.
    func value(_ name: String, in bytes: [UInt8]) -> UInt64 {
      guard let place = places[name], place.offset + place.size <= bytes.count else { return 0 }
      return bytes[place.offset..<place.offset + place.size].reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }
  }

  let region, state, bus, devfn: UInt64
  let pci: HostPCILayout
  let fields: Fields

  func client(_ region: HVA, in memory: HostMemory) throws(TargetError) -> DeviceClient {
    let start = HVA(region.rawValue &- self.region)
    guard let state = try memory.pointer(at: start + state), let bus = try memory.pointer(at: start + bus) else {
      throw TargetError("The XMMUDevice at \(start) has no IOMMU or no bus.")
    }
    let devfn = try memory.integer(at: start + devfn, size: 4)
    return DeviceClient(
      requester: try pci.requester(bus: bus, devfn: devfn, in: memory),
      name: pci.deviceName(bus: bus, devfn: devfn, in: memory), state: state)
  }

  /// What `xmmuv1_read` answers. IOMMUCAUSE has no member of its own: V bit 63, RSID 31:16, CAUSE 15:0.
  func registers(_ state: HVA, in memory: HostMemory) throws(TargetError) -> RegisterValues {
    let bytes = try memory.bytes(at: state + fields.start, count: fields.count)
    func field(_ name: String) -> UInt64 { fields.value(name, in: bytes) }
    return RegisterValues(byOffset: [
      XuanTieRegister.capability: field("stage_two"),
      XuanTieRegister.rsidDivide: field("rsiddiv"),
      XuanTieRegister.deviceTableBase: field("dtbase"),
      XuanTieRegister.cause: (field("fault_pending") == 0 ? 0 : 1 << 63) | field("fault_rsid") << 16
        | field("fault_cause"),
      XuanTieRegister.faultValue: field("ftval"),
      XuanTieRegister.interrupt: field("irq_num"),
      XuanTieRegister.enable: field("enable"),
      XuanTieRegister.interruptEnable: field("irq_enable"),
    ])
  }
}
