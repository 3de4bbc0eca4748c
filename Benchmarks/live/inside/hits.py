"""Inside GDB: what a hit of a driver's map and unmap functions costs, in blocks of hits, one kind after the other.

A cycle goes from one `stop()` to the next: GDB's work on a stop, the hit's own, and the guest's way to its next call. The first
cycles of a block are not counted: the calls between its blocks are none of a kind's business.
"""

import gdb
import json
import os
import statistics
import time

from iommulens.gdb import breakpoints

FUNCTIONS = ("xt_iommu_map", "xt_iommu_unmap")
HITS = int(os.environ["IOMMULENS_BENCH_HITS"])
WARM = 2

_cycles = {"bare": [], "recorded": [], "commands": []}
_times = []
_points = {}


def _hit():
    """Takes the time of a hit; whether it is the last one of its block."""
    _times.append(time.perf_counter_ns())
    return len(_times) == HITS


class Bare(gdb.Breakpoint):
    """The least that a Python breakpoint can do."""

    def stop(self):
        return _hit()


class Typed(gdb.Breakpoint):
    """What people type: `commands` that show the arguments and the callers, and go on."""

    def stop(self):
        if _hit():
            gdb.set_convenience_variable("bench_more", 0)
        return True


def prepare():
    """Makes the breakpoints of all kinds; the plugin's are those that it makes itself."""
    gdb.execute("iommu record", to_string=True)
    _points["recorded"] = breakpoints.ours("CallBreakpoint")
    plugin_stop = breakpoints.CallBreakpoint.stop

    def stop(self):
        last = _hit()
        return plugin_stop(self) or last

    breakpoints.CallBreakpoint.stop = stop
    for point in breakpoints.ours("CookieBreakpoint"):
        point.delete()
    for kind, make in (("bare", Bare), ("commands", Typed)):
        _points[kind] = [make("*" + name, gdb.BP_HARDWARE_BREAKPOINT) for name in FUNCTIONS]
    for point in _points["bare"]:
        point.silent = True
    for point in _points["commands"]:
        point.commands = "info args\nbt 8\nif $bench_more\ncontinue\nend"


def begin(kind):
    """Watches with the breakpoints of `kind` alone; what was measured before is its own kind's."""
    _times.clear()
    gdb.set_convenience_variable("bench_more", 1)
    for name, points in _points.items():
        for point in points:
            point.enabled = name == kind


def end(kind):
    """Takes in the block that has just been run."""
    cycles = [after - before for before, after in zip(_times, _times[1:])]
    if len(_times) == HITS:
        _cycles[kind].append(statistics.mean(cycles[WARM:]))


def report(path):
    """Writes each block's mean cycle in nanoseconds, by kind."""
    with open(path, "w", encoding="utf-8") as output:
        json.dump(_cycles, output)
