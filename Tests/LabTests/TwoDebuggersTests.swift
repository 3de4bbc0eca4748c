import Foundation
import Testing

/// Two GDBs on one machine, one on the kernel and one on QEMU, and one investigation: what they show step by step.
///
/// While the GDB on QEMU holds the process, QEMU's stub gives the other one no answer: that one waits in `continue`, with a
/// breakpoint that stops once this one is done.
@Suite(.enabled(if: Lab.isOn, "needs the lab: make test-lab")) struct TwoDebuggersTests {
  /// Records until the other debugger is done, and shows then what both have seen.
  static let kernel = """
    iommu open $DIR/both.iommulens
    iommu record
    python
    import os
    class WhenQEMUIsDone(gdb.Breakpoint):
      def stop(self): return os.path.exists("$DIR/qemu-is-done")
    WhenQEMUIsDone("*xt_iommu_map", gdb.BP_HARDWARE_BREAKPOINT)
    end
    shell touch $DIR/kernel-runs
    continue
    iommu break translate
    """
  static let kernelConclusions = """
    echo ====\\n
    iommu timeline -last 100000 -iova 0xfffff000-0xffffffff
    echo ====\\n
    shell .build/debug/iommulens timeline --iova 0xfffff000-0xffffffff $DIR/both.iommulens
    """

  /// What both print, in parts; addresses of memory, numbers of events and times are letters.
  private func run(_ scenario: String, _ qemu: String) async throws -> (qemu: [String], kernel: [String]) {
    try await Lab(scenario).run(stopped: true) { machine in
      // A failing command ends GDB's script, so the one that is to fail is tried.
      let commands = Self.kernel.replacing(
        "iommu break translate",
        with: "python\ntry: gdb.execute('iommu break translate')\nexcept gdb.error as error: print(error)\nend")
      async let kernel = machine.attach(.kernel, commands + "\n" + Self.kernelConclusions, within: .seconds(240))
      try await machine.appears("kernel-runs")
      let output = try await machine.attach(.qemu, qemu + "\nshell touch $DIR/qemu-is-done\n", within: .seconds(200))
      return (Self.parts(output), Self.parts(try await kernel))
    }
  }

  private static func parts(_ output: String) -> [String] {
    output.replacing(/0x[89][0-9a-f]{7}\b/, with: "GPA").replacing(/= 0x20[0-9a-f]{6}\b/, with: "= PTE")
      .replacing(#/(?m)^ +\d+ +\d+\.\d{6}  /#, with: "N T  ").components(separatedBy: "====\n")
  }

  @Test func theWrongShift() async throws {
    let (qemu, kernel) = try await run(
      "pgdir-shift",
      """
      iommu open $DIR/both.iommulens
      iommu break translate
      echo ====\\n
      continue
      echo ====\\n
      finish
      echo ====\\n
      iommu record translate
      continue
      echo ====\\n
      iommu timeline -iova 0xfffff000-0xfffff00f
      echo ====\\n
      iommu check 0xfffff000
      iommu walk 0xfffff000
      """)
    try #require(qemu.count == 6, "\(qemu)")
    #expect(
      qemu[1].hasSuffix(
        """
        translate   0000:00:01.0 (rsid 8)   e1000e_start_xmit, pci_dma_read, 16 bytes
          iova   0xfffff000 (4294963200)   read
          tables  level 2 [  3]  GPA = 0x0  not valid
          device  this IOVA faults: cause 16 (S1_PTE_INVALID)
          driver  map #1 asked for GPA   READ|WRITE|CACHE

        """), "\(qemu[1])")
    #expect(
      qemu[2].hasSuffix(
        """
        translate   0xfffff000 returned
          answer  refused
                  IOMMUCAUSE = 0x8000000000080010  pending: 0000:00:01.0 cause 16 (S1_PTE_INVALID)
                  FTVAL = 0xfffff000               last faulting address

        """), "\(qemu[2])")
    // The pieces after the one at which QEMU stopped are a run of their own.
    #expect(
      qemu[4] == """
        N T  kernel  map #1  0000:00:01.0  0xfffff000  1 x 4 KiB  -> GPA  READ|WRITE|CACHE
        N T  kernel  map #1 is wrong at 0xfffff000: missing at level 2; 1 of 1 page
        N T  qemu    read 0xfffff000  refused  0000:00:01.0  e1000e_start_xmit, pci_dma_read, 16 bytes
                                      IOMMUCAUSE  0x0 -> 0x8000000000080010   pending: 0000:00:01.0 cause 16 (S1_PTE_INVALID)
                                      FTVAL  0x0 -> 0xfffff000   last faulting address
        N T  qemu    read 0xfffff004-0xfffff00c, 3 in steps of 4  refused  0000:00:01.0  e1000e_start_xmit, pci_dma_read, 16 bytes
                                      FTVAL  0xfffff000 -> 0xfffff00c   last faulting address

        """, "\(qemu[4])")
    #expect(
      qemu[5].contains("0xfffff000-0xffffffff  -> GPA  map #1  missing at level 2, cause 16 (S1_PTE_INVALID)\n"),
      "\(qemu[5])")
    #expect(
      qemu[5].hasSuffix(
        """
        walk 0xfffff000   Sv39 root GPA   0000:00:01.0
          level 2 [  3]  GPA = 0x0  not valid
          not mapped: the entry at level 2 is not valid

        """), "\(qemu[5])")
    try #require(kernel.count == 3, "\(kernel)")
    #expect(
      kernel[0].hasSuffix(
        """
        Translations are made in QEMU: watch them in a second GDB that is attached to QEMU's process, with the same \
        investigation file open.

        """), "\(kernel[0])")
    #expect(kernel[1].hasPrefix(qemu[4]), "\(kernel[1])")
    #expect(kernel[2] == kernel[1], "\(kernel[2])")
  }

  /// Two descriptors, the second of which the card writes its answer to.
  @Test func theRightShift() async throws {
    let (qemu, kernel) = try await run(
      "fixed",
      """
      iommu open $DIR/both.iommulens
      iommu break translate -when mismatch
      iommu record translate
      tbreak e1000e_set_tdt
      continue
      iommu break off
      tbreak e1000e_txdesc_writeback
      continue
      echo ====\\n
      iommu timeline -iova 0xfffff000-0xffffffff
      echo ====\\n
      iommu break translate
      continue
      echo ====\\n
      iommu args
      echo ====\\n
      finish
      echo ====\\n
      iommu check
      """)
    try #require(qemu.count == 6, "\(qemu)")
    #expect(
      qemu[1] == """
        N T  kernel  map #1  0000:00:01.0  0xfffff000  1 x 4 KiB  -> GPA  READ|WRITE|CACHE
        N T  qemu    read 0xfffff000-0xfffff00f, 16 in steps of 1  -> GPA  0000:00:01.0  e1000e_start_xmit, pci_dma_read, 16 bytes
        N T  qemu    read 0xfffff010-0xfffff01f, 16 in steps of 1  -> GPA  0000:00:01.0  e1000e_start_xmit, pci_dma_read, 16 bytes

        """, "\(qemu[1])")
    #expect(qemu[2].hasSuffix(qemu[3]), "\(qemu[2])")
    #expect(
      qemu[3] == """
        translate   0000:00:01.0 (rsid 8)   e1000e_txdesc_writeback, pci_dma_write, 4 bytes
          iova   0xfffff01c (4294963228)   write
          tables  level 2 [  3]  GPA = PTE  table GPA
                  level 1 [511]  GPA = PTE  table GPA
                  level 0 [511]  GPA = PTE  V R W -> GPA
          device  this IOVA goes to GPA
          driver  map #1 asked for GPA   READ|WRITE|CACHE

        """, "\(qemu[3])")
    #expect(qemu[4].hasSuffix("translate   0xfffff01c returned\n  answer  -> GPA\n"), "\(qemu[4])")
    #expect(qemu[5].hasPrefix("All "), "\(qemu[5])")
    try #require(kernel.count == 3, "\(kernel)")
    #expect(kernel[1].hasPrefix(qemu[1]), "\(kernel[1])")
    #expect(kernel[2] == kernel[1], "\(kernel[2])")
  }

  /// Which side this is shows in `iommu status` and in what the commands refuse.
  @Test func theSideIsKnown() async throws {
    let attempts = [
      "iommu break map", "iommu record unmap", "iommu args", "iommu predict 1 2 3 4", "iommu walk 0 -domain 1",
    ]
    let output = try await Lab("fixed").run { machine in
      try await machine.console(until: "init: net: 11 datagrams given to eth0, ")
      return try await machine.attach(
        .qemu,
        "iommu status\niommu devices\n"
          + attempts.map { "python\ntry: gdb.execute('\($0)')\nexcept gdb.error as error: print(error)\nend\n" }
          .joined())
    }
    let elsewhere = """
      The driver's calls are made in the guest: watch them in a GDB that has the kernel's symbols and is connected to \
      QEMU's gdbstub. Here, in QEMU, `iommu break translate` and `iommu record translate`.
      """
    #expect(
      Self.parts(output) == [
        """
        side    QEMU's: xmmuv1_translate is in the symbols, a kernel driver is not
        device  QEMU xmmuv1 at 0x2c000000, 8 of 8 registers read from its state
        memory  $DIR/ram, mapped, the RAM file of process $PID (qemu-system-ris): ram GPA-GPA. By process_vm_readv: rom \
        0x1000-0xffff, romd 0x20000000-0x21ffffff, romd 0x22000000-0x23ffffff. Compared with the debugger's view: 256 \
        bytes at 4 places.
        file    none open: `iommu open [FILE]`
        device        rsid  descriptor  translation
        0000:00:00.0  0     GPA  Sv39 root GPA
        0000:00:01.0  8     GPA  Sv39 root GPA
        \(elsewhere)
        \(elsewhere)
        This thread is not in a translation: xmmuv1_translate is not on its stack. `iommu break translate` stops in one.
        What the driver writes is predicted where the driver is: in the GDB on the kernel.
        -domain names a domain of the kernel's driver: that works in the GDB on the kernel. Here, -device.

        """
      ], "\(output)")
  }

  /// QEMU's threads wake each other with SIGUSR1: in a session on QEMU, and only there, GDB lets it pass.
  @Test func theSignalOfQEMUsThreads() async throws {
    let output = try await Lab("fixed").run(stopped: true) { machine in
      try await machine.attach(
        .kernel,
        """
        info signals SIGUSR1
        shell gdb-multiarch -nx -batch -ex 'source gdb-scripts/iommulens-gdb.py' \
        -ex 'info signals SIGUSR1' -ex "file $(readlink /proc/$(cat $DIR/qemu.pid)/exe)" -ex 'info signals SIGUSR1'
        """)
    }
    let lines = output.components(separatedBy: "\n").filter { $0.hasPrefix("SIGUSR1") }
    #expect(
      lines.map { $0.split(whereSeparator: \.isWhitespace).dropFirst().prefix(3).joined(separator: " ") } == [
        "Yes Yes Yes", "Yes Yes Yes", "No No Yes",
      ], "\(output)")
  }
}
