public import PageTables

/// Memory that a function reads: the debugger's remote protocol, slow and always there.
///
/// Each page is asked for once, until ``invalidate()``. Neighbouring pages that are not known yet are asked for in one
/// request. Not Sendable: the function is called on the thread of the caller.
public final class CallableMemory: PhysicalMemory {
  /// Answers with exactly so many bytes from that address on, or throws; the error's text becomes the reason.
  public typealias Reader = (_ address: GPA, _ count: Int) throws -> [UInt8]

  /// Answers with the whole pages at those addresses, one behind the other, or throws where one of them cannot be read.
  public typealias PageReader = (_ pages: [GPA]) throws -> [UInt8]

  private let reader: Reader
  private let pageReader: PageReader?
  private let ranges: RangeTable?
  private var pages: [GPA: [UInt8]] = [:]

  /// One request for more than this would hold up the debugger for long without a chance to interrupt it.
  private static let mostPagesARequest = 64

  /// Memory read by `reader`, in `ranges` only; nil allows every address.
  ///
  /// Give the ranges of RAM: QEMU's stub answers for addresses where there is none, and a whole page of registers
  /// must not be read to look at one.
  ///
  /// `pageReader`, where there is one, fetches pages that lie apart in one request.
  public init(ranges: [MemoryRange]? = nil, reader: @escaping Reader, pageReader: PageReader? = nil) {
    self.reader = reader
    self.pageReader = pageReader
    self.ranges = ranges.map { RangeTable($0.map { ($0, $0.start.rawValue) }, name: "guest RAM") }
  }

  /// Forgets every page: the guest ran.
  public func invalidate() { pages.removeAll() }

  /// From the pages known, else from the function.
  public func read(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) throws(UnreadableMemory) {
    var done = 0
    while done < buffer.count {
      let position = address + UInt64(done)
      guard position >= address else {
        throw UnreadableMemory(address: position, reason: "the read passes the end of the address space")
      }
      let count = min(4096 - position.pageOffset, buffer.count - done)
      try ranges?.forEachSpan(from: position, count: count) { _, _, _ in }
      let target = UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + count])
      if isWhole(position.page) {
        let bytes: [UInt8]
        do throws(UnreadableMemory) {
          bytes = try page(position.page, of: position.pageOffset + buffer.count - done)
        } catch {
          // The page was asked for whole; the caller hears of no address before its own.
          throw UnreadableMemory(address: max(position, error.address), reason: error.reason)
        }
        target.copyBytes(from: bytes[position.pageOffset..<position.pageOffset + count])
      } else {
        target.copyBytes(from: try ask(position, count: count))
      }
      done += count
    }
  }

  /// One request for all that are not known yet, or where there is no way to ask so for each that follow each other.
  public func readPages(_ pages: [GPA], into buffer: UnsafeMutableRawBufferPointer) -> Int {
    let wanted = min(pages.count, buffer.count / 4096)
    fetch(pages[..<wanted])
    var done = 0
    while done < wanted {
      let first = pages[done]
      var run = 1
      while done + run < wanted, pages[done + run] == first + UInt64(run * 4096), pages[done + run] > first { run += 1 }
      let target = UnsafeMutableRawBufferPointer(rebasing: buffer[done * 4096..<(done + run) * 4096])
      do throws(UnreadableMemory) {
        try read(first, into: target)
      } catch {
        // read(_:into:) fills the buffer in order up to the page that failed.
        return done + Int(truncatingIfNeeded: min((error.address - first) / 4096, UInt64(run - 1)))
      }
      done += run
    }
    return done
  }

  /// Fetches the unknown ones of `wanted` together. Where that fails, each is asked for by itself and tells its own reason.
  private func fetch(_ wanted: ArraySlice<GPA>) {
    guard let pageReader else { return }
    var unknown: [GPA] = []
    for page in wanted where pages[page] == nil && !unknown.contains(page) && isWhole(page) { unknown.append(page) }
    while !unknown.isEmpty {
      let batch = Array(unknown.prefix(Self.mostPagesARequest))
      unknown.removeFirst(batch.count)
      guard batch.count > 1, let bytes = try? pageReader(batch), bytes.count == batch.count * 4096 else { continue }
      for (slot, page) in batch.enumerated() { pages[page] = Array(bytes[slot * 4096..<(slot + 1) * 4096]) }
    }
  }

  /// Whether RAM covers the whole page, so that it may be read and kept whole.
  private func isWhole(_ page: GPA) -> Bool {
    guard let ranges else { return true }
    do throws(UnreadableMemory) {
      try ranges.forEachSpan(from: page, count: 4096) { _, _, _ in }
      return true
    } catch { return false }
  }

  /// The page at `first`; asks for the unknown pages behind it too, as far as a request of `count` bytes reaches.
  private func page(_ first: GPA, of count: Int) throws(UnreadableMemory) -> [UInt8] {
    if let known = pages[first] { return known }
    var run = 1
    let most = min((count - 1) / 4096 + 1, Self.mostPagesARequest)
    while run < most, case let page = first + UInt64(run * 4096), page > first, pages[page] == nil, isWhole(page) {
      run += 1
    }
    if run > 1, let bytes = try? ask(first, count: run * 4096) {
      for slot in 1..<run { pages[first + UInt64(slot * 4096)] = Array(bytes[slot * 4096..<(slot + 1) * 4096]) }
      let page = Array(bytes[..<4096])
      pages[first] = page
      return page
    }
    let page = try ask(first, count: 4096)
    pages[first] = page
    // A run with one bad page failed as a whole: take the good ones before it, and ask for no run again up to there.
    for slot in 1..<max(run, 1) {
      guard let next = try? ask(first + UInt64(slot * 4096), count: 4096) else { break }
      pages[first + UInt64(slot * 4096)] = next
    }
    return page
  }

  private func ask(_ address: GPA, count: Int) throws(UnreadableMemory) -> [UInt8] {
    let bytes: [UInt8]
    do { bytes = try reader(address, count) } catch {
      throw UnreadableMemory(address: address, reason: String(describing: error))
    }
    guard bytes.count == count else {
      throw UnreadableMemory(address: address, reason: "the debugger answered \(bytes.count) bytes, asked for \(count)")
    }
    return bytes
  }
}
