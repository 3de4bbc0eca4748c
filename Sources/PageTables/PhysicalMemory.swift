/// Who can answer "the bytes at this guest-physical address".
///
/// A source implements ``read(_:into:)``; one that holds the guest's pages in its own address space also hands them out
/// without copying (``residentPage(_:)``), and one that pays per request answers many pages at once
/// (``readPages(_:into:)``). A walk asks for pages, never for single entries, wherever that is cheaper.
public protocol PhysicalMemory {
  /// Fills `buffer` from `address` on. Nothing is said about the buffer's content after an error.
  func read(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) throws(UnreadableMemory)

  /// The 4096 bytes of the page at `page`, which stay where they are as long as this source lives; nil where the page
  /// must be copied. `page` is a multiple of 4096.
  func residentPage(_ page: GPA) -> UnsafeRawPointer?

  /// Copies whole pages one behind the other into `buffer` (4096 bytes each) and returns how many of them, from the
  /// first on, were read; ``read(_:into:)`` tells why the next one was not.
  func readPages(_ pages: [GPA], into buffer: UnsafeMutableRawBufferPointer) -> Int
}

/// A read that failed: which address and why.
public struct UnreadableMemory: Error, Hashable, Sendable, CustomStringConvertible {
  /// The first address that could not be read.
  public let address: GPA
  /// Why, as a phrase: `outside guest RAM`.
  public let reason: String
  /// Whether the word exists and only nobody wrote it down: then it speaks neither for a table nor against it.
  public let isUnrecorded: Bool

  /// The failure of a read at `address`.
  public init(address: GPA, reason: String, isUnrecorded: Bool = false) {
    self.address = address
    self.reason = reason
    self.isUnrecorded = isUnrecorded
  }

  /// A whole sentence.
  public var description: String { "Cannot read guest-physical address \(address): \(reason)." }
}

extension PhysicalMemory {
  /// No page is resident.
  public func residentPage(_ page: GPA) -> UnsafeRawPointer? { nil }

  /// One read a page.
  public func readPages(_ pages: [GPA], into buffer: UnsafeMutableRawBufferPointer) -> Int {
    for (position, page) in pages.enumerated() {
      guard (position + 1) * 4096 <= buffer.count else { return position }
      let slot = UnsafeMutableRawBufferPointer(rebasing: buffer[position * 4096..<(position + 1) * 4096])
      do { try read(page, into: slot) } catch { return position }
    }
    return pages.count
  }

  /// `count` bytes from `address` on; none for a negative count.
  public func bytes(at address: GPA, count: Int) throws(UnreadableMemory) -> [UInt8] {
    guard count > 0 else { return [] }
    var failure: UnreadableMemory?
    let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      do throws(UnreadableMemory) {
        let target = UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(buffer)[..<count])
        try read(address, into: target)
        initialized = count
      } catch { failure = error }
    }
    if let failure { throw failure }
    return bytes
  }

  /// The little-endian 8-byte word at `address`, which need not be aligned.
  public func word(at address: GPA) throws(UnreadableMemory) -> UInt64 {
    try integer(at: address, as: UInt64.self)
  }

  /// The table entry at `address` in `format`.
  public func entry(at address: GPA, format: PageTableEntry.Format) throws(UnreadableMemory) -> PageTableEntry {
    switch format {
    case .rv64: PageTableEntry(rawValue: try integer(at: address, as: UInt64.self), format: format)
    case .sv32: PageTableEntry(rawValue: UInt64(try integer(at: address, as: UInt32.self)), format: format)
    }
  }

  private func integer<Word: FixedWidthInteger & BitwiseCopyable>(
    at address: GPA, as type: Word.Type
  ) throws(UnreadableMemory) -> Word {
    if address.pageOffset <= 4096 - MemoryLayout<Word>.size, let page = residentPage(address.page) {
      return Word(littleEndian: page.loadUnaligned(fromByteOffset: address.pageOffset, as: Word.self))
    }
    var word: Word = 0
    var failure: UnreadableMemory?
    withUnsafeMutableBytes(of: &word) { buffer in
      do throws(UnreadableMemory) { try read(address, into: buffer) } catch { failure = error }
    }
    if let failure { throw failure }
    return Word(littleEndian: word)
  }
}
