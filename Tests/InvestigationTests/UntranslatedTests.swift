import IOMMUModel
import PageTables
import Randomness
import Simulation
import Testing

@testable import Investigation

/// What was mapped and not asked for, against one page after the other.
@Suite struct UntranslatedTests {
  private static let card = Scenario.card, passedThrough = Scenario.passedThrough
  private static let stranger = RequesterID(rawValue: 24)

  private func call(
    _ event: Int, _ iova: UInt64, bytes: UInt64 = 4096, unmaps: Bool = false, for requester: RequesterID? = Self.card,
    domain: UInt64 = 1, origin: String? = nil
  ) -> RecordedCall {
    RecordedCall(
      id: EventID(rawValue: Int64(event)), number: event,
      call: DriverCall(
        function: "map", operation: unmaps ? .unmap : .map(target: GPA(0x9000), protection: nil, allocation: nil),
        domain: KVA(domain), iova: IOVA(iova), length: bytes),
      root: nil, requester: requester, origin: origin)
  }

  private func translation(
    _ event: Int, _ iova: UInt64, count: UInt64 = 1, stride: UInt64 = 1, for requester: RequesterID? = Self.card,
    answer: RecordedTranslation.Answer? = nil
  ) -> RecordedTranslation {
    RecordedTranslation(
      id: EventID(rawValue: Int64(event)), requester: requester, iova: IOVA(iova), count: count, stride: stride,
      access: .read, answer: answer)
  }

  private func watch(_ first: Int, _ last: Int, _ scopes: TranslationWatch.Scope...) -> TranslationWatch {
    TranslationWatch(
      first: EventID(rawValue: Int64(first)), last: EventID(rawValue: Int64(last)),
      scopes: scopes.isEmpty ? [TranslationWatch.Scope()] : scopes)
  }

  /// `card 1 of 2 ranges, 3 of 4 pages`, and what could not be judged.
  private func told(_ found: UntranslatedMappings?) -> [String]? {
    found.map { found in
      found.tallies.map {
        "\($0.requester?.description ?? "none") \($0.untranslatedRanges) of \($0.ranges), "
          + "\($0.untranslatedPages) of \($0.pages)"
      } + found.lines.map { "#\($0.number) \($0.iova)" }
        + (found.unwatched > 0 ? ["\(found.unwatched) unwatched"] : [])
        + (found.untimed > 0 ? ["\(found.untimed) untimed"] : [])
    }
  }

  @Test func aRingThatIsNeverAskedForIsTold() {
    let calls = [call(1, 0x1000), call(2, 0x8000, bytes: 0x4000)]
    #expect(
      told(UntranslatedMappings([translation(12, 0x9ff0, count: 32)], calls: calls, watches: [watch(3, 20)]))
        == ["0000:00:01.0 1 of 2, 3 of 5", "#1 0x1000"])
  }

  @Test func withoutARecordingNothingIsSaid() {
    let calls = [call(1, 0x1000)]
    #expect(UntranslatedMappings([], calls: calls, watches: []) == nil)
    #expect(UntranslatedMappings([], calls: calls, watches: [watch(2, 9)]) == nil)
    // What a text tells of translations.
    #expect(UntranslatedMappings([translation(10, 0x1000)], calls: calls, watches: []) == nil)
    #expect(UntranslatedMappings([translation(10, 0x1000)], calls: calls, watches: [watch(11, 20)]) == nil)
  }

  @Test func whatWasNotThereIsNotJudged() {
    let calls = [
      call(1, 0x1000), call(2, 0x1000, unmaps: true), call(3, 0x2000), call(4, 0x3000, origin: "calls.csv:3"),
      call(21, 0x5000), call(22, 0x6000),
    ]
    #expect(
      told(UntranslatedMappings([translation(12, 0x7000)], calls: calls, watches: [watch(10, 20)]))
        == ["0000:00:01.0 1 of 1, 1 of 1", "#3 0x2000", "3 unwatched", "1 untimed"])
  }

  /// A run is stored when the next one begins: the driver may have unmapped by then what the run asked for.
  @Test func aRunIsStoredLate() {
    let calls = [call(2, 0x1000), call(3, 0x1000, unmaps: true), call(6, 0x1000), call(7, 0x1000, unmaps: true)]
    func told(_ events: Int...) -> [String]? {
      let runs = events.map { translation($0, $0 == 5 ? 0x9000 : 0x1000) }
      return self.told(UntranslatedMappings(runs, calls: calls, watches: [watch(1, 20)]))
    }
    #expect(told(4) == ["0000:00:01.0 1 of 2, 1 of 2", "#6 0x1000"])
    #expect(told(8) == ["0000:00:01.0 0 of 2, 0 of 2"])
    // Another run between the unmap and this one: it was made after that.
    #expect(told(5, 8) == ["0000:00:01.0 1 of 2, 1 of 2", "#2 0x1000"])
  }

  @Test func requesters() {
    let calls = [
      call(1, 0x1000), call(2, 0x1000, for: Self.passedThrough), call(3, 0x1000, for: nil), call(4, 0x2000, for: nil),
    ]
    func told(_ requester: RequesterID?, _ scope: TranslationWatch.Scope = .init()) -> [String]? {
      self.told(
        UntranslatedMappings([translation(9, 0x1000, for: requester)], calls: calls, watches: [watch(1, 9, scope)]))
    }
    let unknown = "none 1 of 2, 1 of 2"
    #expect(
      told(Self.card) == [
        "0000:00:01.0 0 of 1, 0 of 1", "0000:00:02.0 1 of 1, 1 of 1", unknown, "#2 0x1000", "#4 0x2000",
      ]
    )
    // A function that shares the domain of another one, or one that could not be read.
    for requester in [Self.stranger, nil] {
      #expect(told(requester) == ["0000:00:01.0 0 of 1, 0 of 1", "0000:00:02.0 0 of 1, 0 of 1", unknown, "#4 0x2000"])
    }
    #expect(
      told(Self.card, .init(requester: Self.passedThrough)) == [
        "0000:00:02.0 1 of 1, 1 of 1", "#2 0x1000", "3 unwatched",
      ])
  }

  @Test func answersCoverMoreThanWasAskedFor() {
    let calls = [call(1, 0x20_0000, bytes: 0x20_0000), call(2, 0x1000)]
    func told(_ target: UInt64, _ access: Access) -> [String]? {
      let answer = RecordedTranslation.Answer(address: GPA(target), mask: 0x1f_ffff, access: access)
      return self.told(
        UntranslatedMappings([translation(5, 0x20_3000, answer: answer)], calls: calls, watches: [watch(3, 9)]))
    }
    #expect(told(0x8020_3000, .readWrite) == ["0000:00:01.0 1 of 2, 1 of 513", "#2 0x1000"])
    // Bypassed, or refused.
    #expect(told(0x20_3000, .readWrite) == ["0000:00:01.0 1 of 2, 512 of 513", "#2 0x1000"])
    #expect(told(0, .none) == ["0000:00:01.0 1 of 2, 512 of 513", "#2 0x1000"])
  }

  @Test func garbageIsNoTrouble() {
    let calls = [
      call(1, 0, bytes: .max), call(2, .max, bytes: 1), call(3, .max, bytes: 2), call(4, 0x1000, bytes: 0),
      call(5, 0x1000, bytes: 1 << 63, unmaps: true),
    ]
    let runs = [
      translation(7, .max, count: .max, stride: .max, answer: .init(address: GPA(0), mask: .max, access: .read)),
      translation(8, 0x5000, count: .max, stride: .max),
    ]
    let range = IOVA(0)...IOVA(.max)
    let found = UntranslatedMappings(
      runs, calls: calls, watches: [watch(6, 9, .init(iovas: range), .init(iovas: range))])
    #expect(told(found) == ["0000:00:01.0 0 of 2, 0 of 2251799813685248"])
  }

  // MARK: Page by page

  /// One page of one call, from its map to its unmap.
  private struct Life {
    let call: Int, page: UInt64, domain: UInt64
    let requester: RequesterID?
    let start: Int64
    var end = Int64.max
  }

  private func lives(_ calls: [RecordedCall]) -> [Life] {
    var lives: [Life] = []
    for (position, call) in calls.enumerated() where call.origin == nil {
      for page in call.call.iova.rawValue / 4096...call.call.last.rawValue / 4096 {
        for index in lives.indices
        where lives[index].end == .max && lives[index].page == page && lives[index].domain == call.call.domain.rawValue
          && lives[index].requester == call.requester
        {
          lives[index].end = call.id?.rawValue ?? 0
        }
        guard call.call.isMap else { continue }
        lives.append(
          Life(
            call: position, page: page, domain: call.call.domain.rawValue, requester: call.requester,
            start: call.id?.rawValue ?? 0))
      }
    }
    return lives
  }

  private func expected(
    _ runs: [RecordedTranslation], _ calls: [RecordedCall], _ watches: [TranslationWatch], _ iovas: ClosedRange<IOVA>
  ) -> [String] {
    let owners = Set(calls.filter(\.call.isMap).compactMap(\.requester))
    var watched = [UInt64](repeating: 0, count: calls.count)
    var left = watched
    for life in lives(calls) {
      let bytes = IOVA(life.page << 12)...IOVA(life.page << 12 | 0xfff)
      guard bytes.overlaps(iovas) else { continue }
      let isWatched = watches.contains { watch in
        life.start <= watch.last.rawValue && life.end > watch.first.rawValue
          && watch.scopes.contains { scope in
            (scope.requester == nil || scope.requester == life.requester)
              && (scope.iovas.map { $0.contains(bytes.lowerBound) && $0.contains(bytes.upperBound) } ?? true)
          }
      }
      guard isWatched else { continue }
      watched[life.call] += 1
      var before = Int64.min
      let isAsked = runs.contains { run in
        defer { before = run.id?.rawValue ?? 0 }
        let isHis =
          run.requester == nil || life.requester == nil || run.requester == life.requester
          || !owners.contains(run.requester ?? Self.stranger)
        guard isHis, life.start < run.id?.rawValue ?? 0, life.end > before else { return false }
        return (0..<run.count).contains { step in
          let asked = run.iova.rawValue + step * run.stride
          let covered = run.answer.map { ($0.mask, $0.access != .none && $0.address.rawValue != run.iova.rawValue) }
          let (low, high) = covered.map { $0.1 ? (asked & ~$0.0, asked | $0.0) : (asked, asked) } ?? (asked, asked)
          return low / 4096 <= life.page && life.page <= high / 4096
        }
      }
      if !isAsked { left[life.call] += 1 }
    }
    var (lines, unwatched, untimed): ([String], Int, Int) = ([], 0, 0)
    var tallies: [String] = []
    for requester in [Self.card, Self.passedThrough, nil] {
      let own = calls.indices.filter { calls[$0].requester == requester && watched[$0] > 0 }
      if own.isEmpty { continue }
      let silent = own.filter { left[$0] == watched[$0] }
      tallies.append(
        "\(requester?.description ?? "none") \(silent.count) of \(own.count), "
          + "\(own.reduce(0) { $0 + left[$1] }) of \(own.reduce(0) { $0 + watched[$1] })")
      lines += silent.map { calls[$0] }.sorted { ($0.call.iova, $0.number) < ($1.call.iova, $1.number) }.map {
        "#\($0.number) \($0.call.iova)"
      }
    }
    for (position, call) in calls.enumerated() where call.call.isMap && watched[position] == 0 {
      let pages = IOVA(call.call.iova.rawValue & ~0xfff)...IOVA(call.call.last.rawValue | 0xfff)
      guard pages.overlaps(iovas) else { continue }
      if call.origin == nil { unwatched += 1 } else { untimed += 1 }
    }
    return tallies + lines + (unwatched > 0 ? ["\(unwatched) unwatched"] : [])
      + (untimed > 0 ? ["\(untimed) untimed"] : [])
  }

  @Test func agreesWithOnePageAfterTheOther() {
    var numbers = SeededNumbers(seed: 29)
    var silent = 0
    for round in 0..<150 {
      var calls: [RecordedCall] = []
      var runs: [RecordedTranslation] = []
      let requesters = [Self.card, Self.passedThrough, nil]
      for event in 1...80 {
        let iova = UInt64.random(in: 0..<32, using: &numbers) << 12 | UInt64.random(in: 0...1, using: &numbers) << 8
        switch Int.random(in: 0...5, using: &numbers) {
        case 0, 1, 2:
          calls.append(
            call(
              event, iova, bytes: UInt64.random(in: 1...0x4000, using: &numbers),
              unmaps: Int.random(in: 0...2, using: &numbers) == 0,
              for: requesters[Int.random(in: 0...2, using: &numbers)],
              domain: UInt64.random(in: 1...2, using: &numbers),
              origin: Int.random(in: 0...9, using: &numbers) == 0 ? "a.csv:\(event)" : nil))
        case 3:
          let answer = RecordedTranslation.Answer(
            address: Bool.random(using: &numbers) ? GPA(0x9000) : GPA(iova), mask: 0x1fff,
            access: Bool.random(using: &numbers) ? .read : .none)
          runs.append(
            translation(
              event, iova, count: UInt64.random(in: 1...40, using: &numbers), stride: 256,
              for: [Self.card, Self.passedThrough, Self.stranger, nil][Int.random(in: 0...3, using: &numbers)],
              answer: Bool.random(using: &numbers) ? answer : nil))
        default: break
        }
      }
      var watches: [TranslationWatch] = []
      var start = Int.random(in: 0..<30, using: &numbers)
      while start < 70 {
        let end = start + Int.random(in: 0..<40, using: &numbers)
        let scopes = (0..<Int.random(in: 1...3, using: &numbers)).map { _ in
          let low = UInt64.random(in: 0..<0x1_0000, using: &numbers)
          return TranslationWatch.Scope(
            iovas: Bool.random(using: &numbers)
              ? IOVA(low)...IOVA(low + UInt64.random(in: 0..<0x1_8000, using: &numbers)) : nil,
            requester: requesters[Int.random(in: 0...2, using: &numbers)])
        }
        watches.append(
          TranslationWatch(
            first: EventID(rawValue: Int64(start)), last: EventID(rawValue: Int64(end)), scopes: scopes))
        start = end + Int.random(in: 0..<20, using: &numbers)
      }
      let low = round % 2 == 0 ? 0 : UInt64.random(in: 0..<0x2_0000, using: &numbers)
      let range = IOVA(low)...(round % 2 == 0 ? IOVA(.max) : IOVA(low + 0x8000))
      guard let found = UntranslatedMappings(runs, calls: calls, watches: watches, iovas: range) else {
        #expect(
          !runs.contains { run in watches.contains { $0.first <= run.id ?? $0.first } },
          "round \(round)")
        continue
      }
      #expect(told(found) == expected(runs, calls, watches, range), "round \(round)")
      silent += found.lines.count
    }
    #expect(silent > 150)
  }

  // MARK: What a session on QEMU's side notes

  @Test func scopesKeep() {
    let high = IOVA(0xf000_0000)...IOVA(.max)
    let scopes: [TranslationWatch.Scope] = [
      .init(), .init(requester: Self.card), .init(iovas: high), .init(iovas: high, requester: Self.stranger),
    ]
    #expect(
      TranslationWatch.Scope.stored(scopes)
        == "all; all of 0000:00:01.0; 0xf0000000-0xffffffffffffffff; 0xf0000000-0xffffffffffffffff of 0000:00:03.0")
    #expect(TranslationWatch.Scope.scopes(stored: TranslationWatch.Scope.stored(scopes)) == scopes)
    for odd in ["none", "", "all of", "all of x", "0x2-0x1", "1-2", "0x1", "all of 0000:00:01.0 now", "0xg-0x1"] {
      #expect(TranslationWatch.Scope.scopes(stored: odd).isEmpty, "\(odd)")
    }
  }

  @Test func aSessionNotesWhatItRecords() throws {
    let session = try DeviceSession()
    let (investigator, store) = (session.investigator, session.store)
    session.host.driver.map(session.domain, 0xffff_f000, to: 0x8200_0000, prot: 7)
    try investigator.flush()
    #expect(try store.translationWatches().isEmpty)
    investigator.watch(TranslationRule(requester: Scenario.card, stop: .never, limit: 1))
    try investigator.flush()
    try investigator.flush()
    let only = TranslationWatch.Scope(requester: Scenario.card)
    #expect(try store.translationWatches() == [watch(1, 1, only)])
    // The rule has done its work when its only run begins.
    _ = try session.host.translate(0xffff_f000, .read, for: investigator)
    _ = try session.host.translate(0xffff_f800, .read, for: investigator)
    investigator.watch(TranslationRule(stop: .always))
    _ = try session.host.translate(0xffff_f010, .read, for: investigator)
    try investigator.flush()
    let watches = try store.translationWatches()
    #expect(watches.map(\.scopes) == [[only], [TranslationWatch.Scope()]] && watches[0].last.rawValue == 2)
    // Where another session goes on, or the first one was ended, is told as well.
    let other = try InvestigationStore(path: store.path, side: "qemu")
    try other.append(watching: [TranslationWatch.Scope()])
    try other.append(note: "a remark")
    try store.append(note: "a late one")
    let last = try store.translationWatches().suffix(2)
    #expect(last.first?.last == last.last?.first)
    #expect(try last.last.map { try store.counts().values.reduce(0, +) == Int($0.last.rawValue) + 1 } == true)
  }
}
