import Foundation
import Testing

/// What every surface says to what it cannot take: the input, and the exact answer under it, in Tests/Fixtures/bad-inputs.
///
/// Each of the files is one process, so that an input also has to leave the next one in order.
@Suite(.timeLimit(.minutes(5))) struct BadInputTests {
  @Test func commandsWithoutAGuest() async throws {
    let output = try await Guest.alone(
      Guest.attempts(Self.commands) + "\niommu open $DIR/x.iommulens\n" + Guest.attempts(Self.commandsWithAFile))
    try expectKnown(output, "../bad-inputs/commands-without-a-guest.txt")
  }

  @Test func commandsOnAGuest() async throws {
    let output = try await Guest().debug(
      "iommu open $DIR/x.iommulens\nhbreak lab_workload_started\ncontinue\n" + Guest.attempts(Self.commandsOnAGuest))
    try expectKnown(output, "../bad-inputs/commands-on-a-guest.txt")
  }

  @Test func functionsInPython() async throws {
    let output = try await Host.python.run(Self.attempts(Self.functions))
    try expectKnown(output, "../bad-inputs/functions-in-python.txt")
  }

  @Test func commandLinesAndFiles() async throws {
    let output = try await Host.python.run(Self.files + Self.runs(Self.commandLines))
    try expectKnown(
      output.replacing(/\/tmp\/iommulens-bad-\w+/, with: "$DIR").replacing(Guest.top, with: "$TOP"),
      "../bad-inputs/command-lines-and-files.txt")
  }

  /// Every input is answered, in words that say what is wrong and nothing of our own code.
  @Test func everyInputHasAnAnswer() throws {
    let folder = Guest.top + "/Tests/Fixtures/bad-inputs/"
    var inputs = Set<String>()
    for name in try FileManager.default.contentsOfDirectory(atPath: folder) {
      let lines = try String(contentsOfFile: folder + name, encoding: .utf8).split(separator: "\n")
      for (line, answer) in zip(lines, lines.dropFirst() + [""]) where isInput(line) && !line.hasPrefix("(gdb) set ") {
        #expect(!answer.isEmpty && !isInput(answer), "\(name): \(line)")
        #expect(inputs.insert("\(name) \(line)").inserted, "\(name) has twice: \(line)")
      }
      for line in lines {
        #expect(!line.contains("Traceback") && !line.contains("Python Exception") && !line.contains("Fatal"), "\(line)")
      }
    }
    #expect(inputs.count >= 150)
  }

  private func isInput(_ line: Substring) -> Bool { ["(gdb) ", ">>> ", "$ "].contains { line.hasPrefix($0) } }

  // MARK: In GDB

  private static let commands = [
    "iommu frob", "iommu status x", "iommu args x", "iommu args", "iommu break", "iommu record", "iommu walk",
    "iommu walk 0x1000", "iommu walk 1 2", "iommu walk zork", "iommu walk 0x10000000000000000", "iommu walk 'x",
    "iommu walk \"text\"", "iommu walk $nosuch", "iommu walk 1/0", "iommu walk 1.5", "iommu walk {int}",
    "iommu walk 0 -frob", "iommu walk 0 -device", "iommu walk 0 -device zork", "iommu walk 0 -device 00:20.0",
    "iommu walk 0 -device 00:1f.8", "iommu walk 0 -mode", "iommu walk 0 -mode sv39", "iommu walk 0 -root 0 -mode sv40",
    "iommu walk 0 -root", "iommu walk 0 -root zork", "iommu walk 0 -domain zork", "iommu walk 0 -domain 1 -root 2",
    "iommu walk 0 -device 00:01.0 -domain 1", "iommu regs", "iommu regs x", "iommu devices", "iommu devices -all",
    "iommu domains x", "iommu domains", "iommu probe", "iommu dump", "iommu dump x", "iommu dump -flags",
    "iommu dump -iova 5-3 -root 0", "iommu dump -iova zork -root 0", "iommu dump -o",
    "iommu dump -root 0 -o /nonexistent/x", "iommu predict 1 2 3", "iommu predict 1 2 3 4 5",
    "iommu predict zork 2 3 4 -root 0", "iommu predict 1 zork 3 4 -root 0", "iommu predict 1 2 3 4 -shift zork -root 0",
    "iommu check", "iommu check zork", "iommu check 5-3", "iommu check 1 2", "iommu diagnose", "iommu diagnose x",
    "iommu note", "iommu export", "iommu export x.pdf", "iommu export $DIR/x.md", "iommu export a.md b.md",
    "iommu export x.csv -events zork", "iommu export x.svg -picture zork", "iommu export x.md -template",
    "iommu open $DIR", "iommu open $DIR/script.gdb", "iommu open /nonexistent/x.iommulens", "iommu open /dev/null",
    "iommu open :memory:", "iommu open a b", "iommu open -x",
    "iommu record off", "iommu record frob", "iommu record map unmap", "iommu record -limit x",
    "iommu record -iova 2-1",
    "iommu record -device zork", "iommu record translate", "iommu break -when never", "iommu break translate",
    "iommu break -limit 0", "iommu break -limit 0x100000000", "iommu break -iova 5-3", "iommu break -when",
    "iommu timeline", "iommu timeline x", "iommu timeline -last 0", "iommu timeline -last x",
    "iommu timeline -iova 5-3",
    "iommu import", "iommu import -x", "p $iommu_walk(0)", "p $iommu_walk()", "p $iommu_walk(1, 2)",
    "p $iommu_walk(\"text\")", "p $iommu_index(0)", "p $iommu_index(0, 9)", "p $iommu_index(0, -1)",
    "p $iommu_index(\"text\", 0)", "p $iommu_index(0, \"text\")", "set iommu memory zork", "set iommu memory",
    "set iommu qemu-pid -2", "set iommu qemu-pid zork", "set iommu qemu-pid 99999999999", "set iommu frob 1",
    "show iommu frob", "interpreter-exec mi \"-iommu-walk\"", "interpreter-exec mi \"-iommu-walk zork\"",
    "interpreter-exec mi \"-iommu-walk 0 -frob\"",
  ]

  private static let commandsWithAFile = [
    "iommu check 0", "iommu export /nonexistent/x.md",
    "iommu export $DIR/x.md -template /nonexistent", "iommu export $DIR/x.md -events calls",
    "iommu export $DIR/x.md -picture map", "iommu export $DIR/x.csv -template $DIR/script.gdb",
    "iommu import /nonexistent/x.txt", "iommu import $DIR", "iommu import /dev/null/x", "iommu open $DIR/script.gdb -x",
  ]

  private static let commandsOnAGuest = [
    "iommu args", "iommu walk 0", "iommu walk 0 -device 0000:00:03.0", "iommu walk 0 -device ffff:ff:1f.7",
    "iommu walk 0 -root 0x40000000", "iommu walk 0 -root 0x80000001", "iommu walk 0 -root -8",
    "iommu walk 0 -root 0x80000000 -device-walk", "iommu walk 0 -domain 0", "iommu walk 0 -domain 0x1000",
    "iommu walk 0 -domain -1", "iommu walk 0x8000000000 -root 0x80000000", "iommu walk nosuchsymbol",
    "iommu walk (long)main-nosuchsymbol", "iommu check", "iommu diagnose", "iommu dump -device 0000:00:01.0",
    "iommu dump -root 0x40000000", "iommu dump -device 0000:00:01.0 -flags rq",
    "iommu dump -device 0000:00:01.0 -o $DIR",
    "iommu dump -device 0000:00:01.0 -o /dev/full", "iommu predict 0 0x80000000 0 3 -device 00:01.0",
    "iommu predict 0 0x80000000 100 3 -device 00:01.0", "iommu predict 0 0x80000000 -1 3 -device 00:01.0",
    "iommu predict 0 0x80000000 0x1000 0x100000000 -device 00:01.0",
    "iommu predict 0 0x80000000 0x1000 3 -device 00:01.0 -shift 64",
    "p $iommu_walk(0)", "iommu record -device 0000:00:01.9",
    "iommu break -device nosuch",
    "set iommu device zork", "iommu dump",
  ]

  // MARK: In Python

  /// Evaluates each expression and prints it with its exception.
  private static func attempts(_ expressions: String) -> String {
    """
    def memory(address, length): return bytes(length)
    def hidden(address, length): raise _core.UnreadableMemory("not here")
    def broken(address, length): raise ValueError("broken")
    session = _core.Session(object())
    missing = _core.Investigation("missing.iommulens")
    closed = _core.Investigation("missing.iommulens"); closed.close()
    for expression in r'''
    \(expressions)
    '''.strip().splitlines():
      print(">>> " + expression)
      try: print("accepted:", eval(expression))
      except BaseException as error: print(f"{type(error).__name__}: {error}")

    """
  }

  private static let functions = """
    _core.decode_entry()
    _core.decode_entry("x")
    _core.decode_entry(None)
    _core.decode_entry(1.5)
    _core.decode_entry(-1)
    _core.decode_entry(1 << 64)
    _core.decode_entry(1, 9)
    _core.decode_entry(1, -1)
    _core.decode_entry(1, mode="sv64")
    _core.decode_entry(1, mode=39)
    _core.decode_entry(1, raw=1)
    _core.decode_entry(1, frob=1)
    _core.decode_entry(1, 0, "sv39", 4)
    _core.walk_steps()
    _core.walk_steps(5, 0, 0)
    _core.walk_steps(memory, -1, 0)
    _core.walk_steps(memory, 0, 1 << 64)
    _core.walk_steps(memory, 0, "x")
    _core.walk_steps(memory, 0, 0, "")
    _core.walk_steps(lambda: b"", 0, 0)
    _core.walk_steps(lambda address, length: b"", 0, 0)
    _core.walk_steps(lambda address, length: "text", 0, 0)
    _core.walk_steps(lambda address, length: None, 0, 0)
    _core.walk_steps(broken, 0, 0)
    _core.PageTable()
    _core.PageTable(5, 0)
    _core.PageTable(memory, None)
    _core.PageTable(memory, 0, "sv32x4")
    _core.PageTable(memory, 0).walk()
    _core.PageTable(memory, 0).walk("x")
    _core.PageTable(memory, 0).entries(0x1000)
    _core.PageTable(memory, 0).entries(level=1)
    _core.PageTable(memory, 0).entries(0, 3)
    _core.PageTable(memory, 0).entries(0, -1)
    _core.PageTable(hidden, 0).entries()
    _core.PageTable(broken, 0).entries()
    _core.styled(5, {})
    _core.styled("x", 5)
    _core.styled("x", {"address": 5})
    _core.Session()
    session.walk()
    session.walk("x")
    session.walk(0)
    session.walk(0, device="x")
    session.walk(0, root=0, mode="x")
    session.walk(0, root=0, form="xml")
    session.dump(5)
    session.dump(print, first=2, last=1, root=0)
    session.write_dump(5, root=0)
    session.index(0, 9)
    session.index(0, 0, "x")
    session.watch("map")
    session.watch(["frob"])
    session.watch(["map"], stop="sometimes")
    session.watch(["map"], limit=0)
    session.watch(["map"], first=2, last=1)
    session.watch(["map"], device="x")
    session.watch([5])
    session.unwatch(5)
    session.prefer("disk")
    session.prefer(qemu_pid=-1)
    session.prefer(qemu_pid=1 << 40)
    session.fit("wide")
    session.open(5)
    session.open("")
    session.open("a\\0b")
    session.open("a\\ud800")
    session.note("x")
    session.note(5)
    session.hit("f")
    session.hit("f", 5)
    session.hit("f", ["x"])
    session.hit("f", [1 << 64])
    session.args("f", [1])
    session.cookie_requested(0, "x")
    session.import_texts("notes.txt")
    session.timeline(5)
    session.check(limit="x")
    session.check(2, 1)
    session.export("x.txt")
    session.enter("x")
    session.predict(0, 0)
    _core.Investigation()
    _core.Investigation(5)
    _core.Investigation("a\\0b")
    _core.Investigation("").import_texts([])
    _core.Investigation("/nonexistent/x.iommulens").import_texts([])
    missing.calls()
    missing.check("x")
    missing.check(-1)
    missing.check(all=1)
    missing.timeline(2, 1)
    missing.timeline(count=0)
    missing.import_texts()
    missing.import_texts("notes.txt")
    missing.import_texts([5])
    missing.import_texts(["/nonexistent.txt"])
    missing.import_texts([chr(0)])
    missing.export("x.doc")
    missing.export(5)
    missing.export("x.md", events="calls")
    missing.export("x.csv", events="frob")
    missing.export("x.svg", picture="frob")
    missing.export("x.md", template=5)
    closed.diagnose()
    closed.import_texts(["x.txt"])
    """

  // MARK: On the command line

  /// Runs each line in the folder that ``files`` has filled, and prints it with what it says.
  private static func runs(_ lines: String) -> String {
    """
    import shlex, subprocess
    for line in r'''
    \(lines)
    '''.strip().splitlines():
      print("$ " + line)
      end = subprocess.run(["\(Guest.top)/.build/debug/" + shlex.split(line)[0], *shlex.split(line)[1:]],
        capture_output=True, text=True, timeout=60, cwd=directory, stdin=subprocess.DEVNULL)
      # What follows is the same for every mistake of a command.
      said = end.stderr.partition("Usage:")[0].rstrip()
      print("\\n".join(filter(None, [end.stdout.rstrip(), said])) or "accepted")
    shutil.rmtree(directory)

    """
  }

  /// Files of every kind with one thing wrong.
  private static let files = #"""
    import json, shutil, sqlite3, struct, tempfile
    directory = tempfile.mkdtemp(prefix="iommulens-bad-")
    def make(name, content):
      with open(os.path.join(directory, name), "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)

    def core(*segments, ident=b"\x7fELF\2\1\1" + bytes(9), kind=4, phoff=64, phentsize=56, phnum=None):
      count = len(segments) if phnum is None else phnum
      head = ident + struct.pack("<HHIQQQIHHHHHH", kind, 243, 1, 0, phoff, 0, 0, 64, phentsize, count, 64, 0, 0)
      return head + b"".join(struct.pack("<IIQQQQQQ", 1, 6, *segment, 0) for segment in segments) + bytes(4096)
    whole = (64 + 56, 0, 0x80000000, 4096, 4096)
    make("ram", bytes(8192))
    make("empty", b"")
    make("nothing", b"")
    make("text", "Not what you think.\n")
    make("half.core", core(whole)[:40])
    make("class32.core", core(whole, ident=b"\x7fELF\1\1\1" + bytes(9)))
    make("big-endian.core", core(whole, ident=b"\x7fELF\2\2\1" + bytes(9)))
    make("program.core", core(whole, kind=2))
    make("no-segments.core", core())
    make("table-outside.core", core(whole, phoff=1 << 40))
    make("entry-size.core", core(whole, phentsize=8))
    make("segment-outside.core", core((1 << 40, 0, 0x80000000, 4096, 4096)))
    make("segment-wraps.core", core((120, 0, (1 << 64) - 8, 4096, 4096)))
    make("many.core", core(whole, phnum=0xfffe))

    make("unended.mustache", "{{#summary}}\n")
    make("crossed.mustache", "{{#summary}}\n{{/calls}}\n")
    make("partial.mustache", "\n{{> /etc/passwd}}\n")
    make("parent.mustache", "{{< ../secret}}{{/../secret}}\n")
    make("delimiters.mustache", "{{=<% %>=}}\n")
    make("pragma.mustache", "{{% CONTENT_TYPE:HTML}}\n")
    make("cut.mustache", "{{headline\n")
    make("name.mustache", "{{a b}}\n")
    make("deep.mustache", "{{#a}}" * 40)
    make("large.mustache", "x" * ((1 << 20) + 1))
    make("binary.mustache", b"\xff\xfe\0{{")

    make("binary.txt", bytes(range(256)) * 4)
    make("utf-16.txt", "xmmuv1_translate addr 4096\n".encode("utf-16"))
    make("option.txt", "CONFIG_VFIO\n")
    make("frame.txt", "#0  xt_iommu_map (domain=0xzz, iova=1)\n")
    make("calls.csv", "kind,iova\nmap,\nmap,zork\nmap,0x1,0x2,0x3\n")
    make("satp.txt", "(gdb) p/x $satp\n$1 = zork\n")
    make("registers.txt", "000000002c000018: zork\n0x2c000018: 0x12345678123456789\n")
    make("a-pages.json", "{")
    make("b-pages.json", "[1, 2]")
    make("c-pages.json", json.dumps({"0x80000001": "00" * 4096}))
    make("d-pages.json", json.dumps({"0x80000000": "00" * 4095}))
    make("e-pages.json", json.dumps({"0x80000000": "zz" * 4096}))
    make("f-pages.json", json.dumps({"zork": "00" * 4096}))
    make("g-pages.json", json.dumps({"0x80000000": 5}))
    make("h-pages.json", '{"0x80000000": "' + "00" * 4096 + '", "0x80000000": "' + "ff" * 4096 + '"}')
    make("i-pages.json", "[" * 100000)
    make("j-pages.json", json.dumps({"0x80000000": "00" * 4096}))
    make("j-meta.json", '{"root": "zork", "calls": -1, "registers": {"DTBA": "x"}}')

    investigation = _core.Investigation(directory + "/good.iommulens")
    investigation.import_texts(["\#(Guest.top)/Tests/Fixtures/field-notes.txt"])
    investigation.close()
    def change(name, *statements):
      path = os.path.join(directory, name)
      shutil.copy(directory + "/good.iommulens", path)
      file = sqlite3.connect(path, isolation_level=None)
      for statement in statements: file.execute(statement)
      file.close()
    schema = ["PRAGMA writable_schema = ON", "UPDATE sqlite_master SET sql = replace(sql, 'text TEXT NOT NULL', "
      "'text TEXT NOT NULL DEFAULT (hex(randomblob(9)))') WHERE name = 'note'"]
    good = open(directory + "/good.iommulens", "rb").read()
    make("header.iommulens", "SQLite format 3\0")
    make("half.iommulens", good[:len(good) // 2])
    make("holes.iommulens", good[:4096] + bytes(len(good) - 4096))
    make("foreign.iommulens", "")
    sqlite3.connect(directory + "/foreign.iommulens").execute("CREATE TABLE t(x)")
    change("newer.iommulens", "PRAGMA user_version = 99")
    change("negative.iommulens", "PRAGMA user_version = -1")
    change("marked.iommulens", "PRAGMA application_id = 7")
    change("trigger.iommulens", "CREATE TRIGGER spy AFTER INSERT ON event BEGIN DELETE FROM note; END")
    change("view.iommulens", "DROP TABLE note", "CREATE VIEW note AS WITH RECURSIVE r(event, text) AS "
      "(SELECT 1, 'x' UNION ALL SELECT event + 1, text FROM r) SELECT * FROM r")
    change("column.iommulens", *schema)
    change("index.iommulens", "CREATE INDEX slow ON event(hex(zeroblob(kind * 1000000)))")
    change("virtual.iommulens", "CREATE VIRTUAL TABLE f USING fts5(x)")
    change("escape.iommulens", 'CREATE TRIGGER "\x1b[2J" AFTER INSERT ON event BEGIN SELECT 1; END')
    change("no-calls.iommulens", "DROP TABLE call")
    change("no-events.iommulens", "DROP TABLE event")
    change("mode.iommulens", "UPDATE call SET root = 4096, mode = 'sv99\x1b[2J'")
    change("domain.iommulens", "UPDATE call SET domain = 'x'")
    os.symlink("loop.iommulens", directory + "/loop.iommulens")
    os.mkfifo(directory + "/pipe.iommulens")

    """#

  private static let commandLines = """
    iommulens frob
    iommulens show
    iommulens show a b
    iommulens show --frob good.iommulens
    iommulens show none.iommulens
    iommulens show .
    iommulens show text
    iommulens show pipe.iommulens
    iommulens show loop.iommulens
    iommulens show header.iommulens
    iommulens show half.iommulens
    iommulens show holes.iommulens
    iommulens show foreign.iommulens
    iommulens show newer.iommulens
    iommulens show negative.iommulens
    iommulens show marked.iommulens
    iommulens show trigger.iommulens
    iommulens show view.iommulens
    iommulens show column.iommulens
    iommulens show index.iommulens
    iommulens show virtual.iommulens
    iommulens show escape.iommulens
    iommulens show no-calls.iommulens
    iommulens show no-events.iommulens
    iommulens show mode.iommulens
    iommulens show domain.iommulens
    iommulens check
    iommulens check empty
    iommulens diagnose text
    iommulens timeline good.iommulens --last 0
    iommulens timeline good.iommulens --last x
    iommulens timeline good.iommulens --iova 5-3
    iommulens timeline good.iommulens --iova zork
    iommulens export good.iommulens
    iommulens export good.iommulens out.pdf
    iommulens export good.iommulens none/out.md
    iommulens export good.iommulens .
    iommulens export good.iommulens out.md --events calls
    iommulens export good.iommulens out.csv --events frob
    iommulens export good.iommulens out.csv --events verifications
    iommulens export good.iommulens out.svg --picture frob
    iommulens export good.iommulens out.svg --picture walk
    iommulens export text out.md
    iommulens export good.iommulens out.md --template none.mustache
    iommulens export good.iommulens out.md --template .
    iommulens export good.iommulens out.md --template pipe.iommulens
    iommulens export good.iommulens out.md --template unended.mustache
    iommulens export good.iommulens out.md --template crossed.mustache
    iommulens export good.iommulens out.md --template partial.mustache
    iommulens export good.iommulens out.md --template parent.mustache
    iommulens export good.iommulens out.md --template delimiters.mustache
    iommulens export good.iommulens out.md --template pragma.mustache
    iommulens export good.iommulens out.md --template cut.mustache
    iommulens export good.iommulens out.md --template name.mustache
    iommulens export good.iommulens out.md --template deep.mustache
    iommulens export good.iommulens out.md --template large.mustache
    iommulens export good.iommulens out.md --template binary.mustache
    iommulens walk
    iommulens walk 0
    iommulens walk 0 --root 0
    iommulens walk 0xzz --root 0 --ram ram@0
    iommulens walk 0x --root 0 --ram ram@0
    iommulens walk +1 --root 0 --ram ram@0
    iommulens walk 0x10000000000000000 --root 0 --ram ram@0
    iommulens walk 0 --root zork --ram ram@0
    iommulens walk 0 --root 0 --mode sv64 --ram ram@0
    iommulens walk 0 --root 0 --ram ram
    iommulens walk 0 --root 0 --ram ram@zork
    iommulens walk 0 --root 0 --ram none@0
    iommulens walk 0 --root 0 --ram .@0
    iommulens walk 0 --root 0 --ram nothing@0
    iommulens walk 0 --root 0 --ram ram@0xfffffffffffff000
    iommulens walk 0 --root 0 --ram ram@0 --core ram
    iommulens walk 0 --root 0 --investigation none.iommulens
    iommulens walk 0 --root 0 --core none.core
    iommulens walk 0 --root 0 --core .
    iommulens walk 0 --root 0 --core empty
    iommulens walk 0 --root 0 --core text
    iommulens walk 0 --root 0 --core half.core
    iommulens walk 0 --root 0 --core class32.core
    iommulens walk 0 --root 0 --core big-endian.core
    iommulens walk 0 --root 0 --core program.core
    iommulens walk 0 --root 0 --core no-segments.core
    iommulens walk 0 --root 0 --core table-outside.core
    iommulens walk 0 --root 0 --core entry-size.core
    iommulens walk 0 --root 0 --core segment-outside.core
    iommulens walk 0 --root 0 --core segment-wraps.core
    iommulens walk 0 --root 0 --core many.core
    iommulens dump --root 0 --ram ram@0 --iova 2-1
    iommulens dump --root 0 --ram ram@0 --iova 5-
    iommulens dump --root 0 --ram ram@0 --flags rq
    iommulens dump --root 0x80000000 --ram ram@0
    iommulens walk 0 --root 0x80000001 --ram ram@0
    iommulens import
    iommulens import none.txt
    iommulens import .
    iommulens import pipe.iommulens
    iommulens import text -o text
    iommulens import text -o none/x.iommulens
    iommulens import binary.txt
    iommulens import utf-16.txt
    iommulens import option.txt
    iommulens import frame.txt
    iommulens import calls.csv
    iommulens import satp.txt
    iommulens import registers.txt
    iommulens import a-pages.json
    iommulens import b-pages.json
    iommulens import c-pages.json
    iommulens import d-pages.json
    iommulens import e-pages.json
    iommulens import f-pages.json
    iommulens import g-pages.json
    iommulens import h-pages.json
    iommulens import i-pages.json
    iommulens import j-pages.json j-meta.json
    """
}
