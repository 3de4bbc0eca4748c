public import IOMMUModel
public import PageTables

/// A command to the device: 16 bytes of its command queue (section 3.1).
public struct Command: Hashable, Sendable, CustomStringConvertible {
  /// What an invalidation names of the entries that it takes out of the caches.
  public struct Scope: Hashable, Sendable {
    /// GSCID of the guest; nil for the host's own address spaces, or for all guests' (IOTINVAL.GVMA).
    public let guest: UInt16?
    /// PSCID of the address space; nil for all.
    public let addressSpace: UInt32?
    /// The address, of a page; nil for all.
    public let address: IOVA?

    /// A scope.
    public init(guest: UInt16?, addressSpace: UInt32?, address: IOVA?) {
      (self.guest, self.addressSpace, self.address) = (guest, addressSpace, address)
    }
  }

  /// What a command does.
  public enum Operation: Hashable, Sendable {
    /// IOTINVAL.VMA: forget entries of first stages.
    case invalidateFirstStage(Scope)
    /// IOTINVAL.GVMA: forget entries of second stages; the address is a guest's.
    case invalidateSecondStage(Scope)
    /// IOFENCE.C: wait for the commands before it, and for accesses under way (PR, PW); then write `data` to `address` (AV)
    /// or raise the queue's interrupt (WSI).
    case fence(reads: Bool, writes: Bool, interrupt: Bool, address: GPA?, data: UInt32)
    /// IODIR.INVAL_DDT: forget a device's contexts; nil for all devices'.
    case invalidateDevice(RequesterID?)
    /// IODIR.INVAL_PDT: forget a process context.
    case invalidateProcess(RequesterID, process: UInt32)
    /// ATS.INVAL: have the device forget translations that it holds.
    case invalidateATS(RequesterID, process: UInt32?, payload: UInt64)
    /// ATS.PRGR: answer a page request.
    case respond(RequesterID, process: UInt32?, payload: UInt64)
    /// Reserved, or with an operand that is not allowed: the queue stops there (cmd_ill). Why, as a phrase.
    case illegal(String)
    /// Opcodes from 64 on.
    case custom
  }

  /// The two doublewords.
  public let first: UInt64, second: UInt64

  /// A command with these doublewords.
  public init(_ first: UInt64, _ second: UInt64) { (self.first, self.second) = (first, second) }

  private func has(_ bit: UInt64) -> Bool { first >> bit & 1 == 1 }
  /// PID or PSCID, bits 31:12.
  private var process: UInt32 { UInt32(first >> 12 & 0xf_ffff) }

  /// What it does. Opcode 6:0, function 9:7.
  public var operation: Operation {
    switch (first & 0x7f, first >> 7 & 7) {
    case (1, 0): .invalidateFirstStage(scope)
    case (1, 1): has(32) ? .illegal("IOTINVAL.GVMA with PSCV") : .invalidateSecondStage(scope)
    case (2, 0):
      .fence(
        reads: has(12), writes: has(13), interrupt: has(11), address: has(10) ? GPA(second << 2) : nil,
        data: UInt32(first >> 32))
    case (3, 0): .invalidateDevice(has(33) ? RequesterID(rawValue: UInt32(first >> 40)) : nil)
    case (3, 1):
      has(33)
        ? .invalidateProcess(RequesterID(rawValue: UInt32(first >> 40)), process: process)
        : .illegal("IODIR.INVAL_PDT without DV")
    case (4, 0): .invalidateATS(target, process: has(32) ? process : nil, payload: second)
    case (4, 1): .respond(target, process: has(32) ? process : nil, payload: second)
    case (64..., _): .custom
    case (let opcode, let function): .illegal("opcode \(opcode) function \(function) is reserved")
    }
  }

  /// GV 33, PSCV 32, AV 10, GSCID 59:44, PSCID 31:12; ADDR[63:12] in 61:10 of the second doubleword, the address >> 2.
  private var scope: Scope {
    Scope(
      guest: has(33) ? UInt16(first >> 44 & 0xffff) : nil, addressSpace: has(32) ? process : nil,
      address: has(10) ? IOVA(second << 2 & ~0xfff) : nil)
  }

  /// RID 55:40, DSEG 63:56 where DSV, bit 33, is set.
  private var target: RequesterID {
    RequesterID(rawValue: UInt32(first >> 40 & 0xffff) | (has(33) ? UInt32(first >> 56) << 16 : 0))
  }

  /// `IOTINVAL.VMA: forget 0xffefc000 of address space 2`.
  public var description: String {
    switch operation {
    case .invalidateFirstStage(let scope):
      let owner = scope.guest.map { " of guest \($0)" } ?? ""
      let space = scope.addressSpace.map { "address space \($0)" } ?? "all address spaces"
      return "IOTINVAL.VMA: forget \(scope.address.map { "\($0) of " } ?? "")\(space)\(owner)"
    case .invalidateSecondStage(let scope):
      // Without a guest the address is ignored.
      guard let guest = scope.guest else { return "IOTINVAL.GVMA: forget all guests' second stages" }
      let what = scope.address.map { "guest address \($0)" } ?? "the second stage"
      return "IOTINVAL.GVMA: forget \(what) of guest \(guest)"
    case .fence(let reads, let writes, let interrupt, let address, let data):
      var text = "IOFENCE.C: wait for the commands before"
      if reads || writes { text += " and for \(reads && writes ? "reads and writes" : reads ? "reads" : "writes")" }
      if let address { text += ", then write \(hex(UInt64(data))) to \(address)" }
      if interrupt { text += ", then raise the interrupt" }
      return text
    case .invalidateDevice(let device):
      return "IODIR.INVAL_DDT: forget \(device.map { "the contexts of \($0)" } ?? "all contexts")"
    case .invalidateProcess(let device, let process):
      return "IODIR.INVAL_PDT: forget the context of process \(process) of \(device)"
    case .invalidateATS(let device, let process, let payload):
      return "ATS.INVAL: have \(device) forget \(process.map { "process \($0), " } ?? "")payload \(hex(payload))"
    case .respond(let device, let process, let payload):
      return "ATS.PRGR: answer \(device)\(process.map { ", process \($0)" } ?? ""), payload \(hex(payload))"
    case .illegal(let why): return "illegal: \(why)"
    case .custom: return "custom opcode \(first & 0x7f)"
    }
  }
}

/// The command queue: what software has asked of the device.
public struct CommandQueue: Hashable, Sendable {
  private let queue: MemoryQueue
  private let control: UInt64

  /// The queue of these registers; nil when CQB, CQH or CQT is not known.
  public init?(_ registers: RegisterValues) {
    guard
      let queue = MemoryQueue(
        registers, base: RISCVIOMMURegister.commandBase, head: RISCVIOMMURegister.commandHead,
        tail: RISCVIOMMURegister.commandTail, record: 16)
    else { return nil }
    self.queue = queue
    control = registers[RISCVIOMMURegister.commandControl] ?? 0
  }

  /// Where it lies.
  public var address: GPA { queue.base.address }
  /// How many commands it has room for.
  public var capacity: UInt64 { queue.base.count }
  /// How many commands the device has not carried out.
  public var waiting: UInt64 { queue.waiting }

  /// Whether the device carries commands out, in words.
  public var state: String {
    if control >> 16 & 1 == 0 { return "off: no command is carried out" }
    let errors = [(8, "a memory fault"), (9, "a timeout"), (10, "an illegal command")]
    if let error = errors.first(where: { control >> $0.0 & 1 == 1 }) {
      return "stopped at command \(queue.head) by \(error.1)"
    }
    return waiting == 0 ? "every command was carried out" : "\(waiting) of \(capacity) commands wait"
  }

  /// The commands that wait, oldest first, at most `limit`.
  public func waiting(in memory: any PhysicalMemory, limit: Int) throws(UnreadableMemory) -> [Command] {
    try commands(queue.waitingIndices(limit: limit), memory)
  }

  /// The last `limit` commands that were carried out, oldest first. A place that was never written gives a command of zeros.
  public func done(in memory: any PhysicalMemory, limit: Int) throws(UnreadableMemory) -> [Command] {
    try commands(queue.takenIndices(limit: limit), memory)
  }

  private func commands(_ indices: [UInt64], _ memory: any PhysicalMemory) throws(UnreadableMemory) -> [Command] {
    let pages = PageCache(of: memory)
    var commands: [Command] = []
    for index in indices {
      let words = try queue.words(ofRecord: index, in: pages)
      commands.append(Command(words.first ?? 0, words.last ?? 0))
    }
    return commands
  }
}
