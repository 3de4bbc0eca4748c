package import Glibc

/// A child process, killed and collected by its own id when the test lets go of it.
package final class Child: Sendable {
  package let pid: pid_t

  package init(_ program: String, _ arguments: [String], input: Int32? = nil) throws {
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
    guard status == 0 else { throw TestFailure("\(program): \(String(cString: strerror(status)))") }
    self.pid = pid
  }

  /// How it has ended, as by `waitid`; nil while it runs.
  package var status: Int32? {
    var information = siginfo_t()
    // The child stays to be collected.
    guard waitid(P_PID, id_t(pid), &information, WEXITED | WNOHANG | WNOWAIT) == 0, information.si_signo != 0 else {
      return nil
    }
    return information._sifields._sigchld.si_status
  }

  deinit {
    kill(pid, SIGKILL)
    var status: Int32 = 0
    waitpid(pid, &status, 0)
  }
}

/// Tries again until `attempt` answers; at most `seconds`.
package func wait<Value>(seconds: Int = 10, for what: String, _ attempt: () throws -> Value?) throws -> Value {
  for _ in 0..<seconds * 200 {
    if let value = try attempt() { return value }
    usleep(5000)
  }
  throw TestFailure("no \(what) within \(seconds) s")
}

package struct TestFailure: Error, CustomStringConvertible {
  package let description: String
  package init(_ description: String) { self.description = description }
}
