import Foundation
public import Investigation

/// Files that evidence is read from.
public enum EvidenceFile {
  /// The largest file that is read, in bytes: a day of a kernel's trace.
  public static let limit = 256 << 20

  /// The bytes of the text at `path`; an error for what is no text.
  public static func bytes(at path: String) throws(InvestigationError) -> [UInt8] {
    var status = stat()
    guard stat(path, &status) == 0 else { throw InvestigationError("\(path) does not exist.") }
    guard status.st_mode & S_IFMT == S_IFREG else { throw InvestigationError("\(path) is not a file.") }
    guard status.st_size <= limit else {
      throw InvestigationError("\(path) has more than \(limit >> 20) MiB: cut it to the part that matters.")
    }
    guard let file = FileHandle(forReadingAtPath: path) else {
      throw InvestigationError("\(path) cannot be read: check its permissions.")
    }
    defer { try? file.close() }
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
    return [UInt8](data)
  }
}
