import Glibc
import Investigation

/// A text that another program is writing: gives its lines, each once, when all of it is there.
final class GrowingText {
  /// What has become of the file since it was looked at last.
  enum Change: Hashable {
    /// It was cut, or written anew.
    case emptied
    /// Another file has its name.
    case replaced
    /// It has no name any more.
    case removed
  }

  let path: String
  /// How many lines of the file as it is now were read.
  private(set) var lineCount = 0

  private var file: Int32
  private var identity: Identity
  /// Where the next byte is to be read.
  private var offset: Int64 = 0
  /// What was read of a line that is not all there.
  private var rest: [UInt8] = []
  /// The last bytes that were read: where they are not in their place any more, the file was written anew.
  private var tail: [UInt8] = []
  private var isRemoved = false

  private static let piece = 1 << 18, tailLength = 64
  /// Of a line that is longer, only this much is kept: enough to see that it is too long.
  private static let longest = 4096
  /// SEEK_DATA of lseek(2): glibc shows it under _GNU_SOURCE only.
  private static let seekData: Int32 = 3

  /// The text at `path`, which need not be empty: what it holds already is passed over. An error for what is no file.
  init(following path: String, progress: WorkProgress? = nil) throws(InvestigationError) {
    let found = try Self.open(path)
    (self.path, file, identity) = (path, found.file, found.identity)
    try read(upTo: found.size, progress) { _, _ in }
  }

  deinit { close(file) }

  /// Reads what is new, a piece at a time: `body` gets the lines of each, and the number of lines before them. What has
  /// become of the file is told with `changed`, before the lines that follow. Where nothing is new, that costs one system call.
  func read(
    _ progress: WorkProgress?, changed: (Change) -> Void,
    _ body: (TextLines, Int) throws(InvestigationError) -> Void
  ) throws(InvestigationError) {
    var status = stat()
    guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      try readRest(progress, body)
      if !isRemoved { changed(.removed) }
      isRemoved = true
      return
    }
    if Identity(status) != identity {
      try readRest(progress, body)
      let found = try Self.open(path)
      close(file)
      (file, identity, isRemoved) = (found.file, found.identity, false)
      restart()
      changed(.replaced)
      try read(upTo: found.size, progress, body)
      return
    }
    isRemoved = false
    let size = Int64(status.st_size)
    if size == offset { return }
    if size < offset || !hasTail() {
      restart()
      changed(.emptied)
    }
    try read(upTo: size, progress, body)
  }

  // MARK: The file

  private struct Identity: Equatable {
    let device: UInt64, inode: UInt64

    init(_ status: stat) { (device, inode) = (UInt64(status.st_dev), UInt64(status.st_ino)) }
  }

  private static func open(
    _ path: String
  ) throws(InvestigationError) -> (file: Int32, identity: Identity, size: Int64) {
    // A pipe without a writer is not waited for.
    let file = Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard file >= 0 else {
      throw InvestigationError("\(path) cannot be read: \(String(cString: strerror(errno))).")
    }
    var status = stat()
    guard fstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      close(file)
      throw InvestigationError("\(path) is not a file.")
    }
    return (file, Identity(status), Int64(status.st_size))
  }

  /// What is left of a file that has no name, or not its name any more.
  private func readRest(
    _ progress: WorkProgress?, _ body: (TextLines, Int) throws(InvestigationError) -> Void
  ) throws(InvestigationError) {
    var status = stat()
    if fstat(file, &status) == 0 { try read(upTo: Int64(status.st_size), progress, body) }
  }

  /// Goes to the start of the file. Who empties a file while another program writes it leaves a hole before what is written
  /// then: it has nothing to read.
  private func restart() {
    offset = max(0, Int64(lseek(file, 0, Self.seekData)))
    (rest, tail, lineCount) = ([], [], 0)
  }

  private func hasTail() -> Bool {
    var found = [UInt8](repeating: 0, count: tail.count)
    return tail.isEmpty
      || pread(file, &found, tail.count, off_t(offset) - off_t(tail.count)) == tail.count && found == tail
  }

  private func read(
    upTo end: Int64, _ progress: WorkProgress?, _ body: (TextLines, Int) throws(InvestigationError) -> Void
  ) throws(InvestigationError) {
    var block: [UInt8] = []
    while offset < end {
      let work = "reading \(path)"
      if progress?.asks(work, at: Int(offset), of: Int(end)) == true { throw WorkProgress.interruption(work) }
      if block.isEmpty { block = [UInt8](repeating: 0, count: Self.piece) }
      let count = pread(file, &block, Int(min(Int64(Self.piece), end - offset)), off_t(offset))
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else {
        throw InvestigationError("\(path) cannot be read: \(String(cString: strerror(errno))).")
      }
      // Cut meanwhile: the next look tells.
      if count == 0 { return }
      offset += Int64(count)
      tail = Array((tail + block[..<count]).suffix(Self.tailLength))
      rest += block[..<count]
      guard let last = rest.lastIndex(of: 0x0a) else {
        if rest.count > Self.longest { rest.removeSubrange(Self.longest...) }
        continue
      }
      let lines = TextLines(Array(rest[...last]))
      rest.removeSubrange(...last)
      let before = lineCount
      lineCount += lines.count
      try body(lines, before)
    }
  }
}
