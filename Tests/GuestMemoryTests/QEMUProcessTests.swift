import Children
import Glibc
import PageTables
import Testing

@testable import GuestMemory

extension ProcessTests {
  @Suite(.serialized) struct Finder {
    @Test func theServerOfAUnixSocketIsFoundByItsPathAndByAnotherName() throws {
      let folder = try TemporaryFolder()
      let path = folder.path + "/gdb"
      let server = try Socket.listening(at: path)
      #expect(
        text { try QEMUProcess(behind: path) }
          == "This process has no connection to '\(path)'. "
          + "Connect with target remote first, or give QEMU's process id.")
      let client = try #require(try Socket.connected(to: path))
      try #require(symlink(path, folder.path + "/other") == 0)
      for name in [path, "unix:\(path)", "\(folder.path)/./gdb", "\(folder.path)/other"] {
        #expect(try QEMUProcess(behind: name).pid == getpid())
      }
      withExtendedLifetime((server, client)) {}
    }

    @Test(arguments: [(AF_INET, AF_INET), (AF_INET6, AF_INET6), (AF_INET6, AF_INET)])
    func theServerOfATCPConnectionIsFound(server: Int32, client: Int32) throws {
      let (listener, port) = try Socket.listening(family: server)
      #expect(
        text { try QEMUProcess(behind: "localhost:\(port)") }
          == "This process has no connection to 'localhost:\(port)'. "
          + "Connect with target remote first, or give QEMU's process id.")
      let connection = try #require(try Socket.connected(family: client, port: port))
      let accepted = try listener.accepted()
      for name in ["localhost:\(port)", ":\(port)", "tcp:127.0.0.1:\(port)", "[::1]:\(port)"] {
        #expect(try QEMUProcess(behind: name).pid == getpid())
      }
      withExtendedLifetime((listener, connection, accepted)) {}
    }

    /// Whoever listens at the path now need not be whom GDB is connected to.
    @Test func aServerThatTookThePathOverIsNotTheOneBehindTheConnection() throws {
      let folder = try TemporaryFolder()
      let path = folder.path + "/gdb"
      let first = try Self.server(at: path, in: "/")
      let client = try wait(for: "the first server") { try Socket.connected(to: path) }
      try #require(unlink(path) == 0)
      let second = try Self.server(at: path, in: "/")
      do {
        let other = try wait(for: "the second server") { try Socket.connected(to: path) }
        let pids = [first.pid, second.pid].sorted()
        #expect(throws: MemoryError.severalProcesses(remote: path, pids: pids)) { try QEMUProcess(behind: path) }
        withExtendedLifetime(other) {}
      }
      #expect(try QEMUProcess(behind: path).pid == first.pid)
      withExtendedLifetime(client) {}
    }

    /// QEMU may have bound a name relative to its folder, and another one the same name in another folder.
    @Test func serversWithTheSameRelativeNameAreToldApart() throws {
      let folders = [try TemporaryFolder(), try TemporaryFolder()]
      let servers = try folders.map { try Self.server(at: "gdb", in: $0.path) }
      let clients = try folders.map { folder in
        try wait(for: "a server in \(folder.path)") { try Socket.connected(to: folder.path + "/gdb") }
      }
      for (folder, server) in zip(folders, servers) {
        #expect(try QEMUProcess(behind: folder.path + "/gdb").pid == server.pid)
      }
      withExtendedLifetime(clients) {}
    }

    /// A process that listens at a path as seen from a folder.
    private static func server(at path: String, in folder: String) throws -> Child {
      try Child(
        "python3",
        [
          "-c",
          """
          import os, socket, sys
          os.chdir(sys.argv[2])
          server = socket.socket(socket.AF_UNIX)
          server.bind(sys.argv[1])
          server.listen()
          while True: held = server.accept()
          """, path, folder,
        ])
    }

    @Test func anEndThatTwoProcessesHoldIsNotGuessed() throws {
      let (listener, port) = try Socket.listening(family: AF_INET)
      let connection = try #require(try Socket.connected(family: AF_INET, port: port))
      let accepted = try listener.accepted(isInherited: true)
      let child = try Child("sleep", ["30"])
      let pids = [getpid(), child.pid].sorted()
      #expect(throws: MemoryError.severalProcesses(remote: ":\(port)", pids: pids)) {
        try QEMUProcess(behind: ":\(port)")
      }
      #expect(
        MemoryError.severalProcesses(remote: ":1", pids: [3, 4]).description
          == "Several processes share the other end of ':1': 3, 4. Give QEMU's process id.")
      withExtendedLifetime((listener, connection, accepted)) {}
    }

    @Test func aConnectionThatNobodyTookYetHasNoProcess() throws {
      let (listener, port) = try Socket.listening(family: AF_INET)
      let connection = try #require(try Socket.connected(family: AF_INET, port: port))
      let answer = text { try QEMUProcess(behind: ":\(port)") }
      #expect(answer.hasPrefix("No process that this user may look into has the other end of ':\(port)' ("))
      withExtendedLifetime((listener, connection)) {}
    }

    @Test(arguments: ["", "qemu", "localhost:", "localhost:http", "host:70000", "| cat"])
    func anythingElseIsNoRemote(remote: String) {
      #expect(
        text { try QEMUProcess(behind: remote) }
          == "'\(remote)' is neither a socket's path nor HOST:PORT, so the process behind it cannot be found. "
          + "Give QEMU's process id.")
    }

    @Test func theKernelsTableIsReadInBothForms() {
      let four = QEMUProcess.connections(
        in: """
            sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
             0: 0100007F:04D2 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 4242 1 0000000000000000
          """)
      let six = QEMUProcess.connections(
        in: """
             0: 0000000000000000FFFF00000100007F:04D2 0000000000000000FFFF00000100007F:C350 01 0:0 00:0 0 0 0 4242 1 0
          """)
      #expect(four.map(\.inode) == ["4242"] && six.map(\.inode) == ["4242"])
      #expect(four.map(\.ends) == six.map(\.ends))
      #expect(QEMUProcess.connections(in: "\n: :\n0: a b c d e f g h i").isEmpty)
    }
  }
}
