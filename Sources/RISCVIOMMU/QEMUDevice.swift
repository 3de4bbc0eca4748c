public import IOMMUModel
import PageTables

/// QEMU's device model `hw/riscv/riscv-iommu.c` (10.0) as a program that a debugger holds.
///
/// `IOMMUTLBEntry riscv_iommu_memory_region_translate(IOMMUMemoryRegion *iommu_mr, hwaddr addr, IOMMUAccessFlags flag, int
/// iommu_idx)`: the region is the member `iova_mr` of a `RISCVIOMMUSpace`, one for every requester.
public struct QEMUDevice: DeviceImplementation {
  /// The implementation.
  public init() {}

  /// The model of it.
  public var model: any DeviceModel { RISCVIOMMUDevice() }

  /// `riscv_iommu_memory_region_translate`.
  public var function: DeviceFunction {
    DeviceFunction(
      symbol: "riscv_iommu_memory_region_translate", region: "iommu_mr", address: "addr", access: "flag")
  }

  /// `riscv-iommu`: what both `riscv-iommu-sys` and `riscv-iommu-pci` contain, and what owns the registers.
  public var typeName: String { "riscv-iommu" }

  /// The offsets of `RISCVIOMMUSpace` and `RISCVIOMMUState`, from debug information.
  public func layout(in target: any Target) throws(TargetError) -> any DeviceLayout {
    let space = "RISCVIOMMUSpace"
    return QEMULayout(
      region: try target.offset(of: "iova_mr", in: space), state: try target.offset(of: "iommu", in: space),
      requester: try target.offset(of: "devid", in: space),
      registers: try target.offset(of: "regs_rw", in: "RISCVIOMMUState"), buses: try? QEMULayout.Buses(in: target))
  }
}

extension RISCVIOMMU {
  /// QEMU's `riscv-iommu`.
  public static var implementations: [any DeviceImplementation] { [QEMUDevice()] }
}

/// Where this build keeps `RISCVIOMMUSpace` and `RISCVIOMMUState`.
struct QEMULayout: DeviceLayout {
  let region, state, requester, registers: UInt64
  /// Where the devices' names are; nil in a QEMU whose symbols do not tell.
  let buses: Buses?

  func client(_ region: HVA, in memory: HostMemory) throws(TargetError) -> DeviceClient {
    let start = HVA(region.rawValue &- self.region)
    guard let state = try memory.pointer(at: start + state) else {
      throw TargetError("The RISCVIOMMUSpace at \(start) has no IOMMU.")
    }
    // Bus, device and function as they were when the device was attached: it is what the IOMMU looks the context up by.
    let identifier = try memory.integer(at: start + requester, size: 4)
    return DeviceClient(
      requester: RequesterID(rawValue: UInt32(truncatingIfNeeded: identifier)),
      name: buses?.deviceName(identifier, behind: state, in: memory), state: state)
  }

  /// What `riscv_iommu_mmio_read` answers: `regs_rw` has the registers as the guest sees them, at their offsets. What is
  /// computed when it is read, the counters, is none of those that are known here.
  func registers(_ state: HVA, in memory: HostMemory) throws(TargetError) -> RegisterValues {
    guard let start = try memory.pointer(at: state + registers) else {
      throw TargetError("The RISCVIOMMUState at \(state) has no registers.")
    }
    let known = RISCVIOMMURegister.all
    let bytes = try memory.bytes(
      at: start, count: known.map { Int(truncatingIfNeeded: $0.offset) + $0.size }.max() ?? 0)
    var values = RegisterValues()
    for register in known {
      let place = Int(truncatingIfNeeded: register.offset)
      values.byOffset[register.offset] = bytes[place..<place + register.size].reversed().reduce(0) {
        $0 << 8 | UInt64($1)
      }
    }
    return values
  }

  /// The root buses of the machine, by which a device's name is found: a `RISCVIOMMUSpace` does not know its bus.
  struct Buses {
    let first, bus, next, owner: UInt64
    let pci: HostPCILayout

    /// Host bridges believed; a machine has one or two.
    private static let limit = 64

    init(in target: any Target) throws(TargetError) {
      first = try target.evaluate("(unsigned long)&pci_host_bridges")
      bus = try target.offset(of: "bus", in: "PCIHostState")
      next = try target.offset(of: "next.le_next", in: "PCIHostState")
      owner = try target.offset(of: "iommu_opaque", in: "PCIBus")
      pci = try HostPCILayout(in: target)
    }

    /// The model of the device with this requester id on the root bus that the IOMMU at `state` serves; nil where it is not
    /// known.
    func deviceName(_ requester: UInt64, behind state: HVA, in memory: HostMemory) -> String? {
      guard requester >> 8 == 0 else { return nil }
      var place = HVA(first)
      for _ in 0..<Self.limit {
        guard let host = (try? memory.pointer(at: place)) ?? nil, let bus = (try? memory.pointer(at: host + bus)) ?? nil
        else { return nil }
        if (try? memory.pointer(at: bus + owner)) == state {
          return pci.deviceName(bus: bus, devfn: requester, in: memory)
        }
        place = host + next
      }
      return nil
    }
  }
}
