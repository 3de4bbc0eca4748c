import IOMMUModel
import PageTables

/// Contiguous groups (Svnapot: RISC-V privileged specification 1.12, chapter 5) that a device takes apart.
extension Symptoms {
  /// A leaf of a group, and where it leads: by the specification, and as a page of its own, when N is not looked at.
  struct GroupLeaf: Hashable {
    let step: Walk.Step
    let iova: IOVA
    let target: GPA, alone: GPA

    /// The leaf of `iova` in `root`; nil when it is none of a group, or leads to the same address either way.
    init?(of iova: IOVA, root: TableRoot, in memory: some PhysicalMemory) {
      let walk = root.mode.geometry.walk(iova, root: root.address, in: memory)
      guard let target = walk.target, let step = walk.steps.last, step.entry.isContiguous else { return nil }
      (self.step, self.iova, self.target) = (step, iova, target)
      alone = step.entry.address + UInt64(iova.pageOffset)
      if alone == target { return nil }
    }
  }

  /// The leaves of groups, each page looked up once.
  private struct GroupLeaves {
    private struct Place: Hashable {
      let root: TableRoot
      let page: IOVA
    }

    let memory: ResidentPages
    private var known: [Place: GroupLeaf?] = [:]

    init(_ memory: any PhysicalMemory) { self.memory = ResidentPages(of: memory) }

    mutating func leaf(of iova: IOVA, root: TableRoot?) -> GroupLeaf? {
      guard let root else { return nil }
      let place = Place(root: root, page: iova.page)
      let leaf: GroupLeaf?
      if let found = known[place] {
        leaf = found
      } else {
        leaf = GroupLeaf(of: iova.page, root: root, in: memory)
        known[place] = .some(leaf)
      }
      return leaf
    }
  }

  /// Whether the device's way with a range is that of one that ignores N.
  func isTakenApart(_ line: CrossCheck.Line, in memory: any PhysicalMemory) -> Bool {
    guard line.tables == .agrees, case .wrongAddress(let found) = line.device, let root = line.call.root,
      let leaf = GroupLeaf(of: line.iova, root: root, in: ResidentPages(of: memory))
    else { return false }
    return leaf.alone == found
  }

  /// Runs of translations that went where entries of groups lead without N, each with the leaf.
  func takenApart() -> [(run: TranslationCheck.Line, leaf: GroupLeaf)] {
    runs(where: { $0.wrongAddress != nil }, lead: \.alone)
  }

  /// Runs with such a verdict that lead where the leaf of a group says in one of two ways that differ.
  private func runs(
    where isWanted: (TranslationCheck.Verdict) -> Bool, lead target: KeyPath<GroupLeaf, GPA>
  ) -> [(run: TranslationCheck.Line, leaf: GroupLeaf)] {
    guard let memory = context.memory, let wanted = context.translations?.lines.filter(byVerdict: isWanted) else {
      return []
    }
    var leaves = GroupLeaves(memory)
    var found: [(run: TranslationCheck.Line, leaf: GroupLeaf)] = []
    for run in wanted {
      let iova = run.translation.iova
      guard let answer = run.translation.answer?.address, let leaf = leaves.leaf(of: iova, root: run.call?.root),
        answer == leaf[keyPath: target] + UInt64(iova.pageOffset)
      else { continue }
      found.append((run, leaf))
    }
    return found
  }

  /// A device that takes each entry of a group for a page of its own: seen in its translations, told by its model, or both.
  func contiguousCauses() -> [Diagnosis.Hypothesis] {
    guard let memory = context.memory else { return [] }
    let seen = takenApart()
    let runs = seen.map(\.run)
    let ranges = lines.filter { isTakenApart($0, in: memory) }
    let told = ranges.first.flatMap { line in
      line.call.root.flatMap { GroupLeaf(of: line.iova, root: $0, in: ResidentPages(of: memory)) }
    }
    guard let leaf = seen.first?.leaf ?? told else { return [] }
    // Without anything amiss nobody has to look at what is right.
    let honoured = self.runs(where: { $0 == .agrees }, lead: \.target).map(\.run)
    let astray = (context.translations?.lines.filter(byVerdict: { $0.wrongAddress != nil }).count ?? 0)
    let support =
      ranges.isEmpty
      ? Diagnosis.Support(explained: runs.count, total: max(astray, runs.count), unit: "run")
      : Diagnosis.Support(
        explained: ranges.reduce(0) { $0 + pages($1.length) }, total: check?.disagreeingPages ?? 0, unit: "page")
    let name = profile.device.name
    var hypothesis = Diagnosis.Hypothesis(
      cause: .contiguousIgnored,
      title:
        "\(name) ignores N in contiguous (Svnapot) entries: it takes \(leaf.iova) to \(leaf.alone), not to \(leaf.target)",
      support: support,
      evidence: [
        "The entry at \(leaf.step.entryAddress) is \(hex(leaf.step.entry.rawValue)): N is set and the page number ends in "
          + "1000, so that it is one of 16 equal ones for 64 KiB (Svnapot, table 5.1). \(leaf.iova) leads to \(leaf.target) by "
          + "it, and to \(leaf.alone) without N."
      ],
      effects: [
        "Of every 64 KiB only the page at \(hex(0x8000)) is where it should be: all 16 lead there. No fault is raised, so that "
          + "nobody is told."
      ],
      remedy:
        "the device's walk: with N the lowest four bits of the page number are those of the address. Until then the "
        + "driver must not write such entries, for which a domain without 64 KiB in its pgsize_bitmap is enough.")
    hypothesis.evidence += runs.prefix(3).map(\.sentence)
    if let call = runs.first?.call ?? ranges.first?.call {
      hypothesis.evidence.append("The tables are right: map #\(call.number) asked for just that.")
    }
    if let line = ranges.first, let requester = line.call.requester, let registers = context.registers {
      let translation = profile.device.translate(
        line.iova, access: line.call.access, requester: requester, registers: registers, memory: memory)
      hypothesis.evidence += translation.deviations.map { "The device as it is implemented: \($0)." }
    }
    hypothesis.contradicted = honoured.count
    if let right = honoured.first {
      hypothesis.counterEvidence.append(
        "\(counted(honoured.count, "run")) on such entries \(honoured.count == 1 ? "leads" : "lead") where they should, the "
          + "first at \(right.translation.iova): there N was heeded.")
    }
    let own = Set(ranges)
    credit(&hypothesis) { own.contains($0) }
    // Seen, and nothing in the tables weighs against it.
    if lines.isEmpty { hypothesis.present = 0.5 }
    hypothesis.precedence = 3
    return [hypothesis]
  }
}
