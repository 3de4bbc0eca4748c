import Glibc

/// The process at the other end of a debugger's remote connection.
public struct QEMUProcess: Hashable, Sendable {
  /// Its id.
  public let pid: Int32
  /// Its name, at most 15 bytes: `qemu-system-ris`.
  public let name: String

  /// Process `pid`. Throws ``MemoryError/processHidden(pid:reason:)`` where there is none.
  public init(pid: Int32) throws(MemoryError) {
    guard let name = contents(ofProcFile: "/proc/\(pid)/comm") else {
      throw .processHidden(pid: pid, reason: lastSystemError())
    }
    self.pid = pid
    self.name = String(name[...].trimmingSpaces())
  }

  /// The process behind `remote`, to which *this* process is connected: a Unix socket's path (`/tmp/gdb.sock`,
  /// `unix:/tmp/gdb.sock`) or a TCP address (`localhost:1234`, `tcp:127.0.0.1:1234`, `:1234`).
  ///
  /// Only the connection's own other end counts, so that another QEMU on this machine is never taken for it. Throws
  /// where the connection, or one process at its other end, cannot be found.
  public init(behind remote: String) throws(MemoryError) {
    var pids = try Self.peers(of: remote)
    // Until it executes another program, a process that was just forked shares all of its parent's descriptors, so one that
    // holds the connection by chance is gone a moment later.
    for _ in 0..<10 where pids.count > 1 {
      usleep(20_000)
      pids = try Self.peers(of: remote)
    }
    guard let pid = pids.first, pids.count == 1 else {
      throw .severalProcesses(remote: remote, pids: pids.sorted())
    }
    try self.init(pid: pid)
  }

  /// The processes at the other end of `remote`.
  private static func peers(of remote: String) throws(MemoryError) -> Set<Int32> {
    if let path = socketPath(remote) { return try peers(ofSocketAt: path, remote: remote) }
    if let port = port(remote) { return try peers(ofPort: port, remote: remote) }
    throw .unknownRemote(remote)
  }

  private static func socketPath(_ remote: String) -> String? {
    if remote.hasPrefix("unix:") { return String(remote.dropFirst(5)) }
    return remote.contains("/") || identity(ofPath: remote) != nil ? remote : nil
  }

  /// What follows the last colon: an IPv6 address has more of them.
  private static func port(_ remote: String) -> UInt16? {
    guard let colon = remote.lastIndex(of: ":") else { return nil }
    return UInt16(remote[remote.index(after: colon)...])
  }

  /// This process's open files that are sockets, by number.
  private static func ownSockets() -> [Int32] {
    (names(inFolder: "/proc/self/fd") ?? []).compactMap { Int32($0) }.filter { file in
      var status = stat()
      return fstat(file, &status) == 0 && status.st_mode & S_IFMT == S_IFSOCK
    }
  }
}

// MARK: - Unix sockets

/// What SO_PEERCRED answers: `struct ucred`, which glibc shows under _GNU_SOURCE only.
private struct PeerCredentials {
  var pid: Int32 = 0
  var user: UInt32 = 0
  var group: UInt32 = 0
}

extension QEMUProcess {
  private static func peers(ofSocketAt path: String, remote: String) throws(MemoryError) -> Set<Int32> {
    var pids: Set<Int32> = []
    for socket in ownSockets() {
      guard let bound = peerPath(of: socket), let pid = peerProcess(of: socket), leads(path, to: bound, of: pid)
      else { continue }
      pids.insert(pid)
    }
    guard !pids.isEmpty else { throw .notConnected(remote: remote) }
    // The kernel says 0 for a process that this container cannot see.
    guard !pids.contains(0) else { throw .notLocal(remote: remote) }
    return pids
  }

  /// The process that called listen(2).
  private static func peerProcess(of socket: Int32) -> Int32? {
    var credentials = PeerCredentials()
    var size = socklen_t(MemoryLayout<PeerCredentials>.size)
    guard getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0 else { return nil }
    return credentials.pid
  }

  /// The path that the other end bound; nil for other kinds of sockets, and for the server's side, whose peer has no
  /// name.
  private static func peerPath(of socket: Int32) -> String? {
    withSocketAddress({ getpeername(socket, $0, $1) }) { bytes -> String? in
      guard family(bytes) == AF_UNIX else { return nil }
      let path = bytes.dropFirst(MemoryLayout<sa_family_t>.size).prefix { $0 != 0 }
      return path.isEmpty ? nil : String(decoding: path, as: UTF8.self)
    } ?? nil
  }

  /// Whether `path`, as this process names it, is the socket that process `pid` bound as `bound`, perhaps relative to
  /// its own folder.
  private static func leads(_ path: String, to bound: String, of pid: Int32) -> Bool {
    if path == bound { return true }
    let seen = bound.hasPrefix("/") ? bound : "/proc/\(pid)/cwd/\(bound)"
    guard let ours = identity(ofPath: path), let theirs = identity(ofPath: seen) else { return false }
    return ours == theirs
  }
}

// MARK: - TCP

extension QEMUProcess {
  /// One end of a connection, in the words of /proc/net/tcp: hexadecimal address (eight digits for IPv4) and port.
  struct Endpoint: Hashable {
    let address: String
    let port: UInt16

    /// `0100007F:04D2`, or the IPv6 form. An IPv4 address inside an IPv6 one becomes the IPv4 one: each side of one
    /// connection may see it its own way.
    init?(_ text: Substring) {
      let parts = text.split(separator: ":")
      guard parts.count == 2, let port = UInt16(parts[1], radix: 16) else { return nil }
      let mapped = "0000000000000000FFFF0000"
      self.address = String(parts[0].hasPrefix(mapped) ? parts[0].dropFirst(mapped.count) : parts[0])
      self.port = port
    }
  }

  private static func peers(ofPort port: UInt16, remote: String) throws(MemoryError) -> Set<Int32> {
    var ends: Set<[Endpoint]> = []
    for socket in ownSockets() {
      guard let theirs = endpoint({ getpeername(socket, $0, $1) }), theirs.port == port,
        let ours = endpoint({ getsockname(socket, $0, $1) })
      else { continue }
      ends.insert([theirs, ours])
    }
    guard !ends.isEmpty else { throw .notConnected(remote: remote) }
    var inodes: Set<String> = []
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
      let connections = connections(in: contents(ofProcFile: table) ?? "")
      inodes.formUnion(connections.filter { ends.contains($0.ends) }.map(\.inode))
    }
    guard !inodes.isEmpty else { throw .notLocal(remote: remote) }
    let (pids, hidden) = owners(ofSockets: inodes)
    guard !pids.isEmpty else { throw .processNotFound(remote: remote, hidden: hidden) }
    return pids
  }

  /// The lines of /proc/net/tcp or tcp6 (proc_net_tcp.rst): local and remote end, inode. The header line has no
  /// endpoints.
  static func connections(in table: String) -> [(ends: [Endpoint], inode: String)] {
    table.split(separator: "\n").compactMap { line in
      let fields = line.split(separator: " ")
      guard fields.count >= 10, let local = Endpoint(fields[1]), let remote = Endpoint(fields[2]) else { return nil }
      return ([local, remote], String(fields[9]))
    }
  }

  /// The processes that hold one of these sockets, and how many processes do not say what they hold.
  private static func owners(ofSockets inodes: Set<String>) -> (pids: Set<Int32>, hidden: Int) {
    let links = Set(inodes.map { "socket:[\($0)]" })
    var pids: Set<Int32> = []
    var hidden = 0
    for pid in (names(inFolder: "/proc") ?? []).compactMap({ Int32($0) }) {
      guard let files = names(inFolder: "/proc/\(pid)/fd") else {
        // One that ended meanwhile hides nothing.
        if errno == EACCES || errno == EPERM { hidden += 1 }
        continue
      }
      if files.contains(where: { target(ofLink: "/proc/\(pid)/fd/\($0)").map(links.contains) ?? false }) {
        pids.insert(pid)
      }
    }
    return (pids, hidden)
  }

  private static func endpoint(
    _ name: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32
  ) -> Endpoint? {
    withSocketAddress(name) { bytes -> Endpoint? in
      // sockaddr_in: family, port, address. sockaddr_in6: family, port, flow, address. Ports are big-endian; the kernel
      // prints addresses as 32-bit words in the machine's order.
      let words: [Int]
      switch family(bytes) {
      case AF_INET: words = [4]
      case AF_INET6: words = [8, 12, 16, 20]
      default: return nil
      }
      guard let end = words.last, bytes.count >= end + 4 else { return nil }
      let port = UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: 2, as: UInt16.self))
      let address = words.map { padded(bytes.loadUnaligned(fromByteOffset: $0, as: UInt32.self)) }.joined()
      return Endpoint("\(address):\(String(port, radix: 16))"[...])
    } ?? nil
  }

  private static func padded(_ word: UInt32) -> String {
    let digits = String(word, radix: 16, uppercase: true)
    return String(repeating: "0", count: 8 - digits.count) + digits
  }

  private static func family(_ bytes: UnsafeRawBufferPointer) -> Int32 {
    bytes.count >= 2 ? Int32(bytes.loadUnaligned(as: sa_family_t.self)) : -1
  }

  /// The bytes of a socket's address, of whatever family; nil where the call fails.
  private static func withSocketAddress<Result>(
    _ name: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32,
    _ body: (UnsafeRawBufferPointer) -> Result
  ) -> Result? {
    var storage = sockaddr_storage()
    var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
    return withUnsafeMutablePointer(to: &storage) { pointer in
      let status = pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { name($0, &size) }
      let bytes = UnsafeRawBufferPointer(start: pointer, count: min(Int(size), MemoryLayout<sockaddr_storage>.size))
      return status == 0 ? body(bytes) : nil
    }
  }
}
