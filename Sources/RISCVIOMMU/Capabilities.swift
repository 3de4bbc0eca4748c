import PageTables

/// CAPABILITIES, register 0x0: what the device can do (section 5.3).
struct Capabilities: Hashable, Sendable {
  let rawValue: UInt64

  private func has(_ bit: UInt64) -> Bool { rawValue >> bit & 1 == 1 }

  /// Bits 7:0: major version 7:4, minor 3:0.
  var version: String { "\(rawValue >> 4 & 0xf).\(rawValue & 0xf)" }
  /// Svpbmt, bit 15.
  var hasMemoryTypes: Bool { has(15) }
  /// MSI_FLAT, bit 22: device contexts are 64 bytes long and have an MSI page table.
  var hasMessageTables: Bool { has(22) }
  /// MSI_MRIF, bit 23.
  var hasInterruptFilesInMemory: Bool { has(23) }
  /// AMO_HWAD, bit 24: the device can set A and D.
  var updatesAccessed: Bool { has(24) }
  /// ATS, bit 25.
  var hasATS: Bool { has(25) }
  /// T2GPA, bit 26.
  var returnsGuestAddresses: Bool { has(26) }
  /// END, bit 27: either byte order.
  var hasBothByteOrders: Bool { has(27) }
  /// DBG, bit 31: the device can be asked for translations.
  var hasDebugTranslation: Bool { has(31) }
  /// PAS, bits 37:32: the bits of a physical address.
  var addressBits: UInt64 { rawValue >> 32 & 0x3f }
  /// QOSID, bit 41.
  var hasQoS: Bool { has(41) }

  /// Sv32 to Sv57, bits 8 to 11, and Sv39x4 to Sv57x4, bits 17 to 19.
  func supports(_ mode: PagingMode) -> Bool {
    switch mode {
    case .sv32: has(8)
    case .sv39: has(9)
    case .sv48: has(10)
    case .sv57: has(11)
    case .sv39x4: has(17)
    case .sv48x4: has(18)
    case .sv57x4: has(19)
    }
  }

  /// Sv32x4, bit 16.
  var hasSv32x4: Bool { has(16) }

  /// PD8 (1), PD17 (2) or PD20 (3), bits 38 to 40.
  func supportsDirectory(mode: UInt64) -> Bool { 1...3 ~= mode && has(37 + mode) }

  /// `version 1.0, Sv32 Sv39 …, 56-bit addresses`.
  var description: String {
    let modes = PagingMode.allCases.filter(supports).map(\.name) + (hasSv32x4 ? ["Sv32x4"] : [])
    let features = [
      (hasMemoryTypes, "Svpbmt"), (hasMessageTables, "MSI_FLAT"), (hasInterruptFilesInMemory, "MSI_MRIF"),
      (updatesAccessed, "AMO_HWAD"), (hasATS, "ATS"), (returnsGuestAddresses, "T2GPA"), (hasDebugTranslation, "DBG"),
      (has(38), "PD8"), (has(39), "PD17"), (has(40), "PD20"),
    ].filter(\.0).map(\.1)
    let names = (modes + features).joined(separator: " ")
    return "version \(version), \(addressBits)-bit addresses" + (names.isEmpty ? "" : ", \(names)")
  }
}

/// FCTL, register 0x8 (section 5.4).
struct FeatureControl: Hashable, Sendable {
  let rawValue: UInt64

  /// BE, bit 0: the device directory, second stages, MSI page tables and queues are big-endian.
  var isBigEndian: Bool { rawValue & 1 != 0 }
  /// GXL, bit 2: guests' addresses have 34 bits, second stages are Sv32x4.
  var isGuest32Bit: Bool { rawValue >> 2 & 1 == 1 }

  /// `little-endian, interrupts as messages`.
  var description: String {
    (isBigEndian ? "big-endian" : "little-endian")
      + (rawValue >> 1 & 1 == 1 ? ", interrupts by wire" : ", interrupts as messages")
      + (isGuest32Bit ? ", 32-bit guests" : "")
  }
}

/// DDTP, register 0x10: where the device directory is (section 5.5).
struct DirectoryPointer: Hashable, Sendable {
  let rawValue: UInt64

  /// How accesses are treated.
  enum Mode: Hashable, Sendable {
    /// 0: all are refused.
    case off
    /// 1: all pass through.
    case bare
    /// 2, 3, 4: they are translated by a directory of so many levels.
    case directory(levels: Int)
    /// Any other value.
    case reserved(UInt64)
  }

  /// Bits 3:0.
  var mode: Mode {
    switch rawValue & 0xf {
    case 0: .off
    case 1: .bare
    case 2...4: .directory(levels: Int(rawValue & 0xf) - 1)
    default: .reserved(rawValue & 0xf)
    }
  }

  /// PPN, bits 53:10.
  var root: GPA { GPA((rawValue >> 10 & 0xfff_ffff_ffff) << 12) }

  /// `device directory of 3 levels at 0x80a57000`.
  var description: String {
    switch mode {
    case .off: "Off: every access is refused"
    case .bare: "Bare: every access passes through"
    case .directory(let levels): "device directory of \(levels) level\(levels == 1 ? "" : "s") at \(root)"
    case .reserved(let mode): "mode \(mode) is reserved"
    }
  }
}
