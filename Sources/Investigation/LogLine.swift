/// A line of a log that says something about the IOMMU or the devices behind it.
public struct LogLine: Hashable, Sendable {
  /// What a line tells. The raw values are in investigation files.
  public enum Meaning: String, Sendable, CaseIterable {
    /// `NETDEV WATCHDOG`: a network card transmits nothing.
    case watchdog
    /// `Reset adapter unexpectedly`: its driver starts it anew.
    case adapterReset = "adapter reset"
    /// `Failed to set up IOMMU for device …; retaining platform DMA ops`.
    case dmaSetupFailed = "DMA set-up failed"
    /// `vfio-pci: probe of … failed with error -22`.
    case bindRefused = "VFIO bind refused"
    /// `No interrupt remapping support. Use the module param "allow_unsafe_interrupts" …`.
    case unsafeInterrupts = "unsafe interrupts refused"
    /// `Adding to iommu group`.
    case groupAdded = "group added"
    /// The IOMMU driver announces itself, or says what it found.
    case driver
    /// An IOMMU fault that the kernel reported.
    case fault
    /// A fault that the device's implementation wrote down itself, whoever was told of it.
    case deviceFault = "device fault"
    /// A command by which the device forgets translations that it keeps, as its implementation wrote it down.
    case invalidation
    /// A warning with a backtrace.
    case warning
    /// Anything else worth keeping.
    case other
  }

  /// Whether the device's implementation wrote it, rather than the kernel.
  public var isOfDevice: Bool { meaning == .deviceFault || meaning == .invalidation }

  /// Where it came from: a file's name, or `kernel log`.
  public let origin: String
  /// Its line in the file, or its number in the log; 1 for the first.
  public let line: Int
  /// The kernel's time in nanoseconds; nil when the line has none.
  public let time: UInt64?
  /// The text without its time.
  public let text: String
  /// What it tells.
  public let meaning: Meaning

  /// A line.
  public init(origin: String, line: Int, time: UInt64?, text: String, meaning: Meaning) {
    (self.origin, self.line, self.time, self.text, self.meaning) = (origin, line, time, text, meaning)
  }
}
