import Glibc
import Investigation

/// A file that is written beside the one it replaces, and takes its place when it is complete: what goes wrong on the way
/// leaves an older file as it was.
final class OutputFile {
  private let path: String
  private let temporary: String
  private var descriptor: Int32

  /// Writes what `body` hands out to `path`.
  static func write(to path: String, _ body: (OutputFile) throws -> Void) throws {
    let file = try OutputFile(path)
    try body(file)
    try file.finish()
  }

  private init(_ path: String) throws(InvestigationError) {
    self.path = path
    temporary = "\(path).\(getpid()).new"
    // Left behind by a process of the same number that was killed.
    unlink(temporary)
    descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
    if descriptor < 0 { throw Self.failure(path) }
  }

  deinit {
    // Not finished.
    if descriptor >= 0 {
      close(descriptor)
      unlink(temporary)
    }
  }

  /// Adds `text`.
  func write(_ text: String) throws(InvestigationError) {
    var text = text
    let code = text.withUTF8 { bytes in
      var rest = UnsafeRawBufferPointer(bytes)
      while !rest.isEmpty {
        let count = Glibc.write(descriptor, rest.baseAddress, rest.count)
        if count > 0 { rest = UnsafeRawBufferPointer(rebasing: rest[count...]) } else if errno != EINTR { return errno }
      }
      return 0
    }
    if code != 0 { throw Self.failure(path, code) }
  }

  private func finish() throws(InvestigationError) {
    // Some file systems tell only now that there was no room.
    let isClosed = close(descriptor) == 0
    descriptor = -1
    guard isClosed, rename(temporary, path) == 0 else {
      let code = errno
      unlink(temporary)
      throw Self.failure(path, code)
    }
  }

  private static func failure(_ path: String, _ code: Int32 = errno) -> InvestigationError {
    InvestigationError("\(path) cannot be written: \(String(cString: strerror(code))).")
  }
}
