import PageTables

/// What an extent says of its first position, from which follows what it says of the others.
protocol ExtentValue: Equatable, Sendable, BitwiseCopyable {
  /// What it says of the position `count` further on.
  func advanced(by count: UInt64) -> Self
}

/// A place in a list, the same for all of an extent.
struct ListPosition: ExtentValue {
  let index: Int
  init(_ index: Int) { self.index = index }
  func advanced(by count: UInt64) -> Self { self }
}

extension ExtentMap<ListPosition> {
  /// Says `value` of `length` bytes from `iova` on. An extent's end has 64 bits, so that the last byte of all is nobody's.
  mutating func set(_ iova: IOVA, length: UInt64, to value: ListPosition?) {
    set(iova.rawValue, count: min(length, .max - iova.rawValue), to: value)
  }
}

/// An ordered map of 64-bit positions to values, kept as extents: as few as it takes.
///
/// A sorted list cut into short chunks: a look-up is two binary searches, a change moves the rest of one chunk.
/// swift-collections has sorted containers only as source-unstable prototypes, and none that cuts ranges.
struct ExtentMap<Value: ExtentValue>: Sendable {
  /// Consecutive positions.
  struct Extent: Equatable, Sendable, BitwiseCopyable {
    /// The first position.
    var start: UInt64
    /// How many; at least 1, and `start + count` does not overflow.
    var count: UInt64
    /// What is said of the first position.
    var value: Value

    /// The position behind the last.
    var end: UInt64 { start &+ count }

    /// The part between two positions, which must overlap it.
    func clipped(_ from: UInt64, _ to: UInt64) -> Extent {
      let low = max(start, from)
      return Extent(start: low, count: min(end, to) &- low, value: value.advanced(by: low &- start))
    }
  }

  /// A place in the list: a chunk and an extent in it; the chunk's end counts as the next chunk's start.
  private struct Place {
    var chunk: Int
    var index: Int
  }

  private static var chunkSize: Int { 128 }

  /// No chunk is empty.
  private var chunks: [[Extent]] = []
  /// Where each chunk starts.
  private var starts: [UInt64] = []
  /// How many extents there are.
  private(set) var count = 0

  // MARK: Reading

  /// The first extent that ends behind `position`.
  private func place(behind position: UInt64) -> Place {
    // The last chunk that starts at or before the position, or the first.
    var (low, high) = (0, starts.count)
    while low < high {
      let middle = (low + high) / 2
      if starts[middle] <= position { low = middle + 1 } else { high = middle }
    }
    let chunk = max(low - 1, 0)
    guard chunk < chunks.count else { return Place(chunk: chunk, index: 0) }
    let index = chunks[chunk].withUnsafeBufferPointer { extents in
      var (low, high) = (0, extents.count)
      while low < high {
        let middle = (low + high) / 2
        if extents[middle].end <= position { low = middle + 1 } else { high = middle }
      }
      return low
    }
    return Place(chunk: chunk, index: index)
  }

  /// The extent at `place`, which moves to the next chunk's start where it has to; nil behind the last.
  private func extent(at place: inout Place) -> Extent? {
    while place.chunk < chunks.count {
      if place.index < chunks[place.chunk].count { return chunks[place.chunk][place.index] }
      place = Place(chunk: place.chunk + 1, index: 0)
    }
    return nil
  }

  /// Calls `body` with the parts of extents between two positions, in order.
  func forEach(from: UInt64 = 0, to: UInt64 = .max, _ body: (Extent) throws -> Void) rethrows {
    var place = place(behind: from)
    while let extent = extent(at: &place), extent.start < to {
      try body(extent.clipped(from, to))
      place.index += 1
    }
  }

  /// What is said of `position`, and of how many positions from it on the same extent says it; without an extent, how far
  /// the hole reaches.
  func value(at position: UInt64) -> (value: Value?, count: UInt64) {
    var place = place(behind: position)
    guard let extent = extent(at: &place) else { return (nil, .max &- position) }
    if extent.start > position { return (nil, extent.start &- position) }
    return (extent.value.advanced(by: position &- extent.start), extent.end &- position)
  }

  // MARK: Changing

  /// Says `value` of `count` positions from `start` on, whatever was said of them before; nil takes them out. Extents that
  /// go on in one another become one.
  mutating func set(_ start: UInt64, count: UInt64, to value: Value?) {
    let (end, overflow) = start.addingReportingOverflow(count)
    guard count > 0, !overflow else { return }
    let first = place(behind: start)
    var last = first
    var left: Extent?
    var right: Extent?
    while let extent = extent(at: &last), extent.start < end {
      if extent.start < start { left = extent.clipped(0, start) }
      if extent.end > end { right = extent.clipped(end, .max) }
      last.index += 1
    }
    guard let value else { return splice(from: first, to: last, left, nil, right) }
    var added = Extent(start: start, count: count, value: value)
    var (from, to) = (first, last)
    let before = left.map { ($0, first) } ?? before(first)
    if let (extent, place) = before, extent.end == start, extent.value.advanced(by: extent.count) == value {
      added = Extent(start: extent.start, count: extent.count &+ count, value: extent.value)
      (left, from) = (nil, place)
    }
    let next = right ?? extent(at: &to)
    if let next, next.start == end, added.value.advanced(by: added.count) == next.value {
      added.count &+= next.count
      if right == nil { to.index += 1 }
      right = nil
    }
    splice(from: from, to: to, left, added, right)
  }

  /// Lets `change` change what is said of `count` positions from `start` on, an extent or a part of one at a time: its
  /// value and how many positions it has.
  mutating func update(_ start: UInt64, count: UInt64, _ change: (inout Value, UInt64) -> Void) {
    let (end, overflow) = start.addingReportingOverflow(count)
    guard count > 0, !overflow else { return }
    cut(at: start)
    cut(at: end)
    var place = place(behind: start)
    while let extent = extent(at: &place), extent.start < end {
      change(&chunks[place.chunk][place.index].value, extent.count)
      place.index += 1
    }
  }

  /// Makes two extents of the one that reaches over `position`.
  private mutating func cut(at position: UInt64) {
    var place = place(behind: position)
    guard let extent = extent(at: &place), extent.start < position else { return }
    var end = place
    end.index += 1
    splice(from: place, to: end, extent.clipped(0, position), extent.clipped(position, .max), nil)
  }

  /// The extent before `place`, and its place; nil at the start.
  private func before(_ place: Place) -> (extent: Extent, place: Place)? {
    var place = place
    if place.index == 0 {
      guard place.chunk > 0 else { return nil }
      place = Place(chunk: place.chunk - 1, index: chunks[place.chunk - 1].count)
    }
    place.index -= 1
    return chunks.isEmpty ? nil : (chunks[place.chunk][place.index], place)
  }

  /// Puts up to three extents in the place of those from `from` up to `to`.
  private mutating func splice(from: Place, to: Place, _ first: Extent?, _ second: Extent?, _ third: Extent?) {
    if chunks.isEmpty {
      chunks.append([])
      starts.append(0)
    }
    let isOneChunk = to.chunk == from.chunk
    let end = isOneChunk ? to.index : chunks[from.chunk].count
    var index = from.index
    func put(_ extent: Extent?) {
      guard let extent else { return }
      if index < end { chunks[from.chunk][index] = extent } else { chunks[from.chunk].insert(extent, at: index) }
      index += 1
    }
    put(first)
    put(second)
    put(third)
    if index < end { chunks[from.chunk].removeSubrange(index..<end) }
    count += index - end
    if !isOneChunk {
      let whole = min(from.chunk + 1, chunks.count)..<min(to.chunk, chunks.count)
      for chunk in whole { count -= chunks[chunk].count }
      if to.index > 0 {
        // Never all of them: a place behind a chunk's last extent is the next chunk's start.
        chunks[to.chunk].removeFirst(to.index)
        count -= to.index
        if let start = chunks[to.chunk].first?.start { starts[to.chunk] = start }
      }
      chunks.removeSubrange(whole)
      starts.removeSubrange(whole)
    }
    settle(from.chunk)
  }

  /// Drops a chunk that became empty, halves one that became too long, and notes where it starts.
  private mutating func settle(_ chunk: Int) {
    guard let start = chunks[chunk].first?.start else {
      chunks.remove(at: chunk)
      starts.remove(at: chunk)
      return
    }
    starts[chunk] = start
    guard chunks[chunk].count > Self.chunkSize else { return }
    // A list that only grows at its end leaves full chunks behind.
    let half = chunk == chunks.count - 1 ? Self.chunkSize - 8 : chunks[chunk].count / 2
    let upper = Array(chunks[chunk][half...])
    chunks[chunk].removeLast(upper.count)
    chunks.insert(upper, at: chunk + 1)
    starts.insert(upper[0].start, at: chunk + 1)
  }
}
