public import IOMMUModel
public import PageTables

/// The RISC-V IOMMU: a device directory with a context for each requester, two stages of page tables, queues in memory.
public struct RISCVIOMMUDevice: DeviceModel {
  /// The device.
  public init() {}

  /// The implementation modelled here.
  public var name: String { "RISC-V IOMMU" }

  /// None is described.
  public var registers: [Register] { [] }

  /// DDTP.iommu_mode (register 0x10, bits 3:0): 0 refuses everything, 1 passes everything through.
  public func isEnabled(_ registers: RegisterValues) -> Bool { (registers[0x10] ?? 0) & 0xf > 1 }

  /// Faults are queued in memory, none is latched.
  public func latchedFault(_ registers: RegisterValues) -> LatchedFault? { nil }

  /// Nothing is latched.
  public func resumed(_ registers: RegisterValues) -> (registers: RegisterValues, how: String) {
    (registers, "nothing is latched: faults are queued in memory")
  }

  /// None is decoded.
  public func contexts(
    registers: RegisterValues, memory: any PhysicalMemory, limit: Int
  ) throws(UnreadableMemory) -> [DeviceContext] { [] }

  /// Not decoded.
  public func context(
    of requester: RequesterID, registers: RegisterValues, memory: any PhysicalMemory
  ) throws(UnreadableMemory) -> DeviceContext {
    throw UnreadableMemory(address: GPA(0), reason: "the device directory is not decoded", isUnrecorded: true)
  }

  /// Not modelled.
  public func translate(
    _ iova: IOVA, access: Access, requester: RequesterID, registers: RegisterValues, memory: any PhysicalMemory
  ) -> DeviceTranslation {
    let failure = UnreadableMemory(address: GPA(0), reason: "the device directory is not decoded", isUnrecorded: true)
    return DeviceTranslation(words: [], steps: [], result: .unreadable(failure), latched: nil, deviations: [])
  }
}
