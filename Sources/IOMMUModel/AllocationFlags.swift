/// The `gfp` argument of a map call, spelled the way the kernel's sources do.
///
/// Bits and compounds: Linux `include/linux/gfp.h` (5.10) and `include/linux/gfp_types.h` (6.x). Bit 9 was `__GFP_ATOMIC`
/// until 6.2; 6.3 removed it, and with it GFP_ATOMIC went from 0xa20 to 0x820.
public struct AllocationFlags: Hashable, Sendable {
  /// The argument's bits.
  public let rawValue: UInt64

  /// The flags with these bits.
  public init(rawValue: UInt64) { self.rawValue = rawValue }

  /// `GFP_KERNEL|__GFP_ZERO (0xdc0)` as `version` means it; without a version only bits on which all agree are named.
  public func description(in version: KernelVersion?) -> String {
    let hasAtomicBit = version.map { $0 < KernelVersion(major: 6, minor: 3) }
    var names: [(UInt64, String)] = []
    if hasAtomicBit == true { names.append((0xa20, "GFP_ATOMIC")) }
    names.append((0xcc0, "GFP_KERNEL"))
    names.append((0xc40, "GFP_NOFS"))
    if hasAtomicBit == false { names.append((0x820, "GFP_ATOMIC")) }
    names.append((0xc00, "GFP_NOIO"))
    names += Self.single
    if hasAtomicBit == true { names.append((0x200, "__GFP_ATOMIC")) }
    return FlagNames.describe(rawValue, names) + " (0x" + String(rawValue, radix: 16) + ")"
  }

  private static let single: [(UInt64, String)] = [
    (0x1, "__GFP_DMA"), (0x2, "__GFP_HIGHMEM"), (0x4, "__GFP_DMA32"), (0x8, "__GFP_MOVABLE"),
    (0x10, "__GFP_RECLAIMABLE"), (0x20, "__GFP_HIGH"), (0x40, "__GFP_IO"), (0x80, "__GFP_FS"), (0x100, "__GFP_ZERO"),
    (0x400, "__GFP_DIRECT_RECLAIM"), (0x800, "__GFP_KSWAPD_RECLAIM"), (0x1000, "__GFP_WRITE"),
    (0x2000, "__GFP_NOWARN"), (0x4000, "__GFP_RETRY_MAYFAIL"), (0x8000, "__GFP_NOFAIL"), (0x1_0000, "__GFP_NORETRY"),
    (0x2_0000, "__GFP_MEMALLOC"), (0x4_0000, "__GFP_COMP"), (0x8_0000, "__GFP_NOMEMALLOC"),
    (0x10_0000, "__GFP_HARDWALL"), (0x20_0000, "__GFP_THISNODE"), (0x40_0000, "__GFP_ACCOUNT"),
  ]
}
