public import PageTables

/// Why a source of guest memory could not be set up. A read that fails later is an `UnreadableMemory`.
public enum MemoryError: Error, Hashable, Sendable, CustomStringConvertible {
  /// A file that cannot be opened, measured or mapped.
  case cannotOpen(path: String, reason: String)
  /// A path that leads to something without a size and content of its own: a directory, a pipe, a device.
  case notARegularFile(path: String)
  /// A file that is no ELF core of a guest.
  case notACore(path: String, reason: String)
  /// A core whose headers contradict themselves, at this byte of the file.
  case malformedCore(path: String, offset: UInt64, reason: String)
  /// A file that ends at `size` bytes, before `needed`, where `what` would end.
  case truncated(path: String, what: String, needed: UInt64, size: UInt64)
  /// A file that became shorter while it was read.
  case cutShort(path: String)
  /// A range without bytes, or one that passes the end of the 64-bit address space.
  case badRange(start: GPA, size: UInt64)
  /// A page of a snapshot that is not 4096 bytes at a multiple of 4096.
  case badPage(GPA, count: Int)
  /// A source that would hold no byte; `place` says which.
  case noMemory(place: String)
  /// A process whose memory cannot be read at `address`.
  case processUnreadable(pid: Int32, address: HVA, reason: String)
  /// A process that is not there, or whose memory map is closed to this user.
  case processHidden(pid: Int32, reason: String)
  /// A monitor command that could not be sent.
  case monitorFailed(command: String, reason: String)
  /// A monitor command with an answer that means something else than asked.
  case unexpectedAnswer(command: String, answer: String)
  /// A remote target that is neither a socket's path nor a host and a port.
  case unknownRemote(String)
  /// This process has no connection to that remote target.
  case notConnected(remote: String)
  /// The other end of the connection is not a process of this machine (or of this network namespace).
  case notLocal(remote: String)
  /// The other end is on this machine, but belongs to no process that can be looked into; `hidden` processes could not.
  case processNotFound(remote: String, hidden: Int)
  /// The other end is shared by several processes.
  case severalProcesses(remote: String, pids: [Int32])
  /// Bytes read by the fast path differ from what the debugger reads.
  case anotherGuest(address: GPA, place: String)
  /// The fast path could not be compared with what the debugger reads.
  case cannotCompare(address: GPA, reason: String)

  /// A whole sentence, and what to do.
  public var description: String {
    switch self {
    case .cannotOpen(let path, let reason):
      "Cannot open \(path): \(reason). Check the path and that this user may read it."
    case .notARegularFile(let path):
      "\(path) is not a regular file. Give the file behind guest RAM (mem-path) or a core."
    case .notACore(let path, let reason):
      "\(path) is not an ELF core of a guest: \(reason). Write one with QEMU's monitor: dump-guest-memory FILE."
    case .malformedCore(let path, let offset, let reason):
      "The core \(path) is malformed at byte \(hex(offset)): \(reason). Write it again with dump-guest-memory FILE."
    case .truncated(let path, let what, let needed, let size):
      "\(path) is truncated: \(what) ends at byte \(hex(needed)), the file has \(hex(size)). "
        + "Write it again, with room on the disk, and wait until it is complete."
    case .cutShort(let path):
      "\(path) was cut shorter while it was read, so there is no answer. Try again when whoever writes it is done."
    case .badRange(let start, let size):
      "A range of \(hex(size)) bytes from \(start) is empty or passes the end of the address space. Correct its start or size."
    case .badPage(let page, let count):
      "The page at \(page) of \(count) bytes cannot be stored: a page has 4096 bytes and starts at a multiple of 4096. "
        + "Take the snapshot again."
    case .noMemory(let place):
      "\(place) holds no guest memory. Check that it belongs to the guest under investigation."
    case .processUnreadable(let pid, let address, let reason):
      "Cannot read the memory of process \(pid) at \(address): \(reason). \(MemoryError.howToReadAProcess)"
    case .processHidden(let pid, let reason):
      "Cannot look into process \(pid): \(reason). Run GDB as the user that runs QEMU, and check that QEMU still runs."
    case .monitorFailed(let command, let reason):
      "The monitor command '\(command)' failed: \(reason). Check that GDB is connected to QEMU's stub."
    case .unexpectedAnswer(let command, let answer):
      "The monitor command '\(command)' answered '\(MemoryError.excerpt(answer))'. Check that GDB is connected to QEMU's stub."
    case .unknownRemote(let remote):
      "'\(remote)' is neither a socket's path nor HOST:PORT, so the process behind it cannot be found. Give QEMU's process id."
    case .notConnected(let remote):
      "This process has no connection to '\(remote)'. Connect with target remote first, or give QEMU's process id."
    case .notLocal(let remote):
      "The other end of '\(remote)' is not a process of this machine or container. "
        + "Read through the debugger, or run GDB where QEMU runs."
    case .processNotFound(let remote, let hidden):
      "No process that this user may look into has the other end of '\(remote)' (\(hidden) could not be looked into). "
        + "Run GDB as the user that runs QEMU, or give QEMU's process id."
    case .severalProcesses(let remote, let pids):
      "Several processes share the other end of '\(remote)': \(pids.map(String.init).joined(separator: ", ")). "
        + "Give QEMU's process id."
    case .anotherGuest(let address, let place):
      "\(place) differs at guest-physical address \(address) from what the debugger reads: it belongs to another guest, "
        + "or the guest is running. Stop the guest and try again, or give QEMU's process id."
    case .cannotCompare(let address, let reason):
      "The debugger cannot read guest-physical address \(address) to prove that this is the right QEMU: \(reason). "
        + "Stop the guest and try again."
    }
  }

  private static let howToReadAProcess =
    "Run GDB as the user that runs QEMU and set kernel.yama.ptrace_scope to 0 "
    + "(sudo sysctl kernel.yama.ptrace_scope=0), or start QEMU with "
    + "-object memory-backend-file,id=ram,size=SIZE,mem-path=FILE,share=on -machine memory-backend=ram."

  /// The first line of a long answer, so that a message stays one sentence.
  private static func excerpt(_ answer: String) -> String {
    let line = answer.split(whereSeparator: \.isNewline).first.map(String.init) ?? ""
    return line.count > 120 ? line.prefix(120) + "…" : line
  }
}
