import Foundation
import GRDB
import Simulation
import Testing

/// Six processes use one file at once: nobody is told of a lock, and every write that was acknowledged is there, once.
///
/// `IOMMULENS_SECONDS` says how long.
@Suite(.serialized) struct ConcurrencyTests {
  let workspace: Workspace
  init() throws { workspace = try Workspace() }

  @Test func fourWriteAndTwoReadOneFile() throws {
    let seconds = setting("IOMMULENS_SECONDS", default: 4)
    let file = workspace.file("shared.iommulens")
    let program = RunningProgram.commandLine
    let script = "Tests/DurabilityTests/Programs/"
    func start(_ name: String, _ command: [String]) throws -> RunningProgram {
      try RunningProgram(command, output: workspace.file(name))
    }
    func imports(_ kind: String, _ name: String) throws -> RunningProgram {
      let folder = workspace.file(name + "-texts")
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
      return try start(name, ["python3", script + "imports.py", program, file, "\(seconds)", kind, folder])
    }
    // All but the readers may be the first to make the file.
    let calls = try start("calls", [RunningProgram.products + "/store-writer", "append", file, "100000000", "2000"])
    let importers = try ["one", "two"].map { try imports("lines", $0) } + [imports("calls", "tables")]
    #expect(wait(20) { FileManager.default.fileExists(atPath: file) })
    let readers = try ["calls", "commands"].map {
      try start("reads \($0)", ["python3", script + "reads.py", program, file, "\(seconds)", $0])
    }
    for other in importers + readers {
      #expect(other.status(within: Double(seconds) + 60) == 0, "\(other.output)")
    }
    calls.kill()

    let database = try DatabaseQueue(path: file)
    let (stored, imported, facts) = try database.read { db in
      (
        try Int64.fetchAll(db, sql: "SELECT number FROM call WHERE origin IS NULL ORDER BY event"),
        try String.fetchAll(db, sql: "SELECT origin FROM call WHERE origin IS NOT NULL ORDER BY event"),
        try String.fetchAll(db, sql: "SELECT origin FROM log ORDER BY event")
      )
    }
    #expect(try FileContent(file).damage == [])
    // One more may have been stored and not been told of any more.
    let told = calls.output.split(separator: "\n").compactMap { Int64($0) }
    #expect(told.count > seconds && Array(stored.prefix(told.count)) == told && stored.count <= told.count + 1)
    func texts(_ importer: RunningProgram) -> [String] {
      importer.output.split(separator: "\n").map { String($0.dropFirst("stored ".count)) }
    }
    let tables = texts(importers[2])
    #expect(tables.count > 1 && imported == tables.flatMap { text in (2...401).map { "\(text):\($0)" } })
    let lines = importers[..<2].flatMap(texts)
    #expect(lines.count > 4 && facts.sorted() == lines.sorted())
    let reads = readers.map { $0.output.trimmingCharacters(in: .newlines) }
    #expect(reads.allSatisfy { $0.hasPrefix("read ") }, "\(reads)")
    print(
      "In \(seconds) s: \(told.count) calls, \(lines.count) lines and \(tables.count) tables of 400 calls stored; \(reads)."
    )
  }
}
