import Foundation
public import Investigation

/// Files that evidence is read from.
public enum EvidenceFile {
  /// The largest file that is read, in bytes: a day of a kernel's trace.
  public static let limit = 256 << 20
  /// The most lines of one: each takes room of its own, however short it is.
  static let lineLimit = 10_000_000

  /// The bytes of the text at `path`; an error for what is no text.
  public static func bytes(at path: String) throws(InvestigationError) -> [UInt8] {
    // Neither a pipe without a writer nor a kernel's file of what is still to come, `trace_pipe`, is waited for.
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else {
      throw InvestigationError(
        access(path, F_OK) == 0
          ? "\(path) cannot be read: check its permissions." : "\(path) does not exist.")
    }
    let file = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      throw InvestigationError("\(path) is not a file.")
    }
    guard status.st_size <= limit else {
      throw InvestigationError("\(path) has more than \(limit >> 20) MiB: cut it to the part that matters.")
    }
    let data: Data
    do { data = try file.read(upToCount: limit) ?? Data() } catch {
      throw InvestigationError("\(path) cannot be read: \(error.localizedDescription)")
    }
    if data.starts(with: [0x1f, 0x8b]) {
      throw InvestigationError("\(path) is compressed: unpack it first, as `zcat \(path) > FILE` does.")
    }
    if data.prefix(4096).contains(0) {
      throw InvestigationError("\(path) is not a text: it has bytes of value 0.")
    }
    let bytes = [UInt8](data)
    guard lineCount(bytes) <= lineLimit else {
      throw InvestigationError("\(path) has more than \(lineLimit) lines: cut it to the part that matters.")
    }
    return bytes
  }

  private static func lineCount(_ bytes: [UInt8]) -> Int {
    bytes.withUnsafeBytes { buffer in
      var (count, start) = (0, 0)
      while start < buffer.count, let base = buffer.baseAddress,
        let found = memchr(base + start, 0x0a, buffer.count - start)
      {
        count += 1
        start = base.distance(to: UnsafeRawPointer(found)) + 1
      }
      return count
    }
  }
}
