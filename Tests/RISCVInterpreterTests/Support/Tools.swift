import Foundation
import Subprocess
import Testing

/// A folder of its own for what a test builds, gone with it.
final class TemporaryFolder: Sendable {
  let url: URL

  init() throws {
    url = FileManager.default.temporaryDirectory.appending(path: "iommulens-\(UUID())")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: false)
  }

  deinit { try? FileManager.default.removeItem(at: url) }

  /// The path of `name` in it.
  func path(_ name: String) -> String { url.appending(path: name).path }
}

/// What a program prints; the test fails with what it says when it fails.
func output(_ program: String, _ arguments: [String], limit: Int = 1 << 24) async throws -> String {
  let result = try await Subprocess.run(
    .name("timeout"), arguments: .init(["-k", "5", "250", program] + arguments), output: .string(limit: limit),
    error: .string(limit: 1 << 16))
  try #require(result.terminationStatus == .exited(0), "\(program): \(result.standardError)")
  return result.standardOutput
}
