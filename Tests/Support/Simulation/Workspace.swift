import Foundation

/// A folder of its own for one test, gone with it.
package final class Workspace: Sendable {
  package let path: String

  package init() throws {
    path = NSTemporaryDirectory() + "iommulens-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// A path in the folder.
  package func file(_ name: String) -> String { "\(path)/\(name)" }

  /// Writes a file and returns its path.
  package func write(_ name: String, _ bytes: [UInt8]) throws -> String {
    try Data(bytes).write(to: URL(fileURLWithPath: file(name)))
    return file(name)
  }
}

/// A program of this package, run to its end or killed.
package final class Program {
  private let process = Process()
  private let output = Pipe()
  private let errors = Pipe()

  /// Starts `name`, which lies beside the tests' own executable.
  package init(_ name: String, _ arguments: [String], folder: String? = nil) throws {
    let own = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    process.executableURL = URL(fileURLWithPath: own).deletingLastPathComponent().appendingPathComponent(name)
    process.arguments = arguments
    if let folder { process.currentDirectoryURL = URL(fileURLWithPath: folder) }
    process.standardOutput = output
    process.standardError = errors
    process.standardInput = FileHandle.nullDevice
    try process.run()
  }

  /// What it wrote and how it ended. Its output must be small.
  package func finish() -> (output: String, errors: String, status: Int32) {
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    let complaint = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    return (text, complaint, process.terminationStatus)
  }

  /// Reads until `count` lines are there, then kills it with SIGKILL; everything that it wrote.
  package func kill(afterLines count: Int) -> String {
    var text = Data()
    while text.count(where: { $0 == 10 }) < count {
      let more = output.fileHandleForReading.availableData
      if more.isEmpty { break }
      text.append(more)
    }
    Foundation.kill(process.processIdentifier, SIGKILL)
    text.append(output.fileHandleForReading.readDataToEndOfFile())
    process.waitUntilExit()
    return String(decoding: text, as: UTF8.self)
  }
}
