import Glibc
import Testing

/// A socket of this test. Not inherited by children unless asked, so that no other test's child holds its end.
final class Socket: Sendable {
  let file: Int32

  init(file: Int32, isInherited: Bool = false) throws {
    try #require(file >= 0, "\(String(cString: strerror(errno)))")
    self.file = file
    if !isInherited { _ = fcntl(file, F_SETFD, FD_CLOEXEC) }
    var limit = timeval(tv_sec: 10, tv_usec: 0)
    setsockopt(file, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
  }

  deinit { close(file) }

  /// A Unix socket connected to `path`; nil while nobody listens there.
  static func connected(to path: String) throws -> Socket? {
    let result = try Socket(file: socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0))
    return withUnixAddress(path) { connect(result.file, $0, $1) } == 0 ? result : nil
  }

  static func listening(at path: String) throws -> Socket {
    let result = try Socket(file: socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0))
    try #require(withUnixAddress(path) { bind(result.file, $0, $1) } == 0)
    try #require(listen(result.file, 4) == 0)
    return result
  }

  /// A TCP socket listening on a free port of the loopback; `family` AF_INET6 takes IPv4 connections too.
  static func listening(family: Int32) throws -> (socket: Socket, port: UInt16) {
    let result = try Socket(file: socket(family, Int32(SOCK_STREAM.rawValue), 0))
    var off: Int32 = 0
    if family == AF_INET6 { setsockopt(result.file, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &off, 4) }
    let bound = withInternetAddress(family, port: 0, isLoopback: family == AF_INET) { bind(result.file, $0, $1) }
    try #require(bound == 0)
    try #require(listen(result.file, 4) == 0)
    var address = sockaddr_in6()
    var size = socklen_t(MemoryLayout<sockaddr_in6>.size)
    let named = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(result.file, $0, &size) }
    }
    try #require(named == 0)
    return (result, UInt16(bigEndian: address.sin6_port))
  }

  /// A TCP socket connected to `port` of the loopback.
  static func connected(family: Int32, port: UInt16) throws -> Socket? {
    let result = try Socket(file: socket(family, Int32(SOCK_STREAM.rawValue), 0))
    let status = withInternetAddress(family, port: port, isLoopback: true) { connect(result.file, $0, $1) }
    return status == 0 ? result : nil
  }

  func accepted(isInherited: Bool = false) throws -> Socket {
    try Socket(file: accept(file, nil, nil), isInherited: isInherited)
  }

  private static func withUnixAddress(
    _ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
  ) -> Int32 {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix($0.count - 1)) }
    return withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
  }

  private static func withInternetAddress(
    _ family: Int32, port: UInt16, isLoopback: Bool, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
  ) -> Int32 {
    if family == AF_INET {
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_port = port.bigEndian
      address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
      return withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
      }
    }
    var address = sockaddr_in6()
    address.sin6_family = sa_family_t(AF_INET6)
    address.sin6_port = port.bigEndian
    if isLoopback { withUnsafeMutableBytes(of: &address.sin6_addr) { $0[15] = 1 } }
    return withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        body($0, socklen_t(MemoryLayout<sockaddr_in6>.size))
      }
    }
  }
}
