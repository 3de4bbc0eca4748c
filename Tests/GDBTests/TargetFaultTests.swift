import Foundation
import Testing

/// A target that dies, leaves, or turns into another one under the plugin: a real guest, real GDB. Whatever happened, every
/// command says so in a sentence or works from what it has, nothing that was recorded is lost, and recording goes on after the
/// next connection.
@Suite(.timeLimit(.minutes(3))) struct TargetFaultTests {
  struct Fault: Sendable, CustomTestStringConvertible {
    let name: String
    var ram = "file"
    /// What happens, at a guest that stands behind its first recorded map call.
    let happens: String
    /// What is done before recording starts.
    var before = ""
    /// How the guest is had back.
    var again = Fault.another

    var testDescription: String { name }

    /// A second guest in the place of the first one.
    static let another = "python boot('two')\npython reach('two')\nhbreak lab_workload_first_map_done"
    /// The same guest goes on to the end of its workload.
    static let onwards = "hbreak lab_workload_done"
    /// The first one, which has gone on meanwhile, and then a second one.
    static let both = "python reach()\niommu walk 0xfffff000 -device 00:01.0\ndisconnect\n" + another
  }

  static let faults = [
    Fault(name: "qemu-killed", happens: "python kill()"),
    Fault(name: "qemu-killed-anonymous-memory", ram: "anonymous", happens: "python kill()"),
    Fault(
      name: "qemu-killed-remote-memory", happens: "python kill()", before: "set iommu memory remote"),
    Fault(
      name: "qemu-killed-mid-walk",
      happens: """
        set iommu memory remote
        python
        from iommulens.gdb.debugger import Debugger
        def dying(self, addresses, length, read=Debugger._read_physical):
          kill()
          return read(self, addresses, length)
        Debugger._read_physical = dying
        end
        python attempt("iommu walk 0xfffff000 -device 00:01.0")
        """),
    Fault(
      name: "qemu-killed-before-a-hit-is-read",
      happens: "python attempt('continue')", before: "python Deadly(20)"),
    Fault(name: "qemu-killed-while-recording", happens: "python Deadly(20)\npython attempt('continue')"),
    Fault(name: "monitor-quit", happens: "python attempt('monitor quit')"),
    Fault(name: "disconnect", happens: "disconnect", again: Fault.both),
    Fault(name: "detach", happens: "detach"),
    Fault(name: "kill", happens: "python answer('kill')"),
    Fault(name: "run", happens: "python attempt('run')", again: Fault.another),
    Fault(
      name: "another-qemu", happens: "python boot('two', '--root-shift', '30')\npython reach('two')",
      again: Fault.onwards),
    Fault(name: "symbols-removed", happens: "file", again: "file build/lab/guest/guest.elf\n" + Fault.onwards),
    Fault(
      name: "symbols-of-another-kernel", happens: "file build/lab/guest/guest-5.10.elf",
      again: "file build/lab/guest/guest.elf\n" + Fault.onwards),
    Fault(
      name: "module-moved",
      happens: """
        file
        add-symbol-file build/lab/guest/guest.elf -o 0x100000
        """,
      again: "remove-symbol-file -a 0xffffffff80100000\nadd-symbol-file build/lab/guest/guest.elf\n" + Fault.onwards),
    Fault(
      name: "another-inferior-of-its-own", happens: "add-inferior -no-connection\ninferior 2",
      again: "inferior 1\n" + Fault.onwards),
    Fault(
      name: "qemu-stopped", happens: "python os.kill(qemu(), signal.SIGSTOP)\npython becomes('T')",
      again: "python os.kill(qemu(), signal.SIGCONT)\n" + Fault.onwards),
    Fault(
      name: "qemu-stopped-by-a-debugger",
      happens: """
        python
        nothing = subprocess.DEVNULL
        other = subprocess.Popen(["gdb", "-nx", "-p", str(qemu())], stdin=subprocess.PIPE, stdout=nothing, stderr=nothing)
        becomes("t")
        end
        """, again: "python other.communicate(b'detach\\nquit\\n')\n" + Fault.onwards),
    // QEMU dies of it at its first access. The plugin comes first: it needs nothing of QEMU's memory for a walk from a root.
    Fault(
      name: "ram-file-cut",
      happens: """
        python os.truncate('$DIR/ram', 0x100000)
        python attempt('iommu walk 0xfffff000 -root 0x864cd000')
        """, again: Fault.another),
    Fault(name: "breakpoints-deleted", happens: "delete", again: Fault.onwards),
    Fault(name: "a-breakpoint-deleted", happens: "delete 2", again: Fault.onwards),
    Fault(name: "breakpoints-disabled", happens: "disable", again: Fault.onwards),
  ]

  /// GDB 18 does not let inferiors share a connection to a stub.
  static let sharedConnection = Fault(
    name: "another-inferior", happens: "add-inferior\ninferior 2", again: "inferior 1\n" + Fault.onwards)

  /// All commands, as a user would try them.
  static let commands = [
    "iommu status", "iommu args", "iommu regs", "iommu devices", "iommu domains", "iommu walk 0xfffff000",
    "iommu walk 0xfffff000 -device 00:01.0 -device-walk", "iommu dump -device 00:01.0",
    "iommu predict 0 0x80000000 0x1000 3 -device 00:01.0", "p $iommu_walk(0xfffff000)", "iommu check", "iommu diagnose",
    "iommu probe", "iommu timeline -last 1", "iommu note still here", "iommu export $DIR/report.md", "iommu record",
    "iommu break map -limit 1", "iommu break off",
  ]

  /// What the faults are made of.
  static let tools = """
    python
    import ctypes, itertools, os, signal, sqlite3, subprocess, time

    def qemu(folder="$DIR"):
      for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
          if os.readlink("/proc/%s/cwd" % pid) == folder and "qemu" in os.readlink("/proc/%s/exe" % pid): return int(pid)
        except OSError: pass

    def kill():
      pid = qemu()
      if pid is None: return
      os.kill(pid, signal.SIGKILL)
      while os.path.exists("/proc/%d/root/." % pid): time.sleep(0.01)

    def becomes(state):
      "Waits until the kernel says so of all of QEMU's threads."
      threads = "/proc/%d/task" % qemu()
      while {open("%s/%s/stat" % (threads, one)).read().rpartition(")")[2].split()[0] for one in os.listdir(threads)} != {state}:
        time.sleep(0.01)

    def boot(name, *options):
      ending = lambda: ctypes.CDLL(None).prctl(1, signal.SIGKILL)
      folder = os.path.join("$DIR", name)
      subprocess.Popen(["lab/guest/boot", *options, folder], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       preexec_fn=ending)

    def reach(name=""):
      for _ in range(1000):
        try: return gdb.execute("target remote " + os.path.join("$DIR", name, "gdb.sock"), to_string=True)
        except gdb.error: time.sleep(0.01)

    class Deadly(gdb.Breakpoint):
      "Kills QEMU when the driver is called for the COUNTth time from now on."
      def __init__(self, count):
        super().__init__("*xt_iommu_map", gdb.BP_HARDWARE_BREAKPOINT)
        self.silent, self.left = True, count
      def stop(self):
        self.left -= 1
        if self.left == 0: kill()
        # To go on from here without a target is an internal error of GDB 13.
        return self.left == 0

    def attempt(command):
      try: gdb.execute(command)
      except gdb.error as error: print(error)

    def answer(command):
      try: return gdb.execute(command, to_string=True)
      except gdb.error as error: return str(error) + "\\n"

    def attempts(*commands):
      "Neighbours with the same answer are told together."
      told = [(command, answer(command)) for command in commands]
      for text, same in itertools.groupby(told, lambda told: told[1]):
        print("\\n".join("(gdb) " + command for command, _ in same))
        print(text, end="")

    def events():
      return sqlite3.connect("$DIR/x.iommulens").execute("SELECT count(*) FROM event").fetchone()[0]
    end

    """

  @Test(arguments: faults + (Host.usual.isDebians ? [sharedConnection] : []))
  func everyCommandSaysWhatHappenedAndRecordingGoesOn(_ fault: Fault) async throws {
    let output = try await Guest(ram: fault.ram).debug(
      Self.tools + fault.before + """

        iommu open $DIR/x.iommulens
        iommu record
        hbreak lab_workload_first_map_done
        continue
        python before = events()
        echo ==== fault\\n
        \(fault.happens)

        python attempts(\(Self.list))
        echo ==== again\\n
        python print("events are lost" if events() < before else "nothing is lost")
        \(fault.again)
        iommu record
        continue
        iommu check
        iommu status
        """)
    try expect(output, fault.name)
  }

  /// A reset leaves connection, symbols and breakpoints as they are; what was recorded is of the life before.
  @Test func aResetGuestIsRecordedAgain() async throws {
    let output = try await Guest.beside(
      """
      qemu-system-riscv64 -nodefaults -no-user-config -display none -nic none -machine virt -m 256M -smp 1 -bios default \
      -kernel build/lab/guest/guest.elf -append root-shift=pgdir -S
      """,
      """
      set pagination off
      set style enabled off
      file build/lab/guest/guest.elf
      \(Self.tools)
      python reach()
      iommu open $DIR/x.iommulens
      iommu record
      hbreak lab_workload_first_map_done
      continue
      monitor system_reset
      echo ==== fault\\n
      python attempts(\(Self.list))
      echo ==== again\\n
      continue
      iommu check
      iommu status
      """)
    try expect(output, "reset")
  }

  private static let list = commands.map { "'\($0)'" }.joined(separator: ", ")

  private func expect(_ output: String, _ name: String) throws {
    #expect(!output.contains("Python Exception") && !output.contains("Traceback") && !output.contains("internal-error"))
    let told = output.components(separatedBy: "==== fault\n").last ?? ""
    // How a broken connection is noticed first, and what the shell says of QEMU's end, is nobody's doing here.
    let plain = told.replacing(#/ *\d+\.\d{6}/#, with: " $TIME").replacing(
      "Connection reset by peer", with: "Broken pipe"
    )
    .replacing(#/lab/guest/debug: .* (Killed|Bus error) .*\n/#, with: "")
    .replacing(#/kill -CONT \d+/#, with: "kill -CONT $PID")
    try expectKnown(plain, "../faults/\(name).txt")
  }
}
