import IOMMUModel
import Testing

/// The bit masks of a map call, spelled.
@Suite struct FlagTests {
  @Test(
    arguments: [
      (0, "0"), (1, "READ"), (2, "WRITE"), (7, "READ|WRITE|CACHE"), (6, "WRITE|CACHE"), (5, "READ|CACHE"),
      (0x3f, "READ|WRITE|CACHE|NOEXEC|MMIO|PRIV"), (0x40, "0x40"), (0x8000_0001, "READ|0x80000000"),
      (.max, "READ|WRITE|CACHE|NOEXEC|MMIO|PRIV|0xffffffc0"),
    ] as [(UInt32, String)])
  func protection(_ bits: UInt32, _ text: String) {
    #expect(Protection(rawValue: bits).description == text)
  }

  static let old = KernelVersion(major: 5, minor: 10)
  static let last = KernelVersion(major: 6, minor: 2)
  static let new = KernelVersion(major: 6, minor: 3)
  static let newer = KernelVersion(major: 6, minor: 12)

  @Test(
    arguments: [
      (0, "0 (0x0)", "0 (0x0)", "0 (0x0)"),
      (0xcc0, "GFP_KERNEL (0xcc0)", "GFP_KERNEL (0xcc0)", "GFP_KERNEL (0xcc0)"),
      (0xdc0, "GFP_KERNEL|__GFP_ZERO (0xdc0)", "GFP_KERNEL|__GFP_ZERO (0xdc0)", "GFP_KERNEL|__GFP_ZERO (0xdc0)"),
      (
        0xa20, "GFP_ATOMIC (0xa20)", "GFP_ATOMIC|0x200 (0xa20)", "__GFP_HIGH|__GFP_KSWAPD_RECLAIM|0x200 (0xa20)"
      ),
      (
        0x820, "__GFP_HIGH|__GFP_KSWAPD_RECLAIM (0x820)", "GFP_ATOMIC (0x820)",
        "__GFP_HIGH|__GFP_KSWAPD_RECLAIM (0x820)"
      ),
      (
        0xb20, "GFP_ATOMIC|__GFP_ZERO (0xb20)", "GFP_ATOMIC|__GFP_ZERO|0x200 (0xb20)",
        "__GFP_HIGH|__GFP_ZERO|__GFP_KSWAPD_RECLAIM|0x200 (0xb20)"
      ),
      (0x200, "__GFP_ATOMIC (0x200)", "0x200 (0x200)", "0x200 (0x200)"),
      (0xc40, "GFP_NOFS (0xc40)", "GFP_NOFS (0xc40)", "GFP_NOFS (0xc40)"),
      (0xc00, "GFP_NOIO (0xc00)", "GFP_NOIO (0xc00)", "GFP_NOIO (0xc00)"),
      (
        0x40_0cc0, "GFP_KERNEL|__GFP_ACCOUNT (0x400cc0)", "GFP_KERNEL|__GFP_ACCOUNT (0x400cc0)",
        "GFP_KERNEL|__GFP_ACCOUNT (0x400cc0)"
      ),
      (0x80_0001, "__GFP_DMA|0x800000 (0x800001)", "__GFP_DMA|0x800000 (0x800001)", "__GFP_DMA|0x800000 (0x800001)"),
      (
        1 << 63, "0x8000000000000000 (0x8000000000000000)", "0x8000000000000000 (0x8000000000000000)",
        "0x8000000000000000 (0x8000000000000000)"
      ),
    ] as [(UInt64, String, String, String)])
  func allocation(_ bits: UInt64, _ before: String, _ after: String, _ without: String) {
    let flags = AllocationFlags(rawValue: bits)
    #expect(flags.description(in: Self.old) == before)
    #expect(flags.description(in: Self.last) == before)
    #expect(flags.description(in: Self.new) == after)
    #expect(flags.description(in: Self.newer) == after)
    #expect(flags.description(in: nil) == without)
  }

  @Test func accesses() {
    #expect(Access.allCases.map(\.rawValue) == [0, 1, 2, 3])
    #expect(Access.allCases.map(\.reads) == [false, true, false, true])
    #expect(Access.allCases.map(\.writes) == [false, false, true, true])
  }
}
