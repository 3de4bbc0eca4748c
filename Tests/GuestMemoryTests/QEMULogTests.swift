import Glibc
import Testing

@testable import GuestMemory

/// Which log a QEMU writes, by its command line.
@Suite struct QEMULogTests {
  static func log(_ words: [String]) -> String? {
    QEMUProcess.log(in: words.map { $0 + "\0" }.joined(), pid: 42) { "/srv/guest" }
  }

  @Test func theLastOptionCounts() {
    #expect(Self.log(["qemu", "-M", "virt", "-D", "/var/log/trace.log"]) == "/var/log/trace.log")
    #expect(Self.log(["qemu", "--D", "a", "-D", "logs/b c"]) == "/srv/guest/logs/b c")
    #expect(Self.log(["qemu", "-D", "/tmp/%d.log"]) == "/tmp/42.log")
  }

  @Test(arguments: [[], ["qemu"], ["qemu", "-D"], ["qemu", "-D", ""], ["qemu", "-d", "int"], ["-D=x", "y"]])
  func noLog(_ words: [String]) { #expect(Self.log(words) == nil) }

  @Test func aFolderThatIsHidden() {
    #expect(QEMUProcess.log(in: "qemu\0-D\0trace.log\0", pid: 1) { nil } == nil)
    #expect(QEMUProcess.log(in: "", pid: 1) { nil } == nil)
  }

  /// This process was started without one.
  @Test func ofAProcess() throws { #expect(try QEMUProcess(pid: getpid()).log == nil) }
}
