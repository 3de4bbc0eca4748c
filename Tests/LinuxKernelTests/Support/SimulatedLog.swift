import IOMMUModel
import LinuxKernel
import PageTables

/// A log written as the kernel writes it (`printk_ringbuffer.c`), and what a reader has to find in it.
final class SimulatedLog {
  /// How far a message got.
  enum Stage: UInt64 {
    case reserved = 0
    case committed = 1
    case finalized = 2
  }

  /// Where the structures lie and how they are laid out: not as any kernel does it.
  static let ring = KVA(0xff60_0000_0000_0f80), linearOffset: UInt64 = 0xff5f_ffff_8000_0000
  static let descriptors = GPA(0x8010_0008), infos = GPA(0x8020_0010), data = GPA(0x8030_0018)
  static let values: [String: UInt64] = {
    var values: [String: UInt64] = [
      "(unsigned long)prb": ring.rawValue, "sizeof(struct prb_desc)": 40, "sizeof(struct printk_info)": 56,
    ]
    func offsets(_ type: String, _ members: [String: UInt64]) {
      for (member, offset) in members { values["(unsigned long)&((\(type) *)0)->\(member)"] = offset }
    }
    offsets(
      "struct printk_ringbuffer",
      [
        "desc_ring.count_bits": 4, "desc_ring.descs": 16, "desc_ring.infos": 8, "desc_ring.head_id": 40,
        "desc_ring.tail_id": 32, "text_data_ring.size_bits": 60, "text_data_ring.data": 64,
        "text_data_ring.head_lpos": 80, "text_data_ring.tail_lpos": 88,
      ])
    offsets("struct prb_desc", ["state_var": 8, "text_blk_lpos.begin": 16, "text_blk_lpos.next": 32])
    offsets("struct printk_info", ["seq": 16, "ts_nsec": 8, "text_len": 26, "facility": 30])
    return values
  }()

  let memory = SparseMemory()
  let countBits: UInt64, sizeBits: UInt64
  /// Whether a block may end where the array ends, as in later kernels.
  let fitsExactly: Bool
  /// What a reader has to find.
  var records: [KernelLogRecord] { ids.compactMap { kept[$0] } }

  private var ids: [UInt64] { (0..<1 << countBits).reversed().map { (headID &- $0) & Self.idMask } }
  private var kept: [UInt64: KernelLogRecord] = [:]
  private var slots: [UInt64: (stage: Stage, begin: UInt64, next: UInt64)] = [:]
  private var headID: UInt64, tailID: UInt64, headPosition: UInt64, tailPosition: UInt64
  private var sequence: UInt64 = 0
  private static let idMask: UInt64 = ~0 >> 2

  init(countBits: UInt64, sizeBits: UInt64, fitsExactly: Bool) {
    self.countBits = countBits
    self.sizeBits = sizeBits
    self.fitsExactly = fitsExactly
    // One wrap and one message before 0, so that both counters pass it.
    headID = (0 &- (1 << countBits) &- 1) & Self.idMask
    tailID = headID
    headPosition = 0 &- (1 << sizeBits)
    tailPosition = headPosition
    setState(3, of: headID)
    memory.write(countBits, count: 4, at: header(4))
    memory.write(sizeBits, count: 4, at: header(60))
    memory.write(Self.descriptors.rawValue &+ Self.linearOffset, at: header(16))
    memory.write(Self.infos.rawValue &+ Self.linearOffset, at: header(8))
    memory.write(Self.data.rawValue &+ Self.linearOffset, at: header(64))
    writeHeader()
  }

  /// Adds a message; false when no room can be made for its descriptor.
  @discardableResult
  func write(_ text: [UInt8], level: Int = 6, time: UInt64 = 0, stage: Stage = .finalized) -> Bool {
    defer { writeHeader() }
    let id = (headID &+ 1) & Self.idMask
    if (id &- tailID) & Self.idMask == 1 << countBits {
      guard dropOldest() else { return false }
    }
    headID = id
    let block = allocate(text.count, id: id)
    slots[id] = (stage, block?.begin ?? 1, block?.next ?? 1)
    if text.isEmpty { slots[id] = (stage, 3, 3) }
    setState(stage.rawValue, of: id)
    let slot = Self.descriptors + (id & ((1 << countBits) - 1)) * 40
    memory.write(slots[id]?.begin ?? 0, at: slot + 16)
    memory.write(slots[id]?.next ?? 0, at: slot + 32)
    let info = Self.infos + (id & ((1 << countBits) - 1)) * 56
    memory.write(sequence, at: info + 16)
    memory.write(time, at: info + 8)
    memory.write(UInt64(text.count), count: 2, at: info + 26)
    memory.write(UInt64(level) << 5 | 0b10001, count: 1, at: info + 31)
    if let block { memory.write(text, at: block.text) }
    if stage != .reserved, block != nil || text.isEmpty {
      kept[id] = KernelLogRecord(
        sequence: sequence, time: time, level: level, text: String(decoding: text, as: UTF8.self),
        isOpen: stage == .committed)
    }
    sequence += 1
    return true
  }

  private func allocate(_ count: Int, id: UInt64) -> (begin: UInt64, next: UInt64, text: GPA)? {
    let size = UInt64(count + 8 + 7) & ~7, total: UInt64 = 1 << sizeBits
    guard count > 0, size <= total / 2 else { return nil }
    let begin = headPosition
    var start = begin, next = begin &+ size
    let end = fitsExactly ? next &- 1 : next
    if begin >> sizeBits != end >> sizeBits {
      start = next & ~(total - 1)
      // A block that would end exactly at the array's end has to move as a whole.
      next = start &+ size
    }
    while next &- tailPosition > total {
      guard let oldest = slots.first(where: { $0.value.begin == tailPosition }), makeReusable(oldest.key) else {
        return nil
      }
      tailPosition = oldest.value.next
    }
    headPosition = next
    for place in [begin, start] { memory.write(id, at: Self.data + (place & (total - 1))) }
    return (begin, next, Self.data + (start & (total - 1)) + 8)
  }

  private func dropOldest() -> Bool {
    if let slot = slots[tailID] {
      guard makeReusable(tailID) else { return false }
      if slot.begin == tailPosition { tailPosition = slot.next }
      slots[tailID] = nil
    }
    tailID = (tailID &+ 1) & Self.idMask
    return true
  }

  private func makeReusable(_ id: UInt64) -> Bool {
    guard slots[id]?.stage != .reserved else { return false }
    kept[id] = nil
    setState(3, of: id)
    return true
  }

  private func setState(_ state: UInt64, of id: UInt64) {
    memory.write(state << 62 | id, at: Self.descriptors + (id & ((1 << countBits) - 1)) * 40 + 8)
  }

  private func writeHeader() {
    // The top bits of a ring's ids are not theirs: a reader masks them.
    memory.write(headID, at: header(40))
    memory.write(tailID | 1 << 63, at: header(32))
    memory.write(headPosition, at: header(80))
    memory.write(tailPosition, at: header(88))
  }

  /// Where a member of the ring lies.
  func header(_ offset: UInt64) -> GPA { GPA(Self.ring.rawValue &- Self.linearOffset &+ offset) }

  var kernel: KernelMemory { KernelMemory(memory: memory, linearOffset: Self.linearOffset) }

  /// What the reader under test finds.
  func read() throws(TargetError) -> [KernelLogRecord] {
    let target = FakeTarget(values: Self.values)
    return try KernelLog(in: target).records(of: target, in: kernel)
  }
}
