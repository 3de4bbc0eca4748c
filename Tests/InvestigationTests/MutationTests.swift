import Foundation
import IOMMUModel
import PageTables
import Randomness
import Simulation
import Testing

@testable import Investigation

/// Every mistake that a driver, its set-up or its device can have, made on purpose in random workloads: does the diagnosis
/// name it?
@Suite struct MutationTests {
  /// Cases of each kind that are not harmless.
  static let cases = 40
  static let parallel = 2

  @Test func mutationsAreNamed() async throws {
    let seed = SeededNumbers.run
    var rows = [ConfusionMatrix.Row?](repeating: nil, count: Mutation.all.count)
    await withTaskGroup(of: (Int, ConfusionMatrix.Row).self) { group in
      var waiting = Array(Mutation.all.enumerated())[...]
      func next() {
        guard let (position, mutation) = waiting.popFirst() else { return }
        group.addTask { (position, Self.judge(mutation, seed: seed &+ UInt64(position) << 32)) }
      }
      for _ in 0..<Self.parallel { next() }
      for await (position, row) in group {
        rows[position] = row
        next()
      }
    }
    let matrix = ConfusionMatrix(rows: rows.compactMap { $0 })
    print("mutations: IOMMULENS_SEED=\(seed)\n\(matrix)")
    #expect(matrix.rows.count == Mutation.all.count && matrix.rows.allSatisfy { $0.judged == Self.cases })
    #expect(matrix.falseAlarms == 0, "a harmless case has a hypothesis")
    #expect(Double(matrix.named) >= 0.95 * Double(matrix.judged))
    for row in matrix.rows { #expect(row.named * 10 >= row.judged * 9, "\(row.mutation)") }
  }

  /// Forty cases in which the mutation did harm.
  private static func judge(_ mutation: Mutation, seed: UInt64) -> ConfusionMatrix.Row {
    var row = ConfusionMatrix.Row(mutation: mutation.name)
    var next = seed
    while row.judged < cases && row.harmless < 10 * cases {
      next &+= 1
      let trial = Trial(mutation, seed: next)
      guard trial.isHarmful else {
        row.harmless += 1
        // Some mutations do no harm most of the time; those few that are looked at are enough.
        if row.harmless <= cases / 4 {
          let diagnosis = trial.diagnosis
          if !diagnosis.hypotheses.isEmpty { row.note(falseAlarm: diagnosis, seed: next) }
        }
        continue
      }
      let diagnosis = trial.diagnosis
      let right = diagnosis.hypotheses.prefix(mutation.mustBeFirst ? 1 : 2).count { trial.names($0.cause) }
      row.add(diagnosis, seed: next, isNamed: right >= (mutation.takesBoth ? 2 : 1), names: trial.names)
    }
    return row
  }
}

/// One mutation at work in one workload.
struct Trial {
  let recording: Recording
  /// Whether anything is not as the same calls leave it with a driver and a device that are right.
  let isHarmful: Bool
  /// Whether a cause is the one that was put in.
  let names: (Diagnosis.Cause) -> Bool
  let cpu: PagingMode?
  /// Whether the driver has no handler for the device's faults; nil where nobody knows.
  let isUnheard: Bool?

  init(_ mutation: Mutation, seed: UInt64) {
    var numbers = SeededNumbers(seed: seed)
    let parts = mutation.parts[Int.random(in: 0..<mutation.parts.count, using: &numbers)]
    let bench = Bench(steps: Workload(parts, seed: numbers.next()).steps, numbers: numbers)
    names = mutation.run(bench)
    if bench.random(0...1) == 0 { bench.letDeviceFault() }
    recording = bench.recording
    isHarmful = bench.isHarmful
    cpu = [nil, .sv39, .sv48, .sv57][Int.random(in: 0...3, using: &numbers)]
    isUnheard = bench.isUnheard ?? [nil, true, false][Int.random(in: 0...2, using: &numbers)]
  }

  var diagnosis: Diagnosis { recording.diagnosis(cpu: cpu) { $0.interruptIsUnheard = isUnheard } }
}

/// A wrong driver and a right one that are given the same calls.
final class Bench {
  let steps: [Workload.Step]
  var numbers: SeededNumbers
  let recording = Recording(SimulatedDriver())
  private let right = SimulatedDriver()
  private var domains: [SimulatedDriver.Domain] = [], twins: [SimulatedDriver.Domain] = []
  /// Set where the harm is not in the tables.
  var harm: Bool?
  /// Set where it matters whether the driver has a handler for faults.
  var isUnheard: Bool?
  private var differs = false
  private struct Page: Hashable {
    let domain: Int
    let iova: UInt64
  }
  private var touched: Set<Page> = []

  var driver: SimulatedDriver { recording.driver }

  init(steps: [Workload.Step], numbers: SeededNumbers) {
    (self.steps, self.numbers) = (steps, numbers)
    addDomains()
  }

  /// Two more domains: the card's and the guest's.
  func addDomains(attached: Bool = true) {
    (domains, twins) = ([], [])
    for requester in [Scenario.card, Scenario.passedThrough] {
      domains.append(driver.domain(of: attached ? requester : nil))
      twins.append(right.domain(of: requester))
    }
    touched = []
  }

  /// The domains that calls were made for.
  var usedDomains: [SimulatedDriver.Domain] { Set(touched.map(\.domain)).sorted().map { domains[$0] } }

  func random(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &numbers) }

  func pick<Element>(_ elements: [Element]) -> Element { elements[random(0...elements.count - 1)] }

  /// Both drivers do the steps; whatever differs after one of them is harm.
  func run(_ steps: (some Sequence<Workload.Step>)? = nil as [Workload.Step]?) {
    if let steps { for step in steps { self.step(step) } } else { for step in self.steps { self.step(step) } }
  }

  func step(_ step: Workload.Step) {
    recording.run([step], in: domains)
    let range: (domain: Int, iova: UInt64, length: UInt64)
    switch step {
    case .map(let domain, let iova, let target, let size, let count, let prot):
      right.map(twins[domain], iova, to: target, size: size, count: count, prot: prot)
      range = (domain, iova, size * count)
    case .unmap(let domain, let iova, let size, let count):
      right.unmap(twins[domain], iova, size: size, count: count)
      range = (domain, iova, size * count)
    }
    for offset in stride(from: 0, to: range.length, by: 4096) {
      let page = Page(domain: range.domain, iova: range.iova + offset)
      touched.insert(page)
      if !isRight(page) { differs = true }
    }
  }

  private func isRight(_ page: Page) -> Bool {
    let word = driver.word(of: page.iova, in: domains[page.domain])
    let expected = right.word(of: page.iova, in: twins[page.domain])
    return word == expected || (word | expected) & 1 == 0
  }

  private func isLive(_ page: Page) -> Bool { right.word(of: page.iova, in: twins[page.domain]) & 1 != 0 }

  private var livePagesInOrder: [Page] {
    touched.filter(isLive).sorted { ($0.domain, $0.iova) < ($1.domain, $1.iova) }
  }
  var hasLivePages: Bool { touched.contains(where: isLive) }
  /// Pages that are mapped, by domain and IOVA.
  var livePages: [(domain: SimulatedDriver.Domain, iova: UInt64)] {
    livePagesInOrder.map { (domains[$0.domain], $0.iova) }
  }
  /// The same as calls that unmap them.
  var unmapsOfAll: [Workload.Step] {
    livePagesInOrder.map { .unmap(domain: $0.domain, iova: $0.iova, size: 4096, count: 1) }
  }

  /// What becomes of the first access to a page that should be mapped and is not: a fault, which stays.
  func letDeviceFault() {
    guard driver.latched == 0, let page = livePagesInOrder.first(where: { !isRight($0) }),
      let requester = domains[page.domain].requester
    else { return }
    let word = driver.word(of: page.iova, in: domains[page.domain])
    let expected = right.word(of: page.iova, in: twins[page.domain])
    if word & 1 == 0 { driver.latchFault(of: requester, at: page.iova) }
    if word & 7 == 3 && expected & 4 != 0 { driver.latchFault(of: requester, at: page.iova, cause: 15) }
    if word & 7 == 5 { driver.latchFault(of: requester, at: page.iova, cause: 14) }
  }

  /// Pages of which a walk finds the wrong thing now.
  var wrongPages: Int { touched.count { !isRight($0) } }

  var isHarmful: Bool { harm ?? (differs || wrongPages > 0) }
}

/// A mistake, and how to make it.
struct Mutation: Sendable {
  let name: String
  /// Workloads in which it can show, one of which is taken.
  var parts: [Workload.Parts] = [.card, .guest, [.card, .guest]]
  /// How many of the first two explanations it takes to name it, where not one of them will do.
  var mustBeFirst = false, takesBoth = false
  /// Runs the steps with it, and says how a cause is told to be it.
  let run: @Sendable (Bench) -> (Diagnosis.Cause) -> Bool

  /// The mistake that `mistakes` has, which is `cause`.
  private static func driver(
    _ name: String, in parts: [Workload.Parts]? = nil, _ cause: Diagnosis.Cause,
    _ change: @Sendable @escaping (inout SimulatedDriver.Mistakes) -> Void
  ) -> Mutation {
    var mutation = Mutation(name: name) { bench in
      bench.driver.mistakes = .with(change)
      bench.run()
      return { $0 == cause }
    }
    if let parts { mutation.parts = parts }
    return mutation
  }

  private static func wrongShift(_ level: Int, _ bench: Bench) -> (Diagnosis.Cause) -> Bool {
    let shift = bench.pick((12...57).filter { $0 != 12 + 9 * level })
    bench.driver.shifts[level] = shift
    return isShift(level, shift)
  }

  private static func isShift(_ level: Int, _ shift: Int) -> (Diagnosis.Cause) -> Bool {
    {
      guard case .wrongShift(let found) = $0 else { return false }
      return found.level == level && found.shifts.contains(ShiftSet(shift))
    }
  }

  private static let everywhere: [Workload.Parts] = [.card, .guest, [.card, .guest], .low]
  private static let large: [Workload.Parts] = [.hugeGuest, [.card, .hugeGuest]]

  static let all: [Mutation] =
    (0...2).reversed().map { level in
      Mutation(name: "shift at level \(level)", parts: everywhere) { bench in
        defer { bench.run() }
        return wrongShift(level, bench)
      }
    } + leaves + protections + ranges + unmaps + domains + device + silence + deceptive

  private static let leaves = [
    Mutation(name: "page number shifted") { bench in
      let bits = bench.pick([-12, -3, -2, -1, 1, 2, 2, 3, 9, 10, 12])
      bench.driver.mistakes.pageShift = bits
      bench.run()
      return { $0 == .pageNumberShifted(by: bits) }
    },
    Mutation(name: "page number cut") { bench in
      let bits = UInt64(bench.random(16...20))
      bench.driver.mistakes.pageBits = 1 << bits - 1
      bench.run()
      return isCut(keeping: 1 << bits - 1)
    },
    Mutation(name: "page number rounded") { bench in
      let low: UInt64 = bench.pick([1, 3, 7, 0x1ff])
      bench.driver.mistakes.pageBits = ~low
      bench.run()
      return isCut(keeping: ~low)
    },
    Mutation(name: "page number off") { bench in
      let distance = Int64(bench.pick([-512, -16, -2, -1, 1, 1, 2, 3, 16, 512]))
      bench.driver.mistakes.pageDistance = distance
      bench.run()
      return { $0 == .pageNumberOff(by: distance) }
    },
  ]

  private static func isCut(keeping bits: UInt64) -> (Diagnosis.Cause) -> Bool {
    {
      guard case .pageNumberCut(let lost) = $0 else { return false }
      return lost & bits == 0
    }
  }

  private static let protections = [
    driver("READ, WRITE exchanged", .protectionMisread(.exchanged)) { $0.flags = .exchanged },
    driver("WRITE lost", .protectionMisread(.writeLost)) { $0.flags = .writeLost },
    driver("READ lost", .protectionMisread(.readLost)) { $0.flags = .readLost },
    driver("both lost", .protectionMisread(.bothLost)) { $0.flags = .bothLost },
    driver("always writable", .protectionMisread(.alwaysWritable)) { $0.flags = .alwaysWritable },
    driver("always read-only", .protectionMisread(.alwaysReadOnly)) { $0.flags = .alwaysReadOnly },
    driver("V lost", .protectionMisread(.validLost)) { $0.flags = .validLost },
    driver("W without R", .protectionMisread(.writeAlone)) { $0.flags = .writeAlone },
  ]

  private static let ranges = [
    driver("map: pgcount ignored", in: [.guest, .card] + large, .rangeCut(.countIgnored)) { $0.mapped = .countIgnored },
    driver("map: pgsize ignored", in: large, .rangeCut(.sizeIgnored)) { $0.mapped = .sizeIgnored },
    driver("map: first 4 KiB", in: [.guest, .card] + large, .rangeCut(.firstPageOnly)) { $0.mapped = .firstPage },
    driver("entries lost", .entriesLost) { $0.mapped = .nothing },
    Mutation(name: "entries lost at times") { bench in
      for step in bench.steps {
        if case .map = step { bench.driver.mistakes.mapped = bench.random(0...3) == 0 ? .nothing : .all }
        bench.step(step)
      }
      return { $0 == .entriesLost }
    },
    Mutation(name: "progress not reported") { bench in
      let last = bench.random(0...bench.steps.count - 1)
      bench.run(bench.steps.prefix(last))
      guard case .map = bench.steps[last] else {
        bench.harm = false
        return { _ in false }
      }
      for _ in 0..<bench.random(3...12) { bench.step(bench.steps[last]) }
      bench.harm = true
      return { $0 == .progressNotReported }
    },
  ]

  private static let unmaps = [
    driver("unmap: nothing", in: [.card, .guest], .unmapIncomplete(.nothing)) { $0.cleared = .nothing },
    driver("unmap: pgcount ignored", in: [.guest], .unmapIncomplete(.countIgnored)) { $0.cleared = .countIgnored },
    driver("unmap: pgsize ignored", in: large, .unmapIncomplete(.sizeIgnored)) { $0.cleared = .sizeIgnored },
    driver("unmap: first 4 KiB", in: [.guest] + large, .unmapIncomplete(.firstPageOnly)) { $0.cleared = .firstPage },
    Mutation(name: "unmap: another page", parts: [.card]) { bench in
      let distance = Int64(bench.pick([-2, -1, 1, 2, 3])) << 12
      bench.driver.mistakes.clearsAtDistance = distance
      bench.run()
      // Where it never hit another mapping it only left its own.
      return { $0 == .unmapsAnother(by: distance) || bench.driver.overwrites == 0 && $0 == .unmapIncomplete(.nothing) }
    },
  ]

  private static let domains = [
    Mutation(name: "other domain's table", parts: [.guest, [.card, .guest]]) { bench in
      bench.driver.mistakes.usesFirstDomain = true
      bench.run()
      return { $0 == .otherDomain }
    },
    Mutation(name: "cleared by others") { bench in
      bench.run()
      for page in bench.livePages where bench.random(0...3) == 0 {
        bench.driver.overwrite(page.iova, in: page.domain, 0)
      }
      return { $0 == .vanished }
    },
    Mutation(name: "overwritten by others") { bench in
      bench.run()
      for page in bench.livePages where bench.random(0...3) == 0 {
        let target = 0x8_0000 + UInt64(bench.random(0...0x1f_ffff))
        bench.driver.overwrite(page.iova, in: page.domain, target << 10 | 7)
      }
      return { $0 == .vanished }
    },
  ]

  private static let device = [
    Mutation(name: "huge leaves misread", parts: large) { bench in
      bench.driver.mistakes = .hugeLeaves
      bench.run()
      let huge = bench.livePages.first { bench.driver.hasHugeLeaf($0.iova, in: $0.domain) }
      bench.harm = huge != nil
      // The device's first access latches a cause on its way beyond the leaf.
      if let huge, let requester = huge.domain.requester { bench.driver.latchFault(of: requester, at: huge.iova) }
      return { if case .superpageMisread(let level) = $0 { level == 1 } else { false } }
    },
    Mutation(name: "table entry not valid") { bench in
      bench.run()
      let victim = bench.pick(bench.usedDomains)
      if let requester = victim.requester { bench.driver.write(victim.descriptor.rawValue | 4, toEntryOf: requester) }
      bench.harm = bench.livePages.contains { $0.domain.pointer == victim.pointer }
      return { if case .bypassed(let who) = $0 { who == victim.requester } else { false } }
    },
    Mutation(name: "translation off") { bench in
      bench.run()
      bench.driver.enable = 0
      bench.harm = bench.hasLivePages
      return { if case .bypassed = $0 { true } else { false } }
    },
    Mutation(name: "not attached") { bench in
      bench.addDomains(attached: false)
      bench.run()
      bench.harm = bench.hasLivePages
      return { $0 == .notAttached }
    },
    Mutation(name: "descriptor: other root") { bench in
      bench.run()
      let victim = bench.pick(bench.usedDomains)
      let other = bench.driver.domain(of: nil)
      bench.driver.memory[victim.descriptor.rawValue] = 8 << 60 | other.root.address.rawValue >> 12
      bench.harm = bench.livePages.contains { $0.domain.pointer == victim.pointer }
      return { $0 == .otherTable }
    },
    Mutation(name: "descriptor: other mode") { bench in
      bench.run()
      let victim = bench.pick(bench.usedDomains)
      let mode: UInt64 = bench.pick([1, 9, 10])
      bench.driver.memory[victim.descriptor.rawValue] = mode << 60 | victim.root.address.rawValue >> 12
      bench.harm = bench.livePages.contains { $0.domain.pointer == victim.pointer }
      return { $0 == .otherTable }
    },
    Mutation(name: "fault latched") { bench in
      bench.run()
      bench.driver.latchFault(of: Scenario.card, at: 0xffff_f008)
      bench.harm = bench.hasLivePages
      return { $0 == .latchedFault }
    },
  ]

  /// What keeps people from being told of a fault, with the fault or its cause before it.
  private static let silence = [
    Mutation(name: "fault latched, no handler", takesBoth: true) { bench in
      bench.run()
      bench.isUnheard = true
      bench.driver.latchFault(of: Scenario.card, at: 0xffff_f008)
      bench.harm = bench.hasLivePages
      return { [.latchedFault, .faultsUnheard].contains($0) }
    },
    Mutation(name: "fault latched, other register", takesBoth: true) { bench in
      bench.run()
      bench.isUnheard = false
      bench.driver.latchFault(of: Scenario.card, at: 0xffff_f008)
      bench.harm = bench.hasLivePages
      return { [.latchedFault, .registerMisplaced(driver: 0x20, device: 0x28)].contains($0) }
    },
    Mutation(name: "lost, no handler", takesBoth: true) { bench in
      // Without unmaps, and so without losses that are over.
      var seen: Set<UInt64> = []
      for step in bench.steps {
        guard case .map(_, let iova, _, _, _, _) = step, seen.insert(iova).inserted else { continue }
        bench.driver.mistakes.mapped = bench.random(0...3) == 0 ? .nothing : .all
        bench.step(step)
      }
      bench.isUnheard = true
      if bench.wrongPages > 0 { bench.driver.latchFault(of: Scenario.card, at: 0xffff_f008) }
      return { [.entriesLost, .faultsUnheard].contains($0) }
    },
  ]

  /// Cases whose obvious answer is wrong.
  private static let deceptive = [
    // The fault is what the network card suffers from; the shift is why there is one.
    Mutation(name: "shift, fault latched", parts: [[.low, .guest], .card], mustBeFirst: true) { bench in
      bench.driver.shifts[2] = 48
      bench.run()
      bench.driver.latchFault(of: Scenario.card, at: 0xffff_f008)
      // Below 1 GiB the tables are right, and only the fault is left.
      if bench.wrongPages > 0 { return isShift(2, 48) }
      bench.harm = bench.hasLivePages
      return { $0 == .latchedFault }
    },
    // The tables are looked at when the next stops have overwritten what the first calls left.
    Mutation(name: "shift, looked at late", parts: everywhere) { bench in
      let names = wrongShift(2, bench)
      bench.recording.verifiesLate = true
      // Without unmaps, and so without IOVAs that are mapped again.
      var seen: Set<UInt64> = []
      bench.run(
        bench.steps.filter { if case .map(_, let iova, _, _, _, _) = $0 { seen.insert(iova).inserted } else { false } })
      bench.recording.verifyAll()
      return names
    },
    Mutation(name: "shift, repaired") { bench in
      let names = wrongShift(2, bench)
      bench.run()
      bench.driver.shifts[2] = 30
      bench.run(bench.unmapsOfAll)
      bench.run()
      return names
    },
    Mutation(name: "shift, repaired, latched", mustBeFirst: true) { bench in
      bench.driver.shifts[2] = 48
      bench.run()
      bench.driver.shifts[2] = 30
      bench.run(bench.unmapsOfAll)
      bench.run()
      bench.driver.latchFault(of: Scenario.card, at: 0xffff_f008)
      bench.harm = bench.hasLivePages
      return { $0 == .latchedFault }
    },
    // Two mistakes that do not hide each other.
    Mutation(name: "page off, WRITE lost", takesBoth: true) { bench in
      bench.driver.mistakes.pageDistance = 1
      bench.driver.mistakes.flags = .writeLost
      bench.run()
      return { [.pageNumberOff(by: 1), .protectionMisread(.writeLost)].contains($0) }
    },
    Mutation(name: "page cut, unmap: nothing", parts: [.card], takesBoth: true) { bench in
      bench.driver.mistakes.pageBits = 0xfffff
      bench.driver.mistakes.cleared = .nothing
      bench.run()
      return { if case .pageNumberCut = $0 { true } else { $0 == .unmapIncomplete(.nothing) } }
    },
    // Odd pages only: minus one and a lost lowest bit come to the same.
    Mutation(name: "off by -1, odd pages") { bench in
      bench.driver.mistakes.pageDistance = -1
      for step in bench.steps {
        if case .map(let domain, let iova, let target, _, _, let prot) = step {
          bench.step(
            .map(domain: domain, iova: iova, target: target | 0x1000, size: 4096, count: 1, prot: prot))
        }
      }
      return { $0 == .pageNumberOff(by: -1) }
    },
    Mutation(name: "lost, fault latched", mustBeFirst: true) { bench in
      for step in bench.steps {
        if case .map = step { bench.driver.mistakes.mapped = bench.random(0...3) == 0 ? .nothing : .all }
        bench.step(step)
      }
      if bench.wrongPages > 0 { bench.driver.latchFault(of: Scenario.card, at: 0xffff_f008) }
      return { $0 == .entriesLost }
    },
  ]
}
