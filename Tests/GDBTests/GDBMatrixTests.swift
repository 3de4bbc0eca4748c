import Foundation
import Testing

/// What must hold in every GDB: Debian's, and those that IOMMULENS_GDBS names (`make test-gdbs`).
@Suite(.serialized, .timeLimit(.minutes(5))) struct GDBMatrixTests {
  @Test(arguments: Host.gdbs) func namesTheCause(gdb: Host) async throws {
    let output = try await Guest().debug(
      """
      iommu open $DIR/test.iommulens
      iommu break map -limit 1
      continue
      finish
      iommu record
      hbreak lab_workload_done
      continue
      iommu check
      iommu diagnose
      iommu export $DIR/findings.md
      """, gdb: gdb)
    for line in [
      "map #1   0000:00:01.0 (rsid 8)   xt_iommu_map <- e1000_alloc_ring_dma",
      "  verdict  missing at level 2: 1 of 1 page",
      "2743 of 4328 pages disagree: 66 overwritten, 2677 missing.",
      "1. the root is indexed with shift 48, PGDIR_SHIFT of the CPU's Sv57; this table is Sv39: 30   (395 of 395 calls)",
      "Written to $DIR/findings.md.",
    ] {
      #expect(output.contains(line + "\n"), "\(line)")
    }
  }

  /// What a front end that speaks MI through pygdbmi is handed. `make test-gdbs` installs that.
  @Test(.enabled(if: FrontEnd.python != nil), arguments: Host.gdbs) func answersToPygdbmi(gdb: Host) async throws {
    let output = try await FrontEnd.run(
      "pygdbmi-session.py", gdb: gdb, python: FrontEnd.python ?? "",
      ["-interpreter-exec console \"source \(Guest.plugin)\"", "-iommu-status", "-iommu-walk", "-iommu-walk 0 -root 0"])
    #expect(
      output == #"""
        (mi) -interpreter-exec console "source gdb-scripts/iommulens-gdb.py"
        done null
        (mi) -iommu-status
        done {"command": "status", "schema": "1", "side": "kernel", "unknown": [{"what": "driver", "reason": "\#(noDriver)"}, {"what": "memory", "reason": "\#(noGuest)"}, {"what": "device", "reason": "\#(noDriver)"}]}
        (mi) -iommu-walk
        error {"msg": "Too few arguments. Usage: -iommu-walk IOVA [-device BDF | -domain EXPR | -root GPA -mode MODE] [-device-walk] [-write] [-json]"}
        (mi) -iommu-walk 0 -root 0
        error {"msg": "\#(noGuest)"}

        """#)
  }

  /// The REPL of an editor that speaks the Debug Adapter Protocol, from GDB 14 on.
  @Test(arguments: Host.gdbs) func answersInTheREPLOfAnAdapter(gdb: Host) async throws {
    guard try await Guest.alone("python print(int(gdb.VERSION.split('.')[0]) > 13)", gdb: gdb) == "True\n" else {
      return
    }
    let output = try await FrontEnd.run(
      "dap.py", gdb: gdb, ["source \(Guest.plugin)", "iommu status", "iommu frob"])
    #expect(
      output == """
        (dap) source gdb-scripts/iommulens-gdb.py

        (dap) iommu status
        driver  \(noDriver)
        memory  \(noGuest)
        device  \(noDriver)
        file    none open: `iommu open [FILE]`

        (dap) iommu frob
        error: 'frob' is not an iommu command. `help iommu` lists them.

        """)
  }

  /// On a terminal of 80 columns: tables within them, GDB's own styles, and neither where the text goes elsewhere.
  @Test(arguments: Host.gdbs) func keepsToTheTerminal(gdb: Host) async throws {
    let directory = "/tmp/iommulens-" + UUID().uuidString.prefix(8)
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let output = try await FrontEnd.run(
      "terminal.py", gdb: gdb,
      [
        "80", "source \(Guest.plugin)", "iommu open \(directory)/a", "iommu import Tests/Fixtures/field-notes.txt",
        "iommu diagnose", "iommu check", "iommu timeline -last 1", "pipe iommu timeline -last 1 | cat",
        "python print(repr(gdb.execute('iommu timeline -last 1', to_string=True)))",
        "set logging file \(directory)/log",
        "set logging enabled on", "iommu timeline -last 1", "set logging enabled off", "shell cat -v \(directory)/log",
        "set style enabled off", "iommu timeline -last 1", "set width 0", "iommu timeline -last 1",
      ])
    // A GDB that has gdb.Style sets what a style does not ask for as well.
    let shown = output.replacing(directory, with: "$DIR").replacing(";49;22;23;24;27m", with: "m")
      .replacing("39;49;1;23;24;27m", with: "1m").replacing(/\b0\.\d{6}\b/, with: "$TIME")
      .replacing(/(Copying|Done logging).*\n/, with: "")
    try expectKnown(shown, "terminal.txt")
  }

  private let noDriver =
    "No IOMMU driver known here is in the symbols: xt_iommu_map, riscv_iommu_map_pages and riscv_64_map_range "
    + "are missing. Load the kernel with its debug information: `file vmlinux`."
  private let noGuest = "No guest: connect to QEMU's gdbstub first, `target remote :1234`."

  @Test(arguments: Host.gdbs) func saysWhatIsMissing(gdb: Host) async throws {
    let output = try await Guest.alone(
      Guest.attempts(["iommu break", "iommu walk 0 -root 0", "iommu check"]), gdb: gdb)
    #expect(
      output == """
        (gdb) iommu break
        No guest: connect to QEMU's gdbstub first, `target remote :1234`.
        (gdb) iommu walk 0 -root 0
        No guest: connect to QEMU's gdbstub first, `target remote :1234`.
        (gdb) iommu check
        No investigation is open: `iommu open [FILE]` starts one.

        """)
  }
}
