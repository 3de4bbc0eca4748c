import GuestMemory
public import IOMMUModel

// What QEMU writes down while the guest runs.

extension Investigator {
  /// The file that the QEMU behind the connection writes its log to. An error says how to have one.
  public func emulatorLog() throws(TargetError) -> String {
    guard let connection = target.connection() else {
      throw TargetError("No guest: connect to QEMU's gdbstub first, `target remote :1234`.")
    }
    let prefix = (try? profile().device.trace?.prefix) ?? ""
    let process: QEMUProcess
    do { process = try processID > 0 ? QEMUProcess(pid: processID) : QEMUProcess(behind: connection) } catch {
      throw TargetError("QEMU's log is not known: \(error) Name the log with -log FILE.")
    }
    guard let log = process.log else {
      throw TargetError(
        "QEMU (process \(process.pid)) was not told to write a log. Start it with `-trace '\(prefix)*' -D FILE`; or have the one "
          + "that runs write one: `monitor logfile FILE`, `monitor log trace:\(prefix)*`, and name it here with -log FILE."
      )
    }
    return log
  }

  /// Whether QEMU's trace of the device is turned off, by what its monitor says; nil where it does not say.
  ///
  /// `info trace-events PATTERN` answers with a line an event: `riscv_iommu_dma : state 1`.
  public func traceIsOff() -> Bool? {
    guard let prefix = try? profile().device.trace?.prefix,
      let answer = try? target.monitor("info trace-events \(prefix)*")
    else { return nil }
    let states = answer.split(whereSeparator: \.isNewline).compactMap { line -> Bool? in
      let words = line.split(separator: " ")
      guard words.count == 4, words[0].hasPrefix(prefix), words[2] == "state" else { return nil }
      return words[3] != "0"
    }
    return states.isEmpty ? nil : !states.contains(true)
  }
}
