import IOMMUModel
import Images
import Investigation
import PageTables
import XuanTie

/// What a day of a network card and the start of two guests leave behind: the calls, and the tables at the end.
///
/// The card has 4096 buffers mapped at any time, a page or two each, and takes the IOVA that became free last, as the
/// kernel's cache does. Each guest's 4 GiB are mapped in calls of 512 MiB, by VFIO.
struct Workload {
  private(set) var calls: [RecordedCall] = []
  /// What was found right after each call.
  private(set) var verifications: [Verification] = []
  let tables: Tables
  private let profile = XuanTieDriver(signature: .pages)
  private let card: Domain
  private var random = Generator(state: 0x2545_f491_4f6c_dd1d)

  private struct Domain {
    let pointer: KVA
    let root: TableRoot
    let requester: RequesterID
  }

  /// `count` calls of a driver that indexes the root with `rootShift`.
  init(count: Int, rootShift: Int) {
    tables = Tables(rootShift: rootShift)
    card = Domain(pointer: KVA(0xff60_0000_0000_0000), root: tables.root(1), requester: RequesterID(rawValue: 8))
    calls.reserveCapacity(count)
    for guest in 0..<UInt64(2) {
      let domain = Domain(
        pointer: KVA(0xff60_0000_0001_0000 + guest << 16), root: tables.root(2 + guest),
        requester: RequesterID(rawValue: 16 + UInt32(guest) << 3))
      for part in 0..<UInt64(8) {
        map(domain, part << 29, to: 0x4_0000_0000 + guest << 32 + part << 29, size: 1 << 21, count: 256)
      }
    }
    var free = (0..<UInt64(8192)).map { 0xffff_e000 - $0 << 13 }
    var busy: [(iova: UInt64, count: UInt64)] = []
    var oldest = 0
    while calls.count < count {
      if busy.count - oldest < 4096, let iova = free.popLast() {
        let pages: UInt64 = calls.count % 8 == 0 ? 2 : 1
        map(card, iova, to: UInt64.random(in: 0..<1 << 20, using: &random) << 12, size: 4096, count: pages)
        busy.append((iova, pages))
      } else {
        let (iova, pages) = busy[oldest]
        oldest += 1
        let call = add(card, .unmap, iova, size: 4096, count: pages)
        tables.clear(card.root, iova, pages: pages)
        verify(call, card)
        free.append(iova)
      }
    }
  }

  private mutating func map(_ domain: Domain, _ iova: UInt64, to target: UInt64, size: UInt64, count: UInt64) {
    let call = add(
      domain,
      .map(target: GPA(target), protection: [.read, .write], allocation: AllocationFlags(rawValue: 0xa20)), iova,
      size: size, count: count)
    tables.map(domain.root, iova, to: target, pages: size / 4096 * count)
    verify(call, domain)
  }

  private mutating func add(
    _ domain: Domain, _ operation: DriverCall.Operation, _ iova: UInt64, size: UInt64, count: UInt64
  ) -> DriverCall {
    let isMap = operation != .unmap
    let call = DriverCall(
      function: isMap ? "xt_iommu_map" : "xt_iommu_unmap", operation: operation, domain: domain.pointer,
      iova: IOVA(iova), length: size * count, pages: DriverCall.Pages(size: size, count: count))
    calls.append(RecordedCall(number: 0, call: call, root: domain.root, requester: domain.requester))
    return call
  }

  private mutating func verify(_ call: DriverCall, _ domain: Domain) {
    verifications.append(Verifier(profile: profile, memory: tables).verify(call, root: domain.root))
  }

  /// Stores the calls in one go, what was found after each in another, and the tables and registers at the end.
  func store(in store: InvestigationStore) throws {
    let stored = try store.append(calls: calls)
    try store.setFact(Fact.profile, profile.identifier)
    try store.setFact(Fact.satp, "0xa000000000081234")
    try store.append(
      verifications: zip(stored, verifications).compactMap { call, found in
        call.id.map { (call: $0, verification: found) }
      })
    try store.append(tables.registers)
    try store.append(snapshot: tables.snapshot, reason: "benchmark")
  }
}

/// Sv39 tables as the driver writes them, and the device's way to them.
final class Tables: PhysicalMemory {
  private let rootShift: UInt64
  private var pages: [UInt64: UnsafeMutablePointer<UInt64>] = [:]
  private var next: UInt64 = 0x8_0100

  init(rootShift: Int) {
    self.rootShift = UInt64(rootShift)
    // A level-1 device table, its level-2 table, and a page of descriptors.
    for page in 0..<UInt64(3) { _ = words(0x8_0000 + page) }
    words(0x8_0000)[0] = 0x8000_1000
    for (domain, rsid) in [(1, 8), (2, 16), (3, 24)] {
      words(0x8_0001)[rsid] = 0x8000_2000 + UInt64(domain) * 64 | 5
      words(0x8_0002)[domain * 8] = 8 << 60 | (0x8_0010 + UInt64(domain))
      _ = words(0x8_0010 + UInt64(domain))
    }
  }

  deinit { for page in pages.values { page.deallocate() } }

  /// The root of domain 1 to 3.
  func root(_ domain: UInt64) -> TableRoot { TableRoot(address: GPA((0x8_0010 + domain) << 12), mode: .sv39) }

  var registers: RegisterValues {
    RegisterValues(byOffset: [0x0: 0, 0x8: 8, 0x18: 0x8000_0000, 0x20: 0, 0x28: 0, 0x30: 13, 0x1000: 1, 0x1008: 1])
  }

  var snapshot: [GPA: [UInt8]] {
    var copies: [GPA: [UInt8]] = [:]
    for (page, words) in pages { copies[GPA(page << 12)] = Array(UnsafeRawBufferPointer(start: words, count: 4096)) }
    return copies
  }

  private func words(_ page: UInt64) -> UnsafeMutablePointer<UInt64> {
    if let known = pages[page] { return known }
    let words = UnsafeMutablePointer<UInt64>.allocate(capacity: 512)
    words.initialize(repeating: 0, count: 512)
    pages[page] = words
    return words
  }

  private func leafTable(_ root: TableRoot, _ iova: UInt64) -> UnsafeMutablePointer<UInt64> {
    var table = words(root.address.rawValue >> 12)
    for shift in [rootShift, 21] {
      let index = Int(iova >> shift & 511)
      if table[index] == 0 {
        table[index] = next << 10 | 1
        next += 1
      }
      table = words(table[index] >> 10)
    }
    return table
  }

  func map(_ root: TableRoot, _ iova: UInt64, to target: UInt64, pages: UInt64) {
    for page in 0..<pages {
      let address = iova + page << 12
      leafTable(root, address)[Int(address >> 12 & 511)] = (target >> 12 + page) << 10 | 7
    }
  }

  func clear(_ root: TableRoot, _ iova: UInt64, pages: UInt64) {
    for page in 0..<pages {
      let address = iova + page << 12
      leafTable(root, address)[Int(address >> 12 & 511)] = 0
    }
  }

  func residentPage(_ page: GPA) -> UnsafeRawPointer? { pages[page.rawValue >> 12].map { UnsafeRawPointer($0) } }

  func read(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) throws(UnreadableMemory) {
    guard let page = residentPage(address.page), address.pageOffset + buffer.count <= 4096 else {
      throw UnreadableMemory(address: address, reason: "outside the tables")
    }
    buffer.copyMemory(from: UnsafeRawBufferPointer(start: page + address.pageOffset, count: buffer.count))
  }
}
