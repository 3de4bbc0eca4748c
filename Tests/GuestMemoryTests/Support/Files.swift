import Glibc
import Testing

/// A folder of its own for one test, gone with it.
final class TemporaryFolder: Sendable {
  let path: String

  init() throws {
    var template = Array("/tmp/iommulens-memory-XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil)
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit {
    if let folder = opendir(path) {
      while let entry = readdir(folder) {
        let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        unlink("\(path)/\(name)")
      }
      closedir(folder)
    }
    rmdir(path)
  }

  /// Writes a file and returns its path.
  func file(_ name: String, _ bytes: [UInt8]) throws -> String {
    let path = "\(path)/\(name)"
    let file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    try #require(file >= 0)
    defer { close(file) }
    try #require(bytes.withUnsafeBytes { write(file, $0.baseAddress, $0.count) } == bytes.count)
    return path
  }
}

func readFile(_ path: String, from offset: Int = 0, count: Int? = nil) throws -> [UInt8] {
  let file = open(path, O_RDONLY | O_CLOEXEC)
  try #require(file >= 0)
  defer { close(file) }
  var status = stat()
  try #require(fstat(file, &status) == 0)
  var bytes = [UInt8](repeating: 0, count: count ?? Int(status.st_size) - offset)
  try #require(bytes.withUnsafeMutableBytes { pread(file, $0.baseAddress, $0.count, offset) } == bytes.count)
  return bytes
}

/// Text from Tests/Fixtures.
func fixture(_ name: String) throws -> String {
  let tests = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3).joined(separator: "/")
  return String(decoding: try readFile("\(tests)/Fixtures/\(name)"), as: UTF8.self)
}
