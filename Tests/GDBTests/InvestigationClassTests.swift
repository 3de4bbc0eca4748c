import Foundation
import Testing

/// The class `Investigation` of the extension module: an investigation without a debugger.
@Suite(.timeLimit(.minutes(3))) struct InvestigationClassTests {
  /// Runs in a scratch folder with `fixtures` set; the folder's name is replaced by `$DIR` and the fixtures' by `$FIXTURES`.
  private func run(_ script: String, in host: Host) async throws -> String {
    let prelude = """
      import atexit, shutil, tempfile
      directory = tempfile.mkdtemp()
      os.chdir(directory)
      fixtures = "\(Guest.top)/Tests/Fixtures"
      def start(*names):
        investigation = _core.Investigation("test.iommulens")
        investigation.import_texts([f"{fixtures}/{name}" for name in names])
        return investigation
      pgdir = ["pgdir-shift/" + name for name in ("map-unmap-calls-first-120.csv", "tables-at-120-maps-pages.json",
        "tables-at-120-maps-meta.json", "kernel-paging-values.txt", "qemu-translate-results.csv")]
      try:
      """
    let body = script.split(separator: "\n", omittingEmptySubsequences: false).map { "  " + $0 }
    let ending = "finally:\n  os.chdir('/')\n  shutil.rmtree(directory)\n"
    let output = try await host.run([prelude, body.joined(separator: "\n"), ending].joined(separator: "\n"))
    return output.replacing("\(Guest.top)/Tests/Fixtures", with: "$FIXTURES").replacing(/\/tmp\/tmp\w+/, with: "$DIR")
      .replacing(/\b\d+\.\d{6}\b/, with: "$TIME")
  }

  /// A Ctrl-C ends what takes long, as it ends Python's own functions, and the investigation is of use afterwards.
  @Test(arguments: Host.all) func canBeInterrupted(host: Host) async throws {
    let output = try await run(
      """
      import _thread, functools, signal
      signal.signal(signal.SIGINT, signal.default_int_handler)
      investigation = start(*pgdir)
      def interrupted(method, *arguments):
        # No bytecode runs between the two, so that the signal is pending when the method begins.
        try: print(list(map(functools.partial.__call__,
          [functools.partial(_thread.interrupt_main), functools.partial(method, *arguments)])))
        except KeyboardInterrupt as error: print("KeyboardInterrupt:", error)
      for method in (investigation.check, investigation.diagnose, investigation.hypotheses, investigation.timeline,
                     investigation.markdown, investigation.calls, investigation.translations): interrupted(method)
      interrupted(investigation.export, "report.json")
      interrupted(investigation.import_texts, [fixtures + "/field-notes.txt"])
      print(len(investigation.calls()), investigation.diagnose()[:40])
      """, in: host)
    #expect(
      output == String(repeating: "KeyboardInterrupt: Interrupted.\n", count: 9)
        + "120 1. the root is indexed with shift 48, PG\n")
  }

  /// A wait for another program that writes to the file ends as well, and what was asked for can be asked again.
  @Test(arguments: Host.all) func aWaitForAnotherProgramCanBeInterrupted(host: Host) async throws {
    let output = try await run(
      """
      import signal, sqlite3, subprocess, time
      signal.signal(signal.SIGINT, signal.default_int_handler)
      investigation = start(*pgdir)
      writing = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('BEGIN IMMEDIATE'); print(flush=True); input()"
      writer = subprocess.Popen(["python3", "-c", writing, "test.iommulens"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
      writer.stdout.readline()
      for call in lambda: investigation.import_texts([fixtures + "/field-notes.txt"]), lambda: _core.Investigation("test.iommulens").import_texts([fixtures + "/field-notes.txt"]):
        os.system(f"(sleep 0.5; kill -INT {os.getpid()}) &")
        start = time.monotonic()
        try: print(call())
        except KeyboardInterrupt as error: print(error, time.monotonic() - start < 30)
      writer.communicate(b"\\n")
      print(investigation.import_texts([fixtures + "/field-notes.txt"]).splitlines()[-1])
      """, in: host)
    #expect(
      output == """
        Interrupted. True
        Interrupted. True
        Added to test.iommulens: 5 facts, 5 log lines, 1 map, 4 translations.

        """)
  }

  /// The texts that GDB's commands and the command line give as well.
  @Test(arguments: Host.all) func concludesFromTexts(host: Host) async throws {
    let output = try await run(
      """
      import pathlib
      with _core.Investigation(pathlib.Path("test.iommulens")) as investigation:
        print(investigation)
        print(investigation.import_texts((pathlib.Path(fixtures, "field-notes.txt"),)).splitlines()[-1])
        print(investigation.diagnose().splitlines()[0])
        print(investigation.check(0xfffff000))
        print(len(investigation.check(all=True)) >= len(investigation.check()))
        print(investigation.timeline(0xfffff000, 0xffffffff, count=1), end="")
        print(investigation.timeline(0x1000, 0x1fff), end="")
        print(investigation.markdown().splitlines()[0], "test.iommulens" in repr(investigation))
        for name in "a.md", "a.json", "a.csv", "a.svg", "a.txt", "none/a.md":
          try: print(investigation.export(pathlib.Path(name)), os.path.getsize(name) > 500)
          except _core.Error as error: print(type(error).__name__, error)
        open("t", "w").write("{{#summary}}{{verdict}}{{/summary}}\\n")
        investigation.export("a.md", template=pathlib.Path("t"))
        print(open("a.md").read(), end="")
        show(lambda: investigation.export("b.csv", events="nothing"))
        show(lambda: investigation.export("b.svg", template="t"))
      show(investigation.check)
      print(investigation)
      """, in: host)
    #expect(
      output == """
        <Investigation test.iommulens, not made yet>
          the tables' pages: `iommu check` with the guest, or its memory (`dump-guest-memory`)
        1. the root is indexed with PGDIR_SHIFT, which follows the CPU's mode; this table is Sv39: 30   (1 of 1 refused access)
        Nothing to check: no recorded call covers it.
        0xfffff000  4 in steps of 4  map #1 -> 0x106172000  refused though mapped, by its steps
        3 runs of translations: 1 refused though mapped; 1 answer not seen; 1 works, by its steps.
        The table of 1 call is not known, so that they are not compared.
        True
           17     $TIME  python  map #1  no requester  0xfffff000  1 x 4 KiB  -> 0x106172000  READ|WRITE|CACHE  xt_iommu_map <- e1000_alloc_ring_dma  ($FIXTURES/field-notes.txt:371)
        Nothing was recorded about these addresses.
        # IOMMU investigation True
        None True
        None True
        None True
        None True
        InvalidArgument a.txt: a report is Markdown, JSON, CSV or SVG; name a file that ends in .md, .json, .csv or .svg.
        InvestigationError none/a.md cannot be written: No such file or directory.
        cause
        InvalidArgument: `events` is one of calls, translations, registers, log, verifications, not 'nothing'.
        InvalidArgument: b.svg: `template` is for files that end in .md.
        InvestigationError: The investigation test.iommulens is closed.
        <Investigation test.iommulens, closed>

        """)
  }

  @Test(arguments: Host.all) func givesCallsTranslationsAndHypothesesAsData(host: Host) async throws {
    let output = try await run(
      """
      investigation = start(*pgdir)
      calls = investigation.calls()
      print(len(calls), calls[0])
      print(sorted({(call["kind"], call["verdict"]) for call in calls}, key=str))
      translations = investigation.translations()
      print(len(translations), translations[0])
      for hypothesis in investigation.hypotheses(): print(hypothesis)
      """, in: host)
    #expect(
      output == """
        120 {'event': 10, 'kind': 'map', 'number': 1, 'function': 'xt_iommu_map', 'domain': 18401708077445779192, 'iova': 4294963200, 'length': 4096, 'page_size': 4096, 'page_count': 1, 'target': 2159874048, 'prot': 7, 'gfp': 2592, 'requester': '0000:00:01.0', 'root': 2159550464, 'mode': 'sv39', 'callers': [], 'origin': '$FIXTURES/pgdir-shift/map-unmap-calls-first-120.csv:2', 'verdict': 'missing', 'finding': 'missing at level 2', 'pages_checked': 1, 'pages_right': 0}
        [('map', 'missing'), ('map', None)]
        4 {'event': 3, 'requester': None, 'iova': 4294963200, 'count': 4, 'stride': 4, 'access': 'read', 'target': 4294963200, 'mask': 0, 'permission': 'none', 'refused': True, 'device': None, 'operation': None, 'path': None, 'length': None, 'before': {}, 'after': {}}
        {'place': 1, 'title': "the root is indexed with shift 48, PGDIR_SHIFT of the CPU's Sv57; this table is Sv39: 30", 'explained': 119, 'total': 119, 'unit': 'call', 'evidence': ['119 of 119 recorded map calls have their entries exactly where this shift puts them.', "The CPU runs Sv57, where PGDIR_SHIFT is 48; it follows the CPU's mode and is right for this table only by luck.", 'Shifts 32 to 47 and 49 to 63 fit as well: no recorded IOVA has a bit that tells them apart.', 'The entries were looked up in captures made later, not right after each call: 119 calls against $FIXTURES/pgdir-shift/tables-at-120-maps-pages.json, as they were before call 119.', 'The device was seen to refuse what is mapped, in 4 runs of translations, first at 0xfffff000, which map #1 maps to 0x80bd1000.'], 'against': ['P4D_SHIFT (39) would leave the same entries; PGDIR_SHIFT is the constant that indexes a root.'], 'effects': ["120 of 120 mapped pages are missing in the device's eyes: it faults on them."], 'remedy': 'compute vpn2_idx with shift 30 (Sv39, level 2), whatever mode the CPU runs; the same in unmap and iova_to_phys.', 'open_question': None}

        """)
  }

  /// Looking makes no file; what is none of ours is left as it is.
  @Test(arguments: Host.all) func refusesWhatIsNoInvestigation(host: Host) async throws {
    let output = try await run(
      """
      missing = _core.Investigation("missing.iommulens")
      for method in "calls", "translations", "hypotheses", "check", "diagnose", "timeline", "markdown":
        show(getattr(missing, method))
      with missing: print(missing, os.listdir())
      show(missing.import_texts, [])
      mistyped = _core.Investigation("mistyped.iommulens")
      show(mistyped.import_texts, ["/nowhere.txt"])
      print(mistyped, os.listdir())
      open("text.iommulens", "w").write("hello")
      import sqlite3
      with sqlite3.connect("other.iommulens") as other: other.execute("CREATE TABLE t(x)")
      for path in "text.iommulens", "other.iommulens", ".", "/dev/null", "", ":memory:", "no/where.iommulens":
        show(lambda: _core.Investigation(path).import_texts([]))
      empty = _core.Investigation("empty.iommulens")
      print(empty.import_texts([]))
      print(empty.calls(), empty.translations(), empty.timeline(), end="")
      show(empty.diagnose)
      show(empty.import_texts, ["/nowhere.txt"])
      show(empty.import_texts, "notes.txt")
      show(empty.import_texts, [5])
      show(empty.check, 1 << 64)
      show(empty.check, -1)
      show(empty.check, all=1)
      show(empty.timeline, 2, 1)
      show(empty.timeline, count=0)
      show(empty.timeline, count=10 ** 400)
      show(_core.Investigation, 5)
      show(_core.Investigation, b"bytes")
      show(_core.Investigation, "a\\0b")
      show(_core.Investigation, "\\ud800")
      show(_core.Investigation)
      """, in: host)
    #expect(
      output == """
        InvestigationError: missing.iommulens does not exist.
        InvestigationError: missing.iommulens does not exist.
        InvestigationError: missing.iommulens does not exist.
        InvestigationError: missing.iommulens does not exist.
        InvestigationError: missing.iommulens does not exist.
        InvestigationError: missing.iommulens does not exist.
        InvestigationError: missing.iommulens does not exist.
        <Investigation missing.iommulens, not made yet> []
        InvestigationError: The investigation missing.iommulens is closed.
        InvestigationError: /nowhere.txt does not exist.
        <Investigation mistyped.iommulens, not made yet> []
        InvestigationError: text.iommulens is not an investigation file; it was left as it is. Choose another name.
        InvestigationError: other.iommulens is an SQLite database, but not an investigation; it was left as it is. Choose another name.
        InvestigationError: . is a directory, not an investigation file.
        InvestigationError: /dev/null is a device or a pipe, not a file.
        InvestigationError: '' is not the name of a file.
        InvestigationError: ':memory:' is not the name of a file.
        InvestigationError: no/where.iommulens cannot be made: there is no folder $DIR/no.
        Nothing new for empty.iommulens.
        [] [] Nothing was recorded.
        InvestigationError: empty.iommulens is empty: nothing was recorded in it.
        InvestigationError: /nowhere.txt does not exist.
        TypeError: paths must be a list or tuple, not str.
        TypeError: paths[0] must be a str or a path, not int.
        InvalidArgument: iova must be between 0 and 0xffffffffffffffff, not 0x10000000000000000.
        InvalidArgument: iova must be between 0 and 0xffffffffffffffff, not -0x1.
        TypeError: all must be True or False, not int.
        InvalidArgument: The range 0x2-0x1 ends before it starts.
        InvalidArgument: The number of entries must be at least 1.
        InvalidArgument: count must be between -0x8000000000000000 and 0x7fffffffffffffff, not 0x1b4ec7f91973ff3cb1… (333 digits).
        TypeError: path must be a str or a path, not int.
        TypeError: path must be a str, not bytes.
        InvalidArgument: path contains a NUL character.
        InvalidArgument: path contains a lone surrogate, which is not text.
        TypeError: Investigation() missing 1 required argument: 'path'

        """)
  }

  /// A file that is damaged, or taken away, or changed by hand while it is open.
  @Test(arguments: Host.all) func survivesFilesThatChangeUnderIt(host: Host) async throws {
    let output = try await run(
      """
      import sqlite3
      investigation = start(*pgdir)
      methods = "calls", "translations", "hypotheses", "check", "diagnose", "timeline", "markdown"
      def change(sql):
        with sqlite3.connect("test.iommulens") as other: other.execute(sql)
        answered = 0
        for method in methods:
          try:
            getattr(investigation, method)()
            answered += 1
          except _core.Error: pass
        print(answered, "of", len(methods), "answered")
      change("UPDATE call SET page_count = -1, page_size = -1, length = -1 WHERE event % 3 = 0")
      change("UPDATE call SET iova = -1, target = -1 WHERE event % 3 = 1")
      change("UPDATE call SET mode = 'sv11'")
      show(investigation.calls)
      change("DROP TABLE call")
      os.remove("test.iommulens")
      for method in methods:
        try: getattr(investigation, method)()
        except _core.Error: pass
      print("there")
      """, in: host)
    #expect(
      output == """
        7 of 7 answered
        7 of 7 answered
        1 of 7 answered
        InvestigationError: test.iommulens is damaged: a call has the paging mode 'sv11'.
        1 of 7 answered
        there

        """)
  }

  @Test(arguments: Host.all) func survivesHostileArguments(host: Host) async throws {
    let output = try await run(
      """
      class Path:
        def __init__(self, result): self.result = result
        def __fspath__(self):
          if isinstance(self.result, BaseException): raise self.result
          return self.result
      values = [None, True, 0, -1, 2**63, 2**64, 10**5000, 1.5, "", "\\ud800", "a\\0b", "x" * 10000, b"x", [], [1], {}, object(),
        Path("p"), Path(b"p"), Path(5), Path("\\ud800"), Path(KeyboardInterrupt()), Path(ZeroDivisionError()), len]
      calls = 0
      def call(function, *arguments, **keywords):
        global calls
        calls += 1
        try: function(*arguments, **keywords)
        except BaseException: pass
      investigation = start("field-notes.txt")
      closed = _core.Investigation("x")
      closed.close()
      for each in investigation, closed, _core.Investigation("missing"):
        for name in dir(_core.Investigation):
          if name.startswith("_") and name != "__enter__" or name == "close": continue
          for a in values:
            call(getattr(each, name), a)
            call(getattr(each, name), [a])
            for keyword in "iova", "all", "first", "last", "count", "paths": call(getattr(each, name), **{keyword: a})
          call(getattr(_core.Investigation, name), 5)
      for a in values: call(_core.Investigation, a)
      for error in KeyboardInterrupt(), ZeroDivisionError():
        try: _core.Investigation(Path(error))
        except BaseException as caught: print(caught is error)
      print(calls > 3000)
      """, in: host)
    #expect(output == "True\nTrue\nTrue\n")
  }

  /// A leak of one small object per call would show; so would a file that is not let go.
  @Test func leaksNothing() async throws {
    let output = try await run(
      """
      def resident(): return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE")
      investigation = start("pgdir-shift/map-unmap-calls-first-120.csv", "pgdir-shift/qemu-translate-results.csv")
      class Path:
        def __fspath__(self): return "test.iommulens"
      def enter():
        with _core.Investigation(Path()) as other: other.translations()
      calls = {
        "calls": (300, investigation.calls),
        "translations": (300, investigation.translations),
        "hypotheses": (60, investigation.hypotheses),
        "enter": (300, enter),
        "wrong": (3000, lambda: investigation.check(-1)),
        "closed": (3000, lambda: _core.Investigation("missing").calls()),
      }
      def repeat(count, function):
        for _ in range(count):
          try: function()
          except _core.Error: pass
      # SQLite keeps a closed file's descriptor for the next one to open the file, so a few stay.
      def files(): return len(os.listdir("/proc/self/fd"))
      for name, (count, function) in calls.items():
        repeat(count, function)
        before, opened = resident(), files()
        repeat(count, function)
        if resident() - before > 1 << 20: print(name, "leaked", resident() - before, "bytes")
        if files() - opened > 20: print(name, "left", files() - opened, "files open")
      print("measured", len(calls))
      """, in: .python)
    #expect(output == "measured 6\n")
  }
}
