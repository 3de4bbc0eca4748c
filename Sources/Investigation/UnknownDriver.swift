import IOMMUModel
import PageTables

/// The driver of an investigation that names none: only logs, a configuration, or what a device was seen doing.
struct UnknownDriver: DriverProfile {
  let device: any DeviceModel

  var identifier: String { "unknown" }
  var name: String { "not known" }
  var recognition: String { "no call of a driver is recorded" }
  var functions: [DriverFunction] { [] }
  var requesterLimit: Int? { nil }

  func call(_ function: DriverFunction, arguments: [UInt64]) throws(TargetError) -> DriverCall {
    throw TargetError("\(function.symbol) is of no driver that is known here.")
  }

  /// None: where a driver writes them is not known.
  func leaves(of call: DriverCall, mode: PagingMode) -> [LeafRun] { [] }
  func indexName(atLevel level: Int) -> String { "the index of level \(level)" }
  func mismatch(operation: String) -> String? { nil }

  func layout(in target: any Target) throws(TargetError) -> any DriverLayout {
    throw TargetError("No driver is known here, so its structures cannot be read.")
  }
}

/// A device of which nothing is known.
struct UnknownDevice: DeviceModel {
  var name: String { "not known" }
  var registers: [Register] { [] }

  func isEnabled(_ registers: RegisterValues) -> Bool { true }
  func latchedFault(_ registers: RegisterValues) -> LatchedFault? { nil }
  func resumed(_ registers: RegisterValues) -> (registers: RegisterValues, how: String) { (registers, "not known") }

  func contexts(
    registers: RegisterValues, memory: any PhysicalMemory, limit: Int
  ) throws(UnreadableMemory) -> [DeviceContext] { [] }

  func context(
    of requester: RequesterID, registers: RegisterValues, memory: any PhysicalMemory
  ) throws(UnreadableMemory) -> DeviceContext {
    throw UnreadableMemory(address: GPA(0), reason: "no device is known whose tables could be read")
  }

  func translate(
    _ iova: IOVA, access: Access, requester: RequesterID, registers: RegisterValues, memory: any PhysicalMemory
  ) -> DeviceTranslation {
    let failure = UnreadableMemory(address: GPA(0), reason: "no device is known whose tables could be read")
    return DeviceTranslation(words: [], steps: [], result: .unreadable(failure), latched: nil, deviations: [])
  }
}
