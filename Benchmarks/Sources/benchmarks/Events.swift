import Baselines
import Foundation
import Investigation
import PageTables
import Reports
import XuanTie

/// Storing events (P9), concluding from them (P10) and reporting them (P11), in files of a temporary folder.
enum Events {
  static func rows(_ extent: Extent) throws -> [Row] { try storing(extent) + checking(extent) + [reporting(extent)] }

  private static func storing(_ extent: Extent) throws -> [Row] {
    let count = extent == .full ? 1_000_000 : 50_000
    let found = try Measurement.interleaved([
      ["bulk", "\(count)"], ["verifications", "\(count)"], ["single", "20000"],
    ])
    return zip(
      found,
      [
        ("calls, one transaction", 500.0), ("verifications, one transaction", 500),
        ("calls, one durable transaction each", 20),
      ]
    )
    .map { figures, row in
      let rate = figures.median { $0("count") / $0("seconds") }
      let plain = figures.median { $0("count") / $0("plain") }
      return Row(
        id: "P9", what: "storing \(row.0)", figure: "\(text(rate / 1000)) k/s",
        ratio: "\(text(figures.median { $0("plain") / $0("seconds") })) x SQLite in C", goal: ">= \(text(row.1)) k/s",
        verdict: extent.time(rate >= row.1 * 1000), note: "SQLite in C, calls: \(text(plain / 1000)) k/s")
    }
  }

  private static func checking(_ extent: Extent) throws -> [Row] {
    let counts = extent == .full ? [1_000_000, 4_000_000] : [50_000, 200_000]
    return try inFolder { folder in
      var rows: [Row] = []
      for shift in [30, 48] {
        // Half of the events are calls, half their verifications.
        let commands = try counts.map { count in
          let path = "\(folder)/check-\(shift)-\(count)"
          try store([path, "\(count / 2)", "\(shift)"])
          return ["check", path]
        }
        let found = try Measurement.interleaved(commands)
        let seconds = found.map { $0.median { $0("seconds") } }
        let mebibytes = found.map { ($0.compactMap { $0["peak"] }.max() ?? .nan) / 0x10_0000 }
        let growth = seconds[1] / seconds[0]
        let what = "check -all, root shift \(shift), each call verified"
        rows.append(
          Row(
            id: "P10", what: "\(what), \(number(counts[0])) events",
            figure: "\(text(seconds[0])) s, \(text(mebibytes[0])) MiB",
            goal: "<= 3 s, 500 MiB", verdict: extent.time(seconds[0] <= 3 && mebibytes[0] <= 500)))
        rows.append(
          Row(
            id: "P10", what: "\(what), \(number(counts[1])) events",
            figure: "\(text(seconds[1])) s, \(text(mebibytes[1])) MiB",
            ratio: "\(text(growth)) x \(number(counts[0]))", goal: "<= 4.5 x",
            verdict: extent.ratio(growth, atMost: 4.5)))
      }
      return rows
    }
  }

  private static func reporting(_ extent: Extent) throws -> Row {
    try inFolder { folder in
      let calls = extent == .full ? 50_000 : 5_000
      try store(["\(folder)/report", "\(calls)", "48"])
      let found = try (0..<3).map { _ in try Measurement.inProcess(["markdown", "\(folder)/report"]) }
      let seconds = found.median { $0("seconds") }
      return Row(
        id: "P11", what: "Markdown of \(number(2 * calls)) events, file to text", figure: "\(text(seconds)) s",
        goal: "<= 1 s", verdict: extent.time(seconds <= 1),
        note: "\(number(calls)) calls and their verifications; \(Int(found.median { $0("bytes") } / 1024)) KiB of text")
    }
  }

  private static func number(_ count: Int) -> String {
    count % 1_000_000 == 0 ? "\(count / 1_000_000) M" : "\(count / 1000) k"
  }

  /// Stores the workload of so many calls with this root shift in a new file: what ``measureCheck(_:)`` is about.
  static func store(_ arguments: [String]) throws {
    guard arguments.count == 3, let count = Int(arguments[1]), let shift = Int(arguments[2]) else {
      throw InvestigationError("usage: benchmarks store FILE CALLS ROOT-SHIFT")
    }
    try Workload(count: count, rootShift: shift).store(in: InvestigationStore(path: arguments[0], side: "benchmark"))
  }

  /// In a process of its own: `count` events stored in one way, and as many calls in the same way by C that knows nothing
  /// but SQLite.
  static func measureStore(_ way: String, count: Int) throws {
    let workload = Workload(count: count, rootShift: 30)
    let plain = try inFolder { folder in
      try Measurement.time {
        let status = baseline_store("\(folder)/plain", Int32(clamping: count), way == "single" ? 1 : 0)
        guard status == 0 else { throw InvestigationError("SQLite in C failed: error \(status).") }
      }
    }
    let seconds = try inFolder { folder in
      let store = try InvestigationStore(path: "\(folder)/store", side: "benchmark")
      switch way {
      case "bulk": return try Measurement.time { _ = try store.append(calls: workload.calls) }
      case "single": return try Measurement.time { for call in workload.calls { _ = try store.append(call) } }
      default:
        let found = zip(try store.append(calls: workload.calls), workload.verifications).compactMap { call, found in
          call.id.map { (call: $0, verification: found) }
        }
        return try Measurement.time { try store.append(verifications: found) }
      }
    }
    print("count \(workload.calls.count)\nseconds \(seconds)\nplain \(plain)")
  }

  /// In a process of its own: what `iommulens check --all` does.
  static func measureCheck(_ path: String) throws {
    var length = 0
    let seconds = try Measurement.time {
      let store = try InvestigationStore(path: path, side: "benchmark")
      length = Terminal.check(try Findings(offline: store, tenants: [XuanTie.self]).check, limit: .max).utf8.count
    }
    print("seconds \(seconds)\npeak \(try Measurement.peakMemory())\nbytes \(length)")
  }

  /// In a process of its own: what `iommulens export` does.
  static func measureMarkdown(_ path: String) throws {
    var length = 0
    let seconds = try Measurement.time {
      let store = try InvestigationStore(path: path, side: "benchmark")
      length = try Report(Findings(offline: store, tenants: [XuanTie.self]), store: store).markdown().utf8.count
    }
    print("seconds \(seconds)\nbytes \(length)")
  }

  /// Runs `body` with a folder that is gone afterwards.
  static func inFolder<Result>(_ body: (String) throws -> Result) throws -> Result {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("iommulens-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    return try body(folder.path)
  }
}
