import Glibc
import PageTables

/// Where each guest-physical address lies: disjoint pieces, sorted, found by binary search.
struct RangeTable: Sendable {
  /// Addresses that lie one behind the other from `place` on: a pointer's bits, or an address in another process.
  struct Piece: Sendable {
    var start: UInt64
    var last: UInt64
    var place: UInt64
  }

  /// Sorted, disjoint.
  let pieces: [Piece]
  /// What the table stands for, in messages: `the core /tmp/core`.
  let name: String

  /// The pieces of `ranges`; where some overlap, the first in the list wins.
  init(_ ranges: [(range: MemoryRange, place: UInt64)], name: String) {
    self.name = name
    let starts = ranges.indices.sorted { ranges[$0].range.start < ranges[$1].range.start }
    var pieces: [Piece] = []
    var active = MinHeap()
    var next = 0
    var position: UInt64 = 0
    // One turn covers the addresses up to the next start or the winner's end, so n ranges take at most 2n turns.
    while next < starts.count || active.first != nil {
      if active.first == nil, next < starts.count { position = ranges[starts[next]].range.start.rawValue }
      while next < starts.count, ranges[starts[next]].range.start.rawValue <= position {
        active.insert(starts[next])
        next += 1
      }
      guard let winner = active.first else { break }
      let (range, place) = ranges[winner]
      guard range.last.rawValue >= position else {
        active.removeFirst()
        continue
      }
      var last = range.last.rawValue
      if next < starts.count { last = min(last, ranges[starts[next]].range.start.rawValue &- 1) }
      let piecePlace = place &+ (position &- range.start.rawValue)
      if let previous = pieces.last, previous.last &+ 1 == position,
        previous.place &+ (position &- previous.start) == piecePlace
      {
        pieces[pieces.count - 1].last = last
      } else {
        pieces.append(Piece(start: position, last: last, place: piecePlace))
      }
      guard last < .max else { break }
      position = last + 1
    }
    self.pieces = pieces
  }

  /// The piece that holds `address`.
  func piece(holding address: GPA) -> Piece? {
    var low = 0
    var high = pieces.count
    while low < high {
      let middle = (low + high) / 2
      if pieces[middle].last < address.rawValue { low = middle + 1 } else { high = middle }
    }
    guard low < pieces.count, pieces[low].start <= address.rawValue else { return nil }
    return pieces[low]
  }

  /// Calls `body` for each part of the `count` bytes from `address` on that lies in one piece, in order.
  func forEachSpan(
    from address: GPA, count: Int,
    _ body: (_ place: UInt64, _ offset: Int, _ count: Int) throws(UnreadableMemory) -> Void
  ) throws(UnreadableMemory) {
    var done = 0
    while done < count {
      let position = address + UInt64(done)
      guard position >= address, let piece = piece(holding: position) else { throw outside(position) }
      let rest = min(piece.last - position.rawValue, UInt64(count - done - 1))
      let length = Int(truncatingIfNeeded: rest) + 1
      try body(piece.place &+ (position.rawValue - piece.start), done, length)
      done += length
    }
  }

  /// The failure of a read at `address`, which no piece holds.
  func outside(_ address: GPA) -> UnreadableMemory {
    let shown = pieces.prefix(4).map { "\(hex($0.start))-\(hex($0.last))" }
    let more = pieces.count > shown.count ? " and \(pieces.count - shown.count) more" : ""
    let held = shown.isEmpty ? "nothing" : shown.joined(separator: ", ") + more
    return UnreadableMemory(address: address, reason: "outside \(name), which holds \(held)")
  }
}

/// The same for memory of this process, where `place` is a pointer's bits.
extension RangeTable {
  /// Copies from `address` on into `buffer`.
  func copy(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) throws(UnreadableMemory) {
    try forEachSpan(from: address, count: buffer.count) { place, offset, count throws(UnreadableMemory) in
      guard let source = UnsafeRawPointer(bitPattern: UInt(place)), let target = buffer.baseAddress else {
        throw outside(address)
      }
      memcpy(target + offset, source, count)
    }
  }

  /// The page at `page`, when it lies in one piece. Not aligned: a core's segments start anywhere in its file.
  func residentPage(_ page: GPA) -> UnsafeRawPointer? {
    guard let piece = piece(holding: page), piece.last - page.rawValue >= 4095 else { return nil }
    return UnsafeRawPointer(bitPattern: UInt(piece.place &+ (page.rawValue - piece.start)))
  }
}

/// The smallest of a few integers at hand; the least code that keeps hostile cores with many segments fast.
private struct MinHeap {
  private var items: [Int] = []

  var first: Int? { items.first }

  mutating func insert(_ item: Int) {
    items.append(item)
    var child = items.count - 1
    while child > 0, items[child] < items[(child - 1) / 2] {
      items.swapAt(child, (child - 1) / 2)
      child = (child - 1) / 2
    }
  }

  mutating func removeFirst() {
    guard let last = items.popLast(), !items.isEmpty else { return }
    items[0] = last
    var parent = 0
    while true {
      var smallest = parent
      for child in [2 * parent + 1, 2 * parent + 2] where child < items.count && items[child] < items[smallest] {
        smallest = child
      }
      guard smallest != parent else { return }
      items.swapAt(parent, smallest)
      parent = smallest
    }
  }
}
