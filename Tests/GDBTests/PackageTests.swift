import Foundation
import Subprocess
import Testing

/// The Python package as users get it: a wheel, installed in an empty virtual environment, without network.
@Suite(.serialized, .timeLimit(.minutes(5))) struct PackageTests {
  @Test func holdsThePackageAndNothingElse() async throws {
    let wheel = try Installation.wheel()
    #expect(wheel.lastPathComponent.wholeMatch(of: /iommulens-0\.1\.0-cp38-abi3-linux_\w+\.whl/) != nil)
    let names = try await Installation.run([
      "python3", "-c", "import sys, zipfile; print(*sorted(zipfile.ZipFile(sys.argv[1]).namelist()), sep='\\n')",
      wheel.path,
    ])
    #expect(
      names == """
        iommulens-0.1.0.dist-info/METADATA
        iommulens-0.1.0.dist-info/RECORD
        iommulens-0.1.0.dist-info/WHEEL
        iommulens-0.1.0.dist-info/licenses/LICENSE
        iommulens/__init__.py
        iommulens/__main__.py
        iommulens/_core.abi3.so
        iommulens/_core.pyi
        iommulens/gdb/__init__.py
        iommulens/gdb/arguments.py
        iommulens/gdb/ask.py
        iommulens/gdb/breakpoints.py
        iommulens/gdb/commands.py
        iommulens/gdb/debugger.py
        iommulens/gdb/following.py
        iommulens/gdb/functions.py
        iommulens/gdb/mi.py
        iommulens/gdb/parameters.py
        iommulens/gdb/state.py
        iommulens/gdb/terminal.py
        iommulens/gdb/translations.py
        iommulens/iommulens-gdb.py
        iommulens/py.typed

        """)
    let metadata = try await Installation.run([
      "python3", "-c",
      "import sys, zipfile; print(zipfile.ZipFile(sys.argv[1]).read('iommulens-0.1.0.dist-info/METADATA').decode())",
      wheel.path,
    ])
    #expect(metadata.contains("\nRequires-Python: >=3.8\n"))
    #expect(!metadata.contains("Requires-Dist"))
  }

  @Test func tellsItsVersionAndWhereTheScriptIs() async throws {
    let installation = try await Installation.shared.value
    #expect(try await installation.module("--version") == "iommulens 0.1.0\n")
    #expect(try await installation.module("--gdb-script") == installation.script + "\n")
    #expect(FileManager.default.fileExists(atPath: installation.script))
    let help = try await installation.module("--help")
    #expect(help.contains("--gdb-script  print the file that GDB's `source` takes\n"))
    #expect(help.contains("echo \"source $(python3 -m iommulens --gdb-script)\" >>"))
  }

  @Test(arguments: [
    ([], "one of the arguments --gdb-script --version is required"),
    (["--gdb-scripts"], "one of the arguments --gdb-script --version is required"),
    (["--gdb"], "one of the arguments --gdb-script --version is required"),
    (["--gdb-script", "investigation.iommulens"], "unrecognized arguments: investigation.iommulens"),
    (["--gdb-script", "--version"], "argument --version: not allowed with argument --gdb-script"),
  ])
  func refusesOtherArguments(arguments: [String], complaint: String) async throws {
    let installation = try await Installation.shared.value
    let output = try await installation.module(arguments, status: 2)
    #expect(output.hasPrefix("usage: python3 -m iommulens"))
    #expect(output.hasSuffix("python3 -m iommulens: error: \(complaint)\n"), "\(output)")
  }

  /// What is typed is what README says: one line in `~/.gdbinit`, sourced when GDB starts.
  @Test(arguments: Host.gdbs) func startsFromGdbinit(host: Host) async throws {
    guard case .gdb(let path) = host else { return }
    let installation = try await Installation.shared.value
    let line = "echo \"source $(bin/python3 -m iommulens --gdb-script)\" > .gdbinit"
    #expect(try await installation.run(["sh", "-c", line]) == "")
    let output = try await installation.run(
      ["env", "HOME=\(installation.directory)", "XDG_CONFIG_HOME=/nonexistent", path, "-batch", "-ex", "iommu status"])
    #expect(output.contains("driver  No IOMMU driver known here is in the symbols"), "\(output)")
  }

  /// The environment's other packages are for its own Python. GDB's must not meet them.
  @Test(arguments: Host.gdbs) func leavesGDBsPythonAlone(host: Host) async throws {
    let installation = try await Installation.shared.value
    let output = try await Guest.alone(
      """
      iommu status
      python
      import iommulens
      print(iommulens.__file__)
      try:
        import neighbour
      except ImportError as error:
        print(error)
      end
      """, gdb: host, plugin: installation.script)
    let status = try await Guest.alone("iommu status", gdb: host)
    let package = installation.script.replacing("iommulens-gdb.py", with: "__init__.py").replacing(
      Guest.top, with: "$TOP")
    #expect(output == status + package + "\nNo module named 'neighbour'\n")
  }

  @Test(arguments: Host.gdbs) func namesTheCause(host: Host) async throws {
    let installation = try await Installation.shared.value
    let output = try await Guest().debug(
      """
      iommu open $DIR/test.iommulens
      iommu record
      hbreak lab_workload_done
      continue
      iommu diagnose
      """, gdb: host, plugin: installation.script)
    let title = "the root is indexed with shift 48, PGDIR_SHIFT of the CPU's Sv57; this table is Sv39: 30"
    #expect(output.contains("\n1. \(title)   ("), "\(output)")
  }
}

/// The wheel in a virtual environment that has nothing else, except a package that only its own Python may see.
private final class Installation: Sendable {
  let directory: String
  /// The file to source.
  let script: String

  /// Made once, and anew in every run of the tests.
  static let shared = Task { try await Installation() }

  private init() async throws {
    let wheel = try Installation.wheel()
    directory = Guest.top + "/build/installation"
    _ = try await Installation.run(["python3", "-m", "venv", "--clear", directory])
    _ = try await Installation.run([
      directory + "/bin/pip", "install", "-q", "--disable-pip-version-check", "--no-index", wheel.path,
    ])
    let package = try await Installation.run(
      [directory + "/bin/python3", "-c", "import os, iommulens; print(os.path.dirname(iommulens.__file__), end='')"])
    script = package + "/iommulens-gdb.py"
    // GDB must not see what lies beside the package.
    try "".write(toFile: package + "/../neighbour.py", atomically: true, encoding: .utf8)
  }

  /// The one that `make wheel` left.
  static func wheel() throws -> URL {
    let folder = URL(filePath: Guest.top + "/build/wheel")
    let found = (try? FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)) ?? []
    return try #require(found.first { $0.pathExtension == "whl" }, "There is no wheel: run make wheel first.")
  }

  /// What `python3 -m iommulens` prints there.
  func module(_ arguments: String...) async throws -> String { try await module(arguments) }

  func module(_ arguments: [String], status: Int32 = 0) async throws -> String {
    try await run(["bin/python3", "-m", "iommulens"] + arguments, status: status)
  }

  /// What a command prints that is run in the environment's folder.
  func run(_ command: [String], status: Int32 = 0) async throws -> String {
    try await Installation.run(command, in: directory, status: status)
  }

  static func run(_ command: [String], in directory: String = Guest.top, status: Int32 = 0) async throws -> String {
    let result = try await Subprocess.run(
      .name("timeout"), arguments: .init(["-k", "5", "120"] + command),
      environment: .inherit.updating(["SWIFT_BACKTRACE": "enable=no", "COLUMNS": "100"]),
      workingDirectory: .init(directory), output: .string(limit: 1 << 20), error: .combinedWithOutput)
    #expect(result.terminationStatus == .exited(status), "\(result.standardOutput)")
    return result.standardOutput
  }
}
