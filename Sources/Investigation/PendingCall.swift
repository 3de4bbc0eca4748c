import IOMMUModel

/// A recorded call whose entries have not been looked at yet.
struct PendingCall {
  let recorded: RecordedCall
  /// Where it was made; nil when the debugger did not say.
  let place: CallPlace?
  /// How often the debugger has told of it again.
  var repeats = 0

  /// How often that happens in a row at most. A step over the breakpoint that an event cuts short leaves the CPU where it
  /// was, and GDB then asks the breakpoint once more; a driver that does nothing is called again and again.
  static let repeatLimit = 2

  /// Bytes of a kernel stack at most: THREAD_SIZE (Linux riscv: 16 KiB, 32 or 64 KiB with KASAN).
  private static let stackSize: UInt64 = 1 << 16

  /// Whether `call` at `place` looks as if it were this one, told of again before it could run.
  func looksLike(_ call: DriverCall, at other: CallPlace?) -> Bool {
    place != nil && place == other && recorded.call == call && repeats < Self.repeatLimit
  }

  /// Whether it has surely returned when the next call is made at `next`: on the same stack of the same thread, with no
  /// more of it in use. A deeper stack may be an interrupt's, with this call below it.
  func hasReturned(before next: CallPlace?) -> Bool {
    guard let place, let next, place.thread == next.thread else { return false }
    return next.stack >= place.stack && next.stack - place.stack < Self.stackSize
  }
}
