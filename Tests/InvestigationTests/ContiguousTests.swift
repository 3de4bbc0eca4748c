import IOMMUModel
import PageTables
import RISCVIOMMU
import Testing

@testable import Investigation

/// Tables as generic_pt writes them, and a device that does or does not heed N in them.
@Suite struct ContiguousTests {
  /// Eight-byte words; all others are zero.
  final class Words: PhysicalMemory {
    var words: [UInt64: UInt64] = [:]
    private var next: UInt64 = 0x8100_0000
    /// What was found right after each map call.
    var verified: [(call: RecordedCall, verification: Verification)] = []

    func read(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) throws(UnreadableMemory) {
      for offset in 0..<buffer.count {
        let byte = address.rawValue &+ UInt64(offset)
        buffer[offset] = UInt8(truncatingIfNeeded: (words[byte & ~7] ?? 0) >> ((byte & 7) * 8))
      }
    }

    /// Writes every leaf of `runs` below `root`, making tables on the way; 0 for each to clear them.
    func write(_ runs: [LeafRun], root: TableRoot, clears: Bool = false) {
      for run in runs {
        for position in 0..<run.count {
          var table = root.address.rawValue
          for level in stride(from: root.mode.levels - 1, to: run.level, by: -1) {
            let place = table + UInt64(root.mode.geometry.index(of: run.iova(position), atLevel: level)) * 8
            if words[place] == nil {
              words[place] = next >> 2 | 1
              next += 0x1000
            }
            table = ((words[place] ?? 0) >> 10) << 12
          }
          let place = table + UInt64(root.mode.geometry.index(of: run.iova(position), atLevel: run.level)) * 8
          words[place] = clears ? 0 : run.leaf(position).rawValue
        }
      }
    }
  }

  static let root = TableRoot(address: GPA(0x80aa_b000), mode: .sv57)
  static let card = RequesterID(rawValue: 8)
  static let driver = RISCVIOMMUDriver(generation: .range)

  let memory = Words()

  /// A call with this event, its leaves written.
  private func map(_ id: Int64, _ iova: UInt64, to target: UInt64, _ length: UInt64) throws -> RecordedCall {
    let call = try Self.driver.call(Self.driver.functions[0], arguments: [1, iova, target, length, 3, 0xcc0, 0])
    memory.write(Self.driver.leaves(of: call, mode: .sv57), root: Self.root)
    let recorded = RecordedCall(
      id: EventID(rawValue: id), number: Int(id), call: call, root: Self.root, requester: Self.card)
    memory.verified.append((recorded, Verifier(profile: Self.driver, memory: memory).verify(call, root: Self.root)))
    return recorded
  }

  private func unmap(_ id: Int64, _ iova: UInt64, _ length: UInt64) throws -> RecordedCall {
    let call = try Self.driver.call(Self.driver.functions[1], arguments: [1, iova, length, 0])
    return RecordedCall(id: EventID(rawValue: id), number: 1, call: call, root: Self.root, requester: Self.card)
  }

  private func seen(_ id: Int64, _ iova: UInt64, at target: UInt64?) -> RecordedTranslation {
    RecordedTranslation(
      id: EventID(rawValue: id), requester: Self.card, iova: IOVA(iova), access: .read,
      answer: RecordedTranslation.Answer(
        address: GPA(target ?? 0), mask: 0xfff, access: target == nil ? .none : .read))
  }

  private func diagnosis(
    _ calls: [RecordedCall], _ translations: [RecordedTranslation], registers: RegisterValues? = nil,
    device: (any DeviceModel)? = nil, invalidations: [RecordedInvalidation] = [], imported: Bool = false
  ) -> Diagnosis {
    let profile: any DriverProfile = device.map { OtherDevice(device: $0) } ?? Self.driver
    var context = Diagnosis.Context()
    (context.memory, context.registers) = (memory, registers)
    let batch = translations.compactMap(\.id).min().flatMap { first in
      translations.compactMap(\.id).max().map { first...$0 }
    }
    context.translations = TranslationCheck(
      translations, calls: calls, device: profile.device, imported: imported ? [batch].compactMap { $0 } : [])
    context.invalidations = invalidations
    let check = CrossCheck(
      calls, replay: Replay(calls, profile: profile), profile: profile, registers: registers, memory: memory)
    return Diagnosis(
      memory.verified, history: calls, profile: profile, check: check, context: context)
  }

  /// The driver with another device.
  struct OtherDevice: DriverProfile {
    let device: any DeviceModel
    var identifier: String { driver.identifier }
    var name: String { driver.name }
    var recognition: String { driver.recognition }
    var functions: [DriverFunction] { driver.functions }
    var requesterLimit: Int? { nil }
    var unmapsWholeLeaves: Bool { true }
    func call(_ function: DriverFunction, arguments: [UInt64]) throws(TargetError) -> DriverCall {
      try driver.call(function, arguments: arguments)
    }
    func leaves(of call: DriverCall, mode: PagingMode) -> [LeafRun] { driver.leaves(of: call, mode: mode) }
    func indexName(atLevel level: Int) -> String { driver.indexName(atLevel: level) }
    func mismatch(operation: String) -> String? { nil }
    func layout(in target: any Target) throws(TargetError) -> any DriverLayout { try driver.layout(in: target) }
  }

  /// A device directory of one level (DDTP mode 2) that leads the card to the root: fsc of its context, 64 bytes each.
  private func directory() -> RegisterValues {
    memory.words[0x8200_0000 + 8 * 64] = 1
    memory.words[0x8200_0000 + 8 * 64 + 0x18] = 10 << 60 | Self.root.address.rawValue >> 12
    return RegisterValues(byOffset: [0: 0x78_e2cf_0f10, 0x10: 0x8200_0000 >> 2 | 2])
  }

  // MARK: N

  @Test func seenInTranslations() throws {
    let call = try map(1, 0xffff_0000, to: 0x80b0_0000, 0x1_0000)
    let hypotheses = diagnosis([call], [seen(2, 0xffff_0010, at: 0x80b0_8010)]).hypotheses
    #expect(hypotheses.map(\.cause) == [.contiguousIgnored])
    #expect(hypotheses.first?.support.description == "1 of 1 run")
    #expect(
      hypotheses.first?.title
        == "QEMU 10.0 riscv-iommu ignores N in contiguous (Svnapot) entries: it takes 0xffff0000 to 0x80b08000, not to "
        + "0x80b00000")
  }

  /// The model of the device alone tells it, before anything was seen.
  @Test func toldByTheDevicesWalk() throws {
    let call = try map(1, 0xffff_0000, to: 0x80b0_0000, 0x1_0000)
    let registers = directory()
    let hypotheses = diagnosis([call], [], registers: registers).hypotheses
    #expect(hypotheses.map(\.cause) == [.contiguousIgnored])
    // The page in the middle is where all 16 lead.
    #expect(hypotheses.first?.support.description == "15 of 15 pages")
    #expect(
      hypotheses.first?.evidence.contains { $0.hasPrefix("The device as it is implemented: N in the leaf") } == true)
    // With translations both are one cause.
    let both = diagnosis([call], [seen(2, 0xffff_1000, at: 0x80b0_8000)], registers: registers).hypotheses
    #expect(both.map(\.cause) == [.contiguousIgnored])
    #expect(both.first?.evidence.contains { $0.hasPrefix("0xffff1000: 1 translation, wrong address") } == true)
  }

  @Test func aDeviceThatHeedsN() throws {
    let call = try map(1, 0xffff_0000, to: 0x80b0_0000, 0x1_0000)
    let device = RISCVIOMMUDevice(.specification)
    let pages = (0..<16 as Range<UInt64>).map {
      seen(Int64(2 + $0), 0xffff_0000 + $0 << 12, at: 0x80b0_0000 + $0 << 12)
    }
    #expect(diagnosis([call], pages, registers: directory(), device: device).isClean)
  }

  /// In the middle of a group both ways lead to the same page: a right answer there says nothing.
  @Test func theMiddleOfAGroup() throws {
    let call = try map(1, 0xffff_0000, to: 0x80b0_0000, 0x1_0000)
    #expect(diagnosis([call], [seen(2, 0xffff_8000, at: 0x80b0_8000)]).isClean)
  }

  /// Some groups are heeded: then N cannot be what the device ignores, or not always.
  @Test func groupsThatAreHeeded() throws {
    let calls = [
      try map(1, 0xffff_0000, to: 0x80b0_0000, 0x1_0000), try map(2, 0x10_0000, to: 0x9000_0000, 0x1_0000),
    ]
    let first = try #require(
      diagnosis(calls, [seen(3, 0xffff_0000, at: 0x80b0_8000), seen(4, 0x10_1000, at: 0x9000_1000)]).hypotheses.first)
    #expect(first.cause == .contiguousIgnored && first.contradicted == 1)
    #expect(
      first.counterEvidence
        == ["1 run on such entries leads where they should, the first at 0x101000: there N was heeded."])
  }

  // MARK: Other causes

  /// A wrong address in a contiguous group that is not the group's own page.
  @Test func goingAstrayForAnotherReason() throws {
    let call = try map(1, 0xffff_0000, to: 0x80b0_0000, 0x1_0000)
    let hypotheses = diagnosis([call], [seen(2, 0xffff_0000, at: 0x8765_4000)]).hypotheses
    #expect(hypotheses.map(\.cause) == [.translatedElsewhere])
    #expect(
      diagnosis([call], [seen(2, 0xffff_0000, at: 0x80b0_9000)]).hypotheses.map(\.cause) == [.translatedElsewhere])
  }

  /// The device leads where an earlier call mapped the address: it remembers.
  @Test func anEarlierMapping() throws {
    let calls = [
      try map(1, 0xffff_0000, to: 0x9000_0000, 0x1_0000), try unmap(2, 0xffff_0000, 0x1_0000),
      try map(3, 0xffff_0000, to: 0x80b0_0000, 0x1_0000),
    ]
    let hypotheses = diagnosis(calls, [seen(4, 0x5000, at: nil), seen(5, 0xffff_2004, at: 0x9000_2004)]).hypotheses
    #expect(hypotheses.map(\.cause) == [.staleCache])
    #expect(
      hypotheses.first?.title == "the device answers 0xffff2004 from its cache: there map #1 had it before map #3")
    // Of texts it is not known which call was in force then.
    #expect(
      diagnosis(calls, [seen(4, 0x5000, at: nil), seen(5, 0xffff_2004, at: 0x9000_2004)], imported: true).isClean)
  }

  // MARK: What is kept

  private func forgot(_ id: Int64, _ iova: UInt64?) -> RecordedInvalidation {
    RecordedInvalidation(
      id: EventID(rawValue: id),
      invalidation: DeviceInvalidation(
        iovas: iova.map { IOVA($0)...IOVA($0 | 0xfff) }, meaning: iova.map { "of \(hex($0))" } ?? "of all"))
  }

  /// The entry is gone, the device was seen to translate the address, and nobody told it to forget.
  @Test(
    arguments: [
      ([(2, nil)], true), ([(2, 0x1000)], true), ([(4, 0x2000)], true), ([(4, 0x1000)], false), ([(4, nil)], false),
      ([], false),
    ] as [([(Int64, UInt64?)], Bool)])
  func entriesThatAreGone(_ told: [(Int64, UInt64?)], _ isStale: Bool) throws {
    let calls = [try map(1, 0x1000, to: 0x9000_0000, 0x1000), try unmap(10, 0x1000, 0x1000)]
    memory.write(Self.driver.leaves(of: calls[0].call, mode: .sv57), root: Self.root, clears: true)
    let found = diagnosis(
      calls, [seen(3, 0x1010, at: 0x9000_0010)], invalidations: told.map { forgot($0.0, $0.1) }, imported: true)
    let stale = found.hypotheses.first { $0.cause == .staleCache }
    #expect((stale != nil) == isStale)
    if let stale {
      #expect(
        stale.title
          == "the device can still reach 0x1000 through its cache: the entry is gone, and nothing has invalidated it since"
      )
      #expect(stale.evidence.first == "0x1010: 1 translation, agrees (map #1: 0x90000010).")
      #expect(stale.openQuestion != nil)
    }
  }

  /// As long as the entry is there, or where the last answer was a refusal, nothing is stale.
  @Test func entriesThatAreThere() throws {
    let call = try map(1, 0x1000, to: 0x9000_0000, 0x1000)
    let told = [forgot(2, nil)]
    let answer = seen(3, 0x1010, at: 0x9000_0010)
    #expect(diagnosis([call], [answer], invalidations: told, imported: true).isClean)
    memory.write(Self.driver.leaves(of: call.call, mode: .sv57), root: Self.root, clears: true)
    let refused = diagnosis([call], [answer, seen(4, 0x1010, at: nil)], invalidations: told, imported: true)
    #expect(!refused.hypotheses.map(\.cause).contains(.staleCache))
  }

  // MARK: Unmap

  /// 4 KiB at the start of a group take all of it; inside it, nothing is done. The same with a large leaf.
  @Test(
    arguments: [
      (0x10_0000, 0x1_0000, 0x10_0000, 0x1000, 16), (0x10_0000, 0x1_0000, 0x10_1000, 0x1000, 0),
      (0x10_0000, 0x2_0000, 0x10_0000, 0x1_1000, 32), (0x10_0000, 0x2_0000, 0x11_0000, 0x1000, 16),
      (0x20_0000, 0x20_0000, 0x20_0000, 0x1000, 512), (0x20_0000, 0x20_0000, 0x21_0000, 0x1000, 0),
      (0x1000, 0x4000, 0x2000, 0x1000, 1), (0xf_f000, 0x1_1000, 0xf_f000, 0x2000, 17),
    ] as [(UInt64, UInt64, UInt64, UInt64, UInt64)])
  func unmapsOfParts(_ start: UInt64, _ length: UInt64, _ iova: UInt64, _ part: UInt64, _ pages: UInt64) throws {
    let calls = [try map(1, start, to: 0x9000_0000 + start % 0x20_0000, length), try unmap(2, iova, part)]
    let replay = Replay(calls, profile: Self.driver)
    #expect(replay.unmapped.reduce(0) { $0 + $1.pages } == pages)
    #expect(replay.live.reduce(0) { $0 + $1.pages } == length / 4096 - pages)
  }
}
