import Glibc

extension QEMUProcess {
  /// A moment's stop is part of life under another debugger, at a breakpoint that goes on by itself.
  private static let moment = (pause: UInt32(20_000), count: 50)

  /// Why this process answers nothing, as a sentence that says what to do: for a second, somebody has had it stopped. Nil where
  /// it runs, and where nobody can tell.
  public var standstill: String? {
    for pause in 0..<Self.moment.count {
      guard let status = contents(ofProcFile: "/proc/\(pid)/status") else { return nil }
      // `State:	t (tracing stop)`, `T (stopped)`; the letter of a process that runs or sleeps is another one (proc(5)).
      guard let state = Self.field("State", of: status).first, "tT".contains(state) else { return nil }
      if pause < Self.moment.count - 1 {
        usleep(Self.moment.pause)
        continue
      }
      guard let tracer = Int32(Self.field("TracerPid", of: status)), tracer != 0 else {
        return "QEMU, process \(pid) (\(name)), is stopped and answers nothing: `kill -CONT \(pid)` lets it go on."
      }
      let tracerName = contents(ofProcFile: "/proc/\(tracer)/comm").map { String($0[...].trimmingSpaces()) }
      return
        "QEMU, process \(pid) (\(name)), is stopped by process \(tracer) (\(tracerName ?? "not visible")) and answers "
        + "nothing: continue it there."
    }
    return nil
  }

  private static func field(_ name: String, of status: String) -> Substring {
    let line = status.split(separator: "\n").first { $0.hasPrefix("\(name):") }
    return line?.dropFirst(name.count + 1).trimmingSpaces() ?? ""
  }
}
