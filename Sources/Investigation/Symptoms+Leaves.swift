import IOMMUModel
import PageTables

/// Leaves that lie where they should and hold something else.
extension Symptoms {
  /// A leaf that is wrong, with the call that wrote it.
  private struct WrongLeaf {
    let call: RecordedCall
    let expected: PageTableEntry
    let found: PageTableEntry
    var samePage: Bool { expected.ppn == found.ppn }
    /// Hardware may set A and D. Where the protection is not known, nothing is expected.
    var sameFlags: Bool {
      call.call.protection == nil || Symptoms.known(expected.flags) == Symptoms.known(found.flags)
    }
  }

  private static func known(_ flags: PageTableEntry.Flags) -> PageTableEntry.Flags {
    flags.subtracting([.accessed, .dirty])
  }

  /// The leaf that a call should have left, and the entry that is there instead; nil when there is none.
  static func leaf(_ sample: Verification.Sample, in call: RecordedCall) -> (
    expected: PageTableEntry, found: PageTableEntry
  )? {
    guard let root = call.root else { return nil }
    let expected = PageTableEntry(rawValue: sample.expected, format: root.mode.entryFormat)
    let found = PageTableEntry(rawValue: sample.found, format: root.mode.entryFormat)
    let isThere = found.isValid || found.ppn == expected.ppn && found.rawValue != 0
    return isThere && (sample.level == 0 || found.isLeaf) ? (expected, found) : nil
  }

  /// What all wrong leaves have in common. Those of calls that a wrong index explains are other pages' leaves.
  func wrongLeaves(unless others: [Diagnosis.Hypothesis]) -> [Diagnosis.Hypothesis] {
    var leaves: [WrongLeaf] = []
    // A shift that explains a few calls may do so by chance: consecutive pages make it likely.
    let shifts = others.filter { other in
      wrongMaps.count { isShifted($0.verification, by: [other]) } > wrongMaps.count / 2
    }
    let ousted = others.reduce(into: Set()) { $0.formUnion($1.ousted) }
    for (call, verification) in wrongMaps
    where !isShifted(verification, by: shifts) && call.id.map(ousted.contains) != true {
      for sample in verification.samples {
        guard let leaf = Self.leaf(sample, in: call) else { continue }
        leaves.append(WrongLeaf(call: call, expected: leaf.expected, found: leaf.found))
      }
    }
    let moved = leaves.filter { !$0.samePage }
    let pages = pageNumbers(moved)
    // A leaf with a page number that nothing explains is somebody else's, and so are its permissions.
    let own =
      leaves.filter(\.samePage)
      + moved.indices.filter { leaf in pages.contains { $0.leaves.contains(leaf) } }.map { moved[$0] }
    return Self.best(pages) + protections(own.filter { !$0.sameFlags })
  }

  /// An explanation, and the leaves that it explains, by position.
  private typealias Candidate = (hypothesis: Diagnosis.Hypothesis, leaves: Set<Int>)

  /// Those that do not explain only a part of what another one explains.
  private static func best(_ candidates: [Candidate]) -> [Diagnosis.Hypothesis] {
    candidates.filter { one in !candidates.contains { one.leaves.isStrictSubset(of: $0.leaves) } }.map(\.hypothesis)
  }

  /// A hypothesis for those of `leaves` that it explains; nil when there is none. `spoils` says which calls would have gone
  /// wrong by it.
  private func hypothesis(
    _ cause: Diagnosis.Cause, _ title: String, _ leaves: [WrongLeaf], of noun: (String, String), remedy: String,
    precedence: Int, spoils: (RecordedCall) -> Bool, explains: (WrongLeaf) -> Bool
  ) -> Candidate? {
    let positions = leaves.indices.filter { explains(leaves[$0]) }
    let fitting = positions.map { leaves[$0] }
    guard let first = fitting.first else { return nil }
    let ids = Set(fitting.compactMap(\.call.id))
    var hypothesis = Diagnosis.Hypothesis(
      cause: cause, title: title,
      support: Diagnosis.Support(explained: ids.count, total: wrongMaps.count, unit: "wrong call"),
      evidence: [
        "\(fitting.count) of \(counted(leaves.count, noun.0, noun.1)) \(fitting.count == 1 ? "holds" : "hold") exactly what it "
          + "would write.",
        "Map #\(first.call.number) at \(first.call.call.iova): the leaf should be \(hex(first.expected.rawValue)) "
          + "and is \(hex(first.found.rawValue)).",
      ], remedy: place + remedy)
    if case .protectionMisread = cause {
      hypothesis.accounts = Self.accounts(fitting.map(\.call), .permissions)
    } else {
      hypothesis.accounts = Self.accounts(fitting.map(\.call), .page)
    }
    contradict(&hypothesis, spoils)
    credit(&hypothesis) { $0.tables != .agrees && $0.call.id.map(ids.contains) == true }
    hypothesis.precedence = precedence
    return (hypothesis, Set(positions))
  }

  // MARK: Page numbers

  private func pageNumbers(_ leaves: [WrongLeaf]) -> [Candidate] {
    let noun = ("leaf with a wrong page number", "leaves with a wrong page number")
    func found(
      _ cause: Diagnosis.Cause, _ title: String, _ remedy: String, _ precedence: Int,
      _ change: @escaping (UInt64) -> UInt64
    ) -> Candidate? {
      hypothesis(
        cause, title, leaves, of: noun, remedy: remedy, precedence: precedence,
        spoils: { call in targets(of: call).contains { change($0) != $0 } },
        explains: { change($0.expected.ppn) == $0.found.ppn })
    }
    return [shifted(leaves, found), cut(leaves, found), moved(leaves, found)].compactMap { $0 }
  }

  private typealias Changed = (
    _ cause: Diagnosis.Cause, _ title: String, _ remedy: String, _ precedence: Int,
    _ change: @escaping (UInt64) -> UInt64
  ) -> Candidate?

  private static let pageNumberMask: UInt64 = (1 << 44) - 1

  private func shifted(_ leaves: [WrongLeaf], _ found: Changed) -> Candidate? {
    func change(_ bits: Int) -> (UInt64) -> UInt64 { { $0.shifted(by: bits) & Self.pageNumberMask } }
    let counts = (-20...20).filter { $0 != 0 }.map { bits in
      (bits: bits, count: leaves.count { change(bits)($0.expected.ppn) == $0.found.ppn })
    }
    guard let (bits, _) = counts.max(by: { ($0.count, $1.bits.magnitude) < ($1.count, $0.bits.magnitude) }) else {
      return nil
    }
    let title =
      bits == 2
      ? "leaves hold the physical address where its page number belongs: shifted left by 2"
      : "the page number in leaves is shifted \(bits > 0 ? "left" : "right") by \(abs(bits))"
    return found(
      .pageNumberShifted(by: bits), title, "a leaf is (paddr >> 12) << 10 | flags.", 2, change(bits))
  }

  /// Bits that are never there although some leaf should have them.
  private func cut(_ leaves: [WrongLeaf], _ found: Changed) -> Candidate? {
    let lost = leaves.filter { $0.found.ppn & ~$0.expected.ppn == 0 }.reduce(UInt64(0)) {
      $0 | $1.expected.ppn & ~$1.found.ppn
    }
    guard lost != 0 else { return nil }
    let low = lost.trailingZeroBitCount
    let isHigh = leaves.allSatisfy { $0.found.ppn >> UInt64(low) == 0 }
    // Bits that no target had are lost as well, where all below the highest are gone.
    let size = UInt64(1) << UInt64(64 - lost.leadingZeroBitCount)
    let isRounded = leaves.allSatisfy { $0.found.ppn & ~$0.expected.ppn != 0 || $0.found.ppn % size == 0 }
    // A single low bit is what going back a page takes from every odd one.
    let isRounding = isRounded && size > 2
    let title =
      if isHigh {
        "page numbers are cut to \(low) bits, physical addresses to \(low + 12)"
      } else if isRounded {
        "targets are rounded down to multiples of \(PageTables.size(size &* 4096))"
      } else {
        "page numbers lose the bits \(hex(lost))"
      }
    return found(
      .pageNumberCut(lost: lost), title,
      isHigh
        ? "the physical address has to keep its 64 bits (phys_addr_t) all the way into the leaf."
        : "each leaf takes the number of its own 4 KiB page, not that of a larger one.",
      isHigh ? 3 : isRounding ? 1 : -1, { $0 & ~lost })
  }

  private func moved(_ leaves: [WrongLeaf], _ found: Changed) -> Candidate? {
    func distance(_ leaf: WrongLeaf) -> UInt64 { leaf.found.ppn &- leaf.expected.ppn }
    let groups = Dictionary(grouping: leaves, by: distance)
    guard
      let (bits, group) = groups.max(by: {
        ($0.value.count, Int64(bitPattern: $1.key).magnitude, $1.key)
          < ($1.value.count, Int64(bitPattern: $0.key).magnitude, $0.key)
      })
    else { return nil }
    let distance = Int64(bitPattern: bits)
    // Every leaf is off by something: only what several share is a pattern.
    let isPattern = Set(group.map(\.expected.ppn)).count > 1
    var candidate = found(
      .pageNumberOff(by: distance),
      "leaves point \(counted(Int(clamping: distance.magnitude), "page")) too \(distance > 0 ? "far" : "low")",
      "the n-th page of a range is at paddr + n * 4096.", isPattern ? 0 : -2,
      { ($0 &+ bits) & Self.pageNumberMask })
    if !isPattern {
      candidate?.hypothesis.openQuestion = "One leaf shows no pattern: more calls would, `iommu record map`."
    }
    return candidate
  }

  /// The page numbers of the call's first and last leaf.
  private func targets(of call: RecordedCall) -> [UInt64] {
    guard let mode = call.root?.mode else { return [] }
    let runs = profile.leaves(of: call.call, mode: mode)
    return [runs.first?.leaf(0).ppn, runs.last.map { $0.leaf($0.count &- 1).ppn }].compactMap { $0 }
  }

  // MARK: Protections

  private func protections(_ leaves: [WrongLeaf]) -> [Diagnosis.Hypothesis] {
    let candidates = Diagnosis.ProtectionMistake.allCases.compactMap { mistake in
      hypothesis(
        .protectionMisread(mistake), mistake.title, leaves,
        of: ("leaf with wrong permissions", "leaves with wrong permissions"), remedy: mistake.remedy, precedence: 0,
        spoils: { call in flags(of: call, mistake) != flags(of: call, nil) },
        explains: { leaf in flags(of: leaf.call, mistake) == Self.known(leaf.found.flags) })
    }
    var best = Self.best(candidates)
    guard best.count > 1, best.allSatisfy({ $0.explainsAll && $0.contradicted == 0 }) else { return best }
    let asked = Set(leaves.compactMap(\.call.call.protection)).map(\.description).sorted().joined(separator: " and ")
    for position in best.indices {
      best[position].openQuestion =
        "Only calls for \(asked) went wrong: one with another protection would tell these explanations apart."
    }
    return best
  }

  /// The flags of the call's first leaf, as the driver writes them with a mistake or without one.
  private func flags(of recorded: RecordedCall, _ mistake: Diagnosis.ProtectionMistake?) -> PageTableEntry.Flags? {
    guard let mode = recorded.root?.mode,
      case .map(let target, let protection?, let allocation) = recorded.call.operation
    else { return nil }
    let call = DriverCall(
      function: recorded.call.function,
      operation: .map(
        target: target, protection: mistake?.applied(to: protection) ?? protection, allocation: allocation),
      domain: recorded.call.domain, iova: recorded.call.iova, length: recorded.call.length, pages: recorded.call.pages)
    guard let flags = profile.leaves(of: call, mode: mode).first?.first.flags else { return nil }
    switch mistake {
    case .validLost: return Self.known(flags).subtracting(.valid)
    case .writeAlone: return protection.contains(.read) ? Self.known(flags) : Self.known(flags).subtracting(.read)
    default: return Self.known(flags)
    }
  }
}

extension Diagnosis.ProtectionMistake {
  fileprivate var title: String {
    switch self {
    case .exchanged: "READ and WRITE are exchanged"
    case .writeLost: "WRITE is lost on the way into the leaf"
    case .readLost: "READ is lost on the way into the leaf"
    case .bothLost: "READ and WRITE are lost: leaves are bare, and read as pointers"
    case .alwaysWritable: "every page is mapped for reading and writing, whatever is asked for"
    case .alwaysReadOnly: "every page is mapped for reading only, whatever is asked for"
    case .validLost: "leaves are written without V: they are there, and not valid"
    case .writeAlone: "WRITE without READ becomes W without R, which is reserved"
    }
  }

  fileprivate var remedy: String {
    switch self {
    case .validLost: "a leaf needs V, bit 0."
    case .writeAlone: "W needs R beside it: RISC-V knows no page that can be written and not read."
    default: "the way from iommu_prot (IOMMU_READ bit 0, IOMMU_WRITE bit 1) to the leaf (R bit 1, W bit 2)."
    }
  }

  fileprivate func applied(to protection: Protection) -> Protection {
    let others = protection.subtracting([.read, .write])
    switch self {
    case .exchanged:
      return others.union(protection.contains(.read) ? .write : []).union(protection.contains(.write) ? .read : [])
    case .writeLost: return protection.subtracting(.write)
    case .readLost: return protection.subtracting(.read)
    case .bothLost: return others
    case .alwaysWritable: return protection.union([.read, .write])
    case .alwaysReadOnly: return others.union(.read)
    case .validLost, .writeAlone: return protection
    }
  }
}

extension UInt64 {
  /// To the left for a positive number of bits, to the right for a negative one.
  fileprivate func shifted(by bits: Int) -> UInt64 { bits >= 0 ? self << UInt64(bits) : self >> UInt64(-bits) }
}
