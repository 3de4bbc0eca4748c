public import PageTables

/// The kernel's linear map over guest-physical memory: its structures without asking the debugger for each word.
///
/// Linux riscv: `va = pa + kernel_map.va_pa_offset` (from 5.14), before that the global `va_pa_offset`.
public struct KernelMemory {
  /// Guest-physical memory.
  public let memory: any PhysicalMemory
  /// KVA minus GPA, modulo 2^64.
  public let linearOffset: UInt64
  /// Asks for an address that the linear map does not hold (vmalloc, ioremap).
  public let translate: (KVA) -> GPA?

  /// A linear map over `memory`.
  public init(memory: any PhysicalMemory, linearOffset: UInt64, translate: @escaping (KVA) -> GPA? = { _ in nil }) {
    self.memory = memory
    self.linearOffset = linearOffset
    self.translate = translate
  }

  /// Where a kernel address lies in guest-physical memory.
  public func physical(_ address: KVA) -> GPA? {
    let linear = GPA(address.rawValue &- linearOffset)
    // The distance from the linear map to any other region is no address of RAM: mostly not even a physical address (56
    // bits, privileged specification section 4.4), and where it is one (the kernel image), nothing answers there.
    if linear.rawValue < 1 << 56, (try? memory.word(at: GPA(linear.rawValue & ~7))) != nil { return linear }
    return translate(address)
  }

  /// The 8-byte word at a kernel address.
  public func word(at address: KVA) throws(TargetError) -> UInt64 {
    guard let physical = physical(address) else {
      throw TargetError("Kernel address \(address) is neither in the linear map nor mapped by the CPU's page table.")
    }
    do { return try memory.word(at: physical) } catch { throw TargetError(error.description) }
  }
}
