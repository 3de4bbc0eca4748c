public import PageTables

/// How the guest's CPU pages its own memory, and what Linux calls the shifts under that mode.
///
/// Linux 6.1 `arch/riscv/include/asm/pgtable-64.h`: since 5.17 `PGDIR_SHIFT` is chosen at run time by `pgtable_l5_enabled`
/// and `pgtable_l4_enabled`; PUD and P4D fold into it in the smaller modes.
public struct KernelPaging: Hashable, Sendable {
  /// The CPU's mode; nil while the MMU is off.
  public let mode: PagingMode?

  /// The mode in `satp` bits 63:60.
  public init(satp: UInt64) { mode = PagingMode(firstStageCode: UInt8(satp >> 60)) }

  /// A CPU in `mode`.
  public init(mode: PagingMode?) { self.mode = mode }

  /// A shift that kernel code may use by name.
  public struct Constant: Hashable, Sendable {
    /// Its name in the sources.
    public let name: String
    /// Its value under this mode.
    public let shift: Int
    /// Whether its value changes with the CPU's mode, which makes it a trap for a table of fixed format.
    public let followsMode: Bool
  }

  /// The named shifts, the most likely one for a root index first.
  public var constants: [Constant] {
    guard let mode, mode != .sv32 else { return [] }
    let root = mode.shift(atLevel: mode.levels - 1)
    return [
      Constant(name: "PGDIR_SHIFT", shift: root, followsMode: true),
      Constant(name: "P4D_SHIFT", shift: min(root, 39), followsMode: true),
      Constant(name: "PUD_SHIFT", shift: 30, followsMode: false),
      Constant(name: "PMD_SHIFT", shift: 21, followsMode: false),
      Constant(name: "PAGE_SHIFT", shift: 12, followsMode: false),
    ]
  }

  /// The constant with this value that a driver would most likely have used; nil when none has it.
  public func constant(withShift shift: Int) -> Constant? { constants.first { $0.shift == shift } }
}
