import Foundation
import Subprocess
import Testing

/// A process that can load the extension module: a GDB or python3.
///
/// `IOMMULENS_GDBS` names the GDBs, separated by colons; without it there is Debian's gdb-multiarch. `IOMMULENS_GDB` is the one
/// for tests that use only one.
/// `IOMMULENS_CORE_DIR` is the directory that contains `iommulens/_core.abi3.so`; without it, this checkout's
/// `gdb-scripts`.
enum Host: Sendable, CustomTestStringConvertible {
  case gdb(String)
  case python

  static let gdbs: [Host] = (ProcessInfo.processInfo.environment["IOMMULENS_GDBS"] ?? "gdb-multiarch")
    .split(separator: ":").map { .gdb(String($0)) }
  static let all: [Host] = gdbs + [.python]
  static let usual = Host.gdb(ProcessInfo.processInfo.environment["IOMMULENS_GDB"] ?? "gdb-multiarch")

  /// Whether it is Debian 12's own GDB.
  var isDebians: Bool {
    if case .gdb("gdb-multiarch") = self { return true }
    return false
  }

  static let scripts =
    ProcessInfo.processInfo.environment["IOMMULENS_CORE_DIR"]
    ?? URL(filePath: #filePath).appending(path: "../../../gdb-scripts").standardizedFileURL.path

  /// The extension module.
  static let core = scripts + "/iommulens/_core.abi3.so"

  var testDescription: String {
    switch self {
    case .gdb(let path): path
    case .python: "python3"
    }
  }

  /// What `script` prints when this host runs it as Python with `_core` imported, standard error included.
  func run(_ script: String) async throws -> String {
    try #require(FileManager.default.fileExists(atPath: Host.core), "\(Host.core) is missing: run make build first.")
    let start = "import os; exec(os.environ['IOMMULENS_SCRIPT'])"
    let command: [String] =
      switch self {
      case .gdb(let path): [path, "-nx", "-batch", "-ex", "python \(start)"]
      case .python: ["python3", "-c", start]
      }
    let prelude = """
      import os, sys
      sys.path.insert(0, \(Host.quoted(Host.scripts)))
      from iommulens import _core
      def show(function, *arguments, **keywords):
        try: print(function(*arguments, **keywords))
        except BaseException as error: print(f"{type(error).__name__}: {error}")

      """
    let result = try await Subprocess.run(
      .name("timeout"), arguments: .init(["-k", "5", "100"] + command),
      environment: .inherit.updating(["IOMMULENS_SCRIPT": prelude + script, "SWIFT_BACKTRACE": "enable=no"]),
      output: .string(limit: 1 << 20), error: .combinedWithOutput)
    #expect(result.terminationStatus == .exited(0))
    return result.standardOutput
  }

  private static func quoted(_ text: String) -> String {
    "'" + text.replacing("\\", with: "\\\\").replacing("'", with: "\\'") + "'"
  }
}
