"""Inside a GDB on QEMU: what a translation of the device costs, in blocks of translations, one kind after the other.

A cycle goes from one translation's entry to the next one's. Its median is taken: the card works in bursts, and is idle between.
"""

import gdb
import json
import os
import statistics
import time

from iommulens.gdb import translations
from iommulens.gdb.debugger import return_places

FUNCTION = "xmmuv1_translate"
HITS = int(os.environ["IOMMULENS_BENCH_HITS"])

_cycles = {"bare": [], "pair": [], "recorded": []}
_times = []
_points = {}


def _hit():
    """Takes the time of an entry; whether it is the last one of its block."""
    _times.append(time.perf_counter_ns())
    return len(_times) == HITS


class Entry(gdb.Breakpoint):
    """The least that a Python breakpoint can do."""

    def stop(self):
        return _hit()


class Return(gdb.Breakpoint):
    """The same at a place where the function returns."""

    def stop(self):
        return False


def prepare():
    """Makes the breakpoints of all kinds; the plugin's are those that it makes itself."""
    gdb.execute("iommu record translate", to_string=True)
    _points["recorded"] = translations.ours("TranslationBreakpoint")
    plugin_stop = translations.TranslationBreakpoint.stop

    def stop(self):
        last = not self.is_return and _hit()
        return plugin_stop(self) or last

    translations.TranslationBreakpoint.stop = stop
    _points["bare"] = [Entry("*" + FUNCTION)]
    _points["pair"] = [Entry("*" + FUNCTION)] + [Return(place) for place in return_places(FUNCTION)]
    for point in _points["bare"] + _points["pair"]:
        point.silent = True


def begin(kind):
    """Watches with the breakpoints of `kind` alone."""
    _times.clear()
    for name, points in _points.items():
        for point in points:
            point.enabled = name == kind


def end(kind):
    """Takes in the block that has just been run."""
    if len(_times) == HITS:
        _cycles[kind].append(statistics.median(after - before for before, after in zip(_times, _times[1:])))


def report(path):
    """Writes each block's median cycle in nanoseconds, by kind."""
    with open(path, "w", encoding="utf-8") as output:
        json.dump(_cycles, output)
