import Foundation
import Testing

/// Answers for programs: `-json`, the MI twins, and what is said to a front end.
@Suite(.serialized, .timeLimit(.minutes(5))) struct AnswerTests {
  private static let wrongCall = """
    iommu open $DIR/test.iommulens
    iommu break map -iova 0xfffff000 -limit 1
    continue
    iommu args -json
    iommu note "a \\ and a tab	and an ä"
    finish
    """

  private static let questions = [
    "status", "walk 0xfffff000", "walk 0xfffff000 -device-walk", "dump", "dump -raw -iova 0x3ffff000", "devices",
    "regs",
    "check", "diagnose", "predict 0x40000000 0x80000000 0x2000 3", "predict 0x40000000 0x80000000 100 3",
    "timeline -last 7",
  ]

  /// Every answer of a session as JSON, to the letter.
  @Test func json() async throws {
    let output = try await Guest().debug(
      Self.wrongCall + "\necho ====\\n\n"
        + Self.questions.map { "echo == \($0)\\n\niommu \($0) -json" }.joined(separator: "\n"))
    try expectKnown(output.replacing(/"time_ns": \d+/, with: "\"time_ns\": $TIME"), "json.txt")
  }

  /// What is told is JSON, and the same as GDB's MI gives: of a null nothing, of a truth value a word.
  @Test func jsonIsWhatMIGives() async throws {
    let output = try await Guest().debug(
      Self.wrongCall + """

        python
        import json
        from iommulens.gdb import commands
        def said(value):
          if isinstance(value, bool): return str(value).lower()
          if isinstance(value, dict): return {name: said(part) for name, part in value.items() if part is not None}
          if isinstance(value, list): return [said("" if part is None else part) for part in value]
          return value
        kinds = commands.Question.__subclasses__() + commands.Stream.__subclasses__()
        known = {kind.name: kind for kind in kinds if hasattr(kind, "name")}
        for line in \(Self.questions):
          words = line.split()
          text = gdb.execute("iommu " + line + " -json", to_string=True)
          command = known["iommu " + words[0]]()
          results = getattr(command, "results", None)
          told = {results: [said(json.loads(answer)) for answer in text.splitlines()]} if results else said(json.loads(text))
          given = command.records(words[1:])
          if told != given: print(line, "differs:", told, given)
        print("compared", len(\(Self.questions)))
        end
        """)
    #expect(output.hasSuffix("compared \(Self.questions.count)\n"), "\(output)")
  }

  /// Result records, errors among them, to the letter.
  @Test func miTwins() async throws {
    let records = try await Guest().answers(
      """
      -iommu-status
      -iommu-walk
      -iommu-walk 0xfffff000 -frob
      -iommu-check
      -iommu-note x
      -interpreter-exec console "iommu open $DIR/test.iommulens"
      -interpreter-exec console "hbreak *kernel_entry"
      -interpreter-exec console "continue"
      -interpreter-exec console "iommu record map -limit 1"
      -interpreter-exec console "hbreak lab_workload_first_map_done"
      -interpreter-exec console "continue"
      -iommu-walk 0xfffff000 -device-walk
      -iommu-dump
      -iommu-devices
      -iommu-regs
      -iommu-domains
      -iommu-probe
      -iommu-args
      -iommu-check 0xfffff000
      -iommu-diagnose
      -iommu-predict 0x40000000 0x80000000 0x1000 3 -shift 48
      -iommu-timeline -last 1
      """)
    try expectKnown(records.replacing(/time_ns="\d+"/, with: "time_ns=\"$TIME\""), "mi.txt")
  }

  /// A dump is JSON lines also where it goes to a file.
  @Test func jsonInAFile() async throws {
    let output = try await Guest().debug(
      Self.wrongCall + """

        echo ====\\n
        iommu dump -json -o $DIR/dump.jsonl
        python import json
        python print([json.loads(line)["kind"] for line in open("$DIR/dump.jsonl")])
        """)
    #expect(output.hasSuffix("====\nWritten to $DIR/dump.jsonl.\n['mapping']\n"), "\(output)")
  }

  /// What is found up to a Ctrl-C is shown, and the command that shows it ends with an error, so that a script ends there.
  /// Without a guest, the file itself is what takes long.
  @Test func whatAnInterruptionLeaves() async throws {
    let output = try await Guest().debug(
      Self.wrongCall + """

        disconnect
        echo ====\\n
        python
        import _thread, functools
        from iommulens.gdb.debugger import Debugger
        from iommulens.gdb.state import session
        # No bytecode runs after it, so that the signal is pending when the core goes on. It says that there is no guest, and
        # nothing else that is asked runs any.
        Debugger.connection = functools.partial(_thread.interrupt_main)
        Debugger.evaluate = Debugger.string = Debugger.read_virtual = Debugger.monitor = functools.partial(int, "none")
        for method in (session().check, session().diagnose, lambda: session().export("$DIR/x.md")):
          try: print(method())
          except Exception as error: print(type(error).__name__, error)
          print(session().was_interrupted(), session().was_interrupted())
        Debugger.connection = lambda self: None
        show = functools.partial(session().timeline, gdb.write)
        list(map(functools.partial.__call__, [functools.partial(_thread.interrupt_main), show]))
        from iommulens.gdb import commands
        try: commands._tell_interruption()
        except gdb.GdbError as error: print(error)
        end
        iommu check
        """)
    let said = try #require(output.components(separatedBy: "====\n").last)
    #expect(
      said == """
        InvestigationError Interrupted while reading calls.
        True False
        InvestigationError Interrupted while reading calls.
        True False
        InvestigationError Interrupted while reading calls.
        True False
        The rest of the events was not read: interrupted.
        Interrupted: this is what was found up to then.
        0xfffff000-0xffffffff  -> 0x86889000  map #1  missing at level 2, cause 16 (S1_PTE_INVALID)
        1 of 1 page disagree: 1 missing.

        """)
  }
}
