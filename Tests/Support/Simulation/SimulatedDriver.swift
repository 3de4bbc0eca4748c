package import IOMMUModel
package import PageTables

/// The XuanTie driver as its sources read, written once more: what it allocates, which words it writes, and in which ways
/// it can be wrong. Nothing here uses the product's driver profile or its walks.
package final class SimulatedDriver {
  /// A domain: the pointer that calls carry, its root table, its translation descriptor.
  package struct Domain: Sendable {
    package let pointer: KVA
    package let root: TableRoot
    package let descriptor: GPA
    package let requester: RequesterID?
  }

  /// `kernel_map.va_pa_offset`.
  package static let linearOffset: UInt64 = 0xff5f_ffff_8000_0000
  /// Offsets in `struct xt_iommu_domain`, as debug information would give them.
  package static let offsets: [String: UInt64] = [
    "domain": 0x98, "td.stage1.s1ppn": 0x138, "td.stage1.s1mode": 0x14a, "td.tdcfg.tdtab_dma": 0x158,
  ]

  package let memory = SimulatedMemory()
  package let mode: PagingMode
  /// The shift at each level, leaf tables first.
  package var shifts: [Int]
  package var mistakes: Mistakes = .none
  package private(set) var domains: [Domain] = []
  /// How often the entry of a page that was mapped was overwritten, or cleared, for another IOVA.
  package private(set) var overwrites = 0
  /// What the device has latched: V, requester, cause.
  package var latched: UInt64 = 0
  /// The last faulting address.
  package var faultValue: UInt64 = 0
  /// IOMMUCAPEN.
  package var enable: UInt64 = 1

  private struct Mapped: Hashable {
    let root: UInt64
    let iova: UInt64
  }
  private var next: UInt64 = 0x80b7_6000
  private let deviceTable: UInt64
  private var mapped: Set<Mapped> = []
  private var owners: [UInt64: Mapped] = [:]

  /// A driver that writes tables of `mode`, with `rootShift` at the root instead of the right one.
  package init(mode: PagingMode = .sv39, rootShift: Int? = nil) {
    self.mode = mode
    shifts = (0..<mode.levels).map { 12 + 9 * $0 }
    if let rootShift { shifts[mode.levels - 1] = rootShift }
    deviceTable = 0x80b7_6000
    next += 4096
  }

  private func allocate() -> UInt64 {
    defer { next += 4096 }
    return next
  }

  /// A new domain, attached to `requester`.
  package func domain(of requester: RequesterID?) -> Domain {
    let structure = allocate() + 0x40
    let root = allocate()
    let descriptor = allocate()
    memory[descriptor] = UInt64(mode.code) << 60 | root >> 12
    let first = structure - 0x40
    memory[first + 0x40 + 0x138] = root >> 12
    // asid at 0x148, s1mode at 0x14a.
    memory[first + 0x40 + 0x148] = UInt64(mode.code) << 16
    memory[first + 0x40 + 0x158] = descriptor
    let domain = Domain(
      pointer: KVA(structure + 0x98 + Self.linearOffset), root: TableRoot(address: GPA(root), mode: mode),
      descriptor: GPA(descriptor), requester: requester)
    domains.append(domain)
    if let requester { attach(requester, to: domain) }
    return domain
  }

  /// Lets the device table name the domain's descriptor.
  package func attach(_ requester: RequesterID, to domain: Domain) {
    write(domain.descriptor.rawValue | 5, toEntryOf: requester)
  }

  /// Writes a device table entry.
  package func write(_ entry: UInt64, toEntryOf requester: RequesterID) {
    let slot = deviceTable + UInt64(requester.rsid >> 8) * 8
    if memory[slot] == 0 { memory[slot] = allocate() }
    memory[memory[slot] + UInt64(requester.rsid & 0xff) * 8] = entry
  }

  /// The device's registers now.
  package var registers: RegisterValues {
    RegisterValues(byOffset: [
      0x0: 0, 0x8: 8, 0x18: deviceTable, 0x20: latched, 0x28: faultValue, 0x30: 13, 0x1000: enable, 0x1008: 1,
    ])
  }

  /// A fault that stays: V, the requester, the cause.
  package func latchFault(of requester: RequesterID, at iova: UInt64, cause: UInt64 = 16) {
    latched = 1 << 63 | UInt64(requester.rsid) << 16 | cause
    faultValue = iova
  }

  private func index(_ iova: UInt64, _ level: Int) -> UInt64 { iova >> UInt64(shifts[level]) & 0x1ff }

  /// Where the leaf of `iova` lies; makes tables when asked to, also in the place of a large leaf.
  private func entry(_ iova: UInt64, root: UInt64, level: Int = 0, making: Bool) -> UInt64? {
    var table = root
    for step in stride(from: mode.levels - 1, to: level, by: -1) {
      let slot = table + index(iova, step) * 8
      if memory[slot] & 0xf != 1 {
        // Unmap takes out a large leaf as a whole.
        guard making else { return memory[slot] & 1 == 0 ? nil : slot }
        memory[slot] = (allocate() >> 12) << 10 | 1
      }
      table = (memory[slot] >> 10) << 12
    }
    return table + index(iova, level) * 8
  }

  /// The table that the driver takes for the domain's.
  private func root(of domain: Domain) -> UInt64 {
    (mistakes.usesFirstDomain ? domains.first ?? domain : domain).root.address.rawValue
  }

  /// Where a walk with the right shifts ends: at a leaf, or at what stands where the next table should be.
  private func end(of iova: UInt64, in domain: Domain) -> (slot: UInt64, level: Int) {
    var table = domain.root.address.rawValue
    for level in stride(from: mode.levels - 1, to: 0, by: -1) {
      let slot = table + (iova >> UInt64(12 + 9 * level) & 0x1ff) * 8
      if memory[slot] & 0xf != 1 { return (slot, level) }
      table = (memory[slot] >> 10) << 12
    }
    return (table + (iova >> 12 & 0x1ff) * 8, 0)
  }

  /// The word there.
  package func word(of iova: UInt64, in domain: Domain) -> UInt64 { memory[end(of: iova, in: domain).slot] }

  /// Puts another word there, as somebody else would.
  package func overwrite(_ iova: UInt64, in domain: Domain, _ word: UInt64) {
    memory[end(of: iova, in: domain).slot] = word
  }

  /// Whether the page lies in a leaf above level 0.
  package func hasHugeLeaf(_ iova: UInt64, in domain: Domain) -> Bool {
    let (slot, level) = end(of: iova, in: domain)
    return level > 0 && memory[slot] & 0xf > 1
  }

  /// `xt_iommu_map`, 6.x.
  @discardableResult
  package func map(
    _ domain: Domain, _ iova: UInt64, to target: UInt64, size: UInt64 = 4096, count: UInt64 = 1, prot: UInt32 = 3,
    gfp: UInt64 = 0xa20
  ) -> DriverCall {
    let length = size &* count
    let call = DriverCall(
      function: "xt_iommu_map",
      operation: .map(
        target: GPA(target), protection: Protection(rawValue: prot), allocation: AllocationFlags(rawValue: gfp)),
      domain: domain.pointer, iova: IOVA(iova), length: length, pages: DriverCall.Pages(size: size, count: count))
    guard length % 4096 == 0 else { return call }
    let flags = mistakes.flags(prot: prot)
    let part = mistakes.mapped.bytes(size: size, count: count)
    let root = self.root(of: domain)
    var done: UInt64 = 0
    while done < part {
      let address = iova &+ done
      let page = mistakes.pageNumber((target &+ done) >> 12)
      let isHuge =
        mistakes.makesHugeLeaves && part - done >= 0x20_0000 && address % 0x20_0000 == 0 && page % 512 == 0
      if let slot = entry(address, root: root, level: isHuge ? 1 : 0, making: true) {
        let key = Mapped(root: root, iova: address)
        if let owner = owners[slot], owner != key, mapped.contains(owner) { overwrites += 1 }
        owners[slot] = key
        mapped.insert(key)
        memory[slot] = page << 10 | flags
      }
      done += isHuge ? 0x20_0000 : 4096
    }
    return call
  }

  /// `xt_iommu_unmap`, 6.x.
  @discardableResult
  package func unmap(_ domain: Domain, _ iova: UInt64, size: UInt64 = 4096, count: UInt64 = 1) -> DriverCall {
    let root = self.root(of: domain)
    let part = mistakes.cleared.bytes(size: size, count: count)
    for position in 0..<(size &* count) / 4096 {
      let address = iova &+ position &* 4096
      let key = Mapped(root: root, iova: address)
      mapped.remove(key)
      let cleared = address &+ UInt64(bitPattern: mistakes.clearsAtDistance)
      guard position &* 4096 < part, let slot = entry(cleared, root: root, making: false) else { continue }
      memory[slot] = 0
      if let owner = owners.removeValue(forKey: slot), owner != key, mapped.contains(owner) { overwrites += 1 }
    }
    return DriverCall(
      function: "xt_iommu_unmap", operation: .unmap, domain: domain.pointer, iova: IOVA(iova), length: size &* count,
      pages: DriverCall.Pages(size: size, count: count))
  }
}
