import Foundation
import PageTables

/// The prober's RAM: pages for tables with a copy of what they should hold, and pages to be reached, whose words tell their
/// own address.
final class GuestRAM: PhysicalMemory {
  /// Where tables lie. One bit off, there is nothing in which a stray access could do harm.
  private static let tables: UInt64 = 0x8c00_0000
  static let slots = 512
  static let pagesPerSlot: UInt64 = 16
  private static let tablesSize = UInt64(slots) * pagesPerSlot << 12
  /// Where pages to be reached lie; from here on no word is anything else.
  private static let targets: UInt64 = 0x9000_0000
  /// Up to here lie ROM and devices of QEMU's `spike`.
  static let devicesEnd: UInt64 = 0x0400_0000

  private let prober: Prober
  private let expected: UnsafeMutableRawPointer
  private var stored: [UInt64] = []

  init(_ prober: Prober) {
    self.prober = prober
    expected = .allocate(byteCount: Int(Self.tablesSize), alignment: 4096)
    expected.initializeMemory(as: UInt8.self, repeating: 0, count: Int(Self.tablesSize))
  }

  deinit { expected.deallocate() }

  /// The pages of one of the ``slots``.
  static func pages(_ slot: Int) -> [UInt64] {
    (0..<pagesPerSlot).map { tables + (UInt64(slot) * pagesPerSlot + $0) << 12 }
  }

  /// The page number of one of some thousand pages all over RAM.
  static func target(_ number: Int) -> UInt64 { targets >> 12 + UInt64(number % 4096) * 47 }

  static func isTarget(_ address: UInt64) -> Bool { address >= targets && isRAM(address) }
  static func isTable(_ address: UInt64) -> Bool { address >= tables && address - tables < tablesSize }
  /// Whether it is better not to write there or to execute what is there.
  static func isDelicate(_ address: UInt64) -> Bool {
    isRAM(address) ? !isTarget(address) : address < devicesEnd
  }
  static func isRAM(_ address: UInt64) -> Bool { address >= Prober.start && address - Prober.start < Prober.size }

  /// Stores an entry, when there is a table.
  func store(_ entry: UInt64, at address: UInt64, format: PageTableEntry.Format) {
    guard Self.isTable(address) else { return }
    let place = expected + Int(address - Self.tables)
    if format == .sv32 {
      place.storeBytes(of: UInt32(truncatingIfNeeded: entry).littleEndian, as: UInt32.self)
    } else {
      place.storeBytes(of: entry.littleEndian, as: UInt64.self)
    }
    prober[address & ~7] = word(address & ~7)
    stored.append(address & ~7)
  }

  /// Takes back all entries.
  func forget() {
    for address in stored {
      (expected + Int(address - Self.tables)).storeBytes(of: 0, as: UInt64.self)
      prober[address] = 0
    }
    stored.removeAll(keepingCapacity: true)
  }

  /// Makes the word at `address` tell its address, when it is there to be reached. Executed, it is an illegal instruction.
  func sign(_ address: UInt64) {
    if Self.isTarget(address) { prober[address] = address << 16 }
  }

  /// What should be at an address in RAM.
  func word(_ address: UInt64) -> UInt64 {
    guard Self.isTable(address) else { return prober[address] }
    return UInt64(littleEndian: (expected + Int(address - Self.tables)).loadUnaligned(as: UInt64.self))
  }

  /// Whether `value` can have been loaded from an address in RAM. A table may have got an A or a D since, and below the
  /// tables the program's own words change all the time.
  func isRight(_ value: UInt64, at address: UInt64) -> Bool {
    if Self.isTarget(address) { return value == word(address) }
    return !Self.isTable(address) || (value ^ word(address)) & ~0xc0_0000_00c0 == 0
  }

  /// Sets A, or A and D, in a leaf.
  func mark(leaf: UInt64, dirty: Bool) {
    guard Self.isTable(leaf) else { return }
    let place = expected + Int(leaf - Self.tables)
    place.storeBytes(of: place.load(as: UInt8.self) | (dirty ? 0xc0 : 0x40), as: UInt8.self)
  }

  /// An entry that is not what it should be.
  var difference: UInt64? { stored.first { prober[$0] != word($0) } }

  func residentPage(_ page: GPA) -> UnsafeRawPointer? {
    if Self.isTable(page.rawValue) { return UnsafeRawPointer(expected + Int(page.rawValue - Self.tables)) }
    return Self.isRAM(page.rawValue) ? UnsafeRawPointer(prober.ram + Int(page.rawValue - Prober.start)) : nil
  }

  func read(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) throws(UnreadableMemory) {
    // Entries are aligned, so that none lies in two pages.
    guard let page = residentPage(address.page) else { throw UnreadableMemory(address: address, reason: "not RAM") }
    buffer.copyMemory(from: UnsafeRawBufferPointer(start: page + address.pageOffset, count: buffer.count))
  }
}
