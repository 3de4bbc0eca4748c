import IOMMUModel
import PageTables

/// Which device ids have a valid device context, in order.
struct DirectoryScan {
  /// The most tables that are looked at: a whole segment of 65536 requesters has 1027. A directory whose tables lead to each
  /// other ends there.
  static let tableLimit = 1 << 11

  private(set) var devices: [UInt32] = []
  private let limit: Int
  private var tables = 0

  /// The first `limit` of them.
  init(_ registers: RegisterValues, memory: any PhysicalMemory, limit: Int) throws(UnreadableMemory) {
    self.limit = limit
    do throws(Stop) {
      let lookup = try DirectoryLookup(registers, memory: memory, implementation: .specification)
      guard case .directory(let levels) = lookup.pointer.mode else { return }
      try visit(lookup.pointer.root, level: levels - 1, device: 0, lookup)
    } catch {
      if case .unreadable(let failure) = error { throw failure }
    }
  }

  private mutating func visit(
    _ table: GPA, level: Int, device: UInt32, _ lookup: DirectoryLookup
  ) throws(Stop) {
    tables += 1
    guard tables <= Self.tableLimit else { return }
    let size = level == 0 ? UInt64(lookup.contextWords * 8) : 8
    for index in 0..<lookup.entries(atLevel: level) {
      guard devices.count < limit, tables <= Self.tableLimit else { return }
      let entry = try lookup.memory.word(
        at: table + index * size, isBigEndian: lookup.features.isBigEndian, fault: RISCVIOMMUFault.directoryAccess)
      if entry & 1 == 0 { continue }
      let own = device | UInt32(index) << lookup.shift(atLevel: level)
      if level == 0 {
        devices.append(own)
      } else if let next = try? lookup.next(entry) {
        do throws(Stop) { try visit(next, level: level - 1, device: own, lookup) } catch {
          // Beyond the device's reach nothing has a context; what cannot be read may have one.
          if case .unreadable = error { throw error }
        }
      }
    }
  }
}
