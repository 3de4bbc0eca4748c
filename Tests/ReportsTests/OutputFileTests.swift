import Foundation
import Glibc
import Simulation
import Testing

@testable import Reports

/// What becomes of the file that is written, and of what was there.
struct OutputFileTests {
  let workspace: Workspace

  init() throws { workspace = try Workspace() }

  private func text(_ name: String) throws -> String {
    try String(contentsOfFile: workspace.file(name), encoding: .utf8)
  }

  private func refusal(_ path: String) -> String? {
    do { try OutputFile.write(to: path) { try $0.write("new") } } catch { return "\(error)" }
    return nil
  }

  @Test func piecesOfEverySizeArriveInOrder() throws {
    var expected = ""
    try OutputFile.write(to: workspace.file("a")) { file in
      for size in [0, 1, 4095, 1 << 18, 3, 1 << 20, 262_141, 5, 0] {
        let piece = String(String(repeating: "abcdefg\n", count: size / 8 + 1).prefix(size))
        expected += piece
        try file.write(piece)
      }
    }
    #expect(try text("a") == expected)
  }

  @Test func anOldFileStaysUntilTheNewOneIsComplete() throws {
    let path = try workspace.write("a", Array("old".utf8))
    struct Failure: Error {}
    #expect(throws: Failure.self) {
      try OutputFile.write(to: path) { file in
        try file.write(String(repeating: "new", count: 1 << 18))
        #expect(try text("a") == "old")
        throw Failure()
      }
    }
    #expect(try text("a") == "old")
    #expect(try FileManager.default.contentsOfDirectory(atPath: workspace.path) == ["a"])
    #expect(refusal(path) == nil)
    #expect(try text("a") == "new")
  }

  /// Somebody else's link in a shared folder must not lead us to one of our own files.
  @Test func aLinkIsReplacedAndNotFollowed() throws {
    let other = try workspace.write("other", Array("precious".utf8))
    for target in [other, workspace.file("missing")] {
      try FileManager.default.createSymbolicLink(atPath: workspace.file("link"), withDestinationPath: target)
      #expect(refusal(workspace.file("link")) == nil)
      #expect(try text("link") == "new")
      try FileManager.default.removeItem(atPath: workspace.file("link"))
    }
    #expect(try text("other") == "precious")
    // Nor the name of the file beside it.
    let beside = workspace.file("a.\(getpid()).new")
    try FileManager.default.createSymbolicLink(atPath: beside, withDestinationPath: other)
    #expect(refusal(workspace.file("a")) == nil)
    #expect(try text("other") == "precious")
    #expect(try text("a") == "new")
  }

  @Test func aNewFileHasTheRightsThatTheUserSet() throws {
    let mask = umask(0)
    umask(mask)
    #expect(refusal(workspace.file("a")) == nil)
    let attributes = try FileManager.default.attributesOfItem(atPath: workspace.file("a"))
    #expect(attributes[.posixPermissions] as? Int == Int(0o666 & ~mask))
  }

  @Test func whatIsNoFileIsWrittenTo() throws {
    let pipe = workspace.file("pipe")
    try #require(mkfifo(pipe, 0o600) == 0)
    #expect(refusal(pipe) == "\(pipe) cannot be written: No such device or address.")
    let reader = open(pipe, O_RDONLY | O_NONBLOCK)
    try #require(reader >= 0)
    defer { close(reader) }
    #expect(refusal(pipe) == nil)
    var bytes = [UInt8](repeating: 0, count: 16)
    #expect(read(reader, &bytes, 16) == 3 && bytes.starts(with: Array("new".utf8)))
    #expect(try FileManager.default.contentsOfDirectory(atPath: workspace.path) == ["pipe"])
  }

  @Test func whatCannotBeWrittenSaysWhy() {
    #expect(refusal("/dev/full") == "/dev/full cannot be written: No space left on device.")
    #expect(refusal(workspace.path) == "\(workspace.path) cannot be written: Is a directory.")
    #expect(
      refusal(workspace.file("none/a")) == "\(workspace.file("none/a")) cannot be written: No such file or directory.")
    #expect(refusal("") == " cannot be written: No such file or directory.")
  }
}
