"""Fuzzes the arguments of every function, constructor and method of the extension module, in python3 and inside GDB.

usage: arguments.py SECONDS [--seed N] [--gdb GDB] [--guest]

Each call ends in an answer, or in an exception that the module documents or that a hostile argument raised itself. Anything
else ends the run: another exception, a call without an end, the end of the process.
"""

import argparse
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hostile import SCRIPTS, TOP, Awkward, Draw, Note, callees, impatience, limit_resources, shown, supervise  # noqa: E402

CALLS = 2000
# Reads that a debugger answers before somebody loses patience.
PATIENCE = 20_000
# The longest text of an error that is still a sentence: what it quotes of an argument has to be shortened.
MESSAGE_LIMIT = 1100


class Debugger:
    """A debugger that knows the driver, and otherwise answers as it likes; now and then something that is no answer."""

    FUNCTIONS = {
        "xt_iommu_map": ["domain", "iova", "paddr", "pgsize", "pgcount", "prot", "gfp", "mapped"],
        "xt_iommu_unmap": ["domain", "iova", "pgsize", "pgcount", "gather"],
    }

    def __init__(self, draw):
        self.draw = draw
        self.hostility = draw.choice([0, 0.01, 0.2])
        self.left = PATIENCE
        self.memory = draw.choice([b"", bytes(range(1, 256)), b"\xff", (0x8000_1000 >> 2 | 1).to_bytes(8, "little"), b"\1\x20\0\0\0\0\0\0"])

    def _answer(self, answer):
        if self.draw.chance(self.hostility):
            if self.draw.chance(0.3):
                raise self.draw.choice(self.draw.planted)
            return self.draw.anything()
        return answer

    def _bytes(self, address, length):
        if not self.memory:
            raise self.draw.core.TargetError("There is no memory.")
        # Tables that lead to each other have millions of entries to read: a person presses Ctrl-C.
        self.left -= 1
        if self.left < 0:
            self.left = PATIENCE
            raise self.draw.planted[1]
        skipped = address % len(self.memory)
        return self._answer((self.memory * (length // len(self.memory) + 2))[skipped : skipped + length])

    def evaluate(self, expression):
        if expression.startswith("sizeof"):
            return self._answer(8)
        if "*)0)->" in expression:
            return self._answer(len(expression) % 32 * 8)
        return self._answer(0xFFFFFFFF80000000 + len(expression) * 0x40 if "&" in expression else self.draw.number())

    def string(self, _expression):
        return self._answer(self.draw.choice(["Linux version 6.4.0-test (x) #1", self.draw.text().replace("\0", "")]))

    def parameters(self, function):
        if function not in self.FUNCTIONS:
            raise self.draw.core.TargetError("No such function.")
        return self._answer(self.FUNCTIONS[function])

    def function(self, _address):
        return self._answer("xt_iommu_map")

    def read_virtual(self, address, length):
        return self._bytes(address, length)

    def read_physical(self, address, length):
        return self._bytes(address, length)

    def read_physical_pages(self, addresses):
        return self._bytes(addresses[0] if addresses else 0, 4096 * len(addresses))

    def write_physical(self, _address, _data):
        return self._answer(None)

    def connection(self):
        return self._answer(self.draw.choice([None, "localhost:1", "/none.sock"]))

    def monitor(self, _command):
        return self._answer(self.draw.choice(["", "unknown command", "000000002c000018: 0x0000000000000000 0x1\n" * 8,
            "FlatView #0\n  0000000080000000-00000000ffffffff (prio 0, ram): ram\n"]))

    def is_inside(self, _function, _thread, _stack):
        return self._answer(False)

    def progress(self, _text):
        return None

    def process(self):
        return self._answer(None)

    def architecture(self):
        return self._answer(self.draw.choice(["riscv:rv64", "i386:x86-64"]))

    def callers(self, _function, _limit):
        return self._answer(["e1000_alloc_ring_dma", "start_xmit"])

    def argument(self, _function, _depth, _name):
        return self._answer(None)


class Calls:
    """Calls of everything that there is, on objects that live for a while."""

    def __init__(self, seed, core):
        self.draw = Draw(seed)
        self.draw.core = self.core = core
        self.callees = callees(core)
        self.objects = {}
        self.allowed = (TypeError, ValueError, OverflowError, RecursionError, core.Error)
        self.draw.reentries += [lambda: core.decode_entry(1)["raw"], lambda: self.make("PageTable").entries(), lambda: str(self.make("Session")),
            lambda: self.make("Session").status(), lambda: self.make("Investigation").close()]
        self.raised = 0

    def make(self, owner):
        """An object of a class, mostly one that was used before."""
        if owner not in self.objects or self.draw.chance(0.02):
            if owner == "PageTable":
                made = self.core.PageTable(self.draw.memory(), 0x1000, self.draw.choice(self.core.modes))
            elif owner == "Session":
                made = self.core.Session(self.debugger())
            else:
                made = self.core.Investigation("recorded.iommulens")
            self.objects[owner] = made
        return self.objects[owner]

    def debugger(self):
        if "gdb" in sys.modules and self.draw.chance(0.7):
            from iommulens.gdb.debugger import Debugger as Real

            return Real()
        return Debugger(self.draw)

    def meant(self, name, annotation):
        """A value as the stub file asks for it."""
        draw = self.draw
        words = re.findall(r"'(\w+)'", annotation)
        if annotation in ("Form", "Mode"):
            return draw.choice(["text", "json", "records"] if annotation == "Form" else self.core.modes)
        if words:
            return draw.choice(words)
        if "None" in annotation and draw.chance(0.3):
            return None
        if annotation.startswith(("list", "tuple")):
            length = draw.randrange(6) if name != "arguments" else draw.choice([4, 7, 8, 8])
            part = "SupportsIndex" if "SupportsIndex" in annotation else "str"
            parts = [self.meant(name[:-1], part) for _ in range(length)]
            return parts if draw.chance(0.7) else tuple(parts)
        if annotation.startswith("SupportsIndex"):
            number = draw.number()
            return Awkward(number) if draw.chance(0.1) else number
        if annotation.startswith("bool"):
            return draw.chance(0.5)
        if annotation.startswith("Memory"):
            return draw.memory()
        if annotation.startswith("Callable"):
            return draw.choice([lambda _piece: None, lambda _piece: 1 / 0, draw.anything()])
        if annotation == "Debugger":
            return self.debugger()
        if annotation.startswith("dict"):
            return {style: draw.choice(["\x1b[1m", "", draw.text()]) for style in ("address", "function", "title", "highlight")}
        choices = {
            "device": ["0000:00:01.0", "ff:1f.7"], "function": ["xt_iommu_map", "xt_iommu_unmap", "kmalloc"], "kind": ["map", "unmap"],
            "flags": ["", "rw", "VRWXUGAD"], "events": ["calls", "translations", "registers", "log", "verifications"],
            "picture": ["map", "walk"], "callers": ["start_xmit"], "caller": ["start_xmit"],
        }
        if name in ("path", "template"):
            return draw.path()
        return draw.choice(choices[name]) if name in choices and draw.chance(0.8) else draw.text()

    def arguments(self, callee):
        """Arguments by position and by name; nothing is too many or too few."""
        draw = self.draw
        values = []
        for name, annotation in callee.parameters:
            value = self.meant(name, annotation) if draw.chance(0.8) else draw.anything()
            values.append((name, value))
        if draw.chance(0.05) and values:
            values.pop(draw.randrange(len(values)))
        split = draw.randrange(len(values) + 1)
        positional = [value for _, value in values[:split]]
        # An optional argument is as often left out.
        keywords = {name: value for name, value in values[split:] if draw.chance(0.6)}
        if draw.chance(0.05):
            positional.append(draw.anything())
        if draw.chance(0.05):
            keywords[draw.choice(["self", "x", "\ud800", "a\0b", "é", ""]) + draw.choice(["", "iova"])] = draw.anything()
        return positional, keywords

    def run(self, count, note):
        """Makes so many calls; each is noted before it is made."""
        for number in range(count):
            callee = self.draw.choice(self.callees)
            positional, keywords = self.arguments(callee)
            told = [shown(value) for value in positional] + ["%s=%s" % (ascii(name), shown(value)) for name, value in keywords.items()]
            note.write("call %d: %s(%s)" % (number, callee.shown, ", ".join(told)))
            try:
                with impatience([*positional, *keywords.values()] if callee.name in ("dump", "write_dump") else []):
                    self.call(callee, positional, keywords)
            except BaseException as error:
                self.judge(error)
            if callee.name in ("close", "__exit__"):
                self.objects.pop(callee.owner, None)
            if number % 64 == 0:
                assert self.core.decode_entry(1)["kind"] == "pointer"

    def call(self, callee, positional, keywords):
        if not callee.owner:
            return getattr(self.core, callee.name)(*positional, **keywords)
        if callee.name == "__init__":
            self.objects[callee.owner] = getattr(self.core, callee.owner)(*positional, **keywords)
            return self.objects[callee.owner]
        owner = getattr(self.core, callee.owner)
        receiver = self.draw.anything() if self.draw.chance(0.01) else self.make(callee.owner)
        return getattr(owner, callee.name)(receiver, *positional, **keywords)

    def judge(self, error):
        self.raised += 1
        if any(error is planted for planted in self.draw.planted) or isinstance(error, ZeroDivisionError):
            return
        if not isinstance(error, self.allowed):
            raise error
        if type(error).__module__ == self.core.__name__:
            text = str(error)
            assert text, "an error says what is wrong"
            assert len(text) <= MESSAGE_LIMIT, "%d characters: %s" % (len(text), text[:500])


def child(seed, note):
    """One run in this process, which is python3 or a GDB."""
    limit_resources()
    sys.path.insert(0, SCRIPTS)
    from iommulens import _core as core

    core.Investigation("recorded.iommulens").import_texts([os.path.join(TOP, "Tests/Fixtures", name) for name in (
        "pgdir-shift/map-unmap-calls-first-120.csv", "pgdir-shift/qemu-translate-results.csv", "field-notes.txt")])
    calls = Calls(seed, core)
    try:
        calls.run(CALLS, note)
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
    print("tried %d calls, %d errors" % (CALLS, calls.raised))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seconds", type=float)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--gdb")
    parser.add_argument("--guest", action="store_true")
    options = parser.parse_args()

    def command(seed, note, folder):
        script = "import sys; sys.path.insert(0, %r); import arguments; arguments.child(%d, arguments.Note(%r))" % (
            os.path.dirname(os.path.abspath(__file__)), seed, note)
        if not options.gdb:
            return ["python3", "-c", script]
        gdb = ["-nx", "-batch", "-ex", "source %s/iommulens-gdb.py" % SCRIPTS]
        if not options.guest:
            return [options.gdb] + gdb + ["-ex", "python " + script]
        top, socket = TOP, os.path.join(folder, "guest/gdb.sock")
        return [top + "/lab/guest/debug", folder + "/guest", "--", *gdb, "-ex", "file %s/build/lab/guest/guest.elf" % top,
            "-ex", "target remote " + socket, "-ex", "hbreak xt_iommu_map", "-ex", "continue", "-ex", "python " + script]

    name = "arguments" + ("-guest" if options.guest else "-gdb" if options.gdb else "")
    counts = supervise(name, options.seconds, options.seed, command)
    print("%-14s %9d calls, %d of them errors, nothing found" % (name, counts["calls"], counts["errors"]))


if __name__ == "__main__":
    main()
