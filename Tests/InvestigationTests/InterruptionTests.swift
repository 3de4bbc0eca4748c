import Foundation
import IOMMUModel
import PageTables
import Simulation
import Testing
import XuanTie

@testable import Investigation

/// What is left of work that somebody stopped.
struct InterruptionTests {
  /// Ends work the `count`th time it asks.
  private func stopping(at count: Int) -> (WorkProgress, () -> [WorkProgress.Step]) {
    var steps: [WorkProgress.Step] = []
    let progress = WorkProgress { step in
      steps.append(step)
      return steps.count >= count
    }
    return (progress, { steps })
  }

  /// 3000 map calls of one domain for a page each, mapped under the wrong shift.
  private func recording() -> Recording {
    let recording = Recording(SimulatedDriver(rootShift: 48))
    let requester = RequesterID(rawValue: 8)
    let domain = recording.driver.domain(of: requester)
    recording.driver.attach(requester, to: domain)
    for page in 0..<UInt64(3000) {
      recording.map(domain, 0x4000_0000 + page * 0x2000, to: 0x8000_0000 + page * 0x3000)
    }
    return recording
  }

  @Test func asksEvery1024PartsAndNotAgain() {
    let (progress, steps) = stopping(at: 2)
    #expect(!progress.stops("counting", at: 0, of: 5000))
    #expect(!(1..<1024).contains { progress.stops("counting", at: $0, of: 5000) })
    #expect(progress.stops("counting", at: 1024, of: 5000))
    #expect(progress.isStopped && progress.stops("else", at: 1))
    #expect(steps().map(\.description) == ["counting: 0 of 5000", "counting: 1024 of 5000"])
    #expect(WorkProgress.Step(work: "reading", done: 7, total: 0).description == "reading: 7")
    #expect(WorkProgress.Step(work: "reading", done: 0, total: 0).description == "reading")
  }

  /// The ranges compared up to then have the lines that they have in a whole comparison.
  @Test func aComparisonIsOfTheRangesUpToThen() {
    let recording = recording()
    let whole = recording.check()
    let (progress, _) = stopping(at: 2)
    let part = CrossCheck(
      recording.calls, replay: recording.replay(), profile: recording.profile, registers: recording.driver.registers,
      memory: recording.driver.memory, progress: progress)
    #expect(part.isPartial && !whole.isPartial)
    #expect(part.mappedPages == 1024 && whole.mappedPages == 3000)
    #expect(!part.lines.isEmpty && Set(part.lines).isSubset(of: Set(whole.lines)))
  }

  @Test func aReplayIsBrokenOff() {
    let recording = recording()
    let (progress, _) = stopping(at: 2)
    let replay = Replay(recording.calls, profile: recording.profile, progress: progress)
    #expect(replay.live.reduce(0) { $0 + $1.pages } == 1024)
    #expect(progress.isStopped)
  }

  /// In a file: before ranges are compared nothing can be said, after it what was found is.
  @Test func findings() throws {
    let workspace = try Workspace()
    let store = try InvestigationStore(path: workspace.file("test.iommulens"), side: "test")
    let recording = recording()
    try store.append(calls: recording.calls)
    try store.setFact(Fact.profile, recording.profile.identifier)
    func findings(stoppingAt count: Int) throws -> (Findings, [WorkProgress.Step]) {
      let (progress, steps) = stopping(at: count)
      return (
        try Findings(
          store: store, profile: recording.profile, memory: recording.driver.memory,
          registers: recording.driver.registers, progress: progress), steps()
      )
    }
    #expect(throws: InvestigationError("Interrupted while reading calls.")) { try findings(stoppingAt: 1) }
    let (whole, steps) = try findings(stoppingAt: .max)
    #expect(!whole.check.isPartial && !whole.diagnosis.isPartial)
    let works = steps.map(\.work)
    #expect(works.first == "reading calls" && works.last == "looking for causes")
    let following = try #require(works.firstIndex(of: "following calls"))
    #expect(throws: InvestigationError("Interrupted while following calls.")) {
      try findings(stoppingAt: following + 1)
    }
    let comparing = try #require(works.firstIndex(of: "comparing"))
    let (part, _) = try findings(stoppingAt: comparing + 2)
    #expect(part.check.isPartial && part.check.mappedPages == 1024)
    #expect(part.diagnosis.isPartial && part.diagnosis.hypotheses.isEmpty)
    let (searched, _) = try findings(stoppingAt: steps.count)
    #expect(searched.diagnosis.isPartial && searched.check.pages == whole.check.pages)
  }

  @Test func aTimelineEndsEarly() throws {
    let workspace = try Workspace()
    let store = try InvestigationStore(path: workspace.file("test.iommulens"), side: "test")
    try store.append(calls: recording().calls)
    let (progress, _) = stopping(at: 2)
    var seen = 0
    try Timeline(store).forEach(progress: progress) { _ in seen += 1 }
    #expect((512..<2048).contains(seen))
    #expect(try store.recentNames().requesters == [RequesterID(rawValue: 8)])
    #expect(try store.recentNames().domains.count == 1)
  }

  @Test func aSnapshotOfHalfTheTablesIsNone() {
    let recording = recording()
    let root = recording.calls[0].root
    let (progress, _) = stopping(at: 1)
    let pages = TablePages.collect(
      contexts: [], roots: [root].compactMap { $0 }, memory: recording.driver.memory, progress: progress)
    #expect(pages.isEmpty)
  }
}
