import Foundation

/// A GDB on a guest that does all that one does with an investigation, and is killed on the way.
struct KilledSession {
  /// Where a session can be killed. The first three open a file: a new one, one of an older version, the one before's.
  enum Phase: String, CaseIterable {
    case making, migrating, opening, stopping, recording, noting, importing, concluding, exporting, closing

    /// What the session itself says when it gets there.
    var marker: String { "phase \([.making, .migrating].contains(self) ? .opening : self)\n" }
  }

  /// What it had written when it ended.
  let output: String
  /// Whether it was killed before it ended by itself.
  let wasKilled: Bool
  /// Seconds from each phase's start to the next one's, of a session that was not killed.
  let lengths: [Phase: Double]

  /// Whether it came to its end, at which GDB leaves the guest.
  var isComplete: Bool { output.hasSuffix(" detached]\n") }

  /// Runs a session called `name` on the investigation at `file`. With `kill` it is killed so many seconds after it has said
  /// that it is in that phase.
  init(_ name: String, file: String, folder: String, kill: (phase: Phase, after: Double)? = nil) throws {
    let place = "\(folder)/\(name)"
    try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: place + "/ram") }
    try Self.script(name, file: file, place: place).write(
      toFile: place + "/session.gdb", atomically: true, encoding: .utf8)
    let guest = try RunningProgram(["lab/guest/boot", place], output: place + "/qemu.log")
    defer { guest.kill() }
    guard wait(20, until: { FileManager.default.fileExists(atPath: place + "/gdb.sock") }) else {
      throw RunningProgram.Failure("The guest did not start: \(guest.output)")
    }
    let gdb = try RunningProgram(
      ["gdb-multiarch", "-nx", "-batch", "-x", place + "/session.gdb"], output: place + "/output")
    var starts: [(phase: Phase, time: ContinuousClock.Instant)] = []
    let limit = ContinuousClock.now + .seconds(120)
    let phases = Phase.allCases.filter { ![.making, .migrating].contains($0) }
    var ended: ContinuousClock.Instant?
    while ended == nil {
      usleep(1000)
      if !gdb.isRunning || .now > limit { ended = .now }
      let text = gdb.output
      while starts.count < phases.count, text.contains(phases[starts.count].marker) {
        starts.append((phases[starts.count], .now))
      }
      if let kill, text.contains(kill.phase.marker) {
        usleep(UInt32(kill.after * 1_000_000))
        break
      }
    }
    gdb.kill()
    (output, wasKilled) = (gdb.output, gdb.wasKilled)
    var lengths: [Phase: Double] = [:]
    for (start, next) in zip(starts, starts.dropFirst().map(\.time) + [ended ?? .now]) {
      lengths[start.phase] = start.time.duration(to: next) / .seconds(1)
    }
    for opening in [Phase.making, .migrating] { lengths[opening] = lengths[.opening] }
    self.lengths = lengths
  }

  /// Texts that the session imports, under names of its own.
  private static let texts = ["field-notes.txt", "pgdir-shift/console.log"]

  private static func script(_ name: String, file: String, place: String) throws -> String {
    let copies = try texts.enumerated().map { number, text in
      let copy = "\(place)/\(number).txt"
      try FileManager.default.copyItem(atPath: "\(RunningProgram.top)/Tests/Fixtures/\(text)", toPath: copy)
      return copy
    }
    func phase(_ phase: Phase) -> String { "echo phase \(phase)\\n" }
    let notes = (0..<5).map { "iommu note \(name), remark \($0)\necho noted: \(name), remark \($0)\\n" }
    return """
      set pagination off
      set confirm off
      set width 0
      set style enabled off
      file build/lab/guest/guest.elf
      target remote \(place)/gdb.sock
      source gdb-scripts/iommulens-gdb.py
      \(phase(.opening))
      iommu open \(file)
      \(phase(.stopping))
      iommu break
      \(Array(repeating: "continue", count: 8).joined(separator: "\n"))
      iommu break off
      \(phase(.recording))
      iommu record
      hbreak lab_workload_done
      continue
      iommu timeline -last 200
      \(phase(.noting))
      \(notes.joined(separator: "\n"))
      \(phase(.importing))
      \(copies.map { "iommu import \($0)\necho has imported: \($0)\\n" }.joined(separator: "\n"))
      \(phase(.concluding))
      iommu check
      iommu diagnose
      \(phase(.exporting))
      iommu export \(place)/report.json
      echo has exported: \(place)/report.json\\n
      \(phase(.closing))

      """
  }

  // MARK: What it had shown

  /// What the session had shown of a file that held `before`, and `now` has not.
  func missing(before: FileContent, now: FileContent) -> [String] {
    var missing: [String] = []
    if now.events.count < before.events.count || Array(now.events[..<before.events.count]) != before.events {
      missing.append("events of sessions before")
    }
    for (name, iova) in shownCalls where now.calls[name] != iova {
      missing.append("\(name) at \(String(iova, radix: 16))")
    }
    for name in shownVerifications.subtracting(now.verified) { missing.append("what \(name) left") }
    for note in lines("noted: ").subtracting(now.notes) { missing.append("the note '\(note)'") }
    for text in lines("has imported: ") where !now.facts.contains("imported \(text)") {
      missing.append("the import of \(text)")
    }
    for report in lines("has exported: ") where !FileManager.default.fileExists(atPath: report) {
      missing.append("the report \(report)")
    }
    return missing
  }

  /// Whole lines: the last one may be cut.
  private var whole: Substring { output[..<(output.lastIndex(of: "\n") ?? output.startIndex)] }

  private func lines(_ start: String) -> Set<String> {
    Set(whole.split(separator: "\n").filter { $0.hasPrefix(start) }.map { String($0.dropFirst(start.count)) })
  }

  /// Calls by name, with the IOVA that was shown: at stops and in the timeline.
  var shownCalls: [(name: String, iova: UInt64)] {
    let stops = whole.matches(of: /(?:^|\n)((?:un)?map #\d+) [^\n]*\n  iova   0x([0-9a-f]+)/)
    let entries = whole.matches(of: /kernel  ((?:un)?map #\d+)  [^\n ]+  0x([0-9a-f]+)/)
    return (stops.map(\.output) + entries.map(\.output)).compactMap { _, name, iova in
      UInt64(iova, radix: 16).map { (String(name), $0) }
    }
  }

  private var shownVerifications: Set<String> {
    Set(whole.matches(of: /kernel  ((?:un)?map #\d+) is wrong at/).map { String($0.output.1) })
  }
}
