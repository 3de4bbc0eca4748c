internal import IOMMUModel

/// Where this kernel's log keeps what a reader needs, as offsets from the start of each structure in bytes.
///
/// Linux `kernel/printk/printk_ringbuffer.h`, from 5.10 on.
struct KernelLogLayout: Hashable, Sendable {
  // struct printk_ringbuffer, its desc_ring and text_data_ring.
  let countBits, descriptors, infos, headID, tailID: Int
  let sizeBits, data, headPosition, tailPosition: Int
  // struct prb_desc.
  let descriptorSize, state, begin, next: Int
  // struct printk_info.
  let infoSize, sequence, time, textLength, facility: Int

  /// Asks the debug information; an error when it has no such structures.
  init(in target: any Target) throws(TargetError) {
    func bounded(_ value: UInt64, _ what: String) throws(TargetError) -> Int {
      // No structure here has a kilobyte: more is not this kernel's debug information.
      guard value <= 1 << 16, let value = Int(exactly: value) else {
        throw TargetError("The debug information says that \(what) is \(value): these are not the kernel's symbols.")
      }
      return value
    }
    func offset(_ member: String, _ type: String) throws(TargetError) -> Int {
      try bounded(try target.offset(of: member, in: type), "the offset of \(member) in \(type)")
    }
    func size(_ type: String) throws(TargetError) -> Int {
      try bounded(try target.evaluate("sizeof(\(type))"), "the size of \(type)")
    }
    let ring = "struct printk_ringbuffer", descriptor = "struct prb_desc", info = "struct printk_info"
    countBits = try offset("desc_ring.count_bits", ring)
    descriptors = try offset("desc_ring.descs", ring)
    infos = try offset("desc_ring.infos", ring)
    headID = try offset("desc_ring.head_id", ring)
    tailID = try offset("desc_ring.tail_id", ring)
    sizeBits = try offset("text_data_ring.size_bits", ring)
    data = try offset("text_data_ring.data", ring)
    headPosition = try offset("text_data_ring.head_lpos", ring)
    tailPosition = try offset("text_data_ring.tail_lpos", ring)
    descriptorSize = try size(descriptor)
    state = try offset("state_var", descriptor)
    begin = try offset("text_blk_lpos.begin", descriptor)
    next = try offset("text_blk_lpos.next", descriptor)
    infoSize = try size(info)
    sequence = try offset("seq", info)
    time = try offset("ts_nsec", info)
    textLength = try offset("text_len", info)
    facility = try offset("facility", info)
  }

  /// How many bytes of `struct printk_ringbuffer` are needed.
  var ringSize: Int {
    8
      + max(
        countBits, descriptors, infos, headID, tailID, sizeBits, data, headPosition, tailPosition)
  }
}
