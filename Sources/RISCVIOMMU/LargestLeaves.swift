import IOMMUModel
import PageTables

/// The leaves that generic_pt writes for one call: at every place the largest that fits.
///
/// Linux 7.2 `drivers/iommu/generic_pt/iommu_pt.h` (`map_range`), `pt_iter.h` (`pt_compute_best_pgsize`) and `fmt/riscv.h`.
/// A leaf fits where IOVA and physical address are multiples of its size and as much of the range is left. Every level has
/// leaves, and level 0 has groups of 16 entries for 64 KiB besides (Svnapot, which every RISC-V IOMMU has to know:
/// IOMMU specification 1.0, section 6.4).
struct LargestLeaves {
  /// What one size is written as.
  private struct Size {
    let bytes_lg2: UInt64
    let level: Int
    let isGroup: Bool

    var bytes: UInt64 { 1 << bytes_lg2 }
  }

  private let mode: PagingMode
  /// Smallest first.
  private let sizes: [Size]

  /// Sizes that a domain of `mode` has, as `iommu_domain.pgsize_bitmap` says them: a bit for each.
  static func pageSizes(of mode: PagingMode) -> UInt64 {
    (0..<mode.levels).reduce(1 << 16) { $0 | 1 << UInt64(mode.shift(atLevel: $1)) }
  }

  /// The leaves of tables of `mode`, of the sizes in `pageSizes`, or all that the mode has; nil for a mode that is no first
  /// stage of eight-byte entries.
  init?(mode: PagingMode, pageSizes: UInt64 = .max) {
    guard mode.entryFormat == .rv64, !mode.isSecondStage else { return nil }
    self.mode = mode
    sizes = (12..<64).filter { (pageSizes & Self.pageSizes(of: mode)) >> $0 & 1 == 1 }.map { (size: UInt64) in
      size == 16
        ? Size(bytes_lg2: size, level: 0, isGroup: true)
        : Size(bytes_lg2: size, level: Int((size - 12) / 9), isGroup: false)
    }
  }

  /// The leaves of `call`; none for an unmap and for what the driver refuses: no READ and no WRITE, addresses that are no
  /// pages, that the mode cannot translate or that have more than 56 bits.
  func leaves(of call: DriverCall) -> [LeafRun] {
    guard case .map(let target, let protection, _) = call.operation,
      protection?.isDisjoint(with: [.read, .write]) != true, call.length > 0,
      (call.iova.rawValue | target.rawValue | call.length) & 0xfff == 0, isTranslated(call),
      target.rawValue < 1 << 56, call.length <= (1 << 56) - target.rawValue
    else { return [] }
    let flags = Self.flags(protection)
    var runs: [LeafRun] = []
    var (iova, address, left) = (call.iova.rawValue, target.rawValue, call.length)
    while left > 0, let size = largest(at: iova | address, left) {
      let count = count(of: size, from: iova, to: address, left)
      runs.append(
        run(size, count: count, from: IOVA(iova), to: address, flags: flags, isKnown: protection != nil))
      let bytes = count << size.bytes_lg2
      (iova, address, left) = (iova &+ bytes, address &+ bytes, left - bytes)
    }
    return runs
  }

  /// A, U; R for READ; R, W and D for WRITE; X without NOEXEC (`riscvpt_iommu_set_prot`). With Svpbmt a leaf says the
  /// memory's type as well, in bits that no comparison looks at.
  private static func flags(_ protection: Protection?) -> PageTableEntry.Flags {
    var flags: PageTableEntry.Flags = [.valid, .user, .accessed]
    guard let protection else { return flags.union([.read, .execute]) }
    if protection.contains(.read) { flags.insert(.read) }
    if protection.contains(.write) { flags.formUnion([.read, .write, .dirty]) }
    if !protection.contains(.noexec) { flags.insert(.execute) }
    return flags
  }

  /// Whether both ends are addresses of the same half (`pt_check_range`).
  private func isTranslated(_ call: DriverCall) -> Bool {
    let (last, overflow) = call.iova.rawValue.addingReportingOverflow(call.length - 1)
    let geometry = mode.geometry
    return !overflow && geometry.isCanonical(call.iova) && geometry.isCanonical(IOVA(last))
      && call.iova.rawValue >> 63 == last >> 63
  }

  private func largest(at addresses: UInt64, _ left: UInt64) -> Size? {
    sizes.last { addresses & ($0.bytes - 1) == 0 && $0.bytes <= left }
  }

  /// How many leaves of `size` follow each other before a larger one fits, or the range ends.
  private func count(of size: Size, from iova: UInt64, to address: UInt64, _ left: UInt64) -> UInt64 {
    let whole = left >> size.bytes_lg2
    guard let larger = sizes.first(where: { $0.bytes_lg2 > size.bytes_lg2 }),
      (iova ^ address) & (larger.bytes - 1) == 0
    else { return whole }
    // What is missing to the next multiple of the larger size; a multiple itself is here only where too little is left.
    let missing = (0 &- iova) & (larger.bytes - 1)
    return missing > 0 && missing < left && left - missing >= larger.bytes ? missing >> size.bytes_lg2 : whole
  }

  private func run(
    _ size: Size, count: UInt64, from iova: IOVA, to address: UInt64, flags: PageTableEntry.Flags, isKnown: Bool
  ) -> LeafRun {
    var entry = (address >> 12) << 10 | UInt64(flags.rawValue)
    // N, and the low page-number bits 1000 (Svnapot, table 5.1).
    if size.isGroup { entry |= 1 << 63 | 0x8 << 10 }
    return LeafRun(
      iova: iova, level: size.level, count: size.isGroup ? count << 4 : count, first: PageTableEntry(rawValue: entry),
      step: size.bytes >> 2, repeats: size.isGroup ? 16 : 1, span: size.isGroup ? 4096 : size.bytes,
      permissionsAreKnown: isKnown)
  }
}
