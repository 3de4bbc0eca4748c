import Foundation
import Testing

/// A kernel-side session on a real guest: what a user types, and exactly what they read.
@Suite(.serialized, .timeLimit(.minutes(5))) struct KernelSessionTests {
  static let recordAll = """
    iommu open $DIR/test.iommulens
    iommu record
    hbreak lab_workload_done
    continue
    """

  /// Three pages of tables that say sixty-seven million records, and a text without an end.
  @Test func whatTheGuestSaysHasALimit() async throws {
    let output = try await Guest().debug(
      """
      python
      from iommulens.gdb.debugger import Debugger
      from iommulens.gdb.state import session
      write = gdb.selected_inferior().write_memory
      pages = [0x88000000, 0x88001000, 0x88002000]
      for page, below in zip(pages, pages[1:]): write(page, (below >> 2 | 1).to_bytes(8, "little") * 512)
      write(pages[2], (0x80000000 >> 2 | 7).to_bytes(8, "little") * 512)
      count = 0
      def take(record):
        global count
        count += 1
      try: session().dump(take, root=pages[0], form="records")
      except Exception as error: print(count, error)
      write(0x88003000, b"x" * 8192)
      print(len(Debugger().string("(char *)0x88003000")), Debugger().string("(char *)0x88004ffe"))
      end
      """)
    #expect(
      output == """
        1048576 The tables have more to show than 1048576 records: narrow it with -iova or -flags.
        4096 xx

        """)
  }

  /// The field notes' call: decoded at its entry, shown when it has returned, walked both ways.
  @Test func theFieldNotesCallUnderTheWrongShift() async throws {
    let output = try await Guest().debug(
      """
      iommu status
      iommu open $DIR/test.iommulens
      iommu break map -iova 0xfffff000 -limit 1
      continue
      bt 1
      iommu args
      up 3
      iommu args
      finish
      iommu walk 0xfffff000 -device-walk
      iommu walk 0xfffff000
      iommu check
      iommu diagnose
      """)
    try expectKnown(output, "field-notes-call-pgdir.txt")
  }

  @Test func theFieldNotesCallUnderTheRightShift() async throws {
    let output = try await Guest(rootShift: "30").debug(
      """
      iommu open $DIR/test.iommulens
      iommu break map -iova 0xfffff000 -limit 1
      continue
      iommu check
      finish
      iommu walk 0xfffff000 -device-walk
      iommu check
      iommu diagnose
      """)
    try expectKnown(output, "field-notes-call-fixed.txt")
  }

  /// Every table command after the whole workload.
  @Test func tableCommandsAfterTheWorkload() async throws {
    let output = try await Guest(rootShift: "30").debug(
      Self.recordAll + """

        iommu status
        iommu devices
        iommu regs
        iommu dump -device 00:01.0 -raw -iova 0xfffff000-0xffffffff
        iommu dump -device 0000:00:02.0 -iova 0x10000000-0x10ffffff -flags rw
        iommu dump -device 0000:00:01.0 -o $DIR/dump.txt
        shell wc -l < $DIR/dump.txt
        iommu predict 0x40000000 0x80000000 0x2000 3 -device 00:01.0
        iommu predict 0x40000000 0x80000000 0x2000 3 -device 00:01.0 -shift 48
        iommu predict 0x40000000 0x80000000 100 3 -device 00:01.0
        iommu walk 0xfffff000 -root 0x1000000000 -mode sv39
        iommu walk 0x4000000000
        set iommu device 0000:00:01.0
        show iommu device
        p/x $iommu_walk(0xfffff000)
        p $iommu_walk(0x12345000)
        p $iommu_index(0xfffff000, 2)
        iommu note the end
        iommu open $DIR/test.iommulens
        """)
    try expectKnown(output, "tables-fixed.txt")
  }

  /// The cause is solved from the calls, so it follows the guest: another mode, another shift, another signature.
  struct Scenario: Sendable, CustomTestStringConvertible {
    let guest: Guest
    let first: String
    var testDescription: String { guest.testDescription }
  }

  static let none = "No cause to name: all 395 recorded map calls left the tables as they should."
  static let scenarios = [
    Scenario(
      guest: Guest(cpu: "sv57"),
      first:
        "1. the root is indexed with shift 48, PGDIR_SHIFT of the CPU's Sv57; this table is Sv39: 30   (395 of 395 calls)"
    ),
    Scenario(
      guest: Guest(cpu: "sv48"),
      first:
        "1. the root is indexed with shift 39, PGDIR_SHIFT of the CPU's Sv48; this table is Sv39: 30   (395 of 395 calls)"
    ),
    Scenario(guest: Guest(cpu: "sv39"), first: none),
    Scenario(guest: Guest(rootShift: "30", cpu: "sv57"), first: none),
    Scenario(
      guest: Guest(rootShift: "31"),
      first: "1. the root is indexed with shift 31; this table is Sv39: 30   (395 of 395 calls)"),
    Scenario(
      guest: Guest(rootShift: "21"),
      first: "1. the root is indexed with shift 21, PMD_SHIFT; this table is Sv39: 30   (395 of 395 calls)"),
    Scenario(
      guest: Guest(cpu: "sv57", signature: "5.10"),
      first:
        "1. the root is indexed with shift 48, PGDIR_SHIFT of the CPU's Sv57; this table is Sv39: 30   (2459 of 2459 calls)"
    ),
    Scenario(
      guest: Guest(rootShift: "30", signature: "5.10"),
      first: "No cause to name: all 2459 recorded map calls left the tables as they should."),
  ]

  @Test(arguments: scenarios) func namesTheCause(_ scenario: Scenario) async throws {
    let output = try await scenario.guest.debug(Self.recordAll + "\necho ====\\n\niommu diagnose\n")
    let diagnosis = try #require(output.components(separatedBy: "====\n").last)
    #expect(diagnosis.components(separatedBy: "\n").first == scenario.first)
  }

  /// One call cannot tell one large shift from another; the CPU's mode can.
  @Test func oneCallLeavesSeveralShifts() async throws {
    let output = try await Guest().debug(
      """
      iommu open $DIR/test.iommulens
      hbreak *kernel_entry
      continue
      iommu record map -limit 1
      hbreak lab_workload_first_map_done
      continue
      iommu diagnose
      """)
    try expectKnown(output, "one-call.txt")
  }

  /// QEMU's own memory, and GDB's connection, give the answers that the RAM file gives.
  @Test func everyMemorySourceAgrees() async throws {
    func check(_ guest: Guest, _ preference: String) async throws -> (memory: String, rest: String) {
      let output = try await guest.debug(
        "set iommu memory \(preference)\n" + Self.recordAll
          + "\necho ====\\n\niommu status\necho ====\\n\niommu check -all\n")
      let parts = output.components(separatedBy: "====\n")
      let memory = parts.dropFirst().first?.components(separatedBy: "\n").first { $0.hasPrefix("memory") }
      return (memory ?? "", parts.last ?? "")
    }
    let file = try await check(Guest(), "auto")
    let process = try await check(Guest(ram: "anonymous"), "auto")
    let remote = try await check(Guest(), "remote")
    #expect(file.memory.hasPrefix("memory  $DIR/ram, mapped, the RAM file of process $PID (qemu-system-ris)"))
    #expect(
      process.memory.hasPrefix("memory  process_vm_readv on process $PID (qemu-system-ris), for want of a shared file"))
    #expect(
      remote.memory == "memory  remote protocol, page by page: `set iommu memory remote` asks for it")
    #expect(file.rest.hasSuffix("2743 of 4328 pages disagree: 66 overwritten, 2677 missing.\n"))
    #expect(process.rest == file.rest)
    #expect(remote.rest == file.rest)
  }

  /// `-when mismatch` lets good calls pass and stops after the first bad one.
  @Test func stopsOnlyAfterAWrongCall() async throws {
    let wrong = try await Guest().debug(
      """
      iommu open $DIR/test.iommulens
      iommu break map -when mismatch
      hbreak lab_workload_done
      continue
      """)
    try expectKnown(wrong, "when-mismatch.txt")
    let right = try await Guest(rootShift: "30").debug(
      """
      iommu open $DIR/test.iommulens
      iommu break map -when mismatch
      hbreak lab_workload_done
      continue
      """)
    #expect(right.contains("lab_workload_done ()") && !right.contains("map #"))
  }

  /// Filters by device and range, limits, and `record off`.
  @Test func filtersAndLimits() async throws {
    let output = try await Guest().debug(
      """
      iommu open $DIR/test.iommulens
      iommu break map -device 0000:00:02.0 -iova 0x50000000-0x5fffffff -limit 2
      hbreak lab_workload_done
      continue
      continue
      continue
      iommu check 0x50000000-0x5fffffff
      iommu record off
      iommu break off
      info breakpoints
      iommu check 0x50000000-0x5fffffff
      """)
    try expectKnown(output, "filters.txt")
  }

  /// In the middle of a call its arguments are those of its entry, not what the compiler has made of them since.
  @Test func argumentsInTheMiddleOfACall() async throws {
    let output = try await Guest().debug(
      """
      iommu open $DIR/test.iommulens
      iommu break map -iova 0xfffff000 -limit 1
      continue
      stepi 40
      python print(gdb.newest_frame().name() == "xt_iommu_map" or [f.name() for f in [gdb.newest_frame().older()]])
      set $a1 = 0
      set $s1 = 0
      echo ====\\n
      iommu args
      iommu break off
      iommu record off
      """)
    let said = output.components(separatedBy: "====\n").last ?? ""
    #expect(said.contains("iova   0xfffff000 (4294963200)   1 x 4 KiB   ->  "), "\(output)")
  }

  /// Sourcing again keeps the session and neither loses nor doubles breakpoints.
  @Test func sourcingTwiceIsHarmless() async throws {
    let output = try await Guest().debug(
      """
      iommu open $DIR/test.iommulens
      iommu record map
      source gdb-scripts/iommulens-gdb.py
      python print(len(gdb.breakpoints()), "breakpoints")
      hbreak lab_workload_first_map_done
      continue
      iommu status
      """)
    #expect(output.contains("2 breakpoints"))
    #expect(output.contains("1 map, 0 unmaps, 0 notes."))
  }

  /// The report, the file without the guest, and the command line agree with the live session.
  @Test func reportAndFileTellTheSame() async throws {
    let output = try await Guest().debug(
      Self.recordAll + """

        echo ====\\n
        iommu diagnose
        echo ====\\n
        iommu export $DIR/findings.md
        shell head -5 $DIR/findings.md; grep -c '^| QEMU | [0-9]' $DIR/findings.md
        echo ====\\n
        iommu export $DIR/findings.json
        iommu export $DIR/calls.csv
        iommu export $DIR/verifications.csv -events verifications
        iommu export $DIR/map.svg
        iommu export $DIR/walk.svg -picture walk
        shell printf '{{! short }}\\n{{calls_count}} calls, {{#summary}}{{verdict}}{{/summary}}\\n' > $DIR/short.mustache
        iommu export $DIR/short.md -template $DIR/short.mustache
        shell head -c 40 $DIR/findings.json; head -qc 30 $DIR/calls.csv $DIR/verifications.csv; head -qc 4 $DIR/*.svg; cat $DIR/short.md
        echo ====\\n
        shell .build/debug/iommulens diagnose $DIR/test.iommulens
        disconnect
        file
        echo ====\\n
        iommu diagnose
        """)
    let parts = output.components(separatedBy: "====\n")
    try #require(parts.count == 6)
    #expect(
      parts[2] == """
        Written to $DIR/findings.md.
        # IOMMU investigation

        ## Summary

        **The root is indexed with shift 48, `PGDIR_SHIFT` of the CPU's Sv57; this table is Sv39: 30.**
        1

        """)
    #expect(
      parts[3] == """
        Written to $DIR/findings.json.
        Written to $DIR/calls.csv.
        Written to $DIR/verifications.csv.
        Written to $DIR/map.svg.
        Written to $DIR/walk.svg.
        Written to $DIR/short.md.
        {
          "format": "iommulens-report",
          "verevent,kind,number,function,domcall,kind,number,pages_checked<svg<svg464 calls, cause

        """)
    #expect(parts[4].hasPrefix(parts[1]))
    #expect(parts[5] == parts[1])
  }

  /// What a killed GDB had recorded is in the file.
  @Test func aKilledDebuggerLosesNothing() async throws {
    let output = try await Guest().debug(
      """
      iommu open $DIR/test.iommulens
      iommu record
      hbreak lab_workload_first_map_done
      continue
      shell gdb-multiarch -nx -batch -ex "source gdb-scripts/iommulens-gdb.py" -ex "iommu open $DIR/test.iommulens" -ex "iommu note held" -ex "python import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
      shell .build/debug/iommulens show $DIR/test.iommulens | head -1
      """)
    #expect(output.contains("Investigation $DIR/test.iommulens: 1 map, 0 unmaps, 1 note."))
  }
}
