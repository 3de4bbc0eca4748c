"""Calls every function, constructor and method of the extension module again and again, and sees that nothing stays behind.

usage: memory.py CALLS [--seconds N] [NAME ...]

Each is called CALLS times, or as often as fits in N seconds, with good and with bad arguments; a NAME is `PageTable.walk`. Fails
unless memory is flat, every argument and class has as many references as before, and a fresh answer has one. A debug build of
Python (Debian's python3-dbg) counts all references there are, too.
"""

import argparse
import ctypes
import gc
import os
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from arguments import Calls, Debugger  # noqa: E402
from hostile import SCRIPTS, TOP, Awkward, make_scratch, shown  # noqa: E402

# A leak grows by every call, what an allocator or SQLite keeps for later does not. So a function fails only if its memory grows
# by more than this in each of three rounds: at a million calls that finds a single byte, at ten thousand the smallest object.
GROWTH = 1 << 20
ROUNDS = 3
# Sets of arguments a function, the first half good.
CASES = 12

trim = ctypes.CDLL(None).malloc_trim
total_references = getattr(sys, "gettotalrefcount", None)


def resident():
    """Bytes of this process in memory, without what the allocators only keep."""
    gc.collect()
    trim(0)
    with open("/proc/self/status") as file:
        # What is its own: pages of the investigation's file that are mapped are not.
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("RssAnon:"))


class Steady(Debugger):
    """A debugger that says the same whenever it is asked: news would have to be kept."""

    def __init__(self, draw):
        super().__init__(draw)
        self.hostility = 0

    def evaluate(self, expression):
        return super().evaluate(expression) if "*)0)->" in expression or "&" in expression else len(expression) % 32 * 8


class Wrong(Exception):
    """A function that keeps something."""


class Subject:
    """A function with its cases."""

    def __init__(self, calls, callee):
        self.calls, self.callee = calls, callee
        self.cases = []
        for number in range(CASES):
            if number < CASES // 2:
                arguments = [], {name: calls.meant(name, annotation) for name, annotation in callee.parameters}
            else:
                arguments = calls.arguments(callee)
            self.cases.append(arguments)
        core = calls.core
        if not callee.owner:
            self.function = getattr(core, callee.name)
        elif callee.name == "__init__":
            self.function = getattr(core, callee.owner)
        else:
            self.function = getattr(self.receiver(), callee.name)

    def receiver(self):
        core, owner = self.calls.core, self.callee.owner
        if owner == "PageTable":
            return core.PageTable(lambda _address, length: b"\1\x10" + bytes(length - 2), 0x1000)
        if owner == "Session":
            session = core.Session(Steady(self.calls.draw))
            session.open("session.iommulens")
            self.after = lambda: (session.unwatch(True), session.unwatch(False))
            return session
        investigation = core.Investigation("recorded.iommulens")
        return investigation

    after = None

    def counted(self):
        """What must have as many references afterwards."""
        core = self.calls.core
        values = [None, True, False, "", core] + [value for value in vars(core).values() if isinstance(value, type)]
        for positional, keywords in self.cases:
            values += positional + list(keywords.values()) + list(keywords)
        # Python has one of each small number, and everybody uses it.
        return [value for value in values if type(value) is not int or not -6 < value < 257]

    def repeat(self, count, until):
        """Calls it so often, unless that takes too long; returns how often."""
        function, after, done = self.function, self.after, 0
        while done < count and time.monotonic() < until:
            for _ in range(min(20, (count - done) // CASES + 1)):
                for positional, keywords in self.cases:
                    try:
                        function(*positional, **keywords)
                    except BaseException as error:
                        # An exception that is raised again and again keeps every place where it was.
                        error.__traceback__ = error.__context__ = None
                    done += 1
                if after:
                    after()
        return done

    def check_answers(self):
        """A fresh answer belongs to its caller alone."""
        for positional, keywords in self.cases:
            try:
                answer = self.function(*positional, **keywords)
            except BaseException:
                continue
            if type(answer) in (dict, list) and sys.getrefcount(answer) != 2:
                raise Wrong("an answer has %d references too many" % (sys.getrefcount(answer) - 2))

    def measure(self, count, seconds):
        """Calls it so often in rounds until one keeps nothing; returns how often, and the growth."""
        start = time.monotonic()
        self.check_answers()
        self.repeat(max(count // 10, 200), start + seconds / 4)
        values = self.counted()
        done = 0
        for _ in range(ROUNDS):
            references = [sys.getrefcount(value) for value in values]
            total = total_references() if total_references else 0
            before = resident()
            calls = self.repeat(count, time.monotonic() + seconds)
            done += calls
            growth = resident() - before
            # Also counted: the list of counts, and what Python keeps for itself.
            all_references = total_references() - total if total_references else 0
            counts = zip(values, references, [sys.getrefcount(value) for value in values])
            # A few come from whoever else has a None or a 0; of one case in twelve that keeps one a call there are more.
            changed = [(value, now - was) for value, was, now in counts if (now - was) * 100 > max(calls, 1000)]
            if growth <= GROWTH and not changed and all_references * 100 <= calls:
                return done, growth
        value, change = changed[0] if changed else (None, 0)
        raise Wrong(
            "%d calls left %s" % (calls, "%d references to %s" % (change, shown(value)) if changed else "%d bytes" % growth if growth > GROWTH
                else "%d references" % all_references)
        )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("calls", type=int)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    sys.path.insert(0, SCRIPTS)
    from iommulens import _core as core

    with tempfile.TemporaryDirectory(prefix="iommulens-memory-") as folder:
        make_scratch(folder)
        os.chdir(folder)
        core.Investigation("recorded.iommulens").import_texts([os.path.join(TOP, "Tests/Fixtures", name) for name in (
            "pgdir-shift/map-unmap-calls-first-120.csv", "pgdir-shift/qemu-translate-results.csv")])
        calls = Calls(1, core)
        # Nothing that reads or writes megabytes, and nothing that grows by itself.
        calls.draw.path = lambda: calls.draw.choice(["empty", "missing", "a.md", "b.csv", "c.svg", "template", "folder", "recorded.iommulens"])
        calls.draw.looped = lambda: []
        wrong, total = 0, 0
        print("python %s%s" % (sys.version.split()[0], ", which counts all references" if total_references else ""))
        for callee in calls.callees:
            if options.names and callee.shown not in options.names:
                continue
            start = time.monotonic()
            try:
                done, growth = Subject(calls, callee).measure(options.calls, options.seconds)
                result = "%+d KiB" % (growth >> 10)
                total += done
            except Wrong as error:
                wrong, done, result = wrong + 1, 0, "FAILED: %s" % error
            print("%-28s %9d calls %7.1f s  %s" % (callee.shown, done, time.monotonic() - start, result), flush=True)
        print("%d calls in all, %d functions wrong" % (total, wrong))
        os.chdir("/")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
