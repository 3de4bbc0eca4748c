import PageTables

/// Guest memory that both sides of a comparison read: zero where nothing was stored, and holes.
final class Pages: PhysicalMemory {
  /// Pages that cannot be read; the device finds zero there.
  var holes: Set<UInt64> = []
  private var contents: [UInt64: UnsafeMutableRawPointer] = [:]
  private var stored: [UnsafeMutableRawPointer] = []

  deinit { for bytes in contents.values { bytes.deallocate() } }

  /// Takes back all that was stored, and the holes.
  func forget() {
    for byte in stored { byte.storeBytes(of: 0, as: UInt8.self) }
    stored.removeAll(keepingCapacity: true)
    holes.removeAll(keepingCapacity: true)
  }

  /// Stores the low `count` bytes of `value`.
  func store(_ value: UInt64, at address: UInt64, bytes count: Int = 8) {
    for byte in 0..<UInt64(count) {
      let place = page(address &+ byte) + Int((address &+ byte) & 0xfff)
      place.storeBytes(of: UInt8(truncatingIfNeeded: value >> (byte * 8)), as: UInt8.self)
      stored.append(place)
    }
  }

  private func page(_ address: UInt64) -> UnsafeMutableRawPointer {
    if let page = contents[address & ~0xfff] { return page }
    let page = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 4096)
    page.initializeMemory(as: UInt8.self, repeating: 0, count: 4096)
    contents[address & ~0xfff] = page
    return page
  }

  /// Whether the word at `address`, which may lie in two pages, has a byte in a hole.
  func isHole(_ address: UInt64) -> Bool {
    holes.contains(address & ~0xfff) || holes.contains((address &+ 7) & ~0xfff)
  }

  func residentPage(_ page: GPA) -> UnsafeRawPointer? {
    holes.contains(page.rawValue) ? nil : contents[page.rawValue].map { UnsafeRawPointer($0) }
  }

  func read(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) throws(UnreadableMemory) {
    for offset in 0..<buffer.count {
      let byte = address + UInt64(offset)
      guard !holes.contains(byte.page.rawValue) else { throw UnreadableMemory(address: byte, reason: "a hole") }
      buffer[offset] = contents[byte.page.rawValue]?.load(fromByteOffset: byte.pageOffset, as: UInt8.self) ?? 0
    }
  }
}
