public import PageTables

/// Several sources as one: for each page, the first source that answers.
///
/// A read is split at page borders, and each part goes to the first source that has all of it. Where none has, the
/// error is that of the source that came furthest, and among equals that of the first one, the preferred.
public struct OverlayMemory: PhysicalMemory {
  private let sources: [any PhysicalMemory]

  /// `sources`, the preferred one first. No sources are fine: then nothing is readable.
  public init(_ sources: [any PhysicalMemory]) { self.sources = sources }

  /// Part by part from the first source that answers.
  public func read(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) throws(UnreadableMemory) {
    var done = 0
    while done < buffer.count {
      let position = address + UInt64(done)
      guard position >= address else {
        throw UnreadableMemory(address: position, reason: "the read passes the end of the address space")
      }
      let whole = position.pageOffset == 0 ? min((buffer.count - done) / 4096, Self.pages(from: position)) : 0
      if whole > 1 {
        let pages = (0..<whole).map { position + UInt64($0 * 4096) }
        let end = done + whole * 4096
        let read = readPages(pages, into: UnsafeMutableRawBufferPointer(rebasing: buffer[done..<end]))
        done += read * 4096
        if read > 0 { continue }
      }
      let count = min(4096 - position.pageOffset, buffer.count - done)
      try readPart(position, into: UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + count]))
      done += count
    }
  }

  /// The page of the first source that answers for it, when it is resident there.
  public func residentPage(_ page: GPA) -> UnsafeRawPointer? {
    for source in sources {
      if let pointer = source.residentPage(page) { return pointer }
      // A source that has even one end of the page would have answered for it; a later one must not.
      if answers(source, page) || answers(source, page + 4095) { return nil }
    }
    return nil
  }

  /// Asks each source for all the pages that no earlier one had.
  public func readPages(_ pages: [GPA], into buffer: UnsafeMutableRawBufferPointer) -> Int {
    let wanted = min(pages.count, buffer.count / 4096)
    var done = 0
    while done < wanted {
      let turn = min(wanted - done, Self.mostPagesATurn)
      let target = UnsafeMutableRawBufferPointer(rebasing: buffer[done * 4096..<(done + turn) * 4096])
      let read = readTurn(Array(pages[done..<done + turn]), into: target)
      done += read
      if read < turn { return done }
    }
    return done
  }

  /// Bounds what the repeated requests below cost where a source lacks every page.
  private static let mostPagesATurn = 512

  /// How many pages one turn reads from `position` on: none behind the end of the address space, where addresses wrap.
  private static func pages(from position: GPA) -> Int {
    Int(truncatingIfNeeded: min((UInt64.max - position.rawValue) / 4096, UInt64(mostPagesATurn - 1))) + 1
  }

  private func readTurn(_ pages: [GPA], into buffer: UnsafeMutableRawBufferPointer) -> Int {
    var missing = Array(pages.indices)
    for source in sources where !missing.isEmpty {
      var lacking: [Int] = []
      var next = 0
      while next < missing.count {
        let first = missing[next]
        var run = 1
        while next + run < missing.count, missing[next + run] == first + run { run += 1 }
        let target = UnsafeMutableRawBufferPointer(rebasing: buffer[first * 4096..<(first + run) * 4096])
        let read = max(0, min(run, source.readPages(Array(pages[first..<first + run]), into: target)))
        next += read
        if read < run {
          lacking.append(missing[next])
          next += 1
        }
      }
      missing = lacking
    }
    return missing.first ?? pages.count
  }

  private func readPart(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) throws(UnreadableMemory) {
    var failure: UnreadableMemory?
    for source in sources {
      do throws(UnreadableMemory) {
        try source.read(address, into: buffer)
        return
      } catch {
        if failure.map({ error.address > $0.address }) ?? true { failure = error }
      }
    }
    throw failure ?? UnreadableMemory(address: address, reason: "no source of guest memory is open")
  }

  private func answers(_ source: any PhysicalMemory, _ address: GPA) -> Bool {
    var byte: UInt8 = 0
    return withUnsafeMutableBytes(of: &byte) { buffer in
      do throws(UnreadableMemory) {
        try source.read(address, into: buffer)
        return true
      } catch { return false }
    }
  }
}
