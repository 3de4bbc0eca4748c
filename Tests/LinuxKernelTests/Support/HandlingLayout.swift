import IOMMUModel
import PageTables

/// A driver of which nothing is known but how it hears of faults.
struct HandlingLayout: DriverLayout {
  let handling: DriverFaultHandling?

  func domain(_ domain: KVA, in kernel: KernelMemory) throws(TargetError) -> Domain { throw TargetError("none") }
  func attachment(_ data: KVA, in kernel: KernelMemory) throws(TargetError) -> DeviceAttachment {
    throw TargetError("none")
  }
  func registerBlock(in kernel: KernelMemory, target: any Target) throws(TargetError) -> GPA {
    throw TargetError("none")
  }
  func hearsFaults(target: any Target) -> Bool? { nil }
  func faultHandling(target: any Target) -> DriverFaultHandling? { handling }
}
