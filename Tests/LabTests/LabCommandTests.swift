import Foundation
import Testing

/// `lab/lab` as a user meets it.
@Suite struct LabCommandTests {
  @Test func listNamesEveryScenario() async throws {
    let list = try await Lab.command(["list"])
    #expect(list.status == .exited(0))
    #expect(
      list.output == """
        pgdir-shift          root indexed with the CPU's PGDIR_SHIFT (48): the network card transmits nothing
        fixed                the same with Sv39's shift: everything works
        dma-cookie           a second DMA cookie costs the default domain: the card works around the IOMMU, silently
        dma-cookie-rescan    the same with the card removed and found again: the one error line there is
        all-buses            the driver takes devices of every bus: platform devices in groups, all under requester id 0
        sticky-fault         tables repaired after 8 s, and still nothing is sent: the device keeps its first fault
        sticky-fault-resume  the same, then a write to RESUME: now the card transmits
        no-cache-coherency   the driver denies cache coherency: vfio-pci cannot be bound
        unsafe-interrupts    no interrupt remapping: VFIO refuses the IOMMU
        vfio-map             user space maps three windows in 4 KiB pages, and the card works in each
        vfio-map-huge        the same in huge pages: calls with pgsize 2097152
        vfio-pgdir-shift     windows under the wrong shift: one in the first GiB works, until another one faults
        huge-page            2 MiB leaves, right by the specification; the device reads on behind a leaf
        stale-unmap          unmap clears nothing: the card still reaches the memory it was taken from
        alias                0x10000000 and 0x50000000 share their entries: the card works in the wrong memory
        riscv-fixed          the mainline RISC-V IOMMU: the card transmits and receives through its tables
        riscv-napot          a ring of 64 KiB in one contiguous mapping: QEMU reads another page, and nothing is sent
        riscv-identity       Debian's own kernel: the card works around the tables, in an identity domain
        riscv-not-probed     with a PLIC the driver waits for ever, silently, for a supplier that nobody drives: everything is refused
        riscv-faults-unread  a PLIC and a lost entry: faults are queued, and nobody reads them
        riscv-msi-fault      the card's interrupts are refused: no mapping leads to the interrupt controller
        riscv-stale-cache    the ring's entry is gone, and the card works: the IOMMU answers from its cache
        riscv-cleared-leaf   the same without the cache: faults, and nothing is sent any more

        """)
  }

  /// The scenarios that the READMEs of both pairs explain are those that there are, in the same order.
  @Test func theReadmesExplainTheSameScenarios() async throws {
    let explained = try ["linux", "mainline"].flatMap { pair in
      let readme = try String(contentsOfFile: Lab.top + "/lab/\(pair)/README.md", encoding: .utf8)
      let section = readme.components(separatedBy: "## Scenarios\n").last?.components(separatedBy: "\n## ").first ?? ""
      return section.matches(of: #/(?m)^\| (`.*?) \|/#).flatMap { $0.1.matches(of: /`([^`]+)`/).map { $0.1 } }
    }
    let listed = try await Lab.command(["list"]).output.split(separator: "\n").map { $0.prefix { $0 != " " } }
    #expect(explained == listed)
  }

  @Test(arguments: [
    (["start"], "unknown verb 'start' (see lab/lab help)"),
    (["list", "all"], "list takes no arguments"),
    (["build", "--config", "big"], "--config of build is default, smp, mainline or all, not 'big'"),
    (["boot"], "no SCENARIO given (lab/lab list names them)"),
    (["boot", "fix", "/tmp/x"], "no scenario 'fix' (lab/lab list names them)"),
    (["boot", "fixed"], "no DIRECTORY given (see lab/lab help)"),
    (["boot", "fixed", "/tmp/x", "/tmp/y"], "one SCENARIO and one DIRECTORY only, not also '/tmp/y'"),
    (["boot", "fixed", "--memory"], "--memory needs a value (see lab/lab help)"),
    (["boot", "fixed", "--memory", "512"], "--memory is a number with M or G, not '512'"),
    (["boot", "fixed", "--ram", "none", "/tmp/x"], "--ram is file or anonymous, not 'none'"),
    (["boot", "fixed", "--qemu", "own", "/tmp/x"], "--qemu is debian or symbols, not 'own'"),
    (["boot", "fixed", "--config", "all", "/tmp/x"], "--config is default or smp, not 'all'"),
    (["boot", "fixed", "--fast", "/tmp/x"], "unknown option --fast (see lab/lab help)"),
    (["boot", "fixed", "/tmp/x", "--", "-batch"], "boot takes no '--' (see lab/lab help)"),
    (["gdb", "--run"], "no SCENARIO given (lab/lab list names them)"),
    (["attach", "kernel"], "attach needs kernel or qemu, and SCENARIO or DIRECTORY (see lab/lab help)"),
    (["attach", "guest", "/tmp/x"], "attach is to kernel or qemu, not 'guest'"),
    (["attach", "qemu", "/tmp/x", "-batch"], "GDB's arguments come after '--', not '-batch'"),
  ])
  func whatCannotBeIsSaid(_ arguments: [String], _ message: String) async throws {
    let result = try await Lab.command(arguments)
    #expect(result.errors == "lab/lab: \(message)\n")
    #expect(result.output == "")
    #expect(result.status == .exited(2))
  }

  /// A machine whose sockets nobody could connect to is not started.
  @Test func aDirectoryWithALongNameIsRefused() async throws {
    try await Lab.inScratch { directory in
      let long = directory + "/" + String(repeating: "d", count: 80)
      let result = try await Lab.command(["boot", "fixed", long])
      let socket = long + "/monitor.sock"
      #expect(
        result.errors == """
          lab/lab: \(socket) has \(socket.utf8.count) bytes and a Unix socket's path at most 107: choose a shorter \
          DIRECTORY

          """)
      #expect(result.status == .exited(2))
    }
  }

  @Test func attachWantsAMachine() async throws {
    try await Lab.inScratch { directory in
      let result = try await Lab.command(["attach", "kernel", directory])
      #expect(result.errors == "lab/lab: no machine is running in \(directory) (lab/lab gdb starts one)\n")
      #expect(result.status == .exited(2))
    }
  }

  /// A second machine in the same directory would take the first one's sockets.
  @Test(.enabled(if: Lab.isOn, "needs the lab: make test-lab"))
  func oneDirectoryHoldsOneMachine() async throws {
    try await Lab("fixed").run(stopped: true) { machine in
      let second = try await Lab.command(["boot", "fixed", machine.directory])
      #expect(second.errors == "lab/lab: another machine is running in \(machine.directory)\n")
      #expect(second.status == .exited(2))
      let debugged = try await Lab.command(["gdb", "fixed", machine.directory, "--", "-nx", "-batch"])
      #expect(
        debugged.errors == """
          lab/lab: the machine did not start: lab/lab: another machine is running in \(machine.directory)

          """)
      let pc = try await machine.attach(.kernel, "print $pc")
      #expect(pc.hasPrefix("$1 = (void (*)()) 0x1000\n"))
    }
  }
}
