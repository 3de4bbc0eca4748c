// The one traversal below both dumps. It knows where tables lie, which of them are in range, how to get their bytes and
// when to stop; what is made of the entries is the visitor's business.
//
// It works on *input bits* (the IOVA without its sign extension), where a mode's addresses are one gapless range and no
// sum can overflow, and turns them into canonical IOVAs for the visitor.

import CPrefetch

/// 4096 bytes of a table: a whole table, or a quarter of a second stage's root.
struct TablePage {
  var level: Int
  /// Where the table starts (not the page).
  var table: GPA
  /// The table's index of the page's first entry.
  var firstIndex: Int
  /// The page's content. Shared guest memory may change under it at any time: nothing read twice is the same twice.
  var bytes: UnsafeRawPointer
  /// The first input that the page's first entry translates.
  var input: UInt64
  /// The content of the page that will be looked at behind this one, as far as that is known.
  var following: UnsafeRawPointer?

  /// How many bytes of the following page are asked for together.
  static var block: Int { 1024 }

  /// Asks for the block of the following page at `offset`. Who reads this page asks block by block, as it reads: a
  /// processor has only so many requests open at a time.
  @inline(__always) func prefetchFollowing(at offset: Int) {
    guard let following else { return }
    for line in 0..<(Self.block >> 6) { iommulens_prefetch(following + (offset &+ line << 6)) }
  }

  @inline(__always) func word(_ index: Int, _ format: PageTableEntry.Format) -> UInt64 {
    switch format {
    case .rv64: loadEntry(bytes, index, as: UInt64.self)
    case .sv32: loadEntry(bytes, index, as: UInt32.self)
    }
  }
}

/// An entry as it lies in memory.
typealias EntryWord = FixedWidthInteger & UnsignedInteger & BitwiseCopyable & SIMDScalar

/// Entry `index` of the page at `bytes`, zero-extended.
@inline(__always) func loadEntry<Word: EntryWord>(
  _ bytes: UnsafeRawPointer, _ index: Int, as type: Word.Type
) -> UInt64 {
  let word = bytes.loadUnaligned(fromByteOffset: index &* MemoryLayout<Word>.size, as: Word.self)
  return UInt64(truncatingIfNeeded: Word(littleEndian: word))
}

/// The first index from `from` on whose entry is not `expected + (index - from) * step`, or one not before `end` when all up
/// to there are. Nothing is read from `bound` on, and all that may be expected before it fits into a word.
@inline(__always) func firstMismatch<Word: EntryWord>(
  _ bytes: UnsafeRawPointer, from: Int, to end: Int, bound: Int, expected: UInt64, step: UInt64, as type: Word.Type
) -> Int {
  var index = from
  let step = Word(truncatingIfNeeded: step)
  var row = SIMD8(repeating: Word(truncatingIfNeeded: expected))
  row &+= SIMD8(0, 1, 2, 3, 4, 5, 6, 7) &* SIMD8(repeating: step)
  while index < end && index &+ 8 <= bound {
    let difference = entries(bytes, index, as: type) ^ row
    guard isZero(difference.lowHalf | difference.highHalf) else {
      // Branches, not arithmetic: what comes next need not wait for where the mismatch is.
      if isZero(difference.lowHalf) {
        index &+= 4
        row &+= SIMD8(repeating: step &* 4)
      }
      break
    }
    index &+= 8
    row &+= SIMD8(repeating: step &* 8)
  }
  var expected = row[0]
  while index < end, loadEntry(bytes, index, as: type) == expected {
    index &+= 1
    expected &+= step
  }
  return index
}

@inline(__always) private func isZero<Word: EntryWord>(_ words: SIMD4<Word>) -> Bool {
  let half = words.lowHalf | words.highHalf
  return half.x | half.y == 0
}

/// Eight entries from `index` on.
@inline(__always) private func entries<Word: EntryWord>(
  _ bytes: UnsafeRawPointer, _ index: Int, as type: Word.Type
) -> SIMD8<Word> {
  let row = bytes.loadUnaligned(fromByteOffset: index &* MemoryLayout<Word>.size, as: SIMD8<Word>.self)
  #if _endian(little)
    return row
  #else
    var swapped = row
    for place in row.indices { swapped[place] = row[place].byteSwapped }
    return swapped
  #endif
}

/// The first index from `from` on whose entry is not zero, or one not before `end` when all up to there are. Nothing is read
/// from `bound` on.
@inline(__always) func firstNonZero<Word: EntryWord>(
  _ bytes: UnsafeRawPointer, from: Int, to end: Int, bound: Int, as type: Word.Type
) -> Int {
  var index = from
  while index < end && index &+ 16 <= bound {
    let all = entries(bytes, index, as: type) | entries(bytes, index &+ 8, as: type)
    guard isZero(all.lowHalf | all.highHalf) else { break }
    index &+= 16
  }
  return firstMismatch(bytes, from: index, to: end, bound: bound, expected: 0, step: 0, as: type)
}

/// The first index in `from..<end` whose entry is not `expected + (index - from) * step`; `end` when all are.
@inline(__always) func firstMismatch<Word: EntryWord>(
  _ bytes: UnsafeRawPointer, from: Int, to end: Int, expected: UInt64, step: UInt64, as type: Word.Type
) -> Int {
  firstMismatch(bytes, from: from, to: end, bound: end, expected: expected, step: step, as: type)
}

/// What is made of the entries that a traversal meets.
protocol TableVisitor {
  /// Whether the visitor can take another page of entries; the traversal pauses where it cannot.
  var hasRoom: Bool { get }

  /// The entries `indices` of a leaf table whose first entry, wanted or not, translates `iova`.
  mutating func leafTable(_ page: TablePage, indices: Range<Int>, iova: IOVA)

  /// A non-zero entry above level 0 and what is wrong with it. A good pointer is followed after this call.
  mutating func entry(
    _ entry: PageTableEntry, problem: PageTableEntry.Problem?, index: Int, of page: TablePage, iova: IOVA, last: IOVA)

  /// A page of a table at `level` that could not be read, and the inputs that it would have translated.
  mutating func unreadable(_ failure: UnreadableMemory, level: Int, iova: IOVA, last: IOVA)

  /// The end of the visit; with a reason, and the first input not looked at, where it is an early one.
  mutating func finish(_ reason: DumpStop?, at iova: IOVA)
}

/// A depth-first visit of the tables below a root that can pause after every page. A structure, because each access to what
/// a class keeps is checked as it happens, which takes longer than most tables; a copy shares the walk.
struct TableTraversal<Visitor: TableVisitor> {
  /// An entry above level 0 that is not zero.
  private struct Slot {
    var index: Int
    var entry: UInt64
    /// Where a good pointer leads; nil for any other entry.
    var table: GPA?
    /// The content of `table`; nil when it could not be read.
    var bytes: UnsafeRawPointer?
  }

  /// The page in work at one level.
  private struct Frame {
    var page: TablePage?
    /// The index from which on the page was not looked at.
    var next = 0
    var last = -1
    /// The entries to visit next, whose tables were read together: those from `position` on.
    let slots = Chunk<Slot>(capacity: batch)
    var count = 0
    var position = 0
    var failures: [(position: Int, failure: UnreadableMemory)] = []
  }

  /// How many tables are asked for together.
  private static var batch: Int { 64 }
  /// How many tables are visited between two questions whether to go on; a power of two.
  private static var pollInterval: Int { 256 }

  var visitor: Visitor
  private(set) var isFinished = false

  private let mode: PagingMode
  private let format: PageTableEntry.Format
  private let memory: any PhysicalMemory
  private let root: GPA
  private let range: ClosedRange<UInt64>
  private let limit: Int
  private let poll: (() -> Bool)?

  /// One frame a level, and above the root's one whose children are the root's pages.
  private var frames: [Frame]
  private var level: Int
  private var tables = 0
  private var buffers: [PageBuffer?]
  private var missing: [GPA] = []
  private var missingPositions: [Int] = []

  init(
    mode: PagingMode, root: GPA, memory: any PhysicalMemory, first: IOVA, last: IOVA, limit: Int,
    poll: (() -> Bool)?, visitor: Visitor
  ) {
    self.mode = mode
    self.format = mode.entryFormat
    self.memory = memory
    self.root = root
    self.limit = limit
    self.poll = poll
    self.visitor = visitor
    level = mode.levels
    frames = (0...mode.levels).map { _ in Frame() }
    buffers = Array(repeating: nil, count: mode.levels + 1)
    guard let range = mode.inputRange(first: first, last: last) else {
      self.range = 0...0
      isFinished = true
      return
    }
    self.range = range
    // At most four: those of a second stage's root.
    for page in (range.lowerBound >> rootPageShift)...(range.upperBound >> rootPageShift) {
      add(Slot(index: Int(page), entry: 0, table: root + page * 4096))
    }
  }

  /// log2 of the input bytes that one page of the root translates.
  private var rootPageShift: UInt64 { UInt64(mode.shift(atLevel: mode.levels - 1) + format.indexBits) }

  /// Goes on until the visitor is full or the visit over.
  mutating func run() {
    while !isFinished, visitor.hasRoom {
      if level == mode.levels { nextRootPage() } else { nextEntry() }
    }
  }

  private mutating func nextRootPage() {
    if tables == 0 {
      guard countTable(at: range.lowerBound) else { return }
      load()
    }
    guard let slot = nextSlot() else {
      visitor.finish(nil, at: IOVA(0))
      isFinished = true
      return
    }
    enter(
      root, slot, firstIndex: slot.index << format.indexBits, input: UInt64(slot.index) << rootPageShift,
      inputs: 1 << rootPageShift)
  }

  private mutating func nextEntry() {
    if frames[level].position == frames[level].count, frames[level].next <= frames[level].last { gather() }
    guard let page = frames[level].page, let slot = nextSlot() else {
      level += 1
      return
    }
    let shift = UInt64(mode.shift(atLevel: level))
    let input = page.input + UInt64(slot.index) << shift
    let entry = PageTableEntry(rawValue: slot.entry, format: format)
    visitor.entry(
      entry, problem: entry.problem(atLevel: level), index: slot.index, of: page, iova: mode.iova(input),
      last: mode.iova(input | ((1 << shift) - 1)))
    guard let table = slot.table, countTable(at: input) else { return }
    enter(table, slot, firstIndex: 0, input: input, inputs: 1 << shift)
  }

  /// Visits what a slot of the current frame leads to: a page of `table` that translates `inputs` bytes from `input` on.
  private mutating func enter(_ table: GPA, _ slot: Slot, firstIndex: Int, input: UInt64, inputs: UInt64) {
    let inputLast = input + (inputs - 1)
    guard let bytes = slot.bytes else {
      let position = frames[level].position - 1
      let failure =
        frames[level].failures.first { $0.position == position }?.failure
        ?? UnreadableMemory(address: table, reason: "not read")
      visitor.unreadable(failure, level: level - 1, iova: mode.iova(input), last: mode.iova(inputLast))
      return
    }
    let page = TablePage(
      level: level - 1, table: table, firstIndex: firstIndex, bytes: bytes, input: input, following: following)
    let shift = UInt64(mode.shift(atLevel: page.level))
    let first = range.lowerBound > input ? Int((range.lowerBound - input) >> shift) : 0
    let last = Int((min(range.upperBound, inputLast) - input) >> shift)
    guard page.level > 0 else {
      visitor.leafTable(page, indices: first..<(last + 1), iova: mode.iova(input))
      return
    }
    level = page.level
    frames[level].page = page
    frames[level].next = first
    frames[level].last = last
    (frames[level].count, frames[level].position) = (0, 0)
  }

  // MARK: The slots of the current frame

  private mutating func add(_ slot: Slot) {
    (frames[level].slots.elements + frames[level].count).initialize(to: slot)
    frames[level].count += 1
  }

  private mutating func nextSlot() -> Slot? {
    let position = frames[level].position
    guard position < frames[level].count else { return nil }
    frames[level].position = position + 1
    return frames[level].slots[position]
  }

  /// The page behind the one that is being entered: its neighbour's, or where it has none that of the table above.
  private var following: UnsafeRawPointer? {
    var above = level
    while above < frames.count {
      let position = frames[above].position
      if position < frames[above].count { return frames[above].slots[position].bytes }
      above += 1
    }
    return nil
  }

  /// Fills the frame with the next entries of its page that are not zero, and reads the tables that they point to.
  private mutating func gather() {
    guard let page = frames[level].page else { return }
    (frames[level].count, frames[level].position) = (0, 0)
    let last = frames[level].last
    var index = frames[level].next
    var unread = limit - tables
    while index <= last, frames[level].count < Self.batch {
      let entries = TablePage.block >> format.bytes_lg2
      let block = index | (entries - 1)
      if index & (entries - 1) == 0 { page.prefetchFollowing(at: index << format.bytes_lg2) }
      let found = nextNonZero(page, from: index, through: min(block, last))
      index = found
      guard found <= min(block, last) else { continue }
      index += 1
      // It may have become zero since.
      let entry = PageTableEntry(rawValue: page.word(found, format), format: format)
      guard entry.rawValue != 0 else { continue }
      let isTable = entry.isPointer && entry.problem(atLevel: level) == nil
      add(Slot(index: found, entry: entry.rawValue, table: isTable ? entry.address : nil))
      if isTable { unread -= 1 }
      // The visit ends before the table behind the last one allowed, which is not worth reading.
      if unread < 0 { break }
    }
    frames[level].next = index
    load()
  }

  /// Finds the bytes of the tables that the frame's slots lead to: resident pages where they are, all others in as few
  /// requests as the source manages.
  private mutating func load() {
    let slots = frames[level].slots.elements
    frames[level].failures.removeAll(keepingCapacity: true)
    missing.removeAll(keepingCapacity: true)
    missingPositions.removeAll(keepingCapacity: true)
    for position in 0..<frames[level].count {
      guard let table = slots[position].table else { continue }
      if table.pageOffset == 0, let resident = memory.residentPage(table) {
        slots[position].bytes = resident
      } else {
        missing.append(table)
        missingPositions.append(position)
      }
    }
    guard !missing.isEmpty else { return }
    let buffer = buffers[level] ?? PageBuffer(pages: Self.batch)
    buffers[level] = buffer
    var done = 0
    while done < missing.count {
      // Only a root can start inside a page; its pages are read one by one.
      if missing[done].pageOffset == 0 {
        let rest = done == 0 ? missing : Array(missing[done...])
        let read = min(max(memory.readPages(rest, into: buffer.pages(done..<missing.count)), 0), rest.count)
        for _ in 0..<read {
          slots[missingPositions[done]].bytes = UnsafeRawPointer(buffer.page(done))
          done += 1
        }
      }
      guard done < missing.count else { return }
      do throws(UnreadableMemory) {
        try memory.read(missing[done], into: buffer.pages(done..<(done + 1)))
        slots[missingPositions[done]].bytes = UnsafeRawPointer(buffer.page(done))
      } catch {
        frames[level].failures.append((missingPositions[done], error))
      }
      done += 1
    }
  }

  /// Counts a table about to be visited; false when the visit is over instead.
  private mutating func countTable(at input: UInt64) -> Bool {
    let reason: DumpStop?
    if tables >= limit {
      reason = .tableLimit(limit)
    } else if tables & (Self.pollInterval - 1) == 0, let poll, poll() {
      reason = .interrupted
    } else {
      tables += 1
      return true
    }
    visitor.finish(reason, at: mode.iova(max(input, range.lowerBound)))
    isFinished = true
    return false
  }

  /// The first index from `from` on whose entry is not zero; greater than `last` when all are zero.
  private func nextNonZero(_ page: TablePage, from: Int, through last: Int) -> Int {
    switch format {
    case .rv64: firstNonZero(page.bytes, from: from, to: last + 1, bound: last + 1, as: UInt64.self)
    case .sv32: firstNonZero(page.bytes, from: from, to: last + 1, bound: last + 1, as: UInt32.self)
    }
  }

}

/// Memory for whole pages.
private final class PageBuffer {
  private let bytes: UnsafeMutableRawPointer

  init(pages: Int) { bytes = .allocate(byteCount: pages * 4096, alignment: 4096) }
  deinit { bytes.deallocate() }

  func page(_ position: Int) -> UnsafeMutableRawPointer { bytes + position * 4096 }

  func pages(_ positions: Range<Int>) -> UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(start: page(positions.lowerBound), count: positions.count * 4096)
  }
}
