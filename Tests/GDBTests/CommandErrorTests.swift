import Foundation
import Testing

/// What a command says where it cannot do what it was asked, whatever the input: one line, the thing named, the next step.
@Suite(.timeLimit(.minutes(5))) struct CommandErrorTests {
  /// What an error quotes of a page that somebody pasted.
  @Test func onLongLines() async throws {
    let output = try await Guest.alone(
      """
      python
      import re
      for line in "iommu " + "x" * 5000, "iommu walk " + "x" * 5000, "iommu walk 1 -" + "x" * 5000:
        try: gdb.execute(line)
        except gdb.error as error: print(re.sub("x{9,}", "X", str(error)), len(str(error)) <= 1005)
      """)
    #expect(
      output == """
        'X ... X' is not an iommu command. `help iommu` lists them. True
        IOVA 'X ... X' is not an address or number: No symbol table is loaded.  Use the "file" command. True
        -X ... X is not an option of this command. Usage: iommu walk IOVA [-device BDF | -domain EXPR | -root GPA -mode MODE] \
        [-device-walk] [-write] [-json] True

        """)
  }

  /// What GDB hands on of an expression or a value is an answer or a sentence, whatever stands there.
  @Test func onArgumentsOfFunctionsAndParameters() async throws {
    let output = try await Guest.alone(
      Guest.attempts([
        "p $iommu_walk()", "p $iommu_walk(1, 2)", "p $iommu_index(1)", "p $iommu_index({1,2}, 0)", "p $iommu_walk(*0)",
        "set iommu qemu-pid 4294963200", "show iommu qemu-pid",
      ])
        + """

        python
        for prefix in "iommu", "set iommu", "show iommu": print(gdb.execute(prefix + " \\v", to_string=True).splitlines()[0])
        """)
    #expect(
      output == """
        (gdb) p $iommu_walk()
        Too few arguments. Usage: $iommu_walk(IOVA)
        (gdb) p $iommu_walk(1, 2)
        Too many arguments. Usage: $iommu_walk(IOVA)
        (gdb) p $iommu_index(1)
        Too few arguments. Usage: $iommu_index(IOVA, LEVEL)
        (gdb) p $iommu_index({1,2}, 0)
        $iommu_index(IOVA, LEVEL) is about numbers: Cannot convert value to long.
        (gdb) p $iommu_walk(*0)
        $iommu_walk(IOVA) is about numbers: Cannot access memory at address 0x0
        (gdb) set iommu qemu-pid 4294963200
        qemu_pid must be a process id.
        (gdb) show iommu qemu-pid
        qemu-pid is 0.
        Decode an IOMMU driver's map calls and check the tables they make.
        Change what IOMMULens prefers.
        Show what IOMMULens prefers.

        """)
  }

  @Test func withSymbolsOnly() async throws {
    let output = try await Guest.alone(
      "file build/lab/guest/guest.elf\n"
        + Guest.attempts([
          "iommu args", "iommu break", "iommu record", "iommu regs", "iommu devices", "iommu walk 0 -root 0",
        ]))
    try expectKnown(output, "errors-symbols-only.txt")
  }

  @Test func withoutDebugInformation() async throws {
    let output = try await Guest.alone(
      """
      shell riscv64-linux-gnu-objcopy --strip-debug build/lab/guest/guest.elf $DIR/stripped.elf
      file $DIR/stripped.elf
      """ + "\n" + Guest.attempts(["iommu status", "iommu break"]))
    try expectKnown(output, "errors-no-debug-information.txt")
  }

  /// A 32-bit guest, which no kernel with this driver is.
  @Test func onAnotherArchitecture() async throws {
    let output = try await Guest.beside(
      "qemu-system-riscv32 -M virt -bios none -S -display none -nodefaults",
      "target remote $DIR/gdb.sock\n" + Guest.attempts(["iommu args", "iommu break", "iommu record"]))
    try expectKnown(output, "errors-another-architecture.txt")
  }

  @Test func onForeignFiles() async throws {
    let output = try await Guest.alone(
      """
      python
      import sqlite3
      def make(path, *statements):
        database = sqlite3.connect(path)
        for statement in statements: database.execute(statement)
        database.close()
      make("$DIR/foreign.db", "CREATE TABLE t(x)")
      make("$DIR/newer.iommulens", "CREATE TABLE t(x)", "PRAGMA application_id = 0x494f4d4c", "PRAGMA user_version = 99")
      end
      """ + "\n"
        + Guest.attempts([
          "iommu open $DIR/foreign.db", "iommu open $DIR/newer.iommulens", "iommu open $DIR/good.iommulens",
          "iommu open $DIR/foreign.db", "iommu note the good one stays open", "iommu open $DIR/good.iommulens",
        ]))
    try expectKnown(output, "errors-foreign-files.txt")
  }

  /// The help of every command, which is also its documentation.
  @Test func help() async throws {
    let output = try await Guest.alone(
      """
      help iommu
      python
      for name in "status open break record args predict walk ask dump devices domains regs check diagnose probe timeline import note export".split():
        print("==== " + name)
        gdb.execute("help iommu " + name)
      for name in "file device memory qemu-pid".split():
        print("==== " + name)
        gdb.execute("help set iommu " + name)
      end
      help function iommu_walk
      """)
    try expectKnown(output, "help.txt")
  }

  /// Whoever looks for IOMMUs finds everything there is.
  @Test func apropos() async throws {
    let found = try await Guest.alone("apropos iommu").split(separator: "\n").map { $0.split(separator: " -- ")[0] }
    let commands =
      "status open break record args predict walk ask dump devices domains regs check diagnose probe timeline import note export"
    let parameters = ["file", "device", "memory", "qemu-pid"]
    let wanted =
      ["iommu", "set iommu", "show iommu", "function iommu_walk", "function iommu_index"]
      + commands.split(separator: " ").map { "iommu \($0)" }
      + parameters.flatMap { ["set iommu \($0)", "show iommu \($0)"] }
    #expect(Set(wanted).subtracting(found.map(String.init)) == [])
  }
}
