import IOMMUModel
import Investigation
import PageTables

/// The walk for an IOVA as the specification has it and, where an index shift is wrong, as the driver has it.
struct WalkComparison {
  /// What is translated, and by which table.
  let iova: IOVA, root: TableRoot
  /// The walk by the specification.
  let right: Walk
  /// The walk with the wrong shift, and which shift that is; nil when no shift is wrong.
  let wrong: (walk: Walk, level: Int, shift: Int)?
  /// The leaf that the call should have written, and its level; nil after an unmap.
  let leaf: (entry: PageTableEntry, level: Int)?

  /// One level of both walks.
  struct Row {
    /// The level.
    let level: Int
    /// The slot by the specification, its address as far as its table is known, and what it holds.
    let slot: Int, address: GPA?, entry: PageTableEntry?
    /// What it should hold; nil for a pointer to a table, of which nobody knows the address beforehand.
    let expected: PageTableEntry?
    /// The step of the wrong walk, where there is one.
    let used: Walk.Step?
  }

  init(
    _ iova: IOVA, root: TableRoot, leaf: LeafRun?, shift: Diagnosis.WrongShift?, memory: any PhysicalMemory
  ) {
    let geometry = root.mode.geometry
    (self.iova, self.root) = (iova, root)
    right = geometry.walk(iova, root: root.address, in: memory)
    let expected = leaf.map { (entry: $0.leaf(0), level: $0.level) }
    // A larger leaf than was expected does as well.
    if let expected, let last = right.steps.last, last.level > expected.level, right.target == expected.entry.address,
      last.entry.flags == expected.entry.flags
    {
      self.leaf = (last.entry, last.level)
    } else {
      self.leaf = expected
    }
    wrong = shift.map { shift in
      let used = geometry.replacing(shift: shift.assumed, atLevel: shift.level)
      return (used.walk(iova, root: root.address, in: memory), shift.level, shift.assumed)
    }
  }

  /// The levels, root first, down to where the leaf should be or a walk ended, whichever is deeper.
  var rows: [Row] {
    let geometry = root.mode.geometry
    let steps = max(
      right.steps.count, wrong?.walk.steps.count ?? 0, leaf.map { geometry.rootLevel - $0.level + 1 } ?? 0)
    return (0..<min(steps, geometry.rootLevel + 1)).map { position in
      let level = geometry.rootLevel - position
      let step = right.steps.dropFirst(position).first
      return Row(
        level: level, slot: geometry.index(of: iova, atLevel: level), address: step?.entryAddress, entry: step?.entry,
        expected: leaf.flatMap { $0.level == level ? $0.entry : nil },
        used: wrong?.walk.steps.dropFirst(position).first)
    }
  }
}
