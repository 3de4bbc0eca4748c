import IOMMUModel

/// Fault causes, CAUSE of a fault record (section 3.2).
enum RISCVIOMMUFault {
  static let names: [UInt16: String] = [
    1: "instruction access fault", 4: "read address misaligned", 5: "read access fault",
    6: "write/AMO address misaligned", 7: "write/AMO access fault", 12: "instruction page fault",
    13: "read page fault", 15: "write/AMO page fault", 20: "instruction guest-page fault", 21: "read guest-page fault",
    23: "write/AMO guest-page fault", 256: "all inbound transactions disallowed", 257: "DDT entry load access fault",
    258: "DDT entry not valid", 259: "DDT entry misconfigured", 260: "transaction type disallowed",
    261: "MSI PTE load access fault", 262: "MSI PTE not valid", 263: "MSI PTE misconfigured",
    264: "MRIF access fault", 265: "PDT entry load access fault", 266: "PDT entry not valid",
    267: "PDT entry misconfigured", 268: "DDT data corruption", 269: "PDT data corruption",
    270: "MSI PT data corruption", 271: "MSI MRIF data corruption", 272: "internal data path error",
    273: "IOMMU MSI write access fault", 274: "first/second-stage PT data corruption",
  ]

  /// Cause `code`: 275 to 2047 are reserved, 2048 to 4095 an implementation's own.
  static func cause(_ code: UInt16) -> FaultCause {
    FaultCause(code: code, name: names[code] ?? (2048...4095 ~= code ? "custom" : "reserved"))
  }

  static let off = cause(256)
  static let directoryAccess = cause(257)
  static let directoryInvalid = cause(258)
  static let directoryMisconfigured = cause(259)
  static let disallowed = cause(260)
  static let messageAccess = cause(261)
  static let messageInvalid = cause(262)
  static let messageMisconfigured = cause(263)
  static let processAccess = cause(265)
  static let processInvalid = cause(266)
  static let processMisconfigured = cause(267)

  /// Whether a cause is reported although the device context has DTF set (section 3.2).
  static func isReportedAlways(_ code: UInt16) -> Bool { 256...259 ~= code || [268, 272, 273].contains(code) }

  /// What went wrong in a stage; the number follows from what was wanted.
  enum Kind {
    case access, page, guestPage
  }

  /// The cause of the original access's type: for instructions, for writes, else for reads.
  static func cause(_ kind: Kind, _ need: Need) -> FaultCause {
    let position = need.contains(.execute) ? 0 : need.contains(.write) ? 2 : 1
    return switch kind {
    case .access: cause([1, 5, 7][position])
    case .page: cause([12, 13, 15][position])
    case .guestPage: cause([20, 21, 23][position])
    }
  }
}

/// What an access needs of an entry.
struct Need: OptionSet, Hashable, Sendable {
  let rawValue: UInt8
  static let read = Need(rawValue: 1)
  static let write = Need(rawValue: 2)
  static let execute = Need(rawValue: 4)

  init(rawValue: UInt8) { self.rawValue = rawValue }

  init(_ access: Access) { self.init(rawValue: access.rawValue) }
}
