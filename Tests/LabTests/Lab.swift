import Foundation
import Subprocess
import Testing

/// A machine of `lab/lab`: Linux with the driver on a QEMU with the device, one for every scenario.
///
///     let output = try await Lab("pgdir-shift").debug("iommu record\nhbreak e1000_tx_timeout\ncontinue\niommu check")
///     let console = try await Lab("fixed").run { try await $0.console(until: "init: net: 11 datagrams") }
struct Lab: Sendable, CustomTestStringConvertible {
  /// A name of lab/linux/scenarios or lab/mainline/scenarios.
  var scenario: String
  /// Options of `lab/lab boot`.
  var config = "default"
  var memory = "512M"
  var ram = "file"
  /// Of the mainline pair: `debian`, or `symbols` for the one with debug information.
  var qemu = "debian"
  /// More words for the kernel's command line.
  var append = ""

  init(
    _ scenario: String, config: String = "default", memory: String = "512M", ram: String = "file",
    qemu: String = "debian", append: String = ""
  ) {
    self.scenario = scenario
    self.config = config
    self.memory = memory
    self.ram = ram
    self.qemu = qemu
    self.append = append
  }

  static let top = URL(filePath: #filePath).appending(path: "../../..").standardizedFileURL.path

  /// Whether the tests that need the lab's kernels and its QEMU are to run.
  static let isOn = ProcessInfo.processInfo.environment["IOMMULENS_LAB"] == "1"

  var testDescription: String {
    scenario + (config == "default" ? "" : ", \(config)") + (append.isEmpty ? "" : ", \(append)")
  }

  private var options: [String] {
    ["--config", config, "--memory", memory, "--ram", ram, "--qemu", qemu]
      + (append.isEmpty ? [] : ["--append", append])
  }

  /// What a GDB on the kernel prints for `commands`; it has the symbols and the plugin, and the machine stands before its
  /// first instruction. `$DIR` in the commands is a scratch directory; in the output it stands for that directory again,
  /// `$TOP` for the checkout and `$PID` for a process. GDB must end with status 0 within `limit`.
  func debug(_ commands: String, within limit: Duration = .seconds(300)) async throws -> String {
    try await Slots.machines.with {
      try await Lab.inScratch { directory in
        try await Lab.gdb(commands, ["lab/lab", "gdb", scenario] + options + [directory], directory, limit)
      }
    }
  }

  /// Boots the machine and hands it to `body`; afterwards it is stopped. It runs at once, or waits for a debugger with
  /// `stopped`.
  func run<Result: Sendable>(
    stopped: Bool = false, _ body: @Sendable (Machine) async throws -> Result
  ) async throws -> Result {
    try await Slots.machines.with {
      try await Lab.inScratch { directory in
        let boot =
          ["-c", #"exec "$@" 2>"$0""#, directory + "/qemu.log"] + Lab.bounded(.seconds(900))
          + ["lab/lab", "boot", scenario] + options
          + (stopped ? [] : ["--run"]) + [directory]
        return try await Subprocess.run(
          .name("bash"), arguments: .init(boot), workingDirectory: .init(Lab.top), input: .none, output: .discarded,
          error: .discarded
        ) { execution in
          defer { try? execution.send(signal: .terminate) }
          let machine = Machine(directory: directory)
          try await machine.becomeReady()
          return try await body(machine)
        }.closureResult
      }
    }
  }

  /// A machine that is running.
  struct Machine: Sendable {
    enum Side: String {
      case kernel, qemu
    }

    /// What `lab/lab help` says it contains.
    let directory: String

    /// What the kernel has printed so far, without carriage returns; runs of spaces are one space.
    var console: String { String(decoding: consoleBytes, as: UTF8.self) }

    /// What the IOMMU has done so far, a line each: QEMU's trace events, in the scenarios named riscv-….
    var trace: [String] {
      let bytes = FileManager.default.contents(atPath: directory + "/trace.log") ?? Data()
      return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
    }

    /// The console once it has all of `texts`, one behind the other.
    @discardableResult
    func console(until texts: String..., within limit: Duration = .seconds(180)) async throws -> String {
      try await console(until: texts, within: limit)
    }

    func console(until texts: [String], within limit: Duration = .seconds(180)) async throws -> String {
      let end = ContinuousClock.now + limit
      while true {
        // In this order: what it printed before it ended must not be missed.
        let ended = hasEnded
        let bytes = consoleBytes
        guard let missing = firstMissing(of: texts, in: bytes) else { return String(decoding: bytes, as: UTF8.self) }
        if ended || ContinuousClock.now > end {
          let reason = ended ? "the machine ended" : "\(limit) passed"
          throw Failure("\(reason) without \"\(missing)\" on the console:\n\(console)\(log)")
        }
        try await Task.sleep(for: .milliseconds(100))
      }
    }

    /// What a GDB on the kernel, or on QEMU, prints for `commands`; see ``Lab/debug(_:within:)``. The machine runs on
    /// when it ends.
    func attach(_ side: Side, _ commands: String, within limit: Duration = .seconds(120)) async throws -> String {
      try await Lab.gdb(commands, ["lab/lab", "attach", side.rawValue, directory], directory, limit)
    }

    /// Waits until somebody has made a file of this name in the directory.
    func appears(_ name: String) async throws {
      for _ in 0..<600 {
        if FileManager.default.fileExists(atPath: directory + "/" + name) { return }
        try await Task.sleep(for: .milliseconds(100))
      }
      throw Failure("\(name) did not appear within a minute.")
    }

    fileprivate func becomeReady() async throws {
      for _ in 0..<200 {
        if FileManager.default.fileExists(atPath: directory + "/monitor.sock"), !hasEnded { return }
        try await Task.sleep(for: .milliseconds(100))
      }
      throw Failure("the machine did not start within 20 s: \(log)")
    }

    private var log: String { (try? String(contentsOfFile: directory + "/qemu.log", encoding: .utf8)) ?? "" }

    /// A process that has ended has no program, even while nobody has asked for its status.
    private var hasEnded: Bool {
      guard let pid = try? String(contentsOfFile: directory + "/qemu.pid", encoding: .utf8) else { return false }
      let program = "/proc/\(pid.trimmingCharacters(in: .newlines))/exe"
      return (try? FileManager.default.destinationOfSymbolicLink(atPath: program)) == nil
    }

    /// In bytes, because a console with a thousand warnings is long.
    private var consoleBytes: Data {
      var result = Data()
      for byte in FileManager.default.contents(atPath: directory + "/console.log") ?? Data() {
        if byte != UInt8(ascii: "\r"), byte != UInt8(ascii: " ") || result.last != byte { result.append(byte) }
      }
      return result
    }

    private func firstMissing(of texts: [String], in console: Data) -> String? {
      var start = console.startIndex
      for text in texts {
        guard let found = console.range(of: Data(text.utf8), in: start..<console.endIndex) else { return text }
        start = found.upperBound
      }
      return nil
    }
  }

  /// Output and errors of `lab/lab` with `arguments`, and the status it ended with.
  static func command(_ arguments: [String]) async throws -> (output: String, errors: String, status: TerminationStatus)
  {
    let result = try await Subprocess.run(
      .name("timeout"), arguments: .init(["-k", "5", "60", "lab/lab"] + arguments), workingDirectory: .init(top),
      output: .string(limit: 1 << 20), error: .string(limit: 1 << 20))
    return (result.standardOutput, result.standardError, result.terminationStatus)
  }

  static func inScratch<Result>(_ body: (String) async throws -> Result) async throws -> Result {
    // A Unix socket's path has at most 107 bytes, so the directory is close to the root.
    let directory = "/tmp/iommulens-" + UUID().uuidString.prefix(8)
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: directory) }
    return try await body(directory)
  }

  /// Words in front of a command: it ends after `limit`, and it ends when it is no longer waited for, which is how a
  /// test that fails in the middle leaves it.
  private static func bounded(_ limit: Duration) -> [String] {
    ["timeout", "-k", "5", "\(limit.components.seconds)", "setpriv", "--pdeathsig", "KILL"]
  }

  private static func gdb(
    _ commands: String, _ command: [String], _ directory: String, _ limit: Duration
  ) async throws -> String {
    let script = "\(directory)/script-\(UUID().uuidString.prefix(8)).gdb"
    let start = "set pagination off\nset confirm off\nset width 0\nset style enabled off\necho ----\\n\n"
    try (start + commands.replacing("$DIR", with: directory) + "\n").write(
      toFile: script, atomically: true, encoding: .utf8)
    let result = try await Subprocess.run(
      .name("env"), arguments: .init(bounded(limit) + command + ["--", "-nx", "-batch", "-x", script]),
      environment: .inherit.updating(["SWIFT_BACKTRACE": "enable=no"]), workingDirectory: .init(top),
      output: .string(limit: 1 << 22), error: .combinedWithOutput)
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

/// Lets two machines run at a time, whatever number of tests is under way: with more of them than CPUs, each guest's
/// clock runs ahead of what it gets done.
actor Slots {
  static let machines = Slots(2)

  private var free: Int
  private var waiting: [CheckedContinuation<Void, Never>] = []

  init(_ count: Int) { free = count }

  nonisolated func with<Result: Sendable>(_ body: () async throws -> Result) async throws -> Result {
    await take()
    do {
      let result = try await body()
      await give()
      return result
    } catch {
      await give()
      throw error
    }
  }

  private func take() async {
    if free > 0 {
      free -= 1
    } else {
      await withCheckedContinuation { waiting.append($0) }
    }
  }

  private func give() {
    if waiting.isEmpty {
      free += 1
    } else {
      waiting.removeFirst().resume()
    }
  }
}
