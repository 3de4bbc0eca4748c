import Glibc
import Testing

/// A child process, killed and collected by its own id when the test lets go of it.
final class Child: Sendable {
  let pid: pid_t

  init(_ program: String, _ arguments: [String], input: Int32? = nil) throws {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    if let input {
      posix_spawn_file_actions_adddup2(&actions, input, 0)
    } else {
      posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    }
    var argv = ([program] + arguments).map { strdup($0) } + [nil]
    defer { argv.forEach { free($0) } }
    var pid: pid_t = 0
    let status = posix_spawnp(&pid, program, &actions, nil, &argv, environ)
    try #require(status == 0, "\(program): \(String(cString: strerror(status)))")
    self.pid = pid
  }

  deinit {
    kill(pid, SIGKILL)
    var status: Int32 = 0
    waitpid(pid, &status, 0)
  }
}

/// Tries again until `attempt` answers; at most `seconds`.
func wait<Value>(seconds: Int = 10, for what: String, _ attempt: () throws -> Value?) throws -> Value {
  for _ in 0..<seconds * 200 {
    if let value = try attempt() { return value }
    usleep(5000)
  }
  throw TestFailure("no \(what) within \(seconds) s")
}

struct TestFailure: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}
