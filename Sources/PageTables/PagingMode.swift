// RISC-V privileged specification 1.12, sections 4.3 to 4.6 (Sv32, Sv39, Sv48, Sv57) and 8.5 (guest-physical modes).

/// A page-table format of the RISC-V privileged architecture.
public enum PagingMode: String, CaseIterable, Sendable, Hashable, Codable {
  /// Two levels of 4-byte entries, 32-bit input (section 4.3).
  case sv32
  /// Three levels of 8-byte entries, 39-bit input (section 4.4).
  case sv39
  /// Four levels, 48-bit input (section 4.5).
  case sv48
  /// Five levels, 57-bit input (section 4.6).
  case sv57
  /// Sv39 as a second stage: the root table is four pages, 41-bit input (section 8.5).
  case sv39x4
  /// Sv48 as a second stage, 50-bit input.
  case sv48x4
  /// Sv57 as a second stage, 59-bit input.
  case sv57x4

  /// The MODE field of `satp` (section 4.1.11) and, for the second stages, of `hgatp` (section 8.2.10).
  public var code: UInt8 {
    switch self {
    case .sv32: 1
    case .sv39, .sv39x4: 8
    case .sv48, .sv48x4: 9
    case .sv57, .sv57x4: 10
    }
  }

  /// The first-stage mode with this MODE field; nil for 0 (bare) and for reserved values.
  public init?(firstStageCode code: UInt8) {
    switch code {
    case 1: self = .sv32
    case 8: self = .sv39
    case 9: self = .sv48
    case 10: self = .sv57
    default: return nil
    }
  }

  /// The specification's spelling, for example `Sv39x4`.
  public var name: String { "S" + rawValue.dropFirst() }

  /// The number of levels; the root is level `levels - 1`, leaf tables are level 0.
  public var levels: Int {
    switch self {
    case .sv32: 2
    case .sv39, .sv39x4: 3
    case .sv48, .sv48x4: 4
    case .sv57, .sv57x4: 5
    }
  }

  /// Whether this is a second stage, whose root table is four times as large and whose input is not sign-extended.
  public var isSecondStage: Bool {
    switch self {
    case .sv39x4, .sv48x4, .sv57x4: true
    case .sv32, .sv39, .sv48, .sv57: false
    }
  }

  /// How a table entry is laid out.
  public var entryFormat: PageTableEntry.Format { self == .sv32 ? .sv32 : .rv64 }

  /// The number of input bits that select an entry or a byte.
  public var inputBits: Int {
    let root = levels - 1
    return shift(atLevel: root) + indexBits(atLevel: root)
  }

  /// The lowest input bit of the index at `level`; without meaning for a level that the mode does not have.
  public func shift(atLevel level: Int) -> Int { 12 &+ level &* (self == .sv32 ? 10 : 9) }

  /// The width in bits of the index at `level`: two more at the root of a second stage.
  public func indexBits(atLevel level: Int) -> Int {
    (self == .sv32 ? 10 : 9) + (isSecondStage && level == levels - 1 ? 2 : 0)
  }

  /// `bits` with everything above the input replaced as the specification demands: copies of the highest input bit in a
  /// first stage (section 4.4.1), zero in a second stage (section 8.5.1) and in Sv32.
  func canonical(_ bits: UInt64) -> UInt64 {
    let unused = UInt64(64 - inputBits)
    if isSecondStage || self == .sv32 { return (bits << unused) >> unused }
    return UInt64(bitPattern: Int64(bitPattern: bits << unused) >> Int64(truncatingIfNeeded: unused))
  }

  /// The IOVA with these input bits.
  func iova(_ input: UInt64) -> IOVA { IOVA(canonical(input)) }

  /// The canonical IOVAs from `first` to `last` as a range of input bits. One range is enough for a sign-extended mode as
  /// well: the gap between its halves has no input bits.
  func inputRange(first: IOVA, last: IOVA) -> ClosedRange<UInt64>? {
    let mask = UInt64.max >> UInt64(64 - inputBits)
    var (low, high) = (first.rawValue, last.rawValue)
    if isSecondStage || self == .sv32 {
      high = min(high, mask)
    } else {
      let lowerHalfLast = mask >> 1
      let upperHalfFirst = ~lowerHalfLast
      if low > lowerHalfLast { low = max(low, upperHalfFirst) }
      if high < upperHalfFirst { high = min(high, lowerHalfLast) }
    }
    return low <= high ? (low & mask)...(high & mask) : nil
  }

  /// Levels, shifts and index widths as the specification gives them.
  public var geometry: TableGeometry {
    TableGeometry(
      mode: self,
      levels: (0..<levels).map { TableGeometry.Level(shift: shift(atLevel: $0), indexBits: indexBits(atLevel: $0)) })
  }
}

/// Which input bits index which table: a mode's own geometry, or one that differs from it, to test a hypothesis about
/// what a driver really did.
public struct TableGeometry: Hashable, Sendable {
  /// The index of one level.
  public struct Level: Hashable, Sendable {
    /// The lowest input bit of the index, 0 to 63.
    public var shift: Int
    /// The index's width in bits.
    public var indexBits: Int
  }

  /// The mode whose entries and number of levels these are.
  public let mode: PagingMode
  /// The levels, leaf tables first.
  public private(set) var levels: [Level]

  init(mode: PagingMode, levels: [Level]) {
    self.mode = mode
    self.levels = levels
  }

  /// The root's level.
  public var rootLevel: Int { levels.count - 1 }

  /// The same geometry with another shift at one level; unchanged when the level or the shift does not exist.
  public func replacing(shift: Int, atLevel level: Int) -> TableGeometry {
    guard levels.indices.contains(level), (0..<64).contains(shift) else { return self }
    var changed = self
    changed.levels[level].shift = shift
    return changed
  }

  /// The index of `iova` in its table at `level`; 0 for a level that does not exist.
  public func index(of iova: IOVA, atLevel level: Int) -> Int {
    guard levels.indices.contains(level) else { return 0 }
    return Int(truncatingIfNeeded: iova.rawValue >> UInt64(levels[level].shift)) & (entries(atLevel: level) - 1)
  }

  /// The number of entries of a table at `level`; 0 for a level that does not exist.
  public func entries(atLevel level: Int) -> Int {
    levels.indices.contains(level) ? 1 << levels[level].indexBits : 0
  }

  /// The bytes that a leaf at `level` maps, by the mode (a leaf's size does not follow a wrong shift).
  public func leafSize(atLevel level: Int) -> UInt64 { 1 << mode.shift(atLevel: level) }

  /// The address of an entry in a table, modulo 2^64.
  public func entryAddress(table: GPA, index: Int) -> GPA {
    table + UInt64(truncatingIfNeeded: index) << UInt64(mode.entryFormat.bytes_lg2)
  }

  /// Whether the bits above the mode's input are what the specification demands: copies of the highest input bit in a
  /// first stage (section 4.4.1), zero in a second stage (section 8.5.1) and in Sv32.
  public func isCanonical(_ iova: IOVA) -> Bool { mode.canonical(iova.rawValue) == iova.rawValue }
}
