import Subprocess
import Testing

/// The extension module `_core` in every host: what goes in, what comes out, what is raised.
@Suite(.timeLimit(.minutes(3))) struct CoreModuleTests {
  @Test(arguments: Host.all) func decodesTheLeafOfTheFieldNotesCall(host: Host) async throws {
    let output = try await host.run(
      """
      print(_core.decode_entry(0x4185c807))
      print(_core.decode_entry(raw=0x202f4801, level=2, mode="sv39")["address"] == 0x80bd2000)
      print(_core.decode_entry(0x8000000000002007, 1)["problem"], _core.version)
      """)
    #expect(
      output == """
        {'raw': 1099286535, 'kind': 'leaf', 'flags': 'V R W', 'address': 4397146112, 'ppn': 1073522, 'rsw': 0, \
        'pbmt': 0, 'contiguous': False, 'reserved': 0, 'problem': None}
        True
        N with low PPN bits 0x8 0.1.0

        """)
  }

  /// The tables of the field notes' call, both as the driver wrote them (root index 0) and as the device looks (3).
  @Test(arguments: Host.all) func walksTablesThatACallableReads(host: Host) async throws {
    let output = try await host.run(
      """
      words = {0x80b82000: 0x202f4801, 0x80bd2ff8: 0x202f4c01, 0x80bd3ff8: 0x4185c807}
      def memory(address, length):
        if address >= 0x90000000: raise _core.UnreadableMemory("outside guest RAM")
        return b"".join(words.get(a, 0).to_bytes(8, "little") for a in range(address, address + length, 8))
      tables = _core.PageTable(memory, root=0x80b82000)
      def told(walk):
        for step in walk["steps"]:
          print(step["level"], step["index"], hex(step["entry_address"]), hex(step["entry"]["raw"]), step["entry"]["kind"])
        print(walk["outcome"])
      told(tables.walk(0x3ffff000))
      told(tables.walk(iova=0xfffff000))
      told(_core.walk_steps(memory, 0x80b82000, 1 << 38))
      told(_core.walk_steps(memory, 0x90000000, 0, mode="sv48"))
      words[0x80bd3ff8] = 0x4185c805 | 2 << 61
      told(tables.walk(0x3ffff123))
      words[0x80bd3ff8] = 0x4185c804 | 1
      told(tables.walk(0x3ffff000))
      print([row["index"] for row in tables.entries()], [hex(r["entry_address"]) for r in tables.entries(0x80bd2000, 1)])
      show(_core.PageTable(memory, 0x90000000).entries)
      print(repr(tables), tables)
      """)
    #expect(
      output == """
        2 0 0x80b82000 0x202f4801 pointer
        1 511 0x80bd2ff8 0x202f4c01 pointer
        0 511 0x80bd3ff8 0x4185c807 leaf
        {'kind': 'mapped', 'target': 4397146112, 'size': 4096, 'flags': 'V R W'}
        2 3 0x80b82018 0x0 invalid
        {'kind': 'not_mapped', 'level': 2}
        {'kind': 'not_canonical'}
        {'kind': 'unreadable', 'address': 2415919104, 'reason': 'outside guest RAM'}
        2 0 0x80b82000 0x202f4801 pointer
        1 511 0x80bd2ff8 0x202f4c01 pointer
        0 511 0x80bd3ff8 0x400000004185c805 leaf
        {'kind': 'malformed', 'level': 0, 'problem': 'W without R'}
        2 0 0x80b82000 0x202f4801 pointer
        1 511 0x80bd2ff8 0x202f4c01 pointer
        0 511 0x80bd3ff8 0x4185c805 leaf
        {'kind': 'malformed', 'level': 0, 'problem': 'W without R'}
        [0] ['0x80bd2ff8']
        UnreadableMemory: Cannot read guest-physical address 0x90000000: outside guest RAM.
        <PageTable Sv39 at 0x80b82000> <PageTable Sv39 at 0x80b82000>

        """)
  }

  @Test(arguments: Host.all) func complainsAboutArgumentsAsPythonDoes(host: Host) async throws {
    let output = try await host.run(
      """
      decode, walk, memory = _core.decode_entry, _core.walk_steps, lambda address, length: bytes(length)
      class Index:
        def __index__(self): raise KeyError("boom")
      show(decode)
      show(walk, memory)
      show(walk)
      show(decode, 1, 2, 3, 4)
      show(decode, 1, level=0, x=2)
      show(decode, 1, raw=1)
      show(decode, 1, **{"\\ud800": 1})
      show(decode, -1)
      show(decode, 1 << 64)
      show(decode, 10 ** 400)
      show(decode, "1")
      show(decode, 1.0)
      show(decode, None)
      show(decode, Index())
      show(decode, 1, 3)
      show(decode, 1, 1 << 63)
      show(decode, 1, mode=39)
      show(decode, 1, mode="x" * 1000)
      show(decode, 1, mode="sv\\ud800")
      show(decode, 1, mode="sv39\\0")
      show(decode, 1 << 32, mode="sv32")
      show(walk, 5, 0, 0)
      show(_core.PageTable(memory, 0).entries, 5)
      show(_core.PageTable)
      show(_core.PageTable.__new__, int)
      show(_core.PageTable.walk, 5, 5)
      show(type, "Sub", (_core.PageTable,), {})
      """)
    #expect(
      output == """
        TypeError: decode_entry() missing 1 required argument: 'raw'
        TypeError: walk_steps() missing 2 required arguments: 'root' and 'iova'
        TypeError: walk_steps() missing 3 required arguments: 'memory', 'root', and 'iova'
        TypeError: decode_entry() takes from 1 to 3 positional arguments but 4 were given
        TypeError: decode_entry() got an unexpected keyword argument 'x'
        TypeError: decode_entry() got multiple values for argument 'raw'
        InvalidArgument: A keyword of decode_entry() contains a lone surrogate, which is not text.
        InvalidArgument: raw must be between 0 and 0xffffffffffffffff, not -0x1.
        InvalidArgument: raw must be between 0 and 0xffffffffffffffff, not 0x10000000000000000.
        InvalidArgument: raw must be between 0 and 0xffffffffffffffff, not 0x1b4ec7f91973ff3cb1… (333 digits).
        TypeError: raw must be an int, not str.
        TypeError: raw must be an int, not float.
        TypeError: raw must be an int, not None.
        KeyError: 'boom'
        InvalidArgument: level must be 0 to 2 in Sv39, not 3.
        InvalidArgument: level must be between -0x8000000000000000 and 0x7fffffffffffffff, not 0x8000000000000000.
        TypeError: mode must be a str, not int.
        InvalidArgument: mode must be one of sv32, sv39, sv48, sv57, sv39x4, sv48x4, sv57x4, not \
        'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'.
        InvalidArgument: mode contains a lone surrogate, which is not text.
        InvalidArgument: mode contains a NUL character.
        InvalidArgument: raw must be an entry of 4 bytes in Sv32, not 0x100000000.
        TypeError: memory must be callable, not int.
        InvalidArgument: entries() needs both table and level, or neither.
        TypeError: PageTable() missing 2 required arguments: 'memory' and 'root'
        TypeError: iommulens._core.PageTable.__new__(int): int is not a subtype of iommulens._core.PageTable
        TypeError: descriptor 'walk' for 'iommulens._core.PageTable' objects doesn't apply to a 'int' object
        TypeError: type 'iommulens._core.PageTable' is not an acceptable base type

        """)
  }

  @Test(arguments: Host.all) func convertsPlainValuesBothWays(host: Host) async throws {
    let output = try await host.run(
      """
      values = {"none": None, "bools": [True, False], "ints": (0, 5, -1, 2**63, 2**64 - 1, -2**63), "float": 1.5,
        "text": "IOMMU é 🐧", "empty": "", "bytes": b"a\\0b", "no bytes": b"", "nested": {"list": [[], {}]}}
      copy = _core._copy(values)
      print(copy == dict(values, ints=list(values["ints"])), list(copy) == list(values), copy is not values)
      show(_core._copy, [1, [2, 2**64]])
      show(_core._copy, {"a": {"b": -2**63 - 1}})
      show(_core._copy, {1: 2})
      show(_core._copy, {"a": ["\\udfff"]})
      show(_core._copy, [1, object()])
      class Index:
        def __index__(self): return -7
      show(_core._copy, Index())
      loop = []
      loop.append(loop)
      try: _core._copy(loop)
      except ValueError as error: print(str(error)[:8], str(error)[-32:])
      class Shrink:
        def __index__(self): shrinking.clear(); return 1
      shrinking = [Shrink(), 2, 3]
      print(_core._copy(shrinking))
      class Grow:
        def __index__(self): growing.append(self); return 1
      growing = [Grow(), 2]
      print(_core._copy(growing), len(growing))
      many = [1]
      for _ in range(60): many = [many, many]
      show(_core._copy, many)
      """)
    #expect(
      output == """
        True True True
        InvalidArgument: value[1][1] must be between 0 and 0xffffffffffffffff, not 0x10000000000000000.
        InvalidArgument: value['a']['b'] must be between 0 and 0xffffffffffffffff, not -0x8000000000000001.
        TypeError: A key of value must be a str, not int.
        InvalidArgument: value['a'][0] contains a lone surrogate, which is not text.
        TypeError: value[1] must be None, a bool, an int, a float, a str, bytes, a list, a tuple or a dict, not object.
        -7
        value[0] is nested deeper than 64 levels.
        [1]
        [1, 2] 3
        InvalidArgument: value has more than 1048576 parts.

        """)
  }

  @Test(arguments: Host.all) func refusesWhatIsNotTheMemoryAskedFor(host: Host) async throws {
    let output = try await host.run(
      """
      def walk(result): show(_core.walk_steps, lambda address, length: result, 0x1000, 0)
      walk(bytes(7))
      walk(b"")
      walk("12345678")
      walk(None)
      walk([0] * 8)
      walk(bytearray(9))
      for memory in bytearray(8), memoryview(bytes(8)), memoryview(bytes(16))[::2]:
        print(_core.walk_steps(lambda address, length: memory, 0, 0)["outcome"])
      show(_core.walk_steps, lambda: None, 0, 0)
      """)
    let lines = output.split(separator: "\n")
    #expect(
      lines.dropLast().joined(separator: "\n") == """
        InvalidArgument: memory(0x1000, 8) returned 7 bytes, not 8.
        InvalidArgument: memory(0x1000, 8) returned 0 bytes, not 8.
        TypeError: The result of memory(0x1000, 8) must be bytes, not str.
        TypeError: The result of memory(0x1000, 8) must be bytes, not None.
        TypeError: The result of memory(0x1000, 8) must be bytes, not list.
        InvalidArgument: memory(0x1000, 8) returned 9 bytes, not 8.
        {'kind': 'not_mapped', 'level': 2}
        {'kind': 'not_mapped', 'level': 2}
        {'kind': 'not_mapped', 'level': 2}
        """)
    #expect(lines.last?.hasSuffix("<lambda>() takes 0 positional arguments but 2 were given") == true)
  }

  @Test(arguments: Host.all) func handsOnWhatACallableRaises(host: Host) async throws {
    let output = try await host.run(
      """
      import traceback
      class Unspeakable(Exception):
        def __str__(self): raise RuntimeError("no text")
      for error in ValueError("mine"), KeyboardInterrupt(), SystemExit(3), StopIteration(), Unspeakable(), _core.Error("x"):
        def memory(address, length): raise error
        for call in lambda: _core.walk_steps(memory, 0, 0), lambda: _core.PageTable(memory, 0).entries():
          try: call()
          except BaseException as caught:
            print(type(error).__name__, caught is error, traceback.extract_tb(caught.__traceback__)[-1].name)
      class Strange(_core.UnreadableMemory):
        address = property(lambda self: 1 / 0)
        reason = "\\ud800"
      for error in _core.UnreadableMemory("not RAM"), _core.UnreadableMemory(), Strange("strange"):
        def memory(address, length): raise error
        print(_core.walk_steps(memory, 0x1000, 0)["outcome"])
      try: _core.PageTable(memory, 0x1000).entries()
      except _core.UnreadableMemory as error: print(error, error.address, error.reason)
      def memory(address, length): _core.PageTable(memory, address).entries()
      try: _core.walk_steps(memory, 0x1000, 0)
      except RecursionError as error: print(error)
      for name in "UnreadableMemory", "InvalidArgument", "InvestigationError", "TargetError":
        print(getattr(_core, name), issubclass(getattr(_core, name), _core.Error))
      print(_core.InvalidArgument.__mro__[2] is ValueError, _core.UnreadableMemory().address)
      """)
    #expect(
      output == """
        ValueError True memory
        ValueError True memory
        KeyboardInterrupt True memory
        KeyboardInterrupt True memory
        SystemExit True memory
        SystemExit True memory
        StopIteration True memory
        StopIteration True memory
        Unspeakable True memory
        Unspeakable True memory
        Error True memory
        Error True memory
        {'kind': 'unreadable', 'address': 4096, 'reason': 'not RAM'}
        {'kind': 'unreadable', 'address': 4096, 'reason': 'no reason given'}
        {'kind': 'unreadable', 'address': 4096, 'reason': 'strange'}
        Cannot read guest-physical address 0x1000: strange. 4096 strange
        A callable passed to iommulens keeps calling iommulens.
        <class 'iommulens._core.UnreadableMemory'> True
        <class 'iommulens._core.InvalidArgument'> True
        <class 'iommulens._core.InvestigationError'> True
        <class 'iommulens._core.TargetError'> True
        True None

        """)
  }

  @Test(arguments: Host.all) func stopsOnCtrlC(host: Host) async throws {
    let output = try await host.run(
      """
      import time
      tables = _core.PageTable(lambda address, length: bytes(length), 0)
      os.system(f"(sleep 1; kill -INT {os.getpid()}) &")
      start = time.time()
      try:
        while time.time() - start < 30: tables.entries()
        print("went on")
      except KeyboardInterrupt: print("stopped")
      print(tables.entries())
      """)
    #expect(output == "stopped\n[]\n")
  }

  @Test(arguments: Host.gdbs) func takesGDBsValuesAndHandsOnItsErrors(host: Host) async throws {
    let output = try await host.run(
      """
      print(_core.decode_entry(gdb.parse_and_eval("0x4185c807"))["flags"])
      print(_core.decode_entry(gdb.parse_and_eval("(char *)0x202f4801"), level=gdb.Value(2))["kind"])
      show(_core.decode_entry, gdb.parse_and_eval("(long)-1"))
      show(_core.decode_entry, gdb.Value("text"))
      def refuse(address, length): raise gdb.GdbError("Not now.")
      show(_core.walk_steps, refuse, 0, 0)
      show(_core.walk_steps, gdb.selected_inferior().read_memory, 0x1000, 0)
      """)
    #expect(
      output == """
        V R W
        pointer
        InvalidArgument: raw must be between 0 and 0xffffffffffffffff, not -0x1.
        error: Cannot convert value to long.
        GdbError: Not now.
        MemoryError: Cannot access memory at address 0x1000

        """)
  }

  /// Every combination of hostile arguments, in every position; whatever is raised, the process is there afterwards.
  @Test(arguments: Host.all) func survivesHostileArguments(host: Host) async throws {
    let output = try await host.run(
      """
      class Index:
        def __init__(self, value): self.value = value
        def __index__(self): return self.value
      class Named(type): __name__ = 5
      class Strange(metaclass=Named): pass
      class Unspeakable(Exception):
        def __str__(self): raise RuntimeError("no text")
      def raising(error):
        def memory(address, length): raise error
        return memory
      values = [None, True, 0, -1, 7, 2**63, 2**64 - 1, 2**64, -2**63 - 1, 10**5000, 1.5, float("nan"), "", "sv39", "sv32",
        "sv57x4", "\\ud800", "a\\0b", "x" * 10000, b"", bytes(8), bytearray(8), memoryview(bytes(16))[::2], [], [1], {},
        {"a": 1}, object(), Index(5), Index(2**70), Index("x"), Strange(), Strange, len, _core.decode_entry, _core.PageTable,
        _core.Error, lambda a, l: b"\\1" * l, lambda a, l: bytes(l - 1), lambda a, l: "x" * l, lambda a, l: None,
        lambda a, l: [0] * l, lambda a, l: memoryview(bytes(2 * l))[::2], lambda a, l: 1 / 0]
      values += [raising(error) for error in (_core.UnreadableMemory("x\\0"), Unspeakable(), KeyboardInterrupt(), MemoryError())]
      tables = _core.PageTable(lambda a, l: b"\\1" * l, 2**64 - 1)
      functions = [_core.decode_entry, _core.walk_steps, _core.PageTable, tables.walk, tables.entries, _core._copy]
      calls = 0
      def call(function, *arguments, **keywords):
        global calls
        calls += 1
        try: function(*arguments, **keywords)
        except BaseException: pass
      for function in functions:
        call(function)
        for a in values:
          for arguments in (a,), (a, a, a), (a, a, a, a, a): call(function, *arguments)
          for name in "raw", "iova", "table", "value", "\\ud800": call(function, **{name: a})
          for b in values:
            call(function, a, b)
            call(function, a, level=b, mode="sv57")
      for a in values:
        for b in values:
          call(_core.walk_steps, a, b, 0x1000)
          call(_core.walk_steps, a, 0x1000, b)
          call(_core.walk_steps, a, 0, 0, b)
          call(lambda: _core.PageTable(a, b).entries())
          call(lambda: _core.PageTable(a, 0).entries(b, 0))
          call(lambda: _core.PageTable(a, 0).walk(b))
      for function in list(vars(_core.PageTable).values()):
        for a in values: call(function, a); call(function, _core.PageTable, a)
      import copy, pickle
      call(copy.copy, tables); call(copy.deepcopy, tables); call(pickle.dumps, tables); call(object.__new__, _core.PageTable)
      call(_core.PageTable.__new__, _core.PageTable); call(setattr, tables, "x", 1)
      sys.setrecursionlimit(10**6)
      def again(address, length): return _core.walk_steps(again, 0, 0)
      call(again, 0, 0)
      name = _core.__name__
      del sys.modules[name]
      import importlib
      print(importlib.import_module(name).decode_entry(1)["kind"], calls > 40000)
      """)
    #expect(output == "pointer True\n")
  }

  /// 20,000 calls of each kind: a leak of one small object per call would be a megabyte.
  @Test(arguments: Host.all) func leaksNothing(host: Host) async throws {
    let output = try await host.run(
      """
      def resident(): return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE")
      def raising(error):
        def memory(address, length): raise error
        return memory
      def memory(address, length): return b"\\1\\x10" + bytes(length - 2)
      tables = _core.PageTable(memory, 0)
      class Index:
        def __index__(self): return 7
      calls = {
        "decode": lambda: _core.decode_entry(0x4185c807),
        "keywords": lambda: _core.decode_entry(raw=Index(), level=Index(), mode="sv48"),
        "walk": lambda: _core.walk_steps(memory, 0x80000000, 0xfffff000),
        "construct": lambda: _core.PageTable(lambda a, l: bytes(l), 0),
        "method": lambda: tables.walk(5),
        "entries": lambda: tables.entries(),
        "text": lambda: (repr(tables), str(tables)),
        "copy": lambda: _core._copy({"a": [1, -1, 2.5, "text", b"bytes", None, {"b": (True,)}]}),
        "wrong type": lambda: _core.decode_entry("x"),
        "out of range": lambda: _core.decode_entry(-1),
        "unexpected": lambda: _core.decode_entry(1, x=1),
        "missing": lambda: _core.PageTable(),
        "nested wrong": lambda: _core._copy([[object()]]),
        "raising": lambda: _core.walk_steps(raising(ValueError("x")), 0, 0),
        "unreadable": lambda: _core.walk_steps(raising(_core.UnreadableMemory("x")), 0, 0),
        "unreadable table": lambda: _core.PageTable(raising(_core.UnreadableMemory("x")), 0).entries(),
        "short": lambda: _core.walk_steps(lambda a, l: b"", 0, 0),
      }
      def repeat(count, function):
        for _ in range(count):
          try: function()
          except Exception: pass
      for name, function in calls.items():
        repeat(2000, function)
        before = resident()
        repeat(20000, function)
        if resident() - before > 512 << 10: print(name, "leaked", resident() - before, "bytes")
      print("measured", len(calls))
      """)
    #expect(output == "measured 17\n")
  }

  /// The stub file says what the module has: the same names, signatures and documentation.
  @Test func agreesWithItsStubFile() async throws {
    let output = try await Host.python.run(
      #"""
      import ast, inspect
      tree = ast.parse(open(os.path.dirname(_core.__file__) + "/_core.pyi").read())
      stub = {node.name: node for node in tree.body if hasattr(node, "name")}
      stub.update((node.target.id, node) for node in tree.body if isinstance(node, ast.AnnAssign))
      def compare(name, real, node):
        if isinstance(node, ast.FunctionDef):
          names = [a.arg for a in node.args.args]
          defaults = [ast.literal_eval(d) for d in node.args.defaults]
          parameters = [p for p in inspect.signature(real).parameters.values()]
          if [p.name for p in parameters] != names: print(name, "has other parameters")
          if [p.default for p in parameters if p.default is not p.empty] != defaults: print(name, "has other defaults")
        if not real.__doc__: print(name, "has no documentation")
        if not issubclass(real if isinstance(real, type) else int, BaseException):
          if inspect.getdoc(real) != ast.get_docstring(node): print(name, "is documented differently")
      for name, real in vars(_core).items():
        if name.startswith("_") or name == "version": continue
        if name not in stub: print(name, "is not in the stub file"); continue
        if not callable(real): continue
        compare(name, real, stub[name])
        if isinstance(real, type) and not issubclass(real, BaseException):
          methods = {node.name: node for node in stub[name].body if isinstance(node, ast.FunctionDef)}
          for method, function in vars(real).items():
            if method.startswith("_"): continue
            if method not in methods: print(name, method, "is not in the stub file")
            else: compare(method, function, methods[method])
      print("compared")
      """#)
    #expect(output == "compared\n")
  }

  /// The symbols of Python come from the process that loads the module; the Swift runtime is inside.
  @Test func needsNeitherLibpythonNorTheSwiftRuntime() async throws {
    let result = try await Subprocess.run(
      .name("readelf"), arguments: ["--dynamic", Host.core], output: .string(limit: 1 << 20))
    let needed = result.standardOutput.split(separator: "\n").filter { $0.contains("(NEEDED)") }
    #expect(!needed.isEmpty)
    #expect(needed.filter { $0.contains("python") || $0.contains("swift") } == [])
  }
}
