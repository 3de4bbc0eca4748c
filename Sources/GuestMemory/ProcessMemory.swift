import CProcessMemory
import Glibc
public import PageTables

/// The RAM of a running QEMU, read from its process without stopping it: process_vm_readv(2).
///
/// Needs the permission to trace that process. Nothing is resident; ``readPages(_:into:)`` reads up to 1024 pages
/// with one system call. Where regions overlap, the first wins. When the process has ended nothing is read any more, also
/// where another one has its id by then: open again after QEMU restarts.
public struct ProcessMemory: PhysicalMemory, Sendable {
  /// Guest-physical addresses, and where in the process they lie.
  public struct Region: Hashable, Sendable {
    /// The addresses.
    public let range: MemoryRange
    /// The process's address of the range's first byte.
    public let host: HVA

    /// The bytes of the process from `host` on, at the addresses of `range`.
    public init(range: MemoryRange, host: HVA) {
      self.range = range
      self.host = host
    }
  }

  /// The process.
  public let pid: Int32
  private let process: LiveProcess
  private let table: RangeTable

  /// UIO_MAXIOV: more vectors in one call are EINVAL.
  private static let mostVectors = 1024
  /// A call transfers less than 2 GiB, whatever was asked.
  private static let mostBytes = 1 << 30

  /// Reads one byte of each region to see that it can; else throws
  /// ``MemoryError/processUnreadable(pid:address:reason:)``.
  public init(pid: Int32, regions: [Region]) throws(MemoryError) {
    guard !regions.isEmpty else { throw .noMemory(place: "Process \(pid)") }
    guard let process = LiveProcess(pid: pid) else { throw .processHidden(pid: pid, reason: lastSystemError()) }
    self.pid = pid
    self.process = process
    self.table = RangeTable(
      regions.map { ($0.range, $0.host.rawValue) }, name: "the guest memory of process \(pid)")
    for region in regions {
      var probe: UInt8 = 0
      let failure = withUnsafeMutableBytes(of: &probe) { buffer in
        transfer([iovec(at: region.host.rawValue, count: 1)], into: buffer) == 1 ? nil : lastSystemError()
      }
      if let failure { throw .processUnreadable(pid: pid, address: region.host, reason: failure) }
    }
  }

  /// Copies; fails at the first address that lies outside the regions or that the process does not let go of.
  public func read(_ address: GPA, into buffer: UnsafeMutableRawBufferPointer) throws(UnreadableMemory) {
    try table.forEachSpan(from: address, count: buffer.count) { place, offset, count throws(UnreadableMemory) in
      var done = 0
      while done < count {
        let part = min(count - done, Self.mostBytes)
        let target = UnsafeMutableRawBufferPointer(rebasing: buffer[offset + done..<offset + done + part])
        let copied = transfer([iovec(at: place &+ UInt64(done), count: part)], into: target)
        guard copied > 0 else {
          throw UnreadableMemory(
            address: address + UInt64(offset + done),
            reason: "process \(pid) at \(hex(place &+ UInt64(done))): \(lastSystemError())")
        }
        done += copied
      }
    }
  }

  /// Copies many pages a system call, and stops before the first that cannot be read whole.
  public func readPages(_ pages: [GPA], into buffer: UnsafeMutableRawBufferPointer) -> Int {
    var done = 0
    let wanted = min(pages.count, buffer.count / 4096)
    var vectors: [iovec] = []
    while done < wanted {
      vectors.removeAll(keepingCapacity: true)
      var batch = 0
      while done + batch < wanted, let spans = spans(ofPage: pages[done + batch]),
        vectors.count + spans.count <= Self.mostVectors
      {
        vectors += spans
        batch += 1
      }
      guard batch > 0 else { return done }
      let target = UnsafeMutableRawBufferPointer(rebasing: buffer[done * 4096..<(done + batch) * 4096])
      let copied = max(0, transfer(vectors, into: target)) / 4096
      done += copied
      guard copied == batch else { return done }
    }
    return done
  }

  private func spans(ofPage page: GPA) -> [iovec]? {
    var spans: [iovec] = []
    do throws(UnreadableMemory) {
      try table.forEachSpan(from: page, count: 4096) { place, _, count in spans.append(iovec(at: place, count: count)) }
    } catch { return nil }
    // A page in more pieces than one call takes is left to read(_:into:).
    return spans.count <= Self.mostVectors ? spans : nil
  }

  /// One system call; the bytes copied, -1 with errno for none.
  private func transfer(_ remote: [iovec], into buffer: UnsafeMutableRawBufferPointer) -> Int {
    var local = iovec(iov_base: buffer.baseAddress, iov_len: buffer.count)
    let count = iommulens_process_vm_readv(pid, &local, 1, remote, UInt(remote.count))
    // Asked afterwards: if it is there now, it was there while its memory was read.
    if !process.isThere {
      errno = ESRCH
      return -1
    }
    return count
  }
}

extension iovec {
  /// `count` bytes of another process: a pointer that is never followed here.
  fileprivate init(at address: UInt64, count: Int) {
    self.init(iov_base: UnsafeMutableRawPointer(bitPattern: UInt(address)), iov_len: count)
  }
}
