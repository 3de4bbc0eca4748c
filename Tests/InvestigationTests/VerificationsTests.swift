import IOMMUModel
import PageTables
import Randomness
import Simulation
import Testing

@testable import Investigation

/// What was found after calls, kept by kind, against a dictionary.
@Suite struct VerificationsTests {
  private static let right = (0..<6).map { kind in
    Verification(
      leaves: kind + 1, agreeing: kind + 1, verdict: .agrees, iova: nil,
      shifts: kind == 0 ? [] : [ShiftSet(12), ShiftSet(rawValue: .max), ShiftSet(rawValue: UInt64(kind))])
  }

  private static func wrong(_ iova: UInt64) -> Verification {
    Verification(
      leaves: 2, agreeing: 1, verdict: .missing(level: 1), iova: IOVA(iova), shifts: [ShiftSet(12), ShiftSet()],
      samples: [
        .init(iova: IOVA(iova), expected: .max, level: 1, found: 0),
        .init(iova: IOVA(.max), expected: 1, level: 0, found: iova),
      ])
  }

  @Test func agreesWithADictionary() {
    var numbers = SeededNumbers(seed: 5)
    for round in 0..<40 {
      var collector = Verifications.Collector(capacity: 0)
      var expected: [EventID: Verification] = [:]
      for step in 0..<300 {
        // Every call once and in order, or some again and in any.
        let call = EventID(rawValue: round % 2 == 0 ? Int64(step) : Int64.random(in: 0..<200, using: &numbers))
        let found =
          Int.random(in: 0...3, using: &numbers) == 0
          ? Self.wrong(numbers.next()) : Self.right[Int.random(in: 0..<Self.right.count, using: &numbers)]
        collector.add(found, of: call)
        expected[call] = found
      }
      let verifications = collector.verifications()
      #expect(Dictionary(uniqueKeysWithValues: verifications.map { ($0.call, $0.verification) }) == expected)
      #expect(verifications.map(\.call) == expected.keys.sorted())
      #expect((0..<310).allSatisfy { verifications[EventID(rawValue: $0)] == expected[EventID(rawValue: $0)] })
    }
  }

  /// What memory for a million calls rests on.
  @Test func whatAgreesIsKeptOnceForEachKind() {
    var collector = Verifications.Collector(capacity: 0)
    for call in 0..<10_000 { collector.add(Self.right[call * 7 % 6], of: EventID(rawValue: Int64(call))) }
    collector.add(Self.wrong(5), of: EventID(rawValue: 10_000))
    let verifications = collector.verifications()
    #expect(verifications.count == 10_001 && verifications.distinct.count == 7)
  }

  @Test func callsAreLinkedInTheirOrder() {
    func call(_ id: Int64?, _ number: Int) -> RecordedCall {
      RecordedCall(
        id: id.map(EventID.init), number: number,
        call: DriverCall(function: "", operation: .unmap, domain: KVA(0), iova: IOVA(0), length: 0), root: nil,
        requester: nil)
    }
    var collector = Verifications.Collector(capacity: 0)
    for id in [3, 9, 4, 7] as [Int64] { collector.add(Self.wrong(UInt64(id)), of: EventID(rawValue: id)) }
    // A table of numbered calls is a block of its own, so that events need not ascend; one call has no event yet.
    let calls = [call(7, 1), call(3, 2), call(nil, 3), call(8, 4), call(4, 5)]
    let linked = VerifiedCalls(calls, collector.verifications())
    #expect(linked.map(\.call.number) == [1, 2, 5])
    #expect(linked.map(\.verification.iova) == [IOVA(7), IOVA(3), IOVA(4)])
    #expect(linked.filter { $0.call.number > 1 }.map(\.call.number) == [2, 5])
    #expect(linked.filter(byVerification: { $0.iova != IOVA(3) }).map(\.call.number) == [1, 5])
    #expect(Array(linked.verifications) == linked.map(\.verification))
    #expect(VerifiedCalls(Array(linked)).map(\.call) == linked.map(\.call))
  }

  @Test func manyAreStoredAsOneByOne() throws {
    let workspace = try Workspace()
    let calls = (0..<200).map { number in
      RecordedCall(
        number: 0,
        call: DriverCall(
          function: number % 2 == 0 ? "map" : "unmap", operation: .unmap, domain: KVA(0), iova: IOVA(0), length: 0),
        root: nil, requester: nil)
    }
    var stores: [InvestigationStore] = []
    for name in ["single", "bulk"] {
      let store = try InvestigationStore(path: workspace.file(name), side: "test")
      let ids = try store.append(calls: calls).compactMap(\.id)
      let found = ids.enumerated().map { position, id in
        (call: id, verification: position % 3 == 0 ? Self.wrong(UInt64(position)) : Self.right[position % 6])
      }
      if name == "bulk" {
        try store.append(verifications: found)
      } else {
        for (call, verification) in found { try store.append(verification, of: call) }
      }
      let read = try store.verifications()
      #expect(read.map(\.call) == ids && read.map(\.verification) == found.map(\.verification))
      #expect(try store.calls().map(\.call) == calls.map(\.call))
      stores.append(store)
    }
    #expect(try stores[0].counts() == stores[1].counts())
    // All or nothing: one is about a call that is not there. Many are checked in another way than few.
    let ids = try stores[1].calls().compactMap(\.id)
    let before = try stores[1].counts()
    for count in [2, 64, 200] {
      for (place, odd) in [
        (0, EventID(rawValue: 0)), (1, EventID(rawValue: 1 << 39)), (count - 1, EventID(rawValue: 1 << 40)),
      ] {
        var found = ids.prefix(count).map { (call: $0, verification: Self.right[0]) }
        found[place].call = odd
        let error = #expect(throws: InvestigationError.self) { try stores[1].append(verifications: found) }
        #expect(error?.description.hasPrefix("\(workspace.file("bulk")) cannot be used: ") == true)
        #expect(try stores[1].counts() == before)
      }
    }
  }

  @Test func samplesKeep() {
    for sample in Self.wrong(0xffff_f000).samples { #expect(Verification.Sample(stored: sample.stored.utf8) == sample) }
    for odd in [
      "", "1:2:3", "1:2:8:4", "1:2:3:4:5", "1::3:4", "1:2:3:", ":1:2:3", "g:2:3:4", "10000000000000000:2:3:4",
      "-1:2:3:4",
    ] {
      #expect(Verification.Sample(stored: odd.utf8) == nil, "\(odd)")
    }
  }
}
