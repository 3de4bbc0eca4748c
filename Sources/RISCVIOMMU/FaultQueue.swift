public import IOMMUModel
public import PageTables

/// A fault as the device reports it: 32 bytes of its fault queue (section 3.2).
public struct FaultRecord: Hashable, Sendable, CustomStringConvertible {
  /// CAUSE 11:0, PID 31:12, PV 32, PRIV 33, TTYP 39:34, DID 63:40.
  public let header: UInt64
  /// iotval: the address, where the access has one.
  public let address: IOVA
  /// iotval2: of a guest-page fault the guest's address in bits 63:2; bit 0 for an access to a first-stage table or to the
  /// process directory, bit 1 for one that would have written there.
  public let second: UInt64

  /// A record with these doublewords; missing ones are 0.
  public init(words: [UInt64]) {
    header = words.first ?? 0
    address = IOVA(words.count > 2 ? words[2] : 0)
    second = words.count > 3 ? words[3] : 0
  }

  /// A record known by its header and address, as QEMU's trace has it.
  public init(header: UInt64, address: IOVA) { (self.header, self.address, second) = (header, address, 0) }

  /// Why it failed.
  public var cause: FaultCause { RISCVIOMMUFault.cause(UInt16(header & 0xfff)) }
  /// Whose access it was: the device id.
  public var requester: RequesterID { RequesterID(rawValue: UInt32(header >> 40)) }
  /// Its process; nil for none (PV).
  public var process: UInt32? { header >> 32 & 1 == 1 ? UInt32(header >> 12 & 0xf_ffff) : nil }
  /// Whether it asked for supervisor privilege.
  public var isPrivileged: Bool { header >> 33 & 1 == 1 }
  /// TTYP.
  public var transactionType: UInt8 { UInt8(header >> 34 & 0x3f) }
  /// The guest's address of a guest-page fault, to 4 bytes.
  public var guestAddress: GPA? { [20, 21, 23].contains(cause.code) ? GPA(second & ~3) : nil }
  /// Whether the guest's address is one of the first stage's own tables.
  public var isImplicit: Bool { guestAddress != nil && second & 1 == 1 }

  /// What kind of access it was, in words.
  public var transaction: String {
    switch transactionType {
    case 0: "no transaction"
    case 1: "untranslated read for execute"
    case 2: "untranslated read"
    case 3: "untranslated write"
    case 5: "translated read for execute"
    case 6: "translated read"
    case 7: "translated write"
    case 8: "ATS translation request"
    case 9: "message request"
    case 32...63: "custom transaction \(transactionType)"
    default: "reserved transaction \(transactionType)"
    }
  }

  /// The fault without what only this device tells.
  public var fault: LatchedFault {
    LatchedFault(requester: requester, cause: cause, address: transactionType == 0 ? nil : address)
  }

  /// `0000:00:01.0 cause 13 (read page fault) at 0xffefc002, untranslated write`.
  public var description: String {
    var text = transactionType == 0 ? "" : "\(requester) "
    text += "cause \(cause)"
    switch transactionType {
    case 0: break
    case 9: text += " of message \(hex(address.rawValue))"
    default: text += " at \(address)"
    }
    if let guestAddress { text += " (guest's \(guestAddress)\(isImplicit ? ", of a first-stage table" : ""))" }
    text += ", \(transaction)"
    if let process { text += ", process \(process)" }
    if isPrivileged { text += ", privileged" }
    return text
  }
}

/// The fault queue: what the device has reported, and whether software reads it.
public struct FaultQueue: Hashable, Sendable {
  private let queue: MemoryQueue
  private let control: UInt64

  /// The queue of these registers; nil when FQB, FQH or FQT is not known.
  public init?(_ registers: RegisterValues) {
    guard
      let queue = MemoryQueue(
        registers, base: RISCVIOMMURegister.faultBase, head: RISCVIOMMURegister.faultHead,
        tail: RISCVIOMMURegister.faultTail, record: 32)
    else { return nil }
    self.queue = queue
    control = registers[RISCVIOMMURegister.faultControl] ?? 0
  }

  /// Where it lies and how many records it has room for.
  public var address: GPA { queue.base.address }
  /// How many records it has.
  public var capacity: UInt64 { queue.base.count }
  /// FQCSR.fqon, bit 16; without it nothing is reported.
  public var isOn: Bool { control >> 16 & 1 == 1 }
  /// How many records software has not read.
  public var unread: UInt64 { queue.waiting }
  /// Whether faults are lost: fqmf, bit 8, or fqof, bit 9. Both stay until software clears them.
  public var losesFaults: Bool { control >> 8 & 3 != 0 }

  /// Whether software reads the queue, in words.
  public var state: String {
    if !isOn { return "off: no fault is reported" }
    var text =
      unread > 0
      ? "\(unread) of \(capacity) records wait to be read"
      : queue.head == 0 ? "no fault was reported yet" : "every fault was read"
    if control >> 9 & 1 == 1 { text += "; it ran over, and faults are lost until fqof is cleared" }
    if control >> 8 & 1 == 1 { text += "; it could not be written, and faults are lost until fqmf is cleared" }
    return text
  }

  /// The records that software has not read, oldest first, at most `limit`.
  public func waiting(in memory: any PhysicalMemory, limit: Int) throws(UnreadableMemory) -> [FaultRecord] {
    try records(queue.waitingIndices(limit: limit), memory)
  }

  /// The last `limit` records that software has read, oldest first. A place that was never written gives a record of zeros.
  public func read(in memory: any PhysicalMemory, limit: Int) throws(UnreadableMemory) -> [FaultRecord] {
    try records(queue.takenIndices(limit: limit), memory)
  }

  private func records(
    _ indices: [UInt64], _ memory: any PhysicalMemory
  ) throws(UnreadableMemory) -> [FaultRecord] {
    let pages = PageCache(of: memory)
    var records: [FaultRecord] = []
    for index in indices { records.append(FaultRecord(words: try queue.words(ofRecord: index, in: pages))) }
    return records
  }
}
