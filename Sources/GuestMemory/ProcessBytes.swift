import CProcessMemory
import Glibc
public import PageTables

/// Another process's memory by that process's own addresses: process_vm_readv(2), one system call a read.
///
/// Needs the permission to trace that process, which a debugger that holds it has.
public struct ProcessBytes: Sendable {
  /// The process.
  public let pid: Int32

  /// The memory of process `pid`.
  public init(pid: Int32) { self.pid = pid }

  /// `count` bytes from `address` on; nil where not all of them can be read.
  public func read(_ address: HVA, count: Int) -> [UInt8]? {
    guard count > 0 else { return [] }
    var isWhole = false
    let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      var local = iovec(iov_base: buffer.baseAddress, iov_len: count)
      // A pointer that is never followed here.
      var remote = iovec(iov_base: UnsafeMutableRawPointer(bitPattern: UInt(address.rawValue)), iov_len: count)
      isWhole = iommulens_process_vm_readv(pid, &local, 1, &remote, 1) == count
      initialized = isWhole ? count : 0
    }
    return isWhole ? bytes : nil
  }
}
