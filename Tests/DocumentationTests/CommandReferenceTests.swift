import Foundation
import Subprocess
import Testing

/// The manual of the commands is what GDB says of them.
@Suite struct CommandReferenceTests {
  /// The manual as it would be made now.
  private static func generated() async throws -> String {
    let result = try await Subprocess.run(
      .name("gdb-multiarch"),
      arguments: ["-nx", "-batch", "-x", "gdb-scripts/iommulens-gdb.py", "-x", "docs/commands.py"],
      environment: .inherit.updating(["SWIFT_BACKTRACE": "enable=no"]), workingDirectory: .init(Document.top),
      output: .string(limit: 1 << 20), error: .combinedWithOutput)
    #expect(result.terminationStatus == .exited(0))
    return result.standardOutput
  }

  @Test func saysWhatHelpSays() async throws {
    let known = try Document("docs/commands.md").lines
    let now = try await Self.generated().components(separatedBy: "\n")
    for (number, (known, now)) in zip(known, now).enumerated() {
      #expect(known == now, "docs/commands.md:\(number + 1) is not what GDB says; `make docs` makes it anew.")
    }
    #expect(known.count == now.count)
  }

  /// The README's table names each command as its help does, without what several share: the choice of a table, and -json.
  @Test func theReadmeNamesEveryCommandAsItsHelpDoes() throws {
    let reference = try String(contentsOfFile: Document.top + "/docs/commands.md", encoding: .utf8)
    // A usage goes on in lines that start further right.
    let usages = Set(
      reference.matches(of: /(?m)^(?:Usage: | {7})(iommu .*(?:\n {14,}\S.*)*)$/).map {
        String($0.output.1).replacing(/\n +/, with: " ").replacing(" [-json]", with: "")
          .replacing(" [-device BDF | -domain EXPR | -root GPA -mode MODE]", with: "")
      })
    let readme = try Document("README.md").lines.filter { $0.hasPrefix("| `iommu ") }
    let named = readme.flatMap { line in
      line.replacing("\\|", with: "|").matches(of: /`(iommu [^`]*)`/).map { String($0.output.1) }
    }
    for usage in named { #expect(usages.contains(usage), "The README's `\(usage)` is not a usage line of the help.") }
    let commands = Set(reference.matches(of: /(?m)^### `(iommu \w+)`$/).map { String($0.output.1) })
    for command in commands {
      #expect(named.contains { ($0 + " ").hasPrefix(command + " ") }, "The README does not name `\(command)`.")
    }
  }
}
