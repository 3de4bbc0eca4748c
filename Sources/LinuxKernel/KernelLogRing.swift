internal import IOMMUModel
internal import PageTables

/// `struct printk_ringbuffer` and the used parts of its three arrays, copied out of the guest.
struct KernelLogRing {
  /// How many descriptors lie between the oldest and the newest, both included.
  let recordCount: Int

  private let address: KVA
  private let layout: KernelLogLayout
  private let firstID: UInt64
  private let descriptors, infos: LittleEndianBytes
  // Text from logical position `firstPosition` on; logical positions only grow, an index is their low `sizeBits` bits.
  private let text: LittleEndianBytes
  private let firstPosition: UInt64
  private let sizeBits: UInt64

  /// Reads the ring at `address`, in seven reads at most.
  init(at address: KVA, layout: KernelLogLayout, in kernel: KernelMemory) throws(TargetError) {
    let ring = LittleEndianBytes(bytes: try kernel.bytes(at: address, count: layout.ringSize))
    func word(_ offset: Int) -> UInt64 { ring.integer(at: offset) ?? 0 }
    func half(_ offset: Int) -> UInt64 { ring.integer(at: offset, count: 4) ?? 0 }
    let countBits = half(layout.countBits)
    sizeBits = half(layout.sizeBits)
    let bases = [word(layout.descriptors), word(layout.infos), word(layout.data)]
    guard !bases.contains(0) else { throw KernelLog.notSetUp("the ring at \(address) has no memory") }
    // printk.c: LOG_BUF_LEN_MAX is 2^31 bytes, and there is a descriptor for every 32 of them.
    guard (1...31).contains(sizeBits), (1...26).contains(countBits) else {
      throw Self.damaged(
        address, "2^\(countBits) messages and 2^\(sizeBits) bytes of text are no sizes that a kernel chooses")
    }

    firstID = word(layout.tailID) & Self.idMask
    let lastID = word(layout.headID) & Self.idMask
    let used = ((lastID &- firstID) & Self.idMask) &+ 1
    guard used <= 1 << countBits, let recordCount = Int(exactly: used) else {
      throw Self.damaged(address, "it has room for \(1 << countBits) messages and claims to hold \(used)")
    }
    firstPosition = word(layout.tailPosition)
    let textUsed = word(layout.headPosition) &- firstPosition
    guard textUsed <= 1 << sizeBits else {
      throw Self.damaged(address, "it has room for \(1 << sizeBits) bytes of text and claims to hold \(textUsed)")
    }

    /// `count` elements of an array of 2^`bits`, from number `first` on and around its end.
    func elements(
      _ base: UInt64, size: Int, bits: UInt64, first: UInt64, count: UInt64
    ) throws(TargetError) -> LittleEndianBytes {
      let total: UInt64 = 1 << bits
      let start = first & (total &- 1)
      let ahead = min(count, total &- start)
      // At most 2^26 elements of 2^16 bytes, or 2^31 of one: far from overflow.
      let size = UInt64(size)
      let front = try kernel.bytes(at: KVA(base) + start &* size, count: Int(ahead &* size))
      return LittleEndianBytes(bytes: front + (try kernel.bytes(at: KVA(base), count: Int((count &- ahead) &* size))))
    }
    descriptors = try elements(
      bases[0], size: layout.descriptorSize, bits: countBits, first: firstID, count: used)
    infos = try elements(bases[1], size: layout.infoSize, bits: countBits, first: firstID, count: used)
    text = try elements(bases[2], size: 1, bits: sizeBits, first: firstPosition, count: textUsed)
    self.recordCount = recordCount
    self.layout = layout
    self.address = address
  }

  private static func damaged(_ address: KVA, _ what: String) -> TargetError {
    TargetError("The kernel's log at \(address) is damaged, or the symbols are another kernel's: \(what).")
  }

  /// The error of a ring that is `what` no kernel leaves behind.
  func damaged(_ what: String) -> TargetError { Self.damaged(address, what) }

  /// How many bytes of text are in use.
  var textCount: Int { text.bytes.count }

  // printk_ringbuffer.h: the state is in the top two bits of a descriptor's word, its id in the rest.
  private static let idMask: UInt64 = ~0 >> 2

  /// The id of the descriptor at `position`, counted from the oldest.
  func id(_ position: Int) -> UInt64 { (firstID &+ UInt64(truncatingIfNeeded: position)) & Self.idMask }

  /// What has become of a message.
  enum State: UInt64 {
    case reserved = 0
    case committed = 1
    case finalized = 2
    case reusable = 3
  }

  /// `struct prb_desc`: a message's state and the logical positions of its text.
  struct Descriptor {
    let state: State
    let begin, next: UInt64
  }

  /// The descriptor at `position`; nil when it is another message's by now.
  func descriptor(_ position: Int) -> Descriptor? {
    let start = position * layout.descriptorSize
    guard let word = descriptors.integer(at: start + layout.state), word & Self.idMask == id(position),
      let state = State(rawValue: word >> 62), let begin = descriptors.integer(at: start + layout.begin),
      let next = descriptors.integer(at: start + layout.next)
    else { return nil }
    return Descriptor(state: state, begin: begin, next: next)
  }

  /// `struct printk_info`: what is known of a message beside its text.
  struct Info {
    let sequence, time: UInt64
    let textLength, level: Int
  }

  /// The info at `position`.
  func info(_ position: Int) -> Info? {
    let start = position * layout.infoSize
    guard let sequence = infos.integer(at: start + layout.sequence),
      let time = infos.integer(at: start + layout.time),
      let length = infos.integer(at: start + layout.textLength, count: 2),
      // `u8 flags:5, level:3` follow `u8 facility`. A bit field has no address to ask for.
      let flags = infos.integer(at: start + layout.facility + 1, count: 1)
    else { return nil }
    return Info(sequence: sequence, time: time, textLength: Int(length), level: Int(flags >> 5))
  }

  /// What is at a descriptor's positions.
  enum Text {
    case bytes(ArraySlice<UInt8>)
    /// There was no room for it.
    case lost
    /// The positions are none that a kernel gives, or another message's text is there.
    case damaged
  }

  /// The text of the message with this id and descriptor, and what fills its block up.
  ///
  /// A block is the id (8 bytes) and the text. One that would go past the end of the array leaves the rest of it unused and
  /// starts at index 0. (Until a block that ends exactly there was allowed, it was moved as well, so no block that moved has
  /// its end at index 0, and one rule serves both.)
  func text(of descriptor: Descriptor, id: UInt64) -> Text {
    let (begin, next) = (descriptor.begin, descriptor.next)
    // Positions are multiples of 8. Odd ones say that there is no block: 3 for an empty text, 1 for one that was lost.
    if begin & 1 == 1, next & 1 == 1 { return begin == 3 && next == 3 ? .bytes([]) : .lost }
    guard begin & 7 == 0, next & 7 == 0 else { return .damaged }
    let start: UInt64
    if begin >> sizeBits == (next &- 8) >> sizeBits {
      start = begin
    } else if (begin &+ 1 << sizeBits) >> sizeBits == next >> sizeBits {
      start = next & (~0 << sizeBits)
    } else {
      return .damaged
    }
    guard let first = Int(exactly: start &- firstPosition), let end = Int(exactly: next &- firstPosition),
      first < end, end <= text.bytes.count, text.integer(at: first).map({ $0 & Self.idMask }) == id
    else { return .damaged }
    return .bytes(text.bytes[first + 8..<end])
  }
}
