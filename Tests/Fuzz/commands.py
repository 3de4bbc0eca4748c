"""Fuzzes the command lines of every command, parameter and function of the plugin in a GDB, their completion, help and MI twins.

usage: commands.py SECONDS [--seed N] [--gdb GDB] [--guest]

Lines come from the commands' own grammar, mixed with what nobody types. Each ends in an answer or in an error of one line; a
Python exception, an error inside GDB, or a GDB that is gone ends the run.
"""

import argparse
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hostile import SCRIPTS, TOP, Draw, Note, limit_resources, supervise  # noqa: E402

LINES = 600
MESSAGE_LIMIT = 1100
# What GDB prints where Python code of a command, a completer or an event's handler has let an exception out.
BROKEN = re.compile(r"Python Exception|Traceback|Error occurred in Python|internal-error|Fatal error|Fatal signal|^E: ", re.MULTILINE)

NUMBERS = [
    "0", "1", "-1", "0xfffff000", "4294963200", "0777", "0b101", "0x", "0xg", "1e400", "1.5", "'a'", '"text"', "$pc", "$sp", "$nothing",
    "$_exitcode", "$_", "$satp", "0xffffffffffffffff", "18446744073709551616", "-0x8000000000000000", "9" * 400, "1/0", "1+", "(1", "1)",
    "{1,2}", "sizeof(int)", "(char)300", "&main", "main", "*0", "*(int*)0", "xt_iommu_map", "&xt_iommu_map", "1@2", "int", "struct x", "::",
    "$iommu_walk(0xfffff000)", "$iommu_index(0xfffff000,9)", "$_gdb_setting(\"width\")", "1 ? 2 : 3", "0x1000-0x2000", "5-1", "1-", "-",
    "0x1000-", "1--1", "true", "NULL", "1 == 1", "!0", "~0", "1 << 99", "1U", "0x80000000",
]


class Lines:
    """Command lines from a seed."""

    def __init__(self, seed, commands, modes):
        self.draw = Draw(seed)
        self.commands, self.modes = commands, modes

    def garbage(self):
        draw = self.draw
        kind = draw.randrange(8)
        if kind == 0:
            return draw.choice(['"', "'", "\\", '"a', "'a b", "a\\", '\\"', "''", '""', "\\\\", "a\\ b", '"a" b"'])
        if kind == 1:
            return draw.choice(["(", ")", "[", "]", "{", "}", "((((", "]]]]", "<>", "(" * 3000, "[" * 3000])
        if kind == 2:
            return draw.choice(["é", "🐧", "\u202e", "漢字", "\u0300", "\x01", "\x1b[31m", "\x7f", "\x80", "\t", "\v\f", "\udcff", "\ufeff"])
        if kind == 3:
            return draw.choice("ax0-") * draw.choice([100, 5000, 100_000])
        if kind == 4:
            return draw.choice(["--", "-", "---", "-nothing", "-json", "-device", "-root", "-mode", "-raw", "-o", "-limit", "-all", "-iova", "-last"])
        letters = "abc019 \"'\\()[]{}<>#^!&;$,.:*@%-_?é"
        # No assignment, no call, no path: a line must not change anything outside.
        return "".join(draw.choice(letters) for _ in range(draw.randrange(30)))

    def file(self):
        name = self.draw.path()
        return name.replace("\n", "\\n") if self.draw.chance(0.9) else name

    def value(self, value):
        """What an argument of this kind is meant to be, or a number."""
        draw = self.draw
        if type(value).__name__ == "File":
            return self.file()
        if hasattr(value, "words") and draw.chance(0.8):
            return draw.choice(value.words)
        if value.shown == "BDF":
            return draw.choice(["0000:00:01.0", "00:01.0", "1", "ffff:ff:1f.7", "0000:00:20.0"])
        if value.shown == "FLAGS":
            return draw.choice(["rw", "r", "VRWXUGAD", "rr", "z"])
        return draw.choice(NUMBERS)

    def words(self, grammar):
        """Words by a grammar, some of them another's."""
        draw = self.draw
        words = []
        for word in grammar.words:
            for _ in range(draw.choice([0, 1, 1, 1, 3]) if word.many else 0 if word.optional and draw.chance(0.4) else 1):
                words.append(self.value(word.value))
        for option in grammar.options.values():
            if draw.chance(0.15):
                words.insert(draw.randrange(len(words) + 1), "-" + option.name)
                if option.value and draw.chance(0.95):
                    words.insert(words.index("-" + option.name) + 1, self.value(option.value))
        if grammar.instead and draw.chance(0.2):
            words = [grammar.instead]
        while draw.chance(0.15):
            words.insert(draw.randrange(len(words) + 1), self.garbage())
        if words and draw.chance(0.05):
            words.pop(draw.randrange(len(words)))
        return words

    def command(self):
        command = self.draw.choice(self.commands)
        return command, " ".join([command.name] + self.words(command.grammar))

    def line(self):
        """A line for GDB to execute."""
        draw = self.draw
        kind = draw.randrange(12)
        if kind < 6:
            return self.command()[1]
        if kind == 6:
            line = self.command()[1]
            return "complete " + line[: draw.randrange(len(line[:5000]) + 1)]
        if kind == 7:
            return "help " + draw.choice([self.command()[0].name, "iommu " + self.garbage()[:2000], "set iommu", "show iommu", "function iommu_walk"])
        if kind == 8:
            parameter = draw.choice(["file", "device", "memory", "qemu-pid", "nothing"])
            word = draw.choice([self.garbage(), draw.choice(NUMBERS), "", "auto", "remote", "0000:00:01.0", "new.iommulens", "missing/x"])
            return draw.choice(["set iommu %s %s" % (parameter, word), "show iommu " + parameter, "set iommu", "show iommu " + word])
        if kind == 9:
            function = draw.choice(["$iommu_walk(%s)", "$iommu_index(%s, %s)", "$iommu_index(%s)", "$iommu_walk(%s, %s)", "$iommu_walk()"])
            return "print " + function % tuple(draw.choice(NUMBERS) for _ in range(function.count("%s")))
        if kind == 10:
            command = draw.choice(self.commands)
            # MI's own quoting is GDB's affair; what it takes as words are words here.
            words = [word.replace("\\", "").replace('"', "") for word in self.words(command.grammar)]
            if not all(word.isascii() and word.isprintable() for word in words):
                words = []
            return 'interpreter-exec mi "-%s %s"' % (command.name.replace(" ", "-"), " ".join("'%s'" % word if " " in word else word for word in words))
        return "iommu " + self.garbage()


def child(seed, note):
    """One run inside a GDB that has the plugin."""
    import gdb
    from iommulens import _core
    from iommulens.gdb import commands as module

    def below(kind):
        return [part for each in kind.__subclasses__() for part in [each] + below(each)]

    commands = [kind for kind in below(module.Command) if getattr(kind, "name", None)]
    assert len(commands) >= 18
    lines = Lines(seed, commands, _core.modes)
    limit_resources()
    errors = 0
    for number in range(LINES):
        line = lines.line()
        note.write("line %d: %s" % (number, ascii(line)))
        try:
            answer = gdb.execute(line, to_string=True)
            problem = BROKEN.search(answer)
        except gdb.error as error:
            errors += 1
            text = str(error)
            problem = BROKEN.search(text)
            if line.startswith("iommu ") and not problem:
                problem = "no text" if not text else "several lines" if "\n" in text else "a long text" if len(text) > MESSAGE_LIMIT else None
            answer = text
        except UnicodeError:
            # GDB takes no line with half of a character, and its own errors may quote one.
            if line.startswith("iommu ") and line.isprintable():
                raise
            continue
        except KeyboardInterrupt:
            problem = answer = "an interruption that nobody made"
        if problem:
            print("E: %s" % answer[:3000].encode("ascii", "backslashreplace").decode())
            break
    gdb.flush()
    print("tried %d lines, %d errors" % (number + 1, errors))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seconds", type=float)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--gdb", default="gdb-multiarch")
    parser.add_argument("--guest", action="store_true")
    options = parser.parse_args()

    def command(seed, note, folder):
        script = "python import sys; sys.path.insert(0, %r); import commands; commands.child(%d, commands.Note(%r))" % (
            os.path.dirname(os.path.abspath(__file__)), seed, note)
        gdb = ["-nx", "-batch", "-ex", "set width 0", "-ex", "source %s/iommulens-gdb.py" % SCRIPTS]
        if not options.guest:
            return [options.gdb] + gdb + ["-ex", script]
        return [TOP + "/lab/guest/debug", folder + "/guest", "--", *gdb, "-ex", "file %s/build/lab/guest/guest.elf" % TOP,
            "-ex", "target remote %s/guest/gdb.sock" % folder, "-ex", "iommu break map -limit 2", "-ex", "continue", "-ex", script]

    def broken(output):
        found = BROKEN.search(output)
        return "'%s' was printed" % found.group() if found else None

    name = "commands" + ("-guest" if options.guest else "")
    counts = supervise(name, options.seconds, options.seed, command, broken)
    print("%-14s %9d lines, %d of them errors, nothing found" % (name, counts["lines"], counts["errors"]))


if __name__ == "__main__":
    main()
