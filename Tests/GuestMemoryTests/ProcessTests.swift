import Children
import Glibc
import GuestMemory
import PageTables
import Testing

/// Tests with processes and sockets, one after the other: a child started meanwhile would hold other tests' sockets.
@Suite(.serialized) enum ProcessTests {}

extension ProcessTests {
  @Suite(.serialized) struct Memory {
    @Test func aChildsMemoryIsReadWithoutStoppingIt() throws {
      let pipe = try Pipe()
      let child = try Child("cat", [], input: pipe.reader)
      let mapping = try wait(for: "cat's mappings") {
        try ProcessMapping.all(ofProcess: child.pid).first {
          $0.isReadable && !$0.isShared && $0.fileOffset == 0 && $0.path.hasSuffix("/cat")
        }
      }
      let size = min(mapping.end - mapping.start, 4096)
      let memory = try ProcessMemory(
        pid: child.pid,
        regions: [.init(range: try MemoryRange(start: GPA(0x8000_0000), size: size), host: mapping.start)])
      // A private mapping that nobody wrote is the file.
      #expect(
        try memory.bytes(at: GPA(0x8000_0000), count: Int(size)) == (try readFile(mapping.path, count: Int(size))))
      #expect(
        text { try memory.bytes(at: GPA(0x8000_0000 + size - 2), count: 4) }
          == "Cannot read guest-physical address \(GPA(0x8000_0000 + size)): outside the guest memory of process "
          + "\(child.pid), which holds 0x80000000-\(GPA(0x8000_0000 + size - 1)).")
    }

    @Test func moreThanOneCallsPagesAndAHoleAreCountedExactly() throws {
      let count = 2500
      let hole = 2100
      let address = try #require(mmap(nil, count * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
      defer { munmap(address, count * 4096) }
      for page in 0..<count { (address + page * 4096).storeBytes(of: UInt64(page), as: UInt64.self) }
      // Guest pages in reverse, so that each is a vector of its own: 1024 fit in one call.
      let regions = try (0..<count).map { page in
        ProcessMemory.Region(
          range: try MemoryRange(start: GPA(UInt64(page) << 12), size: 4096),
          host: HVA(UInt64(UInt(bitPattern: address + (count - 1 - page) * 4096))))
      }
      let memory = try ProcessMemory(pid: getpid(), regions: regions)
      let pages = (0..<count).map { GPA(UInt64($0) << 12) }
      var buffer = [UInt8](repeating: 0, count: count * 4096)
      #expect(buffer.withUnsafeMutableBytes { memory.readPages(pages, into: $0) } == count)
      let first = (0..<count).map { Int(buffer[$0 * 4096]) | Int(buffer[$0 * 4096 + 1]) << 8 }
      #expect(first == (0..<count).reversed())
      try #require(mprotect(address + (count - 1 - hole) * 4096, 4096, PROT_NONE) == 0)
      #expect(buffer.withUnsafeMutableBytes { memory.readPages(pages, into: $0) } == hole)
      // A buffer for fewer pages, and not a multiple of a page.
      #expect(buffer.withUnsafeMutableBytes { memory.readPages(pages, into: .init(rebasing: $0[..<9000])) } == 2)
      let host = HVA(UInt64(UInt(bitPattern: address + (count - 1 - hole) * 4096)))
      #expect(
        text { try memory.bytes(at: GPA(UInt64(hole) << 12 - 8), count: 16) }
          == "Cannot read guest-physical address \(GPA(UInt64(hole) << 12)): process \(getpid()) at \(host): Bad address."
      )
    }

    /// The kernel gives numbers again. Whoever has QEMU's afterwards is nobody's guest.
    @Test(.enabled(if: access("/proc/sys/kernel/ns_last_pid", W_OK) == 0))
    func theNextProcessOfThatNumberIsNotRead() throws {
      let pipe = try Pipe()
      var child: Child? = try Child("cat", [], input: pipe.reader)
      let pid = try #require(child?.pid)
      func stack(of process: Int32) throws -> HVA {
        try wait(for: "its stack") { try ProcessMapping.all(ofProcess: process).first { $0.path == "[stack]" }?.start }
      }
      let range = try MemoryRange(start: GPA(0), size: 64)
      let memory = try ProcessMemory(
        pid: pid, regions: [.init(range: range, host: try stack(of: pid))])
      _ = try memory.bytes(at: GPA(0), count: 64)
      child = nil
      #expect(text { try memory.bytes(at: GPA(0), count: 64) }.hasSuffix(": No such process."))
      // Another may come in between.
      let next = try wait(for: "a process with that number") { () -> Child? in
        let file = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC)
        _ = "\(pid - 1)".withCString { write(file, $0, strlen($0)) }
        close(file)
        let next = try Child("cat", [], input: pipe.reader)
        return next.pid == pid ? next : nil
      }
      _ = try ProcessMemory(pid: next.pid, regions: [.init(range: range, host: try stack(of: pid))])
      #expect(text { try memory.bytes(at: GPA(0), count: 64) }.hasSuffix(": No such process."))
    }

    @Test func aProcessThatIsGoneIsNamed() throws {
      let pid = try Child("true", []).pid
      let range = try MemoryRange(start: GPA(0), size: 4096)
      #expect(
        text { try ProcessMemory(pid: pid, regions: [.init(range: range, host: HVA(0x1000))]) }
          == "Cannot look into process \(pid): No such file or directory. "
          + "Run GDB as the user that runs QEMU, and check that QEMU still runs.")
      #expect(
        text { try ProcessMapping.all(ofProcess: pid) }
          == "Cannot look into process \(pid): No such file or directory. "
          + "Run GDB as the user that runs QEMU, and check that QEMU still runs.")
    }
  }
}

/// A pipe whose reader a child takes as its input; cat then waits for as long as the writer lives.
private final class Pipe {
  let reader: Int32
  private let writer: Int32

  init() throws {
    var ends: [Int32] = [0, 0]
    try #require(pipe(&ends) == 0)
    (reader, writer) = (ends[0], ends[1])
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
  }

  deinit {
    close(reader)
    close(writer)
  }
}
