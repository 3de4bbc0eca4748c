import Foundation
import Subprocess

/// Plays a transcript: a real shell, and real GDBs and Pythons in it.
///
/// All commands become one script. Those for a GDB or a Python are its standard input, and the prompt of both is set to
/// a character that no program prints, so that the output falls into pieces, one for each command.
enum Player {
  /// What each step of `transcript` printed, as lines. Runs in the checkout, after `folder` there was emptied, which a
  /// reader who does the same again has to see to; ends after `limit`.
  static func play(_ transcript: Transcript, emptying folder: String, within limit: Duration) async throws -> [[String]]
  {
    try? FileManager.default.removeItem(atPath: Document.top + "/" + folder)
    let directory = FileManager.default.temporaryDirectory.appending(path: "iommulens-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: directory + "/gdb", withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: directory) }
    try "set prompt \\002\nset width 0\nset style enabled off\nset debuginfod enabled off\n".write(
      toFile: directory + "/gdb/gdbinit", atomically: true, encoding: .utf8)
    try "import sys\nsys.ps1, sys.ps2 = '\\2', ''\n".write(
      toFile: directory + "/startup.py", atomically: true, encoding: .utf8)
    let result = try await Subprocess.run(
      .name("timeout"),
      arguments: ["-k", "5", "\(limit.components.seconds)", "bash", "-c", script(transcript.steps)],
      environment: .inherit.updating([
        "XDG_CONFIG_HOME": directory, "PYTHONSTARTUP": directory + "/startup.py", "PYTHONUNBUFFERED": "1",
        "SWIFT_BACKTRACE": "enable=no", "LC_ALL": "C.UTF-8",
      ]),
      workingDirectory: .init(Document.top), output: .string(limit: 1 << 24), error: .combinedWithOutput)
    return try pieces(of: result.standardOutput, for: transcript.steps)
  }

  private static func script(_ steps: [Transcript.Step]) -> String {
    // SwiftPM does not run within its own tests; what it would run was built with them.
    var script = """
      exec </dev/null
      swift() { [ "$1" = run ] && shift && program=$1 && shift && ".build/debug/$program" "$@"; }
      trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT

      """
    var remaining = steps[...]
    while let step = remaining.popFirst() {
      let input = remaining.prefix { $0.prompt != .shell }
      remaining = remaining.dropFirst(input.count)
      script += "printf '\\1'\n" + step.command
      if let first = input.first { script += (first.prompt == .python ? " -i" : "") + " <<'IOMMULENS_END'" }
      script += "\n" + input.map { $0.command + "\n" }.joined() + (input.isEmpty ? "" : "IOMMULENS_END\n")
    }
    return script
  }

  private static func pieces(of output: String, for steps: [Transcript.Step]) throws -> [[String]] {
    var runs = output.components(separatedBy: "\u{1}").dropFirst().map { $0.components(separatedBy: "\u{2}") }[...]
    var pieces: [[String]] = []
    var run: ArraySlice<String> = []
    for step in steps {
      if step.prompt == .shell { run = (runs.popFirst() ?? [])[...] }
      guard let piece = run.popFirst() else {
        throw Transcript.Failure("Nothing was printed after `\(step.command)`: what ran ended before it.\n\(output)")
      }
      pieces.append(lines(piece))
    }
    return pieces
  }

  private static func lines(_ text: String) -> [String] {
    var lines = text.replacing("\r", with: "").components(separatedBy: "\n").map {
      String($0.reversed().drop { $0 == " " }.reversed())
    }
    // The last line's end; blank lines before the next prompt cannot be told from spacing in the document.
    while lines.last?.isEmpty == true { lines.removeLast() }
    return lines
  }
}
