public import IOMMUModel
public import PageTables

/// A latched fault that outlived the repair of the entry it was about: seen in readings of the registers and in entries that
/// somebody typed out between them.
public struct OutlivedRepair: Hashable, Sendable {
  /// The fault.
  public let fault: LatchedFault
  /// Where the entry lies, its name in the text, and what it became.
  public let entry: GPA, name: String, value: UInt64
  /// Readings of the latched fault after the repair.
  public let readings: Int
  /// Whether a later reading, with the entry as it was, shows the cause cleared.
  public let isClearedLater: Bool

  /// The first such fault among `readings` of the registers and `entries`, both oldest first; nil when there is none.
  public init?(
    readings: [(id: EventID, values: RegisterValues)], entries: [(id: EventID, name: String, value: String)],
    device: any DeviceModel
  ) {
    var before: [GPA: UInt64] = [:]
    for (id, name, value) in entries {
      guard let typed = TypedEntry(factName: name, value: value), case .value(let bits) = typed.content else {
        continue
      }
      defer { before[typed.address] = bits }
      // Repaired is an entry that was seen invalid and then valid.
      guard let old = before[typed.address], old & 1 == 0, bits & 1 == 1 else { continue }
      guard let latched = readings.last(where: { $0.id < id }).flatMap({ device.latchedFault($0.values) }) else {
        continue
      }
      let later = readings.filter { $0.id > id }
      let still = later.prefix { device.latchedFault($0.values) == latched }
      guard !still.isEmpty else { continue }
      fault = latched
      (entry, self.name, self.value) = (typed.address, typed.name, bits)
      self.readings = still.count
      isClearedLater = later.dropFirst(still.count).first.map { device.latchedFault($0.values) == nil } ?? false
      return
    }
    return nil
  }
}
