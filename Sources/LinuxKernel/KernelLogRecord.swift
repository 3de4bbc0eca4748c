/// One message of the kernel's log.
public struct KernelLogRecord: Hashable, Sendable {
  /// Its number since boot; a gap is a message whose text was overwritten or never found room.
  public let sequence: UInt64
  /// When, in nanoseconds of the kernel's clock.
  public let time: UInt64
  /// 0 (emergency) to 7 (debug).
  public let level: Int
  /// What was said, several lines where the message has them, without the last line's end. As the kernel holds it, control
  /// characters included; bytes that are not UTF-8 are U+FFFD.
  public let text: String
  /// Whether the writer may still add to it: `pr_cont`, or stopped in the middle of `printk`.
  public let isOpen: Bool

  /// A message.
  public init(sequence: UInt64, time: UInt64, level: Int, text: String, isOpen: Bool = false) {
    self.sequence = sequence
    self.time = time
    self.level = level
    self.text = text
    self.isOpen = isOpen
  }

  /// The message as a console shows it with `printk.time`: each line behind the time in seconds, to the microsecond.
  public var consoleLines: [String] {
    let seconds = "\(time / 1_000_000_000)"
    let fraction = "\(1_000_000 + time / 1000 % 1_000_000)".dropFirst()
    let padding = String(repeating: " ", count: max(0, 5 - seconds.count))
    return text.split(separator: "\n", omittingEmptySubsequences: false).map { line in
      "[\(padding)\(seconds).\(fraction)] \(line)"
    }
  }
}
