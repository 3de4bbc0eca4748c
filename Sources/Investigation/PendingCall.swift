import IOMMUModel

/// A recorded call whose entries have not been looked at yet.
struct PendingCall {
  let recorded: RecordedCall
  /// Where it was made; nil when the debugger did not say.
  let place: CallPlace?

  /// Bytes of a kernel stack at most: THREAD_SIZE (Linux riscv: 16 KiB, 32 or 64 KiB with KASAN).
  private static let stackSize: UInt64 = 1 << 16

  /// Whether it has surely returned when the next call is made at `next`: on the same stack of the same thread, with no
  /// more of it in use. A deeper stack may be an interrupt's, with this call below it.
  func hasReturned(before next: CallPlace?) -> Bool {
    guard let place, let next, place.thread == next.thread else { return false }
    return next.stack >= place.stack && next.stack - place.stack < Self.stackSize
  }
}
