/// One translation by the specification: every step, and how it ended.
///
/// RISC-V privileged specification 1.12, section 4.3.2. Permissions, A, D and U are reported, not judged: whether an access
/// is allowed depends on who asks.
public struct Walk: Hashable, Sendable {
  /// One entry read on the way.
  public struct Step: Hashable, Sendable {
    /// 0 for leaf tables, counting up to the root.
    public let level: Int
    /// Where the table starts.
    public let table: GPA
    /// The entry's index in the table.
    public let index: Int
    /// Where the entry lies.
    public let entryAddress: GPA
    /// The entry.
    public let entry: PageTableEntry

    /// A step that read `entry`.
    public init(level: Int, table: GPA, index: Int, entryAddress: GPA, entry: PageTableEntry) {
      self.level = level
      self.table = table
      self.index = index
      self.entryAddress = entryAddress
      self.entry = entry
    }
  }

  /// How a walk ended.
  public enum Outcome: Hashable, Sendable {
    /// The leaf: the address that the IOVA goes to, the bytes that the leaf maps, and its flags.
    case mapped(GPA, size: UInt64, flags: PageTableEntry.Flags)
    /// The entry at this level is not valid.
    case notMapped(level: Int)
    /// The entry at this level is valid and breaks a rule.
    case malformed(level: Int, PageTableEntry.Problem)
    /// An entry could not be read.
    case unreadable(UnreadableMemory)
    /// Bits above the mode's input are not what the mode demands; no entry was read.
    case notCanonical
  }

  /// What was translated.
  public let iova: IOVA
  /// The tables' format and the index bits used.
  public let geometry: TableGeometry
  /// The root table.
  public let root: GPA
  /// The entries read, root first. An unreadable entry has no step.
  public let steps: [Step]
  /// How it ended.
  public let outcome: Outcome

  /// The guest-physical address, when mapped.
  public var target: GPA? {
    if case .mapped(let address, _, _) = outcome { return address }
    return nil
  }
}

extension Walk.Outcome {
  /// Whether it ended at an entry that exists and was not written down.
  public var isUnrecorded: Bool {
    if case .unreadable(let failure) = self { return failure.isUnrecorded }
    return false
  }

  /// How a walk for `iova` ends that has come to `entry` at `level`; nil when it goes on in the table that the entry names.
  init?(_ entry: PageTableEntry, of iova: IOVA, atLevel level: Int) {
    if !entry.isValid {
      self = .notMapped(level: level)
    } else if let problem = entry.problem(atLevel: level) {
      self = .malformed(level: level, problem)
    } else if entry.isLeaf {
      self = .mapped(
        entry.target(of: iova, atLevel: level), size: entry.leafSize(atLevel: level), flags: entry.flags)
    } else {
      return nil
    }
  }
}

extension TableGeometry {
  /// Walks from `root` for `iova`; at most one read a level.
  public func walk(_ iova: IOVA, root: GPA, in memory: some PhysicalMemory) -> Walk {
    var steps: [Walk.Step] = []
    let outcome = isCanonical(iova) ? descend(iova, root: root, in: memory, steps: &steps) : .notCanonical
    return Walk(iova: iova, geometry: self, root: root, steps: steps, outcome: outcome)
  }

  private func descend(
    _ iova: IOVA, root: GPA, in memory: some PhysicalMemory, steps: inout [Walk.Step]
  ) -> Walk.Outcome {
    var table = root
    for level in stride(from: rootLevel, through: 0, by: -1) {
      let index = index(of: iova, atLevel: level)
      let address = entryAddress(table: table, index: index)
      let entry: PageTableEntry
      do throws(UnreadableMemory) {
        entry = try memory.entry(at: address, format: mode.entryFormat)
      } catch { return .unreadable(error) }
      steps.append(Walk.Step(level: level, table: table, index: index, entryAddress: address, entry: entry))
      if let outcome = Walk.Outcome(entry, of: iova, atLevel: level) { return outcome }
      table = entry.address
    }
    // `problem(atLevel: 0)` rejects a pointer at level 0, so the loop has returned; an outcome all the same, no trap.
    return .malformed(level: 0, .pointerAtLevelZero)
  }
}
