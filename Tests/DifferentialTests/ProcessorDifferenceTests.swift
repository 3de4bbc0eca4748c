import PageTables
import Randomness
import Testing

/// The specification's walk against the memory management unit of a processor that QEMU emulates: whether an access is
/// allowed, where it goes, what it says of a table that is not there, and which leaf's A and D it sets.
@Suite(.serialized) struct ProcessorDifferenceTests {
  struct Setting: CustomTestStringConvertible, Sendable {
    let processor: Processor
    let mode: PagingMode
    var testDescription: String { "\(mode.name), \(processor.name)" }

    static let all = Processor.all.flatMap { processor in
      processor.modes.map { Setting(processor: processor, mode: $0) }
    }
  }

  /// What should come of an access.
  enum End: Equatable {
    case reaches(UInt64, leaf: UInt64)
    case refused
    /// Refused, with A and D set all the same.
    case refusedLate(leaf: UInt64)
    /// An entry that is not in memory.
    case lacks(UInt64)
  }

  struct Probe {
    var operation: Prober.Operation
    let isUser: Bool
    let sum: Bool
    var mxr: Bool
    let address: UInt64
    let root: UInt64
    let round: Int
    /// By the specification.
    var specified = End.refused
    /// With the processor's departures.
    var departing = End.refused

    init(_ tables: HostileTables, _ address: UInt64, round: Int, using random: inout SeededNumbers) {
      let operations: [Prober.Operation] =
        if tables.mode.isSecondStage {
          [.guestLoad, .guestLoad, .guestStore]
        } else if tables.mode == .sv32 {
          [.load, .load, .store, .fetch]
        } else {
          [.load, .tracedLoad, .tracedLoad, .store, .fetch]
        }
      operation = random.pick(operations)
      isUser = random.chance(40)
      sum = random.chance(60)
      mxr = operation != .tracedLoad && random.chance(20)
      self.address = address
      root = tables.root
      self.round = round
    }

    func request(_ mode: PagingMode, value: UInt64) -> Prober.Request {
      let code = UInt64(mode.code)
      // MPP is S or U; MPRV lets loads and stores of machine mode be theirs, but not those of a guest.
      var status: UInt64 = isUser ? 0 : 1 << 11
      if operation == .load || operation == .store { status |= 1 << 17 }
      if sum { status |= 1 << 18 }
      if mxr { status |= 1 << 19 }
      return Prober.Request(
        root: (mode == .sv32 ? code << 31 : code << 60) | root >> 12, status: status, address: address,
        operation: operation, value: value)
    }

    /// Whether a leaf with these flags may be used, by section 4.3.1 and, for a second stage, 8.5.1.
    func isAllowed(_ flags: PageTableEntry.Flags) -> Bool {
      let reads = flags.contains(.read) || mxr && flags.contains(.execute)
      let mine = flags.contains(.user) == isUser || sum && flags.contains(.user)
      return switch operation {
      case .load: reads && mine
      case .store: flags.contains(.write) && mine
      case .fetch: flags.contains(.execute) && flags.contains(.user) == isUser
      case .guestLoad: reads && flags.contains(.user)
      case .guestStore: flags.contains(.write) && flags.contains(.user)
      // As a supervisor with SUM.
      case .tracedLoad: reads
      }
    }

    func end(_ walk: Walk) -> End {
      switch walk.outcome {
      case .mapped(let target, _, let flags):
        guard isAllowed(flags), let leaf = walk.steps.last else { return .refused }
        return .reaches(target.rawValue, leaf: leaf.entryAddress.rawValue)
      case .unreadable(let failure): return .lacks(failure.address.rawValue)
      case .notMapped, .malformed, .notCanonical: return .refused
      }
    }

    /// Whether a walk was refused for nothing but the N of its leaf.
    private func isRefusedForN(_ walk: Walk) -> Bool {
      guard case .malformed(let level, .reservedContiguous) = walk.outcome, let entry = walk.steps.last?.entry else {
        return false
      }
      let without = PageTableEntry(rawValue: entry.rawValue & ~(1 << 63))
      return entry.isLeaf && isAllowed(entry.flags) && without.problem(atLevel: level) == nil
    }

    func end(_ mode: PagingMode, _ memory: GuestRAM, departures: [Departure]) -> End {
      var probe = self
      if mode.isSecondStage, departures.contains(where: \.ignoresMXR) { probe.mxr = false }
      var address: UInt64? = address
      for departure in departures { address = address.flatMap { departure.address($0, mode) } }
      guard let address else { return .refused }
      let walk = mode.geometry.walk(
        IOVA(address), root: GPA(root), in: Misread(memory: memory, departures: departures))
      switch probe.end(walk) {
      case .lacks where operation != .tracedLoad && departures.contains(where: \.refusesMissingTables): return .refused
      case .refused where departures.contains(where: \.marksBeforeN) && probe.isRefusedForN(walk):
        return .refusedLate(leaf: walk.steps.last?.entryAddress.rawValue ?? 0)
      case .reaches(let target, let leaf): return .reaches(departures.reduce(target) { $1.target($0) }, leaf: leaf)
      case let end: return end
      }
    }

    /// The trap by which an access that pages refuse, or that reaches nothing, ends: its causes in this order.
    private var causes: (page: UInt64, access: UInt64) {
      switch operation {
      case .load: (13, 5)
      case .store: (15, 7)
      case .fetch: (12, 1)
      case .guestLoad: (21, 5)
      case .guestStore: (23, 7)
      case .tracedLoad: (13, 21)
      }
    }

    /// Whether that is what came of it.
    func isMet(_ end: End, by answer: Prober.Answer, _ memory: GuestRAM) -> Bool {
      let isPlaced = { (place: UInt64) in operation != .tracedLoad || answer.place == place & ~3 }
      switch end {
      case .refused, .refusedLate: return answer.cause == causes.page
      case .lacks(let entry): return answer.cause == causes.access && isPlaced(entry)
      case .reaches(let target, _):
        // What ROM or a device answers is its own affair.
        if target < GuestRAM.devicesEnd && operation != .tracedLoad { return answer.cause != causes.page }
        guard GuestRAM.isRAM(target) else { return answer.cause == causes.access && isPlaced(target) }
        // What was executed was an illegal instruction.
        if operation == .fetch { return answer.cause == 2 }
        return answer.cause == nil && (operation.isStore || memory.isRight(answer.value, at: target))
      }
    }

    var targets: [UInt64] {
      [specified, departing].compactMap { if case .reaches(let target, _) = $0 { target } else { nil } }
    }
  }

  @Test(arguments: Setting.all) func everyAccessEndsAsOnTheProcessor(_ setting: Setting) throws {
    let (processor, mode) = (setting.processor, setting.mode)
    let prober = try Prober(processor)
    let memory = GuestRAM(prober)
    let tables = max(1, Amount.tables / Setting.all.count)
    var ends: [String: Int] = [:]
    for first in stride(from: 0, to: tables, by: GuestRAM.slots) {
      memory.forget()
      var probes: [Probe] = []
      // A bit too many in a pointer may lead from one slot's tables into another's, so all are made before any is walked.
      var random = SeededNumbers(round: first)
      let made = (first..<min(first + GuestRAM.slots, tables)).map { Self.tables($0, mode, memory) }
      for (slot, tables) in made.enumerated() {
        probes += Self.probes(tables, round: first + slot, processor, memory, using: &random)
      }
      let answers = try prober.answers(
        to: probes.map { probe in
          probe.request(mode, value: probe.targets.first(where: GuestRAM.isTarget).map(memory.word) ?? 0)
        })
      for (probe, answer) in zip(probes, answers) {
        guard let kind = Self.kind(probe, answer, processor, mode, memory) else {
          Issue.record(
            """
            seed \(SeededNumbers.run) round \(probe.round) \(setting.testDescription): \(answer) for \(probe); \
            \(mode.geometry.walk(IOVA(probe.address), root: GPA(probe.root), in: memory))
            """)
          return
        }
        ends[kind, default: 0] += 1
      }
      if let place = memory.difference {
        Issue.record(
          """
          seed \(SeededNumbers.run) rounds \(first)... \(setting.testDescription): the entry at \(hex(place)) is \
          \(hex(prober[place])), not \(hex(memory.word(place)))
          """)
        return
      }
    }
    Amount.report(setting.testDescription, tables, ends)
    for kind in ["mapped", "mapped elsewhere", "refused"] {
      #expect(ends[kind] ?? 0 > tables / 10, "\(kind): \(ends)")
    }
  }

  /// The tables of one round, in their place.
  private static func tables(_ round: Int, _ mode: PagingMode, _ memory: GuestRAM) -> HostileTables {
    var random = SeededNumbers(round: round)
    let isSv32 = mode == .sv32
    let tables = HostileTables(
      mode, pages: GuestRAM.pages(round % GuestRAM.slots), elsewhere: [0x7fff_f000, 0xd000_0000, 0xff_ffff_f000],
      addresses: 4, using: &random
    ) { random in
      if random.chance(70) { return GuestRAM.target(random.below(4096)) }
      // Far behind RAM, up to the last page that there can be.
      return isSv32
        ? 1 << 21 | random.next() >> 42 : random.chance(20) ? .max >> 20 : 1 << 30 | random.next() >> 20
    }
    for word in tables.words { memory.store(word.entry, at: word.address, format: mode.entryFormat) }
    return tables
  }

  /// What is asked of the tables of one round.
  private static func probes(
    _ tables: HostileTables, round: Int, _ processor: Processor, _ memory: GuestRAM, using random: inout SeededNumbers
  ) -> [Probe] {
    let mode = tables.mode
    var probes: [Probe] = []
    for address in tables.addresses {
      // Aligned: an access that two pages share is two walks.
      var address = (mode == .sv32 ? address & 0xffff_ffff : address) & ~7 | UInt64(random.below(512)) * 8
      if address & ~0xfff == Prober.program { address ^= 0x1000 }
      for _ in 0..<2 {
        var probe = Probe(tables, address, round: round, using: &random)
        probe.specified = probe.end(mode.geometry.walk(IOVA(address), root: GPA(tables.root), in: memory))
        probe.departing = probe.end(mode, memory, departures: processor.departures)
        // Only what is there to be reached may be executed, or written with what it holds.
        if probe.operation.isStore || probe.operation == .fetch, probe.targets.contains(where: GuestRAM.isDelicate) {
          probe.operation = mode.isSecondStage ? .guestLoad : .load
          probe.specified = probe.end(mode.geometry.walk(IOVA(address), root: GPA(tables.root), in: memory))
          probe.departing = probe.end(mode, memory, departures: processor.departures)
        }
        probe.targets.forEach(memory.sign)
        probes.append(probe)
      }
    }
    return probes
  }

  /// How the access ended, as the specification has it or by a departure; nil when neither is so.
  private static func kind(
    _ probe: Probe, _ answer: Prober.Answer, _ processor: Processor, _ mode: PagingMode, _ memory: GuestRAM
  ) -> String? {
    var isLate = false
    if case .refusedLate = probe.departing { isLate = true }
    if !isLate, probe.isMet(probe.specified, by: answer, memory) {
      memory.note(probe.specified, probe.operation)
      switch probe.specified {
      case .reaches(let target, _): return GuestRAM.isRAM(target) ? "mapped" : "mapped elsewhere"
      case .refused, .refusedLate: return "refused"
      case .lacks: return "table missing"
      }
    }
    guard probe.isMet(probe.departing, by: answer, memory) else { return nil }
    memory.note(probe.departing, probe.operation)
    let alone = processor.departures.first { probe.end(mode, memory, departures: [$0]) == probe.departing }
    return "QEMU: \(alone?.name ?? "several of these")"
  }
}

extension GuestRAM {
  /// Takes down that a walk has set A, or A and D, in its leaf.
  fileprivate func note(_ end: ProcessorDifferenceTests.End, _ operation: Prober.Operation) {
    switch end {
    case .reaches(_, let leaf), .refusedLate(let leaf): mark(leaf: leaf, dirty: operation.isStore)
    case .refused, .lacks: break
    }
  }
}
