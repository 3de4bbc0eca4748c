import Children
import Glibc
import PageTables

/// As much of GDB's remote protocol as these tests need: monitor commands, and guest-physical reads.
final class Stub {
  private let socket: Socket
  private var received: [UInt8] = []
  private var next = 0

  init(_ socket: Socket) throws {
    self.socket = socket
    _ = try ask("qSupported")
  }

  /// `monitor COMMAND`: the text, as GDB would print it.
  func monitor(_ command: String) throws -> String {
    try send("qRcmd," + command.utf8.map(Self.digits).joined())
    var text = ""
    while true {
      let packet = try receive()
      if packet == "OK" { return text }
      guard packet.hasPrefix("O") else { throw TestFailure("monitor \(command): \(packet)") }
      text += String(decoding: Self.bytes(packet.dropFirst()), as: UTF8.self)
    }
  }

  /// Guest-physical bytes.
  func read(_ address: GPA, _ count: Int) throws -> [UInt8] {
    guard try ask("Qqemu.PhyMemMode:1") == "OK" else { throw TestFailure("no PhyMemMode") }
    var bytes: [UInt8] = []
    while bytes.count < count {
      let part = min(count - bytes.count, 1024)
      let position = String((address + UInt64(bytes.count)).rawValue, radix: 16)
      let packet = try ask("m\(position),\(String(part, radix: 16))")
      let read = Self.bytes(packet[...])
      guard read.count == part else { throw TestFailure("m\(position): \(packet)") }
      bytes += read
    }
    return bytes
  }

  private func ask(_ packet: String) throws -> String {
    try send(packet)
    return try receive()
  }

  private func send(_ packet: String) throws {
    let sum = packet.utf8.reduce(UInt8(0)) { $0 &+ $1 }
    let bytes = Array("$\(packet)#\(Self.digits(sum))".utf8)
    let flags = Int32(MSG_NOSIGNAL)
    let sent = bytes.withUnsafeBytes { Glibc.send(socket.file, $0.baseAddress, $0.count, flags) }
    guard sent == bytes.count else { throw TestFailure("the stub is gone") }
  }

  private func receive() throws -> String {
    while try byte() != UInt8(ascii: "$") {}
    var packet: [UInt8] = []
    while case let next = try byte(), next != UInt8(ascii: "#") { packet.append(next) }
    _ = (try byte(), try byte())
    var acknowledgement = UInt8(ascii: "+")
    _ = Glibc.send(socket.file, &acknowledgement, 1, Int32(MSG_NOSIGNAL))
    return String(decoding: packet, as: UTF8.self)
  }

  private func byte() throws -> UInt8 {
    if next == received.count {
      received = [UInt8](repeating: 0, count: 8192)
      let count = received.withUnsafeMutableBytes { Glibc.read(socket.file, $0.baseAddress, $0.count) }
      guard count > 0 else { throw TestFailure("no answer from the stub within 10 s") }
      received.removeLast(received.count - count)
      next = 0
    }
    defer { next += 1 }
    return received[next]
  }

  private static func digits(_ byte: UInt8) -> String { (byte < 16 ? "0" : "") + String(byte, radix: 16) }

  private static func bytes(_ digits: Substring) -> [UInt8] {
    let digits = Array(digits.utf8)
    return stride(from: 0, to: digits.count - 1, by: 2).compactMap {
      UInt8(String(decoding: digits[$0...$0 + 1], as: UTF8.self), radix: 16)
    }
  }
}
