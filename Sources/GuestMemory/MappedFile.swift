import CMappedFile
import Glibc

/// One whole regular file in this process's address space, read-only and shared with whoever writes it.
///
/// The size is the file's at the time of opening, and no access goes beyond it. Where the file is cut shorter afterwards (a core
/// that is written again, `truncate`), the lost part reads as zeros, and ``MappedFiles/unlessCut(_:)`` tells.
final class MappedFile: @unchecked Sendable {
  // Unchecked: the constants below are all there is; the bytes behind them belong to the guest and change at any time.
  let base: UnsafeRawPointer
  let size: UInt64
  /// As given.
  let path: String

  init(path: String) throws(MemoryError) {
    // A pipe without a writer would block the open, and with it the debugger.
    let file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard file >= 0 else { throw .cannotOpen(path: path, reason: lastSystemError()) }
    defer { close(file) }
    var status = stat()
    guard fstat(file, &status) == 0 else { throw .cannotOpen(path: path, reason: lastSystemError()) }
    guard status.st_mode & S_IFMT == S_IFREG else { throw .notARegularFile(path: path) }
    guard status.st_size > 0, let length = Int(exactly: status.st_size) else { throw .noMemory(place: path) }
    guard let address = mmap(nil, length, PROT_READ, MAP_SHARED, file, 0), address != MAP_FAILED else {
      throw .cannotOpen(path: path, reason: lastSystemError())
    }
    guard iommulens_guard(address, UInt(length), path) == 0 else {
      let reason = lastSystemError()
      munmap(address, length)
      throw .cannotOpen(path: path, reason: reason)
    }
    self.base = UnsafeRawPointer(address)
    self.size = UInt64(length)
    self.path = path
  }

  deinit {
    iommulens_unguard(base)
    munmap(UnsafeMutableRawPointer(mutating: base), Int(truncatingIfNeeded: size))
  }

  /// The address in this process of byte `offset`, for a ``RangeTable``.
  func place(_ offset: UInt64) -> UInt64 { UInt64(UInt(bitPattern: base)) &+ offset }
}
