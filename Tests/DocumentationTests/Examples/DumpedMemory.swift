import PageTables

/// Guest memory in one piece, from `base` on: what `pmemsave` of QEMU's monitor writes into a file.
struct DumpedMemory: PhysicalMemory {
  let base: GPA
  let bytes: [UInt8]

  func read(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) throws(UnreadableMemory) {
    let count = UInt64(bytes.count)
    let offset = address - base
    guard address >= base, offset < count else {
      throw UnreadableMemory(address: address, reason: "outside the dump")
    }
    guard UInt64(buffer.count) <= count - offset else {
      throw UnreadableMemory(address: base + count, reason: "behind the end of the dump")
    }
    bytes.withUnsafeBytes { dump in
      buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: dump[Int(offset)..<Int(offset) + buffer.count]))
    }
  }
}
