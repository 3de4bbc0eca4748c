"""What the fuzzers of the Python side share: values that nobody means, a note of what is tried, and processes to try it in."""

import ast
import contextlib
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
SCRIPTS = os.path.join(TOP, "gdb-scripts")

# A call that takes longer hangs for whoever waits; a sanitizer is not in here.
CALL_SECONDS = 20
MEMORY_LIMIT = 4 << 30


class Planted(Exception):
    """What a hostile object raises, so that it is known again when it comes out."""


class Awkward:
    """Answers whatever Python asks of an object with `answer`: a value, something to call for one, or something to raise."""

    def __init__(self, answer):
        self.answer = answer

    def _act(self, *_arguments, **_keywords):
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer() if callable(self.answer) else self.answer

    __index__ = __fspath__ = __str__ = __repr__ = __call__ = __len__ = __iter__ = __bool__ = __eq__ = __hash__ = __enter__ = _act


class Draw:
    """Values from a seed: what is meant, nearly that, and anything else."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.choice, self.randrange = self.random.choice, self.random.randrange
        self.planted = [Planted("planted"), KeyboardInterrupt("planted"), MemoryError("planted"), SystemExit(3)]
        # Calls back into the library; filled by whoever knows what there is.
        self.reentries = [lambda: 5]

    def chance(self, share):
        return self.random.random() < share

    def number(self):
        """A number as a program has it, or at a power of two, or none that fits anywhere."""
        kind = self.randrange(8)
        if kind < 2:
            return self.randrange(10)
        if kind < 4:
            return self.random.getrandbits(self.randrange(1, 65)) & ~0xFFF
        if kind < 6:
            return (1 << self.randrange(66)) + self.choice([-1, 0, 1])
        if kind == 6:
            return self.random.getrandbits(64)
        return self.choice([-1, -(1 << 63), -(1 << 64), 1 << 64, 1 << 200, 10**5000, -(10**5000), (1 << 31) - 1, 1 << 31])

    def text(self):
        kind = self.randrange(10)
        if kind < 3:
            return self.choice(["", "x", " ", "sv39", "map", "rw", "0000:00:01.0", "0x1000", "xt_iommu_map", "-1", "text"])
        if kind == 3:
            return self.choice(["a\0b", "\0", "\ud800", "x\udfff", "\u202e\u0301", "\x1b[31m", "\n", "\r\n\t", "é🐧", "\ufffe"])
        if kind == 4:
            return self.choice("xé\n\x1b'\"") * self.choice([1000, 70_000, 1 << 20])
        length = self.randrange(40)
        letters = self.choice(["abc019 ", "(){}[]<>#^!|&;$`'\"\\", "\x00\x01\x1f\x7f\x80\xa0", "äß漢🐧\u0300", "0123456789abcdefx:.-"])
        return "".join(self.choice(letters) for _ in range(length))

    def path(self):
        """A file of the scratch folder, or a device; nothing that others need."""
        return self.choice(
            ["a.md", "b.json", "c.csv", "d.svg", "dump", "text", "empty", "recorded.iommulens", "new.iommulens", "folder", "fifo",
             "folder/x.md", "loop", "missing/x.md", "missing", "", ".", "..x", "x" * 300 + ".md", "/dev/zero", "/dev/null",
             "/dev/full", "/dev/full.md", "/proc/self/maps", "pages.json", "template", "x\ny.md", "é.md", ":memory:", "file:x"]
        )

    def anything(self, depth=0):
        """A value of any type."""
        kind = self.randrange(20)
        if kind < 4:
            return self.number()
        if kind < 7:
            return self.text()
        if kind == 7:
            return self.choice([None, True, False, 1.5, float("nan"), float("inf"), 1e400, 1j, Ellipsis, NotImplemented])
        if kind == 8:
            return self.choice([b"", b"x", b"\0" * 4096, bytearray(8), memoryview(bytes(16))[::2], memoryview(b"x"), b"\xff" * 70000])
        if kind == 9:
            return self.choice([object(), object, int, len, type, sys, Planted, range(5), range(1 << 70), (n for n in range(3))])
        if kind < 13:
            return Awkward(self.choice([self.number(), self.text(), None, b"x", 1.5, self.choice(self.planted)]))
        if kind == 13:
            return Awkward(self.choice(self.reentries))
        if kind == 14:
            return self.memory()
        if kind == 15:
            return self.path()
        if depth > 3:
            return []
        parts = [self.anything(depth + 1) for _ in range(self.randrange(4))]
        if kind == 16:
            return tuple(parts)
        if kind == 17:
            return {str(place) if self.chance(0.8) else place: part for place, part in enumerate(parts)}
        if kind == 18:
            return self.looped() if depth == 0 else parts
        return parts

    def looped(self):
        """A container that contains itself, grows while it is read, or says more than memory holds."""
        kind = self.randrange(3)
        if kind == 0:
            loop = []
            loop.append(loop)
            return loop
        if kind == 1:
            growing = []
            growing.append(Awkward(lambda: growing.append(growing[0]) or 1))
            return growing
        many = [1]
        for _ in range(60):
            many = [many, many]
        return many

    def memory(self):
        """A callable that reads memory, well or badly."""
        kind = self.randrange(8)
        raised = self.choice(self.planted)

        def read(_address, length):
            if kind == 0:
                raise raised
            if kind == 1:
                return bytes(max(0, length - 1))
            if kind == 2:
                return self.choice([None, "x" * length, [0] * length, 5])
            if kind == 3:
                return self.choice(self.reentries)()
            return self.choice([b"\1" * length, bytes(length), b"\xff" * length, bytearray(self.random.randbytes(length))])

        return read


class Callee:
    """A function of the module: its name, its parameters and what they are meant to be."""

    def __init__(self, name, owner, parameters):
        self.name, self.owner, self.parameters = name, owner, parameters

    @property
    def shown(self):
        return "%s.%s" % (self.owner, self.name) if self.owner else self.name


def callees(core):
    """Every function, constructor and method of the module, found in the module; what the parameters are is in its stub file."""
    with open(os.path.join(SCRIPTS, "iommulens/_core.pyi"), encoding="utf-8") as file:
        stub = ast.parse(file.read())
    declared = {}
    for node in ast.walk(stub):
        if isinstance(node, ast.ClassDef):
            declared.update({(node.name, part.name): part for part in node.body if isinstance(part, ast.FunctionDef)})
    declared.update({("", node.name): node for node in stub.body if isinstance(node, ast.FunctionDef)})

    def callee(name, owner, documented):
        node = declared.get((owner, name))
        annotations = {}
        if node is not None:
            annotations = {part.arg: ast.unparse(part.annotation) for part in node.args.args if part.annotation}
        words = re.match(r"\(([^)]*)\)", documented.__text_signature__ or "()")
        names = [word.split("=")[0].strip(" /*") for word in words.group(1).split(",")] if words else []
        names = [word for word in names if word and not word.startswith("$")]
        return Callee(name, owner, [(word, annotations.get(word, "object")) for word in names])

    found = []
    for name, value in sorted(vars(core).items()):
        if isinstance(value, type) and not issubclass(value, BaseException):
            found.append(callee("__init__", name, value))
            for method, described in sorted(vars(value).items()):
                if hasattr(described, "__text_signature__") and (not method.startswith("__") or method in ("__enter__", "__exit__")):
                    found.append(callee(method, name, described))
        elif callable(value) and not isinstance(value, type):
            found.append(callee(name, "", value))
    return found


def shown(value):
    """A value for the note: short, plain, and without asking a hostile object."""
    kind = type(value)
    if kind in (str, bytes):
        return ascii(value) if len(value) < 60 else "%s * %d…" % (ascii(value[:20]), len(value))
    if kind is int:
        return hex(value) if value.bit_length() < 300 else "an int of %d bits" % value.bit_length()
    if kind is Awkward:
        return "Awkward(%s)" % shown(value.answer)
    if kind in (list, tuple):
        return "%s of %d" % (kind.__name__, len(value)) if len(value) > 8 else "[%s]" % ", ".join(
            shown(part) if type(part) not in (list, tuple) else "[…]" for part in value
        )
    if kind is dict:
        return "{%s}" % ", ".join("%s: %s" % (shown(key), shown(part)) for key, part in list(value.items())[:8] if type(part) is not dict)
    if value is None or kind in (bool, float):
        return repr(value)
    return "a %s" % kind.__name__


class Note:
    """What is being tried, written down before it is, so that it is known when the process dies of it."""

    def __init__(self, path):
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        self.text = ""

    def write(self, text):
        self.text = text
        data = text.encode("utf-8", "backslashreplace")[:4096]
        os.pwrite(self.file, data, 0)
        os.ftruncate(self.file, len(data))
        # The default of SIGALRM ends the process: a hang is found by the signal that it dies of.
        signal.setitimer(signal.ITIMER_REAL, CALL_SECONDS)


SINKS = ("/dev/null", "/dev/zero")


@contextlib.contextmanager
def impatience(values):
    """Where one of these values swallows all that is written, and so no file's size limit ends the work, somebody presses Ctrl-C
    after some seconds: that has to end it."""
    if not any(value in SINKS if isinstance(value, str) else callable(value) for value in values):
        yield
        return
    earlier = signal.signal(signal.SIGVTALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_VIRTUAL, CALL_SECONDS / 4)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, earlier)


def limit_resources():
    """Memory that somebody eats is an error here, not the machine's end."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    # A dump of tables that lead to each other ends here, on the slowest machine too in a fraction of CALL_SECONDS.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 28, 1 << 28))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def make_scratch(folder):
    """The files that paths are drawn from."""
    fixtures = os.path.join(TOP, "Tests/Fixtures")
    os.mkdir(os.path.join(folder, "folder"))
    os.mkfifo(os.path.join(folder, "fifo"))
    os.symlink("loop", os.path.join(folder, "loop"))
    open(os.path.join(folder, "empty"), "w").close()
    shutil.copy(os.path.join(fixtures, "field-notes.txt"), os.path.join(folder, "text"))
    shutil.copy(os.path.join(fixtures, "pgdir-shift/tables-at-120-maps-pages.json"), os.path.join(folder, "pages.json"))
    with open(os.path.join(folder, "template"), "w") as file:
        file.write("{{#summary}}{{verdict}}{{/summary}}{{#calls}}{{function}}{{/calls}}\n")


def supervise(name, seconds, seed, command, check_output=lambda _output: None):
    """Runs `command(seed, note)` in scratch folders, one seed after the other, for so long. Returns the counts that it printed.

    The first run that ends badly ends all, with its seed, the last thing that it tried, and what it printed.
    """
    note = os.path.join(TOP, "build/fuzz/%s.last" % name)
    log = os.path.join(TOP, "build/fuzz/%s.log" % name)
    os.makedirs(os.path.dirname(note), exist_ok=True)
    end = time.monotonic() + seconds
    counts, rounds = {}, 0
    while rounds == 0 or time.monotonic() < end:
        with tempfile.TemporaryDirectory(prefix="iommulens-fuzz-") as folder:
            make_scratch(folder)
            environment = dict(os.environ, PYTHONHASHSEED="0", SWIFT_BACKTRACE="enable=no", HOME=folder, TMPDIR=folder, TERM="dumb")
            with open(log, "wb") as output:
                process = subprocess.Popen(
                    command(seed, note, folder), cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                    env=environment, start_new_session=True,
                )
                try:
                    status = process.wait(timeout=600)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    status = "no end within 600 s"
            output = open(log, encoding="utf-8", errors="backslashreplace").read()
            problem = check_output(output)
            told = re.findall(r"^tried (.*)$", output, re.MULTILINE)
            if status != 0 or problem or not told:
                if status == -signal.SIGALRM:
                    status = "no answer within %d s" % CALL_SECONDS
                print("FAILED with seed %d: %s" % (seed, problem or "the process ended with %s" % status))
                print("the last that was tried: %s" % open(note, errors="backslashreplace").read()[:2000])
                print("all that it said is in %s; its end:\n%s" % (os.path.relpath(log, TOP), output[-3000:]))
                sys.exit(1)
            for count, what in re.findall(r"(\d+) ([a-z ]+)", told[-1]):
                counts[what] = counts.get(what, 0) + int(count)
        seed += 1
        rounds += 1
    return counts
