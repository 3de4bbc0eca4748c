import Foundation
import Glibc

/// A file in `TMPDIR`, written anew for every input.
struct ScratchFile {
  let path: String

  /// `name`'s ending tells what the file is.
  init(_ name: String) { path = ProcessInfo.processInfo.environment["TMPDIR", default: "/tmp"] + "/" + name }

  func write(_ bytes: [UInt8]) throws {
    let file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    defer { close(file) }
    let count = bytes.withUnsafeBytes { Glibc.write(file, $0.baseAddress, $0.count) }
    require(count == bytes.count, "\(path) can be written")
  }

  /// What others wrote into it. (Foundation's way to read a file leaks a block for each that is empty.)
  func read() throws -> [UInt8] {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { throw Missing() }
    defer { close(file) }
    let size = Int(lseek(file, 0, SEEK_END))
    return [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
      count = max(0, pread(file, buffer.baseAddress, size, 0))
    }
  }

  /// Nobody wrote the file.
  struct Missing: Error {}
}
