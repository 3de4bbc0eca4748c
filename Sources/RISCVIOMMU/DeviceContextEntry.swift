import IOMMUModel
import PageTables

/// A device context as it stands in the directory: four doublewords in the base format, eight in the extended one
/// (section 2.1.2).
struct DeviceContextEntry: Hashable, Sendable {
  static let names = ["tc", "iohgatp", "ta", "fsc", "msiptp", "msi_addr_mask", "msi_addr_pattern", "reserved"]

  /// tc: translation control. V 0, EN_ATS 1, EN_PRI 2, T2GPA 3, DTF 4, PDTV 5, PRPR 6, GADE 7, SADE 8, DPE 9, SBE 10,
  /// SXL 11, custom 31:24.
  var control: UInt64 = 0
  /// iohgatp: the second stage. PPN 43:0, GSCID 59:44, MODE 63:60.
  var secondStage: UInt64 = 0
  /// ta: PSCID 31:12, RCID 51:40, MCID 63:52.
  var attributes: UInt64 = 0
  /// fsc: the first stage, or the process directory where PDTV is 1. PPN 43:0, MODE 63:60.
  var firstStage: UInt64 = 0
  /// msiptp: the MSI page table. PPN 43:0, MODE 63:60.
  var messageTable: UInt64 = 0
  /// msi_addr_mask, bits 51:0.
  var messageMask: UInt64 = 0
  /// msi_addr_pattern, bits 51:0.
  var messagePattern: UInt64 = 0
  var reserved: UInt64 = 0

  /// The context with these doublewords; missing ones are 0.
  init(words: [UInt64]) {
    func word(_ index: Int) -> UInt64 { index < words.count ? words[index] : 0 }
    (control, secondStage, attributes, firstStage) = (word(0), word(1), word(2), word(3))
    (messageTable, messageMask, messagePattern, reserved) = (word(4), word(5), word(6), word(7))
  }

  private func has(_ bit: UInt64) -> Bool { control >> bit & 1 == 1 }

  var isValid: Bool { has(0) }
  var allowsATS: Bool { has(1) }
  var allowsPageRequests: Bool { has(2) }
  var returnsGuestAddresses: Bool { has(3) }
  /// DTF: faults of the walk are not reported.
  var reportsNoFaults: Bool { has(4) }
  var hasProcessDirectory: Bool { has(5) }
  var answersWithProcess: Bool { has(6) }
  /// GADE: the device sets A and D in second stages.
  var updatesSecondStage: Bool { has(7) }
  /// SADE: the device sets A and D in first stages.
  var updatesFirstStage: Bool { has(8) }
  /// DPE: accesses without a process are process 0's.
  var hasDefaultProcess: Bool { has(9) }
  /// SBE: first stages and the process directory are big-endian.
  var isBigEndian: Bool { has(10) }
  /// SXL: first stages are Sv32.
  var is32Bit: Bool { has(11) }

  /// GSCID: the guest for invalidations.
  var guest: UInt16 { UInt16(secondStage >> 44 & 0xffff) }
  /// PSCID: the address space for invalidations; without meaning where PDTV is 1.
  var addressSpace: UInt32 { UInt32(attributes >> 12 & 0xf_ffff) }

  /// PPN << 12 of iohgatp, fsc or msiptp.
  static func address(_ pointer: UInt64) -> GPA { GPA((pointer & 0xfff_ffff_ffff) << 12) }

  /// The first-stage format of a MODE field; nil for reserved ones, and for Bare (section 2.1.3.4: with SXL 8 is Sv32).
  static func firstStageMode(_ code: UInt64, is32Bit: Bool) -> PagingMode? {
    switch (code, is32Bit) {
    case (8, true): .sv32
    case (8, false): .sv39
    case (9, false): .sv48
    case (10, false): .sv57
    default: nil
    }
  }

  /// The second-stage format of a MODE field with FCTL.GXL 0; nil for reserved ones, and for Bare.
  static func secondStageMode(_ code: UInt64) -> PagingMode? {
    switch code {
    case 8: .sv39x4
    case 9: .sv48x4
    case 10: .sv57x4
    default: nil
    }
  }

  /// Why the context is misconfigured by the specification, as a phrase; nil when it is not (section 2.1.4).
  func misconfiguration(_ capabilities: Capabilities, _ features: FeatureControl) -> String? {
    reservedBits(capabilities) ?? attributesProblem(capabilities, features) ?? firstStageProblem(capabilities)
      ?? secondStageProblem(capabilities, features)
  }

  private func reservedBits(_ capabilities: Capabilities) -> String? {
    if control & 0xffff_ffff_00ff_f000 != 0 { return "reserved bits in tc" }
    if attributes & (capabilities.hasQoS ? 0xff_0000_0fff : 0xffff_ffff_0000_0fff) != 0 { return "reserved bits in ta" }
    if firstStage & 0x0fff_f000_0000_0000 != 0 { return "reserved bits in fsc" }
    if capabilities.hasMessageTables {
      if messageTable & 0x0fff_f000_0000_0000 != 0 { return "reserved bits in msiptp" }
      if (messageMask | messagePattern) >> 52 != 0 { return "reserved bits in msi_addr_mask or msi_addr_pattern" }
      if reserved != 0 { return "the reserved doubleword is not 0" }
      if messageTable >> 60 > 1 { return "msiptp mode \(messageTable >> 60) is reserved" }
    }
    return nil
  }

  private func attributesProblem(_ capabilities: Capabilities, _ features: FeatureControl) -> String? {
    if !capabilities.hasATS, allowsATS || allowsPageRequests || answersWithProcess {
      return "EN_ATS, EN_PRI or PRPR without CAPABILITIES.ATS"
    }
    if !allowsATS, returnsGuestAddresses || allowsPageRequests { return "T2GPA or EN_PRI without EN_ATS" }
    if !allowsPageRequests, answersWithProcess { return "PRPR without EN_PRI" }
    if returnsGuestAddresses {
      if !capabilities.returnsGuestAddresses { return "T2GPA without CAPABILITIES.T2GPA" }
      if secondStage >> 60 == 0 { return "T2GPA without a second stage" }
    }
    if !hasProcessDirectory, hasDefaultProcess { return "DPE without PDTV" }
    if !capabilities.updatesAccessed, updatesFirstStage || updatesSecondStage {
      return "SADE or GADE without CAPABILITIES.AMO_HWAD"
    }
    if !capabilities.hasBothByteOrders, isBigEndian != features.isBigEndian { return "SBE is not FCTL.BE" }
    // Whether GXL could be written is not known: SXL may be 1 where Sv32x4 exists to switch to.
    if features.isGuest32Bit && !is32Bit { return "SXL is 0 with FCTL.GXL 1" }
    return nil
  }

  private func firstStageProblem(_ capabilities: Capabilities) -> String? {
    let code = firstStage >> 60
    if code == 0 { return nil }
    if hasProcessDirectory {
      return capabilities.supportsDirectory(mode: code) ? nil : "process directory mode \(code) is not supported"
    }
    return Self.firstStageProblem(code, is32Bit: is32Bit, capabilities)
  }

  /// What is wrong with a first stage's mode, in a device or a process context.
  static func firstStageProblem(_ code: UInt64, is32Bit: Bool, _ capabilities: Capabilities) -> String? {
    if code == 0 { return nil }
    guard let mode = firstStageMode(code, is32Bit: is32Bit) else {
      return "first-stage mode \(code) is reserved\(is32Bit ? " with SXL" : "")"
    }
    return capabilities.supports(mode) ? nil : "\(mode.name) is not supported"
  }

  private func secondStageProblem(_ capabilities: Capabilities, _ features: FeatureControl) -> String? {
    let code = secondStage >> 60
    if code == 0 { return nil }
    if features.isGuest32Bit {
      guard code == 8 else { return "second-stage mode \(code) is reserved with GXL" }
      if !capabilities.hasSv32x4 { return "Sv32x4 is not supported" }
    } else {
      guard let mode = Self.secondStageMode(code) else { return "second-stage mode \(code) is reserved" }
      if !capabilities.supports(mode) { return "\(mode.name) is not supported" }
    }
    return secondStage & 3 == 0 ? nil : "the second stage's root is not aligned to 16 KiB"
  }
}
