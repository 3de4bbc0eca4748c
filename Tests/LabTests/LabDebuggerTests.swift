import Foundation
import Synchronization
import Testing

/// The debuggers that `lab/lab` starts see what they should: symbols, sources, the plugin, both sides.
@Suite(.enabled(if: Lab.isOn, "needs the lab: make test-lab")) struct LabDebuggerTests {
  /// From the first instruction on, with the driver's sources.
  @Test func theKernelBeforeItsFirstInstruction() async throws {
    let output = try await Lab("pgdir-shift").debug(
      """
      print $pc
      hbreak xt_iommu_map
      continue
      print/x iova
      list xt_iommu_map
      iommu status
      """)
    #expect(output.hasPrefix("$1 = (void (*)()) 0x1000\n"), "\(output)")
    #expect(output.contains("\n$2 = 0xfffff000\n"), "\(output)")
    #expect(output.contains("\tstatic int xt_iommu_map(struct iommu_domain *domain, unsigned long iova"), "\(output)")
    #expect(output.contains("driver  xuantie-iommu, map_pages (6.x signature)"), "\(output)")
    #expect(output.contains("memory  $DIR/ram, mapped, the RAM file"), "\(output)")
  }

  /// GDB's failure is the user's to see, and nothing is left running.
  @Test func theMachineEndsWithItsDebugger() async throws {
    try await Lab.inScratch { directory in
      let result = try await Lab.command(["gdb", "fixed", directory, "--", "-nx", "-batch", "-ex", "nosuch"])
      #expect(result.status == .exited(1), "\(result)")
      let attached = try await Lab.command(["attach", "kernel", directory])
      #expect(attached.errors == "lab/lab: no machine is running in \(directory) (lab/lab gdb starts one)\n")
    }
  }

  /// A test that fails leaves no machine behind, whatever it was doing.
  @Test func aFailureEndsTheMachine() async throws {
    let pid = Mutex("")
    await #expect(throws: Lab.Failure.self) {
      try await Lab("fixed").run { machine in
        pid.withLock { $0 = (try? String(contentsOfFile: machine.directory + "/qemu.pid", encoding: .utf8)) ?? "" }
        try await machine.console(until: "no such line", within: .seconds(1))
      }
    }
    let process = "/proc/" + pid.withLock { $0 }.trimmingCharacters(in: .newlines) + "/exe"
    for _ in 0..<50 where (try? FileManager.default.destinationOfSymbolicLink(atPath: process)) != nil {
      try await Task.sleep(for: .milliseconds(100))
    }
    #expect(process != "/proc//exe")
    #expect((try? FileManager.default.destinationOfSymbolicLink(atPath: process)) == nil)
  }

  /// The device's code with its source, while the machine runs; afterwards the machine goes on.
  @Test func theDeviceWhileTheMachineRuns() async throws {
    try await Lab("fixed").run { machine in
      let output = try await machine.attach(
        .qemu,
        """
        break xmmuv1_translate
        continue
        print/x addr >= 0xf0000000
        list
        show iommu file
        """)
      #expect(output.contains("\n$1 = 0x1\n"), "\(output)")
      #expect(output.contains("\tstatic IOMMUTLBEntry xmmuv1_translate("), "\(output)")
      #expect(output.contains("file is $DIR/investigation-"), "\(output)")
      // The card goes on sending; under load it is a packet or two behind.
      let console = try await machine.console(
        until: "init: net: 21 datagrams given to eth0, ", " packets sent by the card")
      let sent = console.matches(of: /(\d+) packets sent by the card/).compactMap { Int($0.1) }.max() ?? 0
      #expect(sent > 10, "\(console)")
    }
  }
}
