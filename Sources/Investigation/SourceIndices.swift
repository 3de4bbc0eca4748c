import IOMMUModel
import PageTables

/// What a driver's source, as far as somebody pasted it, says about its tables' indices.
struct SourceIndices {
  /// One index.
  struct Index {
    let level: Int
    let source: SourceIndex

    /// The shift, where it is a number or a constant that is the same under every mode of the CPU.
    var fixed: Int? { Int(source.shift) ?? constant(under: .sv39).flatMap { $0.followsMode ? nil : $0.shift } }

    /// Whether its value changes with the CPU's mode.
    var followsMode: Bool { constant(under: .sv39)?.followsMode == true }

    /// The shift when the CPU runs `mode`; nil when the constant is not known.
    func shift(under mode: PagingMode) -> Int? { fixed ?? constant(under: mode)?.shift }

    private func constant(under mode: PagingMode) -> KernelPaging.Constant? {
      KernelPaging(mode: mode).constants.first { $0.name == source.shift }
    }
  }

  /// The indices, leaf tables first, one a level.
  let indices: [Index]
  /// The table's mode, when the expressions are those of all its levels; nil when they do not tell.
  let mode: PagingMode?

  /// The indices in `facts` that have the names which the driver gives them.
  init(_ facts: [String: String], profile: any DriverProfile) {
    let all = SourceIndex.all(in: facts)
    indices = (0..<5).compactMap { level in
      all.first { $0.name == profile.indexName(atLevel: level) }.map { Index(level: level, source: $0) }
    }
    let indices = indices
    let modes = [PagingMode.sv32, .sv39, .sv48, .sv57].filter { mode in
      indices.map(\.level) == Array(0..<mode.levels) && indices.count { $0.fixed != nil } >= 2
        && indices.dropLast().allSatisfy { $0.fixed == nil || $0.fixed == mode.shift(atLevel: $0.level) }
    }
    mode = modes.count == 1 ? modes.first : nil
  }
}
