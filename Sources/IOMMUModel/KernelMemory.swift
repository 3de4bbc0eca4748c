public import PageTables

/// The kernel's memory by its own addresses: its structures without asking the debugger for each word.
///
/// Linux riscv: `va = pa + kernel_map.va_pa_offset` (from 5.14), before that the global `va_pa_offset`.
public struct KernelMemory {
  /// Guest-physical memory.
  public let memory: any PhysicalMemory
  /// KVA minus GPA, modulo 2^64.
  public let linearOffset: UInt64
  /// The kernel's code and static data; nil where they are in the linear map, or not known.
  public let image: KernelImage?
  /// Asks for an address that neither holds (vmalloc, ioremap).
  public let translate: (KVA) -> GPA?

  /// A linear map over `memory`.
  public init(
    memory: any PhysicalMemory, linearOffset: UInt64, image: KernelImage? = nil,
    translate: @escaping (KVA) -> GPA? = { _ in nil }
  ) {
    self.memory = memory
    self.linearOffset = linearOffset
    self.image = image
    self.translate = translate
  }

  /// Where a kernel address lies in guest-physical memory.
  public func physical(_ address: KVA) -> GPA? {
    if let physical = image?.physical(address, count: 1) { return physical }
    let linear = GPA(address.rawValue &- linearOffset)
    // The distance from the linear map to any other region is no address of RAM: mostly not even a physical address (56
    // bits, privileged specification section 4.4), and where it is one (the kernel image), nothing answers there.
    if linear.rawValue < 1 << 56, (try? memory.word(at: GPA(linear.rawValue & ~7))) != nil { return linear }
    return translate(address)
  }

  /// The most that ``bytes(at:count:)`` reads at once: a count from the guest is not to exhaust this machine.
  public static let readLimit = 1 << 27

  /// `count` bytes from a kernel address on; none for a negative count.
  ///
  /// One read where the range is in the image or in the linear map. Elsewhere each page is translated once, and pages that
  /// are neighbours in guest memory as well are read together.
  public func bytes(at address: KVA, count: Int) throws(TargetError) -> [UInt8] {
    guard count > 0 else { return [] }
    guard count <= Self.readLimit, !address.rawValue.addingReportingOverflow(UInt64(count - 1)).overflow else {
      throw TargetError("\(count) bytes at kernel address \(address) are more than can be read at once.")
    }
    if let start = image?.physical(address, count: count) { return try read(start, count) }
    let linear = GPA(address.rawValue &- linearOffset)
    if linear.rawValue < 1 << 56, let bytes = try? memory.bytes(at: linear, count: count) { return bytes }

    var bytes: [UInt8] = []
    var run = (start: GPA(0), count: 0)
    var position = 0
    while position < count {
      let piece = address + UInt64(position)
      let length = min(4096 - piece.pageOffset, count - position)
      guard let physical = physical(piece) else { throw unmapped(piece) }
      if run.start + UInt64(run.count) != physical || run.count == 0 {
        bytes += try read(run.start, run.count)
        run = (physical, 0)
      }
      run.count += length
      position += length
    }
    return bytes + (try read(run.start, run.count))
  }

  private func read(_ address: GPA, _ count: Int) throws(TargetError) -> [UInt8] {
    do { return try memory.bytes(at: address, count: count) } catch { throw TargetError(error.description) }
  }

  private func unmapped(_ address: KVA) -> TargetError {
    TargetError("Kernel address \(address) is neither in the linear map nor mapped by the CPU's page table.")
  }

  /// The 8-byte word at a kernel address.
  public func word(at address: KVA) throws(TargetError) -> UInt64 {
    guard let physical = physical(address) else { throw unmapped(address) }
    do { return try memory.word(at: physical) } catch { throw TargetError(error.description) }
  }
}
