import Children
import Glibc
import Randomness
import Testing

/// A real QEMU that never runs its guest: `virt` with 64 MiB from 0x80000000 and a random blob at 0x82000000.
final class QEMU {
  static let ramStart: UInt64 = 0x8000_0000
  static let blobStart: UInt64 = 0x8200_0000

  let folder: TemporaryFolder
  let blob: [UInt8]
  let process: Child
  let stub: Stub
  /// What GDB would be told after `target remote`.
  let remote: String

  /// The file behind RAM, where it is shared.
  var ramFile: String { "\(folder.path)/ram" }

  enum Connection { case unix, tcp }

  init(sharesRAM: Bool, connection: Connection = .unix, seed: UInt64 = 1) throws {
    let folder = try TemporaryFolder()
    var random = SeededNumbers(seed: seed)
    self.folder = folder
    self.blob = random.bytes(64 * 4096)
    let blobFile = try folder.file("blob", blob)
    var arguments = ["-M", "virt", "-S", "-display", "none", "-nodefaults", "-m", "64M"]
    arguments += ["-device", "loader,file=\(blobFile),addr=\(Self.blobStart),force-raw=on"]
    if sharesRAM {
      arguments += ["-object", "memory-backend-file,id=m,size=64M,mem-path=\(folder.path)/ram,share=on"]
      arguments += ["-machine", "memory-backend=m"]
    }
    let socket: Socket
    switch connection {
    case .unix:
      let path = "\(folder.path)/gdb"
      process = try Child("qemu-system-riscv64", arguments + ["-gdb", "unix:\(path),server=on,wait=off"])
      socket = try wait(for: "QEMU at \(path)") { try Socket.connected(to: path) }
      remote = path
    case .tcp:
      // The port is free once its listener is gone; nobody else in this run asks for it by number.
      let port = try Socket.listening(family: AF_INET).port
      process = try Child("qemu-system-riscv64", arguments + ["-gdb", "tcp:127.0.0.1:\(port)"])
      socket = try wait(for: "QEMU at port \(port)") { try Socket.connected(family: AF_INET, port: port) }
      remote = "localhost:\(port)"
    }
    stub = try Stub(socket)
  }
}
