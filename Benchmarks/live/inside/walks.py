"""Inside GDB: one `iommu walk` against a command that does nothing, many times in turn."""

import gdb
import statistics
import time

TURNS = 10
EACH = 100


class Nothing(gdb.Command):
    """Do nothing."""

    def __init__(self):
        super().__init__("bench-nothing", gdb.COMMAND_USER)

    def invoke(self, argument, from_tty):
        pass


def _seconds(command):
    start = time.perf_counter()
    for _ in range(EACH):
        gdb.execute(command, to_string=True)
    return (time.perf_counter() - start) / EACH


def measure(walk, path):
    """Writes what a command that does nothing takes, what `walk` takes, and what the first `walk` took, in microseconds."""
    start = time.perf_counter()
    text = gdb.execute(walk, to_string=True)
    first = time.perf_counter() - start
    if "mapped" not in text and "->" not in text:
        raise gdb.GdbError(text)
    nothing, walks = [], []
    for _ in range(TURNS):
        nothing.append(_seconds("bench-nothing"))
        walks.append(_seconds(walk))
    figures = (statistics.median(nothing), statistics.median(walks), first)
    with open(path, "w", encoding="utf-8") as output:
        output.write(" ".join("%.3f" % (figure * 1e6) for figure in figures))


Nothing()
