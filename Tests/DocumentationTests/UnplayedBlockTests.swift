import Foundation
import Testing

/// Every fenced block of a document is played, or is in this list with the reason, and is checked in another way.
@Suite struct UnplayedBlockTests {
  /// A block that is not played, known by its document and the start of its first line.
  struct Unplayed {
    let document: String
    let start: String
    let reason: String
  }

  static let unplayed = [
    Unplayed(
      document: "README.md", start: "make demo ",
      reason: "builds, tests and benchmarks: hours, and the tests themselves"),
    Unplayed(document: "README.md", start: "lab/lab list ", reason: "opens debuggers for a person"),
    Unplayed(document: "README.md", start: "$ gdb-multiarch vmlinux", reason: "is about the reader's own kernel"),
    Unplayed(
      document: "README.md", start: "make install ",
      reason: "changes the reader's Python and GDB; PackageTests installs a wheel"),
    Unplayed(
      document: "README.md", start: "$ gdb -p $(pidof qemu-system-riscv64)",
      reason: "needs the reader's QEMU; the tutorial plays the same on the lab"),
    Unplayed(
      document: "README.md", start: "$ qemu-system-riscv64 -machine virt,iommu-sys=on",
      reason: "needs a guest with that IOMMU; MainlineLiveTests records one so"),
    Unplayed(document: "docs/tutorial.md", start: "make build guest", reason: "the tests are built already"),
    Unplayed(document: "docs/tutorial.md", start: "make lab", reason: "downloads and builds for twenty minutes"),
  ]

  @Test(arguments: TranscriptTests.documents) func everyBlockIsPlayedOrListed(path: String) throws {
    for block in try Document(path).blocks where block.words.first != "console" {
      #expect(
        Self.unplayed.contains { $0.document == path && block.lines.first?.hasPrefix($0.start) == true },
        "\(path):\(block.range.lowerBound): the block is neither played nor in the list of those that are not.")
    }
  }

  @Test func theListNamesWhatIsThere() throws {
    for entry in Self.unplayed {
      let starts = try Document(entry.document).blocks.compactMap { $0.lines.first }
      #expect(
        starts.contains { $0.hasPrefix(entry.start) },
        "\(entry.document) has no block that begins with '\(entry.start)'.")
    }
  }

  /// The targets of make, the verbs of `lab/lab` and the commands of GDB that such blocks name.
  @Test(arguments: TranscriptTests.documents) func whatIsNamedExists(path: String) throws {
    let makefile = try String(contentsOfFile: Document.top + "/Makefile", encoding: .utf8)
    let lab = try String(contentsOfFile: Document.top + "/lab/lab", encoding: .utf8)
    let reference = try String(contentsOfFile: Document.top + "/docs/commands.md", encoding: .utf8)
    for block in try Document(path).blocks where block.words.first != "console" {
      for line in block.lines {
        let words = line.split(separator: "#")[0].split(separator: " ").map(String.init).drop { $0 == "$" }
        switch words.first {
        case "make":
          for target in words.dropFirst() where !target.contains("=") {
            #expect(makefile.contains("\n\(target):"), "\(path): there is no `make \(target)`.")
          }
        case "lab/lab":
          let verb = words.dropFirst().first ?? ""
          let isKnown = lab.contains("\n  \(verb) ") || lab.contains("\n  \(verb)\n")
          #expect(isKnown, "\(path): there is no `lab/lab \(verb)`.")
        case "(gdb)" where words.dropFirst().first == "iommu":
          let name = words.dropFirst().prefix(2).joined(separator: " ")
          #expect(reference.contains("### `\(name)`\n"), "\(path): there is no command `\(name)`.")
        default: break
        }
      }
    }
  }
}
