import Foundation
import Subprocess
import Testing

/// A bare-metal guest of lab/guest with a fresh GDB beside it, from the first instruction on.
struct Guest: Sendable, CustomTestStringConvertible {
  /// Options of `lab/guest/boot`. The driver `riscv-6.13` or `riscv-7.2` has others than `xuantie`.
  var driver = "xuantie"
  var riscv: [String] = []
  var rootShift = "pgdir"
  var cpu = "sv57"
  var signature = "6.x"
  var ram = "file"

  /// The file that a user sources in a checkout.
  static let plugin = "gdb-scripts/iommulens-gdb.py"

  static let top = URL(filePath: #filePath).appending(path: "../../..").standardizedFileURL.path

  var testDescription: String {
    driver == "xuantie"
      ? "root shift \(rootShift), \(cpu), \(signature), \(ram)"
      : ([driver] + riscv + [cpu, ram]).joined(separator: ", ")
  }

  /// The guest's program.
  var program: String {
    let name = driver != "xuantie" ? driver : signature == "6.x" ? "guest" : "guest-5.10"
    return "build/lab/guest/\(name).elf"
  }

  private var bootOptions: [String] {
    (driver == "xuantie"
      ? ["--root-shift", rootShift, "--signature", signature] : ["--driver", driver] + riscv)
      + ["--cpu", cpu, "--ram", ram]
  }

  /// What GDB prints for `commands`, connected to the guest with its symbols and the plugin loaded; the guest stands at
  /// its first instruction. `$DIR` in the commands is a scratch directory; in the output it stands for that directory
  /// again, `$TOP` for the checkout and `$PID` for QEMU's process.
  func debug(
    _ commands: String, gdb: Host = .usual, plugin: String = Guest.plugin
  ) async throws -> String {
    try #require(
      FileManager.default.fileExists(atPath: Guest.top + "/" + program), "\(program) is missing: run make guest first.")
    return try await Guest.inScratch { directory in
      let script = """
        set pagination off
        set confirm off
        set width 0
        set style enabled off
        file \(program)
        target remote \(directory)/gdb.sock
        source \(plugin)
        echo ----\\n
        \(commands.replacing("$DIR", with: directory))

        """
      try script.write(toFile: directory + "/script.gdb", atomically: true, encoding: .utf8)
      guard case .gdb(let path) = gdb else { throw Failure("this needs a GDB") }
      return try await Guest.output(
        ["lab/guest/debug"] + bootOptions + [directory, "--", "-nx", "-batch", "-x", directory + "/script.gdb"],
        directory: directory, environment: ["GDB": path])
    }
  }

  /// What GDB answers to MI `commands`, result records only: `^done,…`. `$DIR` and `$PID` as in ``debug(_:gdb:)``.
  func answers(_ commands: String, gdb: Host = .usual) async throws -> String {
    try await Guest.inScratch { directory in
      let script = """
        -gdb-set pagination off
        -gdb-set width 0
        -file-exec-and-symbols \(program)
        -target-select remote \(directory)/gdb.sock
        -interpreter-exec console "source \(Guest.plugin)"
        \(commands.replacing("$DIR", with: directory))
        -gdb-exit

        """
      try script.write(toFile: directory + "/script.mi", atomically: true, encoding: .utf8)
      guard case .gdb(let path) = gdb else { throw Failure("this needs a GDB") }
      let boot = "lab/guest/debug \(bootOptions.joined(separator: " ")) \(directory)"
      let output = try await Guest.output(
        ["bash", "-c", "\(boot) -- -nx --interpreter=mi3 <\(directory)/script.mi"], directory: directory,
        environment: ["GDB": path])
      return output.split(separator: "\n").filter { $0.hasPrefix("^") }.joined(separator: "\n") + "\n"
    }
  }

  /// What GDB prints for `commands` while another machine runs; `$DIR/gdb.sock` is its gdbstub.
  static func beside(_ machine: String, _ commands: String) async throws -> String {
    guard case .gdb(let path) = Host.usual else { throw Failure("this needs a GDB") }
    return try await inScratch { directory in
      let script = "set width 0\nset confirm off\nsource \(Guest.plugin)\necho ----\\n\n"
      try (script + commands.replacing("$DIR", with: directory) + "\n").write(
        toFile: directory + "/script.gdb", atomically: true, encoding: .utf8)
      let socket = "-chardev socket,path=\(directory)/gdb.sock,server=on,wait=off,id=gdb0 -gdb chardev:gdb0"
      let run = """
        \(machine) \(socket) </dev/null >/dev/null 2>&1 & machine=$!
        trap 'kill $machine; wait $machine 2>/dev/null' EXIT
        for _ in $(seq 200); do [ -S \(directory)/gdb.sock ] && break; sleep 0.05; done
        \(path) -nx -batch -x \(directory)/script.gdb
        """
      return try await output(["bash", "-c", run], directory: directory, environment: [:])
    }
  }

  /// What a GDB without any guest prints for `commands`; `$DIR` and `$TOP` as in ``debug(_:gdb:)``.
  static func alone(
    _ commands: String, gdb: Host = .usual, plugin: String = Guest.plugin
  ) async throws -> String {
    guard case .gdb(let path) = gdb else { throw Failure("this needs a GDB") }
    return try await inScratch { directory in
      let script = "set width 0\nsource \(plugin)\necho ----\\n\n"
      try (script + commands.replacing("$DIR", with: directory) + "\n").write(
        toFile: directory + "/script.gdb", atomically: true, encoding: .utf8)
      return try await output(
        [path, "-nx", "-batch", "-x", directory + "/script.gdb"], directory: directory, environment: [:])
    }
  }

  /// Runs each command and prints it with its error.
  static func attempts(_ commands: [String]) -> String {
    let list = commands.map { "  r'''\($0)'''," }.joined(separator: "\n")
    return """
      python
      for command in [
      \(list)
      ]:
        print("(gdb) " + command)
        try:
          gdb.execute(command)
        except gdb.error as error:
          print(error)
      end
      """
  }

  private static func inScratch<Result>(_ body: (String) async throws -> Result) async throws -> Result {
    // A Unix socket's path has at most 107 bytes, so the directory is close to the root.
    let directory = "/tmp/iommulens-" + UUID().uuidString.prefix(8)
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: directory) }
    return try await body(directory)
  }

  private static func output(
    _ command: [String], directory: String, environment: [String: String]
  ) async throws -> String {
    try #require(FileManager.default.fileExists(atPath: Host.core), "\(Host.core) is missing: run make build first.")
    var variables: [Environment.Key: String?] = ["SWIFT_BACKTRACE": "enable=no"]
    for (name, value) in environment { variables[Environment.Key(rawValue: name) ?? "GDB"] = value }
    let result = try await Subprocess.run(
      .name("timeout"), arguments: .init(["-k", "5", "120"] + command), environment: .inherit.updating(variables),
      workingDirectory: .init(top), output: .string(limit: 1 << 22), error: .combinedWithOutput)
    let text = result.standardOutput
    #expect(result.terminationStatus == .exited(0), "\(text)")
    let after = text.components(separatedBy: "----\n").dropFirst().joined(separator: "----\n")
    return (after.isEmpty ? text : after).replacing(directory, with: "$DIR").replacing(top, with: "$TOP")
      .replacing(/process \d+/, with: "process $PID").replacing(/\[Inferior 1 \(process \$PID\) detached\]\n/, with: "")
  }

  struct Failure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
  }
}

/// Text with what newer GDBs say in other words put as GDB 13 says it.
func inWordsOfGDB13(_ text: String) -> String {
  text.replacing(#/Target disconnected: error while (reading|writing): /#, with: "Target disconnected.: ")
    .replacing(#/near the end of `[^'\n]*'/#, with: "near `'")
    .replacing(#/List of "(.*)" subcommands:/#) { "List of \($0.1) subcommands:" }
    .replacing(#/Type "help (.*)" followed by subcommand name/#) {
      "Type \"help \($0.1)\" followed by \($0.1) subcommand name"
    }
}

/// Text that a command is known to print, kept under Tests/Fixtures/gdb. With IOMMULENS_RECORD=1 in the environment the
/// file is written instead, to be read and committed.
func expectKnown(_ text: String, _ name: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
  let path = Guest.top + "/Tests/Fixtures/gdb/" + name
  if ProcessInfo.processInfo.environment["IOMMULENS_RECORD"] == "1" {
    try text.write(toFile: path, atomically: true, encoding: .utf8)
    return
  }
  let known = try String(contentsOfFile: path, encoding: .utf8)
  let lines = (known.components(separatedBy: "\n"), inWordsOfGDB13(text).components(separatedBy: "\n"))
  for (number, (expected, found)) in zip(lines.0, lines.1).enumerated() {
    #expect(found == expected, "\(name), line \(number + 1)", sourceLocation: sourceLocation)
  }
  #expect(lines.0.count == lines.1.count, "\(name): number of lines", sourceLocation: sourceLocation)
}
