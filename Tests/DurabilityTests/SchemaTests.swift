import Foundation
import GRDB
import Investigation
import Reports
import Simulation
import Testing
import XuanTie

/// Files of every schema that was ever released, recorded on the guest with the code of that time.
@Suite struct SchemaTests {
  let workspace: Workspace
  init() throws { workspace = try Workspace() }

  @Test(arguments: 1...4) func aFileOfAnyVersionTellsTheSameCause(version: Int) throws {
    let path = workspace.file("old.iommulens")
    try OldFile(version: version).write(to: path)
    let before = try FileContent(copying: path, to: workspace.file("copy.iommulens"))
    #expect(before.calls.count == 6 && before.damage == [])
    let store = try InvestigationStore(path: path, side: "test")
    let text = Terminal.diagnosis(of: try Findings(offline: store, tenants: [XuanTie.self]))
    let known = try String(contentsOfFile: OldFile.folder + "/diagnosis.txt", encoding: .utf8)
    #expect(text + "\n" == known)
    // It is one of this version now, with all that was in it.
    let after = try FileContent(copying: path, to: workspace.file("copy.iommulens"))
    #expect(after.events == before.events && after.calls == before.calls && after.verified == before.verified)
    #expect(after.notes == before.notes && after.facts == before.facts && after.damage == [])
    let (number, views) = try DatabaseQueue(path: path).read { db in
      (
        try Int.fetchOne(db, sql: "PRAGMA user_version"),
        try Int.fetchOne(db, sql: "SELECT count(*) FROM calls WHERE verdict = 'missing'")
      )
    }
    #expect(number == 4 && views == before.verified.count && views ?? 0 > 0)
  }

  @Test func aFileOfALaterVersionIsLeftAsItIs() throws {
    let path = workspace.file("new.iommulens")
    try OldFile(version: 4).write(to: path)
    try DatabaseQueue(path: path).writeWithoutTransaction { try $0.execute(sql: "PRAGMA user_version = 5") }
    let before = try FileContent(copying: path, to: workspace.file("copy.iommulens"))
    let told =
      "\(path) was written by a newer IOMMULens (schema 5, this one reads up to 4). Update IOMMULens to open it."
    #expect(throws: InvestigationError(told)) { try InvestigationStore(path: path, side: "test") }
    #expect(try FileContent(copying: path, to: workspace.file("copy.iommulens")).events == before.events)
  }
}
