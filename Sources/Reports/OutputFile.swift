import Glibc
public import Investigation

/// A file that is written beside the one it replaces, and takes its place when it is complete: what goes wrong on the way
/// leaves an older file as it was. What is there and no file, such as a pipe or `/dev/stdout`, is written to.
public final class OutputFile {
  private let path: String
  /// What is written beside the file, if it is one.
  private let temporary: String?
  private var descriptor: Int32
  /// What is not written yet: a file system takes whole pages several times as fast as pieces of any size.
  private var pending: [UInt8] = []
  private static let block = 1 << 18

  /// Writes what `body` hands out to `path`.
  public static func write(to path: String, _ body: (OutputFile) throws -> Void) throws {
    let file = try OutputFile(path)
    try body(file)
    try file.finish()
  }

  private init(_ path: String) throws(InvestigationError) {
    self.path = path
    var status = stat()
    let leadsElsewhere = isLinkInSharedFolder(path)
    let kind = !leadsElsewhere && stat(path, &status) == 0 ? status.st_mode & S_IFMT : S_IFREG
    if kind == S_IFDIR { throw Self.failure(path, EISDIR) }
    if kind == S_IFREG {
      let temporary = "\(path).\(getpid()).new"
      // Left behind by a process of the same number that was killed.
      unlink(temporary)
      self.temporary = temporary
      descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
    } else {
      temporary = nil
      // A pipe that nobody reads is an error, and nothing to wait for.
      descriptor = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
      if descriptor >= 0 { _ = fcntl(descriptor, F_SETFL, O_WRONLY) }
    }
    if descriptor < 0 { throw Self.failure(path) }
  }

  deinit {
    // Not finished.
    if descriptor >= 0 {
      close(descriptor)
      if let temporary { unlink(temporary) }
    }
  }

  /// Adds `text`.
  public func write(_ text: String) throws(InvestigationError) {
    pending.append(contentsOf: text.utf8)
    if pending.count >= Self.block { try flush(keeping: pending.count % Self.block) }
  }

  /// Writes all but the last `rest` bytes.
  private func flush(keeping rest: Int = 0) throws(InvestigationError) {
    let size = pending.count - rest
    let code = pending.withUnsafeBytes { bytes in
      var rest = UnsafeRawBufferPointer(rebasing: bytes[..<size])
      while !rest.isEmpty {
        let count = Glibc.write(descriptor, rest.baseAddress, rest.count)
        if count > 0 { rest = UnsafeRawBufferPointer(rebasing: rest[count...]) } else if errno != EINTR { return errno }
      }
      return 0
    }
    if code != 0 { throw Self.failure(path, code) }
    pending.removeFirst(size)
  }

  private func finish() throws(InvestigationError) {
    try flush()
    // Some file systems tell only now that there was no room.
    let isClosed = close(descriptor) == 0
    descriptor = -1
    guard isClosed, temporary.map({ rename($0, path) == 0 }) ?? true else {
      let code = errno
      if let temporary { unlink(temporary) }
      throw Self.failure(path, code)
    }
  }

  private static func failure(_ path: String, _ code: Int32 = errno) -> InvestigationError {
    InvestigationError("\(path) cannot be written: \(String(cString: strerror(code))).")
  }
}
