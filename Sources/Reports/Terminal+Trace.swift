public import Evidence
import Investigation
import PageTables

extension Terminal {
  /// That a log is followed from now on; `traceIsOff` when QEMU says that nothing is written into it.
  public static func following(_ log: TraceFollower, traceIsOff: Bool) -> String {
    var lines = ["Follows \(printable(log.path)): what the device does from now on is recorded beside the calls."]
    if log.passedOver > 0 {
      lines.append(
        "Its \(counted(log.passedOver, "line")) up to now \(log.passedOver == 1 ? "is" : "are") passed over: `iommu import` "
          + "takes in what was written before.")
    }
    if traceIsOff, let prefix = log.tracePrefix {
      lines.append("QEMU's trace events \(prefix)* are off: `monitor log trace:\(prefix)*` turns them on.")
    }
    return lines.joined(separator: "\n")
  }

  /// What is known of a log that is followed.
  static func state(_ log: TraceFollower) -> String {
    "\(printable(log.path)) is followed, \(counted(log.lineCount, "line")) read"
  }
}
