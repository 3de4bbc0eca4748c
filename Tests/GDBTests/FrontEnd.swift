import Foundation
import Subprocess
import Testing

/// A program that drives GDB for somebody: the scripts of Tests/Support/FrontEnds.
enum FrontEnd {
  /// A Python that has pygdbmi, as `lab/gdbs/front-ends` prints it; nil where none is named.
  static let python = ProcessInfo.processInfo.environment["IOMMULENS_FRONT_ENDS"]

  /// What `script` prints of the answers of `gdb` to `commands`.
  static func run(_ script: String, gdb: Host, python: String = "python3", _ commands: [String]) async throws -> String
  {
    guard case .gdb(let path) = gdb else { throw Guest.Failure("this needs a GDB") }
    let result = try await Subprocess.run(
      .name("timeout"),
      arguments: .init(["-k", "5", "100", python, "Tests/Support/FrontEnds/\(script)", path] + commands),
      workingDirectory: .init(Guest.top), output: .string(limit: 1 << 20), error: .discarded)
    #expect(result.terminationStatus == .exited(0))
    return result.standardOutput
  }
}
