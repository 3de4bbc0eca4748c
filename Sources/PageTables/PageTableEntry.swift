/// One page-table entry, decoded bit by bit and never rejected: what is wrong with it is data (see ``problem(atLevel:)``).
///
/// RISC-V privileged specification 1.12: figure 4.21 (Sv39 entry), section 4.3.1 (flags), chapters 5 (Svnapot) and 6
/// (Svpbmt).
public struct PageTableEntry: Hashable, Sendable, BitwiseCopyable {
  /// How many bytes an entry has and where its page number lies.
  public enum Format: Sendable, Hashable, BitwiseCopyable {
    /// 4 bytes, PPN in bits 31:10.
    case sv32
    /// 8 bytes, PPN in bits 53:10, reserved bits 60:54, PBMT 62:61, N 63.
    case rv64

    /// The size of an entry.
    public var bytes: Int { self == .sv32 ? 4 : 8 }
    /// log2 of the size of an entry.
    public var bytes_lg2: Int { self == .sv32 ? 2 : 3 }
    /// log2 of the number of entries in a 4 KiB page.
    var indexBits: Int { 12 - bytes_lg2 }
  }

  /// The eight flag bits, at their place in the entry.
  public struct Flags: OptionSet, Hashable, Sendable, BitwiseCopyable, CustomStringConvertible {
    /// Bits 7:0 of the entry.
    public let rawValue: UInt8
    /// The flags in bits 7:0.
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Valid.
    public static let valid = Flags(rawValue: 1 << 0)
    /// Readable.
    public static let read = Flags(rawValue: 1 << 1)
    /// Writable.
    public static let write = Flags(rawValue: 1 << 2)
    /// Executable.
    public static let execute = Flags(rawValue: 1 << 3)
    /// Accessible to user mode.
    public static let user = Flags(rawValue: 1 << 4)
    /// Global.
    public static let global = Flags(rawValue: 1 << 5)
    /// Accessed.
    public static let accessed = Flags(rawValue: 1 << 6)
    /// Dirty.
    public static let dirty = Flags(rawValue: 1 << 7)

    static let letters: [(Flags, Character)] = [
      (.valid, "V"), (.read, "R"), (.write, "W"), (.execute, "X"),
      (.user, "U"), (.global, "G"), (.accessed, "A"), (.dirty, "D"),
    ]

    /// The letters of all flags, from bit 0 on: `VRWXUGAD`.
    public static var allLetters: String { String(letters.map(\.1)) }

    /// The flags named by letters in any order and case, `rw` or `VRW`; nil when a letter is not one of VRWXUGAD.
    public init?(letters text: some StringProtocol) {
      var flags: Flags = []
      for letter in text.uppercased() {
        guard let known = Flags.letters.first(where: { $0.1 == letter }) else { return nil }
        flags.insert(known.0)
      }
      self = flags
    }

    /// The set flags' letters with spaces between them, `V R W`; `-` for none.
    public var description: String {
      let set = Flags.letters.filter { contains($0.0) }.map { String($0.1) }
      return set.isEmpty ? "-" : set.joined(separator: " ")
    }
  }

  /// Why the specification rejects an entry that is valid.
  public enum Problem: Hashable, Sendable, CustomStringConvertible {
    /// W without R is reserved (table 4.5).
    case writableNotReadable
    /// A leaf above level 0 whose low PPN bits, given here, are not zero (section 4.3.2, step 6).
    case misalignedSuperpage(lowBits: UInt64)
    /// Neither R, W nor X at level 0: a pointer where no further level exists (section 4.3.2, step 4).
    case pointerAtLevelZero
    /// Bits 60:54, given here in place, are not zero.
    case reservedBits(UInt64)
    /// PBMT is 3 in a leaf, which is reserved, or not zero in a pointer.
    case reservedMemoryType(UInt8)
    /// N is set above level 0, or with low PPN bits other than 1000 (table 5.1).
    case reservedContiguous(lowBits: UInt64)
    /// A, D or U, given here, set in a pointer (section 4.3.1).
    case reservedPointerFlags(Flags)

    /// A phrase that fits after "malformed: ".
    public var description: String {
      switch self {
      case .writableNotReadable: "W without R"
      case .misalignedSuperpage(let bits): "superpage with low PPN bits \(hex(bits))"
      case .pointerAtLevelZero: "no R, W or X at level 0"
      case .reservedBits(let bits): "reserved bits \(hex(bits)) set"
      case .reservedMemoryType(let type): "reserved PBMT \(type)"
      case .reservedContiguous(let bits): "N with low PPN bits \(hex(bits))"
      case .reservedPointerFlags(let flags): "\(flags.description) in a pointer"
      }
    }
  }

  /// The entry as it stands in memory, zero-extended.
  public let rawValue: UInt64
  /// The entry's layout.
  public let format: Format

  /// The entry with these bits; bits that the format does not have are dropped.
  public init(rawValue: UInt64, format: Format = .rv64) {
    self.rawValue = format == .sv32 ? rawValue & 0xffff_ffff : rawValue
    self.format = format
  }

  /// Bits 7:0.
  public var flags: Flags { Flags(rawValue: UInt8(truncatingIfNeeded: rawValue)) }
  /// Bits 9:8, for software.
  public var rsw: UInt8 { UInt8(truncatingIfNeeded: rawValue >> 8) & 3 }
  /// The physical page number: bits 53:10, in Sv32 bits 31:10.
  public var ppn: UInt64 { (rawValue >> 10) & 0xfff_ffff_ffff }
  /// Bits 60:54 in place; zero in Sv32.
  public var reserved: UInt64 { rawValue & 0x1fc0_0000_0000_0000 }
  /// The page-based memory type, bits 62:61 (0 PMA, 1 NC, 2 IO, 3 reserved).
  public var pbmt: UInt8 { UInt8(truncatingIfNeeded: rawValue >> 61) & 3 }
  /// N, bit 63: part of a naturally aligned contiguous range (Svnapot).
  public var isContiguous: Bool { rawValue >> 63 == 1 }
  /// V.
  public var isValid: Bool { rawValue & 1 != 0 }
  /// Valid and without R, W and X: points to the next level's table.
  public var isPointer: Bool { rawValue & 0xf == 1 }
  /// Valid with at least one of R, W and X.
  public var isLeaf: Bool { isValid && !isPointer }
  /// The page that the PPN names: a table for a pointer, the mapped page for a leaf (of any alignment).
  public var address: GPA { GPA(ppn << 12) }

  /// What the specification forbids about this entry at `level`; nil for a good or an invalid entry.
  public func problem(atLevel level: Int) -> Problem? {
    guard isValid else { return nil }
    if rawValue & 0x6 == 0x4 { return .writableNotReadable }
    if reserved != 0 { return .reservedBits(reserved) }
    if isPointer {
      if level == 0 { return .pointerAtLevelZero }
      let misplaced = flags.intersection([.user, .accessed, .dirty])
      if !misplaced.isEmpty { return .reservedPointerFlags(misplaced) }
      if pbmt != 0 { return .reservedMemoryType(pbmt) }
      return isContiguous ? .reservedContiguous(lowBits: ppn & 0xf) : nil
    }
    if pbmt == 3 { return .reservedMemoryType(3) }
    if isContiguous && (level != 0 || ppn & 0xf != 0x8) { return .reservedContiguous(lowBits: ppn & 0xf) }
    if level > 0 {
      let low = ppn & ((1 << (level &* format.indexBits)) &- 1)
      if low != 0 { return .misalignedSuperpage(lowBits: low) }
    }
    return nil
  }

  /// The bytes that a good leaf at `level` maps: 64 KiB for a contiguous one.
  func leafSize(atLevel level: Int) -> UInt64 {
    isContiguous ? 0x10000 : 1 << (12 &+ level &* format.indexBits)
  }

  /// Where a good leaf at `level` sends `iova`.
  public func target(of iova: IOVA, atLevel level: Int) -> GPA {
    let size = leafSize(atLevel: level)
    return GPA((address.rawValue & ~(size &- 1)) | (iova.rawValue & (size &- 1)))
  }
}
