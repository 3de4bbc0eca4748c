public import PageTables

/// Where the kernel's own code and static data lie: one contiguous range, mapped apart from the linear map since 5.13.
///
/// Linux riscv: `pa = va - kernel_map.va_kernel_pa_offset` for `kernel_map.size` bytes from `kernel_map.virt_addr` on.
public struct KernelImage: Hashable, Sendable {
  /// The first address.
  public let start: KVA
  /// In bytes.
  public let size: UInt64
  /// KVA minus GPA, modulo 2^64.
  public let offset: UInt64

  /// An image of `size` bytes.
  public init(start: KVA, size: UInt64, offset: UInt64) {
    self.start = start
    self.size = size
    self.offset = offset
  }

  /// As `kernel_map` (from 5.14) says; nil without it, before the kernel has filled it in, and for a kernel that executes
  /// from flash, whose code and data lie apart.
  public init?(in target: any Target) {
    guard (try? target.evaluate("sizeof(kernel_map.xiprom)")) == nil,
      let start = try? target.evaluate("kernel_map.virt_addr"), start != 0,
      let size = try? target.evaluate("kernel_map.size"), size != 0,
      let offset = try? target.evaluate("kernel_map.va_kernel_pa_offset"), offset != 0
    else { return nil }
    self.init(start: KVA(start), size: size, offset: offset)
  }

  /// Where `count` bytes at `address` lie, all of them in the image; nil otherwise.
  func physical(_ address: KVA, count: Int) -> GPA? {
    let position = address - start
    guard position < size, let count = UInt64(exactly: count), count <= size - position else { return nil }
    return GPA(address.rawValue &- offset)
  }
}
