import PageTables

/// Guest memory of which only some bytes are not zero; it counts what it is asked.
final class SparseMemory: PhysicalMemory {
  let start: GPA, size: UInt64
  private var pages: [GPA: [UInt8]] = [:]
  private(set) var reads = 0
  private(set) var bytesRead = 0

  /// RAM of `size` bytes from `start` on, all zero.
  init(start: GPA = GPA(0x8000_0000), size: UInt64 = 0x2000_0000) {
    self.start = start
    self.size = size
  }

  func write(_ bytes: some Sequence<UInt8>, at address: GPA) {
    for (offset, byte) in bytes.enumerated() {
      let place = address + UInt64(offset)
      pages[place.page, default: [UInt8](repeating: 0, count: 4096)][place.pageOffset] = byte
    }
  }

  func write(_ value: UInt64, count: Int = 8, at address: GPA) {
    write((0..<count).map { UInt8(truncatingIfNeeded: value >> UInt64($0 * 8)) }, at: address)
  }

  func read(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) throws(UnreadableMemory) {
    reads += 1
    bytesRead += buffer.count
    guard address >= start, address - start <= size, UInt64(buffer.count) <= size - (address - start) else {
      throw UnreadableMemory(address: address, reason: "outside guest RAM")
    }
    var position = 0
    while position < buffer.count {
      let place = address + UInt64(position)
      let length = min(4096 - place.pageOffset, buffer.count - position)
      let piece = UnsafeMutableRawBufferPointer(rebasing: buffer[position..<position + length])
      if let page = pages[place.page] {
        piece.copyBytes(from: page[place.pageOffset..<place.pageOffset + length])
      } else {
        piece.initializeMemory(as: UInt8.self, repeating: 0)
      }
      position += length
    }
  }
}
