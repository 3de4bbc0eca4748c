import IOMMUModel
import PageTables

/// CQB, FQB or PQB: where a queue lies. LOG2SZ-1 4:0, PPN 53:10 (sections 5.6, 5.9, 5.12).
struct QueueBase: Hashable, Sendable {
  let rawValue: UInt64

  /// Where the first record lies.
  var address: GPA { GPA((rawValue >> 10 & 0xfff_ffff_ffff) << 12) }
  /// How many records there are, a power of two from 2 to 2^32.
  var count: UInt64 { 2 << (rawValue & 0x1f) }
}

/// A queue in memory between the device and software: a ring of records with a head, where they are taken, and a tail, where
/// they are put (section 3).
struct MemoryQueue: Hashable, Sendable {
  let base: QueueBase
  /// Where the consumer goes on, and the producer.
  let head: UInt64, tail: UInt64
  /// Bytes of a record.
  let record: UInt64
  let isBigEndian: Bool

  /// The queue of these registers; nil when one of them is not known.
  init?(_ registers: RegisterValues, base: UInt64, head: UInt64, tail: UInt64, record: UInt64) {
    guard let start = registers[base], let first = registers[head], let end = registers[tail] else { return nil }
    self.base = QueueBase(rawValue: start)
    self.head = first & (self.base.count - 1)
    self.tail = end & (self.base.count - 1)
    self.record = record
    isBigEndian = FeatureControl(rawValue: registers[RISCVIOMMURegister.featureControl] ?? 0).isBigEndian
  }

  /// How many records have been put and not yet taken.
  var waiting: UInt64 { (tail &- head) & (base.count - 1) }

  /// Whether no further record has room.
  var isFull: Bool { waiting == base.count - 1 }

  /// The doublewords of record `index`, modulo the queue's size.
  func words(ofRecord index: UInt64, in memory: any PhysicalMemory) throws(UnreadableMemory) -> [UInt64] {
    let place = base.address + (index & (base.count - 1)) &* record
    var words: [UInt64] = []
    for offset in stride(from: 0, to: record, by: 8) {
      let word = try memory.word(at: place + offset)
      words.append(isBigEndian ? word.byteSwapped : word)
    }
    return words
  }

  /// The indices of the records that are waiting, oldest first, at most `limit`.
  func waitingIndices(limit: Int) -> [UInt64] {
    (0..<min(waiting, UInt64(max(limit, 0)))).map { (head &+ $0) & (base.count - 1) }
  }

  /// The indices of the last `limit` records before the head, which have been taken, oldest first; those of an earlier turn
  /// of the ring may never have been written.
  func takenIndices(limit: Int) -> [UInt64] {
    let count = min(base.count &- 1 &- waiting, UInt64(max(limit, 0)))
    return (0..<count).map { (head &- count &+ $0) & (base.count - 1) }
  }
}
