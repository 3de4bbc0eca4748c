import IOMMUModel
import PageTables

/// Register offsets of the device (RISC-V IOMMU specification 1.0, section 5). QEMU 10.0 answers reads of 4 and of 8 bytes
/// that are aligned to their size.
///
/// The counters between 0x60 and 0x258 and the message table from 0x300 on say nothing about translations and are left out.
enum RISCVIOMMURegister {
  static let capabilities: UInt64 = 0x0
  static let featureControl: UInt64 = 0x8
  static let directory: UInt64 = 0x10
  static let commandBase: UInt64 = 0x18
  static let commandHead: UInt64 = 0x20
  static let commandTail: UInt64 = 0x24
  static let faultBase: UInt64 = 0x28
  static let faultHead: UInt64 = 0x30
  static let faultTail: UInt64 = 0x34
  static let pageRequestBase: UInt64 = 0x38
  static let pageRequestHead: UInt64 = 0x40
  static let pageRequestTail: UInt64 = 0x44
  static let commandControl: UInt64 = 0x48
  static let faultControl: UInt64 = 0x4c
  static let pageRequestControl: UInt64 = 0x50
  static let interruptPending: UInt64 = 0x54
  static let requestAddress: UInt64 = 0x258
  static let requestControl: UInt64 = 0x260
  static let response: UInt64 = 0x268
  static let interruptVectors: UInt64 = 0x2f8

  static let all: [Register] = [
    Register(offset: capabilities, name: "CAPABILITIES") { Capabilities(rawValue: $0).description },
    Register(offset: featureControl, name: "FCTL", size: 4) { FeatureControl(rawValue: $0).description },
    Register(offset: directory, name: "DDTP") { DirectoryPointer(rawValue: $0).description },
    Register(offset: commandBase, name: "CQB") { queue($0, record: 16) },
    Register(offset: commandHead, name: "CQH", size: 4) { "next command to carry out: \($0)" },
    Register(offset: commandTail, name: "CQT", size: 4) { "next command to write: \($0)" },
    Register(offset: faultBase, name: "FQB") { queue($0, record: 32) },
    Register(offset: faultHead, name: "FQH", size: 4) { "next fault to read: \($0)" },
    Register(offset: faultTail, name: "FQT", size: 4) { "next fault to report: \($0)" },
    Register(offset: pageRequestBase, name: "PQB") { queue($0, record: 16) },
    Register(offset: pageRequestHead, name: "PQH", size: 4) { "next page request to read: \($0)" },
    Register(offset: pageRequestTail, name: "PQT", size: 4) { "next page request to report: \($0)" },
    Register(offset: commandControl, name: "CQCSR", size: 4) {
      control($0, [(8, "memory fault"), (9, "a command timed out"), (10, "illegal command"), (11, "fence done")])
    },
    Register(offset: faultControl, name: "FQCSR", size: 4) {
      control($0, [(8, "memory fault: faults are lost"), (9, "overflow: faults are lost")])
    },
    Register(offset: pageRequestControl, name: "PQCSR", size: 4) {
      control($0, [(8, "memory fault: page requests are lost"), (9, "overflow: page requests are lost")])
    },
    Register(offset: interruptPending, name: "IPSR", size: 4) { value in
      let pending = [(0, "commands"), (1, "faults"), (2, "counters"), (3, "page requests")]
        .filter { value >> $0.0 & 1 == 1 }.map(\.1)
      return pending.isEmpty ? "no interrupt pending" : "interrupt pending: \(pending.joined(separator: ", "))"
    },
    Register(offset: requestAddress, name: "TR_REQ_IOVA") { _ in "address asked for" },
    Register(offset: requestControl, name: "TR_REQ_CTL", meaning: requestMeaning),
    Register(offset: response, name: "TR_RESPONSE"),
    Register(offset: interruptVectors, name: "ICVEC") { value in
      "vectors: commands \(value & 0xf), faults \(value >> 4 & 0xf), counters \(value >> 8 & 0xf), "
        + "page requests \(value >> 12 & 0xf)"
    },
  ]

  /// A queue's base: PPN 53:10, LOG2SZ-1 4:0 (sections 5.6, 5.9, 5.12).
  private static func queue(_ value: UInt64, record: UInt64) -> String {
    let base = QueueBase(rawValue: value)
    return "\(base.count) records of \(record) bytes at \(base.address)"
  }

  /// A queue's control and status: enable 0, interrupt enable 1, errors 11:8, on 16, busy 17 (sections 5.15 to 5.17).
  private static func control(_ value: UInt64, _ errors: [(UInt64, String)]) -> String {
    var words = [value >> 16 & 1 == 1 ? "on" : value & 1 == 1 ? "enabled, not on yet" : "off"]
    words.append(value >> 1 & 1 == 1 ? "interrupt on" : "interrupt off")
    words += errors.filter { value >> $0.0 & 1 == 1 }.map(\.1)
    if value >> 17 & 1 == 1 { words.append("busy") }
    return words.joined(separator: ", ")
  }

  /// TR_REQ_CTL: Go/Busy 0, Priv 1, Exe 2, NW 3, PID 31:12, PV 32, DID 63:40 (section 5.25).
  @Sendable private static func requestMeaning(_ value: UInt64) -> String {
    if value & ~1 == 0 { return value == 0 ? "nothing asked for" : "busy" }
    var words = [RequesterID(rawValue: UInt32(value >> 40)).description]
    if value >> 32 & 1 == 1 { words.append("process \(value >> 12 & 0xf_ffff)") }
    words.append(value >> 2 & 1 == 1 ? "execute" : value >> 3 & 1 == 1 ? "read" : "read and write")
    if value >> 1 & 1 == 1 { words.append("privileged") }
    if value & 1 == 1 { words.append("busy") }
    return words.joined(separator: ", ")
  }
}
