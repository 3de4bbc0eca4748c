import Foundation
import Investigation
import PageTables
import Reports
import XuanTie

/// Storing events (P9) and concluding from them (P10), in files of a temporary folder.
enum Events {
  /// Prints the figures for a million events, and how the time grows with four.
  static func run() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("iommulens-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    func file(_ name: String) -> String { folder.appendingPathComponent(name).path }

    print("P9  storing events, processor time, median of 3")
    let workload = Workload(count: 1_000_000, rootShift: 30)
    let calls = workload.calls
    let bulk = try median { round in
      let store = try InvestigationStore(path: file("bulk-\(round)"), side: "benchmark")
      return try measure { _ = try store.append(calls: calls) }
    }
    let rate = Double(calls.count) / bulk.seconds
    print("  one transaction: \(Int(rate / 1000)) k events/s, goal 500: \(passes(rate >= 500_000))")
    let verified = try median { round in
      let store = try InvestigationStore(path: file("verified-\(round)"), side: "benchmark")
      let found = zip(try store.append(calls: calls), workload.verifications).compactMap { call, found in
        call.id.map { (call: $0, verification: found) }
      }
      return try measure { try store.append(verifications: found) }
    }
    let verificationRate = Double(calls.count) / verified.seconds
    print(
      "  verifications, one transaction: \(Int(verificationRate / 1000)) k events/s, goal 500: "
        + passes(verificationRate >= 500_000))
    let single = try median { round in
      let store = try InvestigationStore(path: file("single-\(round)"), side: "benchmark")
      return try measure { for call in calls.prefix(20_000) { _ = try store.append(call) } }
    }
    let commits = 20_000 / single.seconds
    print("  one durable transaction each: \(Int(commits / 1000)) k events/s, goal 20: \(passes(commits >= 20_000))")

    print("P10 `check -all`, every call verified, processor time, one process each, median of 3")
    for shift in [30, 48] {
      var seconds: [Double] = []
      for count in [1_000_000, 4_000_000] {
        let path = file("check-\(shift)-\(count)")
        try Workload(count: count, rootShift: shift).store(in: InvestigationStore(path: path, side: "benchmark"))
        let runs = try (0..<3).map { _ in try check(path) }.sorted { $0.seconds < $1.seconds }
        let mebibytes = runs.map(\.mebibytes).max() ?? 0
        seconds.append(runs[1].seconds)
        let figure =
          "  root shift \(shift), \(count / 1_000_000) M calls: \(rounded(runs[1].seconds)) s, \(mebibytes) MiB"
        if count == 1_000_000 {
          print("\(figure), goal 3 s, 500 MiB: \(passes(runs[1].seconds <= 3 && mebibytes <= 500))")
        } else {
          let growth = seconds[1] / seconds[0]
          print("\(figure), \(rounded(growth)) x the time of 1 M, goal 4.5: \(passes(growth <= 4.5))")
        }
      }
    }
  }

  /// Stores the workload of so many calls with this root shift in a new file: what ``measureCheck(_:)`` is about.
  static func store(_ arguments: [String]) throws {
    guard arguments.count == 3, let count = Int(arguments[1]), let shift = Int(arguments[2]) else {
      throw InvestigationError("usage: benchmarks store FILE CALLS ROOT-SHIFT")
    }
    try Workload(count: count, rootShift: shift).store(in: InvestigationStore(path: arguments[0], side: "benchmark"))
  }

  /// What `iommulens check --all` does, with how long it took and the most memory that it used.
  static func measureCheck(_ path: String) throws {
    var length = 0
    let time = try measure {
      let store = try InvestigationStore(path: path, side: "benchmark")
      length = Terminal.check(try Findings(offline: store, tenants: [XuanTie.self]).check, limit: .max).utf8.count
    }
    // Of this process alone; getrusage would count what its parent had before it became this one.
    let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
    let peak = status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }?.split(separator: " ").dropFirst().first
    print(time.seconds, (peak.flatMap { Int($0) } ?? 0) / 1024, length)
  }

  /// The processor time of this process, which other work on the machine does not change.
  private static func measure(_ body: () throws -> Void) rethrows -> Duration {
    func now() -> Duration {
      var time = timespec()
      clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
      return .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec)
    }
    let start = now()
    try body()
    return now() - start
  }

  private static func check(_ path: String) throws -> (seconds: Double, mebibytes: Int) {
    let process = Process()
    process.executableURL = URL(
      fileURLWithPath: try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe"))
    process.arguments = ["check", path]
    let output = Pipe()
    process.standardOutput = output
    try process.run()
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    let words = text.split(separator: " ")
    guard words.count == 3, let seconds = Double(words[0]), let mebibytes = Int(words[1]) else {
      throw InvestigationError("The check of \(path) said: \(text)")
    }
    return (seconds, mebibytes)
  }

  private static func median(_ body: (Int) throws -> Duration) rethrows -> Duration {
    try (0..<3).map(body).sorted()[1]
  }

  private static func passes(_ goal: Bool) -> String { goal ? "pass" : "SHORT" }

  /// Two decimals.
  private static func rounded(_ value: Double) -> Double { (value * 100).rounded() / 100 }
}

extension Duration {
  /// In seconds.
  var seconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}
