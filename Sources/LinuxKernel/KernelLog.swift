public import IOMMUModel
internal import PageTables

/// The kernel's log as it lies in memory: what `dmesg` would say, without a running kernel.
///
/// Linux `kernel/printk/printk_ringbuffer.c`. Three rings: descriptors (state, and where the text is), infos (time, level;
/// the same indices as the descriptors) and text. Each is read once, and only the part in use.
public struct KernelLog: Sendable {
  private let layout: KernelLogLayout

  /// Finds out how this kernel keeps its log. Done once per symbol file.
  public init(in target: any Target) throws(TargetError) { layout = try KernelLogLayout(in: target) }

  /// All messages that are still there, oldest first.
  ///
  /// Messages that are just being written, and those whose text is overwritten or did not fit, are left out. An error where
  /// the log is not set up yet, cannot be read, or is not what a kernel leaves.
  public func records(of target: any Target, in kernel: KernelMemory) throws(TargetError) -> [KernelLogRecord] {
    // The kernel moves to another ring when `log_buf_len` asks for one, so the pointer is read each time.
    let address = KVA(try target.evaluate("(unsigned long)prb"))
    guard address.rawValue != 0 else { throw Self.notSetUp("prb is 0") }
    let ring = try KernelLogRing(at: address, layout: layout, in: kernel)

    var records: [KernelLogRecord] = []
    var withText = 0, copied = 0
    for position in 0..<ring.recordCount {
      guard let descriptor = ring.descriptor(position), let info = ring.info(position) else { continue }
      switch descriptor.state {
      case .reserved, .reusable: continue
      case .committed, .finalized: break
      }
      switch ring.text(of: descriptor, id: ring.id(position)) {
      case .lost: continue
      case .damaged: withText += 1
      case .bytes(let bytes):
        withText += 1
        copied += min(bytes.count, info.textLength)
        // Where blocks overlap, a small ring would say more than memory holds.
        guard copied <= ring.textCount else {
          throw ring.damaged("its messages have more text than the \(ring.textCount) bytes in use")
        }
        records.append(
          KernelLogRecord(
            sequence: info.sequence, time: info.time, level: info.level,
            text: String(decoding: bytes.prefix(info.textLength), as: UTF8.self),
            isOpen: descriptor.state == .committed))
      }
    }
    guard !records.isEmpty || withText == 0 else {
      throw TargetError(
        "The kernel's log at \(address) holds \(withText) messages, but none has its text where it should be: "
          + "the symbols are another kernel's, or this kernel keeps its log in a way not known here.")
    }
    return records
  }

  static func notSetUp(_ why: String) -> TargetError {
    TargetError("The kernel's log is not set up yet (\(why)): let the kernel run on and stop it again.")
  }
}
