import Foundation
import IOMMUModel
import Investigation
import PageTables
import Randomness
import Simulation
import Testing

/// A GDB that is killed loses nothing that it had shown, whatever it was doing.
///
/// `IOMMULENS_KILLS` says how often; `IOMMULENS_SEED` repeats a run's phases and moments.
@Suite(.serialized) struct KillTests {
  typealias Phase = KilledSession.Phase

  @Test func nothingThatAKilledDebuggerHadShownIsLost() throws {
    let workspace = try Workspace()
    var numbers = SeededNumbers()
    let kills = setting("IOMMULENS_KILLS", default: Phase.allCases.count)
    var file = workspace.file("whole.iommulens")

    // One that is left alone shows how long each phase takes, and that there is something to lose in it.
    let whole = try KilledSession("whole", file: file, folder: workspace.path)
    #expect(whole.isComplete, "\(whole.output.suffix(1000))")
    var content = try FileContent(copying: file, to: workspace.file("copy.iommulens"))
    #expect(whole.shownCalls.count > 100 && content.calls.count > 400 && content.notes.count == 5)
    #expect(whole.missing(before: .none, now: content) == [])
    #expect(whole.missing(before: .none, now: .none).count > 100)

    var (ended, events) = ([Phase: Int](), content.events.count)
    for kill in 0..<kills {
      let phase = Phase.allCases[kill % Phase.allCases.count]
      if [.making, .migrating].contains(phase) {
        file = workspace.file("\(kill).iommulens")
        content = .none
        if phase == .migrating {
          try OldFile(version: 1 + numbers.below(3)).write(to: file)
          content = try FileContent(copying: file, to: workspace.file("copy.iommulens"))
        }
      }
      let after = (whole.lengths[phase] ?? 0) * Double(numbers.below(1000)) / 1000
      let session = try KilledSession(
        "\(kill)", file: file, folder: workspace.path, kill: (phase, after))
      let now = try FileContent(copying: file, to: workspace.file("copy.iommulens"))
      let missing = session.missing(before: content, now: now)
      #expect(
        missing == [] && now.damage == [],
        "killed \(after) s into \(phase), seed \(SeededNumbers.run):\n\(session.output.suffix(2000))")
      for report in ["report.json"] {
        // There is a whole report or none.
        guard let text = FileManager.default.contents(atPath: workspace.file("\(kill)/\(report)")) else { continue }
        #expect(throws: Never.self) { try JSONSerialization.jsonObject(with: text) }
      }
      try goOn(workspace.file("copy.iommulens"), after: now)
      if session.wasKilled { ended[phase, default: 0] += 1 }
      events += max(0, now.events.count - content.events.count)
      content = now
    }
    let cut = Phase.allCases.map { "\($0) \(ended[$0] ?? 0)" }.joined(separator: ", ")
    print("Killed \(kills) sessions, which stored \(events) events; before their end: \(cut).")

    // The last file goes on in a session that is left alone.
    let last = try KilledSession("last", file: file, folder: workspace.path)
    let now = try FileContent(copying: file, to: workspace.file("copy.iommulens"))
    #expect(last.isComplete && last.missing(before: content, now: now) == [] && now.damage == [])
    #expect(now.calls.count >= content.calls.count + 400)
  }

  /// Another session on what a killed one has left: the numbers go on.
  private func goOn(_ file: String, after content: FileContent) throws {
    let store = try InvestigationStore(path: file, side: "test")
    let call = DriverCall(
      function: "xt_iommu_map", operation: .map(target: GPA(0), protection: .read, allocation: nil), domain: KVA(1),
      iova: IOVA(0x1000), length: 4096)
    let stored = try store.append(RecordedCall(number: 0, call: call, root: nil, requester: nil))
    #expect(stored.number == content.calls.keys.count { $0.hasPrefix("map") } + 1)
    #expect(stored.id?.rawValue == Int64(content.events.count) + 1)
  }
}
