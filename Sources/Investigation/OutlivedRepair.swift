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
    var before: [String: UInt64] = [:]
    for (id, name, value) in entries {
      let parts = value.split(separator: ",", maxSplits: 1).map { $0.drop { $0 == " " } }
      guard parts.count == 2, parts[0].hasPrefix("0x"), let bits = UInt64(parts[0].dropFirst(2), radix: 16),
        name.hasPrefix(Fact.entries + "0x"),
        let address = UInt64(name.dropFirst(Fact.entries.count + 2), radix: 16)
      else { continue }
      defer { before[name] = bits }
      // Repaired is an entry that was seen invalid and then valid.
      guard let old = before[name], old & 1 == 0, bits & 1 == 1 else { continue }
      guard let latched = readings.last(where: { $0.id < id }).flatMap({ device.latchedFault($0.values) }) else {
        continue
      }
      let later = readings.filter { $0.id > id }
      let still = later.prefix { device.latchedFault($0.values) == latched }
      guard !still.isEmpty else { continue }
      fault = latched
      (entry, self.name, self.value) = (GPA(address), String(parts[1]), bits)
      self.readings = still.count
      isClearedLater = later.dropFirst(still.count).first.map { device.latchedFault($0.values) == nil } ?? false
      return
    }
    return nil
  }
}
