import Foundation
import Testing

/// `iommu ask`, on a device that answers: what it says, what it changes, and when it does neither.
@Suite(.serialized, .timeLimit(.minutes(5))) struct AskTests {
  /// All kinds of question, with the answer's every word.
  @Test func whatTheDeviceAnswers() async throws {
    let output = try await Guest(driver: "riscv-7.2", riscv: ["--step", "contiguous"]).debug(
      """
      iommu open $DIR/test.iommulens
      hbreak lab_workload_done
      continue
      echo ====\\n

      """
        + Guest.attempts([
          "iommu ask 0xffffe018 -device 00:01.0", "iommu ask 0xffffe018 -device 00:01.0 -intrusive",
          "iommu ask 0xffffe018 -write -intrusive", "iommu ask 0xffffd020 -write -intrusive",
          "iommu ask 0xff923458 -intrusive", "iommu ask 0xfffe3010 -intrusive", "iommu ask 0xd0000040 -intrusive",
          "iommu ask 0xffffe018 -device 00:02.0 -intrusive", "iommu ask 0xffffe018 -process 5 -intrusive",
          "iommu ask 0xffffe018 -execute -intrusive", "iommu ask 0xffffe018 -privileged -intrusive",
          "iommu ask 0xffffe018 -process 0x100000 -intrusive", "iommu ask 0xd0000040 -intrusive -json", "iommu regs",
          "iommu timeline -last 2",
        ]))
    let said = output.components(separatedBy: "====\n").last ?? ""
    try expectKnown(said.replacing(#/(?m)^( +\d+) +\d+\.\d{6}/#) { "\($0.1)  $TIME" }, "ask.txt")
  }

  /// The cache answers first, so that an entry which is gone is found out; without a cache there is nothing to find.
  @Test(arguments: ["on", "off"]) func theCacheAnswersFirst(cache: String) async throws {
    let output = try await Guest(driver: "riscv-6.13", riscv: ["--step", "stale", "--cache", cache]).debug(
      """
      hbreak lab_workload_done
      continue
      echo ====\\n
      p/x lab_dmas[lab_dma_count - 1]
      iommu ask 0xfffd1078 -device 00:01.0 -intrusive
      """)
    try expectKnown(output.components(separatedBy: "====\n").last ?? "", "ask-cache-\(cache).txt")
  }

  /// Errors say what was not written, or did not arrive.
  @Test func whenItCannot() async throws {
    let output = try await Guest(driver: "riscv-6.13", riscv: ["--step", "faults"]).debug(
      """
      hbreak lab_workload_done
      continue
      echo ====\\n
      python
      from iommulens.gdb import debugger
      def attempt(note):
        print("== " + note)
        try: gdb.execute("iommu ask 0xffffe018 -device 00:01.0 -intrusive")
        except gdb.error as error: print(error)
      Debugger = debugger.Debugger
      write, monitor, execute = Debugger.write_physical, Debugger.monitor, gdb.execute
      Debugger.write_physical = lambda self, address, data: None
      attempt("no write arrives")
      Debugger.write_physical = lambda self, address, data: None if address == 0x3010260 else write(self, address, data)
      attempt("the second write does not arrive")
      Debugger.write_physical = write
      busy = "0000000003010260: 0x0000080000000009"
      asked = []
      def never(self, command):
        if "0x3010260" not in command: return monitor(self, command)
        asked.append(command)
        return busy if len(asked) > 1 else monitor(self, command)
      Debugger.monitor = never
      attempt("it is busy for ever")
      Debugger.monitor = lambda self, command: busy if "0x3010260" in command else monitor(self, command)
      gdb.execute("set iommu memory remote")
      attempt("it was busy before")
      Debugger.monitor = monitor
      def other(command, *rest, **named):
        return 'received: ""' if "PhyMemMode:1" in command else execute(command, *rest, **named)
      gdb.execute("set iommu memory auto")
      gdb.execute = other
      attempt("another stub")
      gdb.execute = execute
      write(Debugger(), 0x3010010, bytes(8))
      gdb.execute("set iommu memory remote")
      attempt("it is off")
      end
      """)
    try expectKnown(output.components(separatedBy: "====\n").last ?? "", "ask-errors.txt")
  }

  /// A device without such registers, no guest, no device to ask for.
  @Test func whereThereIsNothingToAsk() async throws {
    let ask = [
      "iommu ask 0xfffff000 -device 00:01.0 -intrusive", "iommu ask", "iommu ask 0xfffff000 -device x -intrusive",
    ]
    let output = try await Guest().debug("hbreak lab_workload_done\ncontinue\necho ====\\n\n" + Guest.attempts(ask))
    #expect(
      output.components(separatedBy: "====\n").last == """
        (gdb) iommu ask 0xfffff000 -device 00:01.0 -intrusive
        QEMU xmmuv1 has no registers by which it could be asked for a translation.
        (gdb) iommu ask
        Too few arguments. Usage: iommu ask IOVA [-device BDF] [-write] [-execute] [-process N] [-privileged] [-intrusive] [-json]
        (gdb) iommu ask 0xfffff000 -device x -intrusive
        'x' is not a device: give its PCI address, 0000:00:01.0.

        """)
    let alone = try await Guest.alone(Guest.attempts(["iommu ask 0xfffff000 -intrusive"]))
    #expect(
      alone == """
        (gdb) iommu ask 0xfffff000 -intrusive
        No guest: connect to QEMU's gdbstub first, `target remote :1234`.

        """)
  }
}
