// The one traversal below both dumps. It knows where tables lie, which of them are in range, how to get their bytes and
// when to stop; what is made of the entries is the visitor's business.
//
// It works on *input bits* (the IOVA without its sign extension), where a mode's addresses are one gapless range and no
// sum can overflow, and turns them into canonical IOVAs for the visitor.

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

  @inline(__always) func word(_ index: Int, _ format: PageTableEntry.Format) -> UInt64 {
    switch format {
    case .rv64: loadEntry(bytes, index, as: UInt64.self)
    case .sv32: loadEntry(bytes, index, as: UInt32.self)
    }
  }
}

/// Entry `index` of the page at `bytes`, zero-extended.
@inline(__always) func loadEntry<Word>(_ bytes: UnsafeRawPointer, _ index: Int, as type: Word.Type) -> UInt64
where Word: FixedWidthInteger & UnsignedInteger & BitwiseCopyable {
  let word = bytes.loadUnaligned(fromByteOffset: index &* MemoryLayout<Word>.size, as: Word.self)
  return UInt64(truncatingIfNeeded: Word(littleEndian: word))
}

/// The first index in `from..<end` whose entry is not `expected + (index - from) * step`; `end` when all are.
@inline(__always) func firstMismatch<Word>(
  _ bytes: UnsafeRawPointer, from: Int, to end: Int, expected: UInt64, step: UInt64, as type: Word.Type
) -> Int where Word: FixedWidthInteger & UnsignedInteger & BitwiseCopyable {
  var index = from
  var expected = expected
  while index &+ 8 <= end {
    var difference = loadEntry(bytes, index, as: type) ^ expected
    difference |= loadEntry(bytes, index &+ 1, as: type) ^ (expected &+ step)
    difference |= loadEntry(bytes, index &+ 2, as: type) ^ (expected &+ step &* 2)
    difference |= loadEntry(bytes, index &+ 3, as: type) ^ (expected &+ step &* 3)
    difference |= loadEntry(bytes, index &+ 4, as: type) ^ (expected &+ step &* 4)
    difference |= loadEntry(bytes, index &+ 5, as: type) ^ (expected &+ step &* 5)
    difference |= loadEntry(bytes, index &+ 6, as: type) ^ (expected &+ step &* 6)
    difference |= loadEntry(bytes, index &+ 7, as: type) ^ (expected &+ step &* 7)
    guard difference == 0 else { break }
    index &+= 8
    expected &+= step &* 8
  }
  while index < end, loadEntry(bytes, index, as: type) == expected {
    index &+= 1
    expected &+= step
  }
  return index
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

/// A depth-first visit of the tables below a root that can pause after every page.
final class TableTraversal<Visitor: TableVisitor> {
  /// A table that an entry points to.
  private struct Child {
    var index: Int
    var table: GPA
    var bytes: UnsafeRawPointer?
  }

  /// The page in work at one level.
  private struct Frame {
    var page: TablePage?
    var next = 0
    var last = -1
    /// Tables to visit next, read together: those of `children` from `nextChild` on.
    var children: [Child] = []
    var nextChild = 0
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
    frames = Array(repeating: Frame(), count: mode.levels + 1)
    buffers = Array(repeating: nil, count: mode.levels + 1)
    guard let range = mode.inputRange(first: first, last: last) else {
      self.range = 0...0
      isFinished = true
      return
    }
    self.range = range
    let shift = rootPageShift
    for page in (range.lowerBound >> shift)...(range.upperBound >> shift) {
      frames[level].children.append(Child(index: Int(page), table: root + page * 4096, bytes: nil))
    }
  }

  /// log2 of the input bytes that one page of the root translates.
  private var rootPageShift: UInt64 { UInt64(mode.shift(atLevel: mode.levels - 1) + format.indexBits) }

  /// Goes on until the visitor is full or the visit over.
  func run() {
    while !isFinished, visitor.hasRoom {
      if level == mode.levels { nextRootPage() } else { nextEntry() }
    }
  }

  private func nextRootPage() {
    if tables == 0 {
      guard countTable(at: range.lowerBound) else { return }
      load(level)
    }
    guard frames[level].nextChild < frames[level].children.count else {
      visitor.finish(nil, at: IOVA(0))
      isFinished = true
      return
    }
    let index = frames[level].children[frames[level].nextChild].index
    enter(
      root, firstIndex: index << format.indexBits, input: UInt64(index) << rootPageShift, inputs: 1 << rootPageShift)
  }

  private func nextEntry() {
    let last = frames[level].last
    guard let page = frames[level].page,
      case let index = nextNonZero(page, from: frames[level].next, through: last), index <= last
    else {
      level += 1
      return
    }
    frames[level].next = index + 1
    let entry = PageTableEntry(rawValue: page.word(index, format), format: format)
    guard entry.rawValue != 0 else { return }
    let problem = entry.problem(atLevel: level)
    let shift = UInt64(mode.shift(atLevel: level))
    let input = page.input + UInt64(index) << shift
    visitor.entry(
      entry, problem: problem, index: index, of: page, iova: iova(input), last: iova(input | ((1 << shift) - 1)))
    guard entry.isPointer, problem == nil, level > 0, countTable(at: input) else { return }
    if !isNextChild(index, entry.address) { gather(page, from: index, first: entry, through: last) }
    enter(entry.address, firstIndex: 0, input: input, inputs: 1 << shift)
  }

  private func isNextChild(_ index: Int, _ table: GPA) -> Bool {
    let position = frames[level].nextChild
    guard position < frames[level].children.count else { return false }
    return frames[level].children[position].index == index && frames[level].children[position].table == table
  }

  /// Visits the next child of the current frame: a page of `table` that translates `inputs` bytes from `input` on.
  private func enter(_ table: GPA, firstIndex: Int, input: UInt64, inputs: UInt64) {
    let position = frames[level].nextChild
    let child = frames[level].children[position]
    frames[level].nextChild = position + 1
    let inputLast = input + (inputs - 1)
    guard let bytes = child.bytes else {
      let failure =
        frames[level].failures.first { $0.position == position }?.failure
        ?? UnreadableMemory(address: child.table, reason: "not read")
      visitor.unreadable(failure, level: level - 1, iova: iova(input), last: iova(inputLast))
      return
    }
    let page = TablePage(level: level - 1, table: table, firstIndex: firstIndex, bytes: bytes, input: input)
    let shift = UInt64(mode.shift(atLevel: page.level))
    let first = range.lowerBound > input ? Int((range.lowerBound - input) >> shift) : 0
    let last = Int((min(range.upperBound, inputLast) - input) >> shift)
    guard page.level > 0 else {
      visitor.leafTable(page, indices: first..<(last + 1), iova: iova(input))
      return
    }
    level = page.level
    frames[level].page = page
    frames[level].next = first
    frames[level].last = last
    frames[level].children.removeAll(keepingCapacity: true)
    frames[level].nextChild = 0
  }

  /// Makes the children of `page` from entry `index` on, which is `first`, the current frame's.
  private func gather(_ page: TablePage, from index: Int, first: PageTableEntry, through last: Int) {
    let wanted = min(Self.batch, limit - tables + 1)
    var children = frames[level].children
    frames[level].children = []
    children.removeAll(keepingCapacity: true)
    children.append(Child(index: index, table: first.address, bytes: nil))
    var index = nextNonZero(page, from: index + 1, through: last)
    while index <= last, children.count < wanted {
      let entry = PageTableEntry(rawValue: page.word(index, format), format: format)
      if entry.isPointer, entry.problem(atLevel: level) == nil {
        children.append(Child(index: index, table: entry.address, bytes: nil))
      }
      index = nextNonZero(page, from: index + 1, through: last)
    }
    frames[level].children = children
    frames[level].nextChild = 0
    load(level)
  }

  /// Finds the bytes of a frame's children: resident pages where they are, all others in as few requests as the source
  /// manages.
  private func load(_ level: Int) {
    frames[level].failures.removeAll(keepingCapacity: true)
    missing.removeAll(keepingCapacity: true)
    missingPositions.removeAll(keepingCapacity: true)
    for position in frames[level].children.indices {
      let table = frames[level].children[position].table
      if table.pageOffset == 0, let resident = memory.residentPage(table) {
        frames[level].children[position].bytes = resident
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
          frames[level].children[missingPositions[done]].bytes = UnsafeRawPointer(buffer.page(done))
          done += 1
        }
      }
      guard done < missing.count else { return }
      do throws(UnreadableMemory) {
        try memory.read(missing[done], into: buffer.pages(done..<(done + 1)))
        frames[level].children[missingPositions[done]].bytes = UnsafeRawPointer(buffer.page(done))
      } catch {
        frames[level].failures.append((missingPositions[done], error))
      }
      done += 1
    }
  }

  /// Counts a table about to be visited; false when the visit is over instead.
  private func countTable(at input: UInt64) -> Bool {
    let reason: DumpStop?
    if tables >= limit {
      reason = .tableLimit(limit)
    } else if tables & (Self.pollInterval - 1) == 0, let poll, poll() {
      reason = .interrupted
    } else {
      tables += 1
      return true
    }
    visitor.finish(reason, at: iova(max(input, range.lowerBound)))
    isFinished = true
    return false
  }

  /// The first index from `from` on whose entry is not zero; greater than `last` when all are zero.
  private func nextNonZero(_ page: TablePage, from: Int, through last: Int) -> Int {
    switch format {
    case .rv64: firstMismatch(page.bytes, from: from, to: last + 1, expected: 0, step: 0, as: UInt64.self)
    case .sv32: firstMismatch(page.bytes, from: from, to: last + 1, expected: 0, step: 0, as: UInt32.self)
    }
  }

  private func iova(_ input: UInt64) -> IOVA { IOVA(mode.canonical(input)) }
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
