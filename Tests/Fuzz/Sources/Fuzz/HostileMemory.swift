import PageTables

/// A few pages at the places that a table can lead to, with what an input writes into them: cycles, self-maps, the same
/// table below every entry, holes, ones all over.
final class HostileMemory: PhysicalMemory {
  /// The first page, four in a row as a second stage's root has them, the last page of each entry format and of all.
  static let places: [GPA] = [
    GPA(0), GPA(0x8000_0000), GPA(0x8000_1000), GPA(0x8000_2000), GPA(0x8000_3000), GPA(0x3_ffff_f000),
    GPA(0xff_ffff_ffff_f000), GPA(0xffff_ffff_ffff_f000),
  ]

  private struct Page {
    // Of its own in the heap, so that the sanitizer sees a read beyond its end.
    let bytes: UnsafeMutableRawBufferPointer
    let isReadable, isResident: Bool
  }

  private var pages: [GPA: Page] = [:]
  /// How many pages were asked for, or parts of them.
  private(set) var requests = 0

  /// Writes pages as `input` says, up to its end.
  init(_ input: inout Input, format: PageTableEntry.Format) {
    let (holes, copied) = (input.byte(), input.byte())
    for (position, place) in Self.places.enumerated() {
      let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 4096)
      bytes.initializeMemory(as: UInt8.self, repeating: 0)
      // A page is a hole where two bits are set: most inputs shall find something.
      let isReadable = (holes & holes >> 1) >> position & 1 == 0
      pages[place] = Page(bytes: bytes, isReadable: isReadable, isResident: copied >> position & 1 == 0)
    }
    while !input.isEmpty { write(&input, format) }
  }

  deinit { for page in pages.values { page.bytes.deallocate() } }

  private func write(_ input: inout Input, _ format: PageTableEntry.Format) {
    let kind = input.below(8)
    guard let page = pages[input.pick(Self.places)] else { return }
    let entries = 4096 >> format.bytes_lg2
    let first = input.below(entries)
    func store(_ value: UInt64, _ index: Int) {
      switch format {
      case .rv64: page.bytes.storeBytes(of: value.littleEndian, toByteOffset: index * 8, as: UInt64.self)
      case .sv32:
        page.bytes.storeBytes(
          of: UInt32(truncatingIfNeeded: value).littleEndian, toByteOffset: index * 4, as: UInt32.self)
      }
    }
    func pointer(to place: GPA) -> UInt64 { ((place.rawValue >> 12) << 10) & ((1 << 54) - 1) | 1 }
    switch kind {
    case 0: store(input.number(), first)
    case 1: store(input.pick(Self.places).rawValue | UInt64(input.byte()), first)
    case 2: store(pointer(to: input.pick(Self.places)), first)
    case 3:
      let entry = pointer(to: input.pick(Self.places))
      for index in first..<entries { store(entry, index) }
    case 4: page.bytes.initializeMemory(as: UInt8.self, repeating: 0xff)
    case 5, 6:
      // A run of leaves, one page further each, or all the same as in a contiguous group.
      let (count, entry, step) = (
        input.below(entries), input.number() << 10 | UInt64(input.byte()), kind == 5 ? 0x400 : 0
      )
      let contiguous: UInt64 = kind == 6 && format == .rv64 ? 1 << 63 | 8 << 10 : 0
      for index in first..<min(entries, first + count) {
        store((entry | contiguous) &+ UInt64(index - first) &* UInt64(step), index)
      }
    default:
      if let other = pages[input.pick(Self.places)], other.bytes.baseAddress != page.bytes.baseAddress {
        page.bytes.copyMemory(from: UnsafeRawBufferPointer(other.bytes))
      }
    }
  }

  func read(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) throws(UnreadableMemory) {
    requests += 1
    var done = 0
    while done < buffer.count {
      let place = address + UInt64(done)
      guard place >= address, let page = pages[place.page], page.isReadable else {
        throw UnreadableMemory(address: place, reason: "a hole")
      }
      let count = min(buffer.count - done, 4096 - place.pageOffset)
      UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + count])
        .copyMemory(from: UnsafeRawBufferPointer(rebasing: page.bytes[place.pageOffset..<place.pageOffset + count]))
      done += count
    }
  }

  func residentPage(_ page: GPA) -> UnsafeRawPointer? {
    guard let page = pages[page], page.isReadable, page.isResident else { return nil }
    requests += 1
    return UnsafeRawPointer(page.bytes.baseAddress)
  }
}
