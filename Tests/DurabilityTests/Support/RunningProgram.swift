import Foundation

/// A program beside the tests. What it writes goes into a file, so that it never waits for a reader, and what it had shown
/// when it was killed is there.
///
/// Foundation's `Process` waits for the descendants of a killed program too, and passes on the signals that a test's thread
/// blocks; neither will do here.
final class RunningProgram {
  /// The checkout, where programs are started.
  static let top = URL(filePath: #filePath).appending(path: "../../../..").standardizedFileURL.path

  /// The folder of the products that were built with the tests.
  static let products: String = {
    let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
    return URL(fileURLWithPath: own).deletingLastPathComponent().path
  }()

  /// This package's command line.
  static let commandLine = products + "/iommulens"

  private let path: String
  private var process: pid_t = 0
  /// As `waitpid` tells it; nil while it runs.
  private var ended: Int32?

  /// Starts `command`, which writes into the file `output`.
  init(_ command: [String], output path: String) throws {
    self.path = path
    var attributes = posix_spawnattr_t()
    var actions = posix_spawn_file_actions_t()
    var (none, all) = (sigset_t(), sigset_t())
    posix_spawnattr_init(&attributes)
    posix_spawn_file_actions_init(&actions)
    defer {
      posix_spawnattr_destroy(&attributes)
      posix_spawn_file_actions_destroy(&actions)
    }
    sigemptyset(&none)
    sigfillset(&all)
    // A group of its own, so that all of it can be killed.
    posix_spawnattr_setflags(
      &attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setsigdefault(&attributes, &all)
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 1, path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    posix_spawn_file_actions_adddup2(&actions, 1, 2)
    let words = (["env", "-C", Self.top, "SWIFT_BACKTRACE=enable=no"] + command).map { strdup($0) } + [nil]
    defer { words.forEach { free($0) } }
    let code = posix_spawnp(&process, "env", &actions, &attributes, words, environ)
    guard code == 0 else { throw Failure("\(command) did not start: \(String(cString: strerror(code)))") }
  }

  deinit { kill() }

  /// All that it has written up to now.
  var output: String { FileManager.default.contents(atPath: path).map { String(decoding: $0, as: UTF8.self) } ?? "" }

  var isRunning: Bool {
    if ended != nil { return false }
    var status: Int32 = 0
    if waitpid(process, &status, WNOHANG) == process { ended = status }
    return ended == nil
  }

  /// Whether it ended by being killed.
  var wasKilled: Bool { ended.map { $0 & 0x7f == SIGKILL } ?? false }

  /// Kills it and what it has started as `kill -9` does, and waits for its end.
  func kill() {
    guard process > 0 else { return }
    Foundation.kill(-process, SIGKILL)
    while isRunning { usleep(1000) }
  }

  /// Waits for its end, `seconds` at most; its status, or nil for one that was killed.
  func status(within seconds: Double) -> Int32? {
    _ = wait(seconds) { !self.isRunning }
    kill()
    return ended.flatMap { $0 & 0x7f == 0 ? $0 >> 8 & 0xff : nil }
  }

  /// What `command` writes, which ends within two minutes, with status 0 unless it `mayFail`.
  static func output(of command: [String], in workspace: String, mayFail: Bool = false) throws -> String {
    let program = try RunningProgram(command, output: "\(workspace)/output-\(UUID().uuidString)")
    let status = program.status(within: 120)
    guard let status, status == 0 || mayFail else {
      throw Failure("\(command) ended with \(status as Any): \(program.output)")
    }
    return program.output
  }

  struct Failure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
  }
}

/// Looks every other millisecond whether `isDone`, `seconds` at most; whether it was.
func wait(_ seconds: Double, until isDone: () -> Bool) -> Bool {
  let start = ContinuousClock.now
  while !isDone() {
    if start.duration(to: .now) > .seconds(seconds) { return false }
    usleep(2000)
  }
  return true
}

/// A number that the environment sets.
func setting(_ name: String, default value: Int) -> Int {
  ProcessInfo.processInfo.environment[name].flatMap { Int($0) } ?? value
}
