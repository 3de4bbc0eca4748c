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
  }

  private static let pageNumberMask: UInt64 = (1 << 44) - 1

  /// What all wrong leaves have in common.
  func wrongLeaves() -> [Diagnosis.Hypothesis] {
    var leaves: [WrongLeaf] = []
    for (call, verification) in wrongMaps {
      guard let root = call.root else { continue }
      let format = root.mode.entryFormat
      for sample in verification.samples {
        let found = PageTableEntry(rawValue: sample.found, format: format)
        guard found.isValid, sample.level == 0 || found.isLeaf else { continue }
        leaves.append(
          WrongLeaf(call: call, expected: PageTableEntry(rawValue: sample.expected, format: format), found: found))
      }
    }
    let moved = leaves.filter { !$0.samePage }
    return (moved.isEmpty ? [] : pageNumbers(moved)) + protections(leaves.filter(\.samePage))
  }

  private func hypothesis(
    _ cause: Diagnosis.Cause, _ title: String, _ leaves: [WrongLeaf], evidence: [String], remedy: String,
    precedence: Int = 0
  ) -> Diagnosis.Hypothesis {
    let ids = Set(leaves.compactMap(\.call.id))
    var hypothesis = Diagnosis.Hypothesis(
      cause: cause, title: title,
      support: Diagnosis.Support(explained: ids.count, total: wrongMaps.count, unit: "wrong call"), evidence: evidence,
      remedy: place + remedy)
    hypothesis.present = share { $0.tables != .agrees && $0.call.id.map(ids.contains) == true }
    hypothesis.precedence = precedence
    return hypothesis
  }

  private func example(_ leaf: WrongLeaf) -> String {
    "Map #\(leaf.call.number) at \(leaf.call.call.iova): the leaf should be \(hex(leaf.expected.rawValue)) and is \(hex(leaf.found.rawValue))."
  }

  // MARK: Page numbers

  private func pageNumbers(_ leaves: [WrongLeaf]) -> [Diagnosis.Hypothesis] {
    var found: [Diagnosis.Hypothesis] = []
    let mask = Self.pageNumberMask
    func count(_ fits: (WrongLeaf) -> Bool) -> [WrongLeaf] { leaves.filter(fits) }
    let shifts = (-20...20).filter { $0 != 0 }.map { bits in
      (bits, count { ($0.expected.ppn.shifted(by: bits)) & mask == $0.found.ppn })
    }
    if let (bits, fitting) = shifts.max(by: { $0.1.count < $1.1.count }), !fitting.isEmpty {
      let how =
        bits == 2
        ? "leaves hold the physical address where its page number belongs: it is shifted left by 2"
        : "the page number in leaves is shifted \(bits > 0 ? "left" : "right") by \(abs(bits))"
      found.append(
        hypothesis(
          .pageNumberShifted(by: bits), how, fitting,
          evidence: [
            "\(fitting.count) of \(counted(leaves.count, "leaf that points", "leaves that point")) elsewhere \(fitting.count == 1 ? "is" : "are") the right page number so shifted.",
            example(fitting[0]),
          ], remedy: "write (paddr >> 12) << 10 into the leaf.", precedence: 2))
    }
    // Bits that are never there although some leaf should have them.
    let lost = leaves.reduce(UInt64(0)) { $0 | $1.expected.ppn & ~$1.found.ppn }
    let cut = count { $0.expected.ppn & ~lost == $0.found.ppn }
    if !cut.isEmpty {
      let low = lost.trailingZeroBitCount
      let isHigh = leaves.allSatisfy { $0.found.ppn >> UInt64(low) == 0 }
      found.append(
        hypothesis(
          .pageNumberCut(lost: lost),
          isHigh
            ? "page numbers are cut to \(low) bits: physical addresses to \(low + 12)"
            : "page numbers lose the bits \(hex(lost)): targets are rounded down", cut,
          evidence: [
            "\(cut.count) of \(counted(leaves.count, "leaf that points", "leaves that point")) elsewhere lack\(cut.count == 1 ? "s" : "") just these bits.",
            example(cut[0]),
          ],
          remedy: isHigh
            ? "keep the physical address in 64 bits on its way into the leaf."
            : "take the page number of each page, not that of a larger one.",
          precedence: isHigh ? 3 : 1))
    }
    let distances = Dictionary(grouping: leaves) { Self.distance($0.found.ppn, $0.expected.ppn) }
    if let (distance, fitting) = distances.max(by: { ($0.value.count, $1.key) < ($1.value.count, $0.key) }) {
      found.append(
        hypothesis(
          .pageNumberOff(by: distance),
          "leaves point \(counted(Int(clamping: distance.magnitude), "page")) too \(distance > 0 ? "far" : "low")",
          fitting,
          evidence: [
            "\(fitting.count) of \(counted(leaves.count, "leaf that points", "leaves that point")) elsewhere \(fitting.count == 1 ? "is" : "are") off by the same distance.",
            example(fitting[0]),
          ], remedy: "look at how the page number of the n-th page is computed."))
    }
    return found
  }

  private static func distance(_ left: UInt64, _ right: UInt64) -> Int64 { Int64(bitPattern: left &- right) }

  // MARK: Protections

  private func protections(_ leaves: [WrongLeaf]) -> [Diagnosis.Hypothesis] {
    let noise: PageTableEntry.Flags = [.accessed, .dirty]
    let wrong = leaves.filter { $0.expected.flags.subtracting(noise) != $0.found.flags.subtracting(noise) }
    guard !wrong.isEmpty else { return [] }
    // A mistake must also leave alone what was found right.
    let right = maps.filter(\.verification.agrees)
    return Diagnosis.ProtectionMistake.allCases.compactMap { mistake in
      let fitting = wrong.filter { leaf in
        flags(of: leaf.call, mistake)?.subtracting(noise) == leaf.found.flags.subtracting(noise)
      }
      guard !fitting.isEmpty else { return nil }
      let contradicted = right.filter { flags(of: $0.call, mistake) != flags(of: $0.call, nil) }
      var hypothesis = hypothesis(
        .protectionMisread(mistake), mistake.title, fitting,
        evidence: [
          "\(fitting.count) of \(counted(wrong.count, "leaf", "leaves")) with other flags would come of it.",
          example(fitting[0]),
        ], remedy: "see how iommu_prot becomes R and W.", precedence: fitting.count - contradicted.count)
      if let first = contradicted.first {
        hypothesis.counterEvidence = [
          "\(counted(contradicted.count, "call")) would have gone wrong as well and did not, the first is map #\(first.call.number)."
        ]
      }
      return hypothesis
    }
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
    return profile.leaves(of: call, mode: mode).first?.first.flags
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
    }
  }
}

extension UInt64 {
  /// To the left for a positive number of bits, to the right for a negative one.
  fileprivate func shifted(by bits: Int) -> UInt64 { bits >= 0 ? self << UInt64(bits) : self >> UInt64(-bits) }
}

/// `1 leaf`, `2 leaves`.
private func counted(_ count: Int, _ one: String, _ many: String) -> String { "\(count) \(count == 1 ? one : many)" }
