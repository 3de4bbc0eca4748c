/// A process context as it stands in the process directory: two doublewords (section 2.2.2).
struct ProcessContextEntry: Hashable, Sendable {
  /// ta: V 0, ENS 1, SUM 2, PSCID 31:12.
  var attributes: UInt64
  /// fsc: the first stage. PPN 43:0, MODE 63:60.
  var firstStage: UInt64

  var isValid: Bool { attributes & 1 != 0 }
  /// ENS: privileged accesses are allowed.
  var allowsPrivilege: Bool { attributes & 2 != 0 }
  /// SUM: privileged accesses may reach user pages.
  var permitsUserPages: Bool { attributes & 4 != 0 }
  /// PSCID.
  var addressSpace: UInt32 { UInt32(attributes >> 12 & 0xf_ffff) }

  /// Why the context is misconfigured, as a phrase; nil when it is not (section 2.2.4).
  func misconfiguration(is32Bit: Bool, _ capabilities: Capabilities) -> String? {
    if attributes & 0xffff_ffff_0000_0ff8 != 0 { return "reserved bits in ta" }
    if firstStage & 0x0fff_f000_0000_0000 != 0 { return "reserved bits in fsc" }
    return DeviceContextEntry.firstStageProblem(firstStage >> 60, is32Bit: is32Bit, capabilities)
  }
}
