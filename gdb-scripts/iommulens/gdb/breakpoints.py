"""Breakpoints on the driver's map and unmap functions. A hit reads registers and calls the core; nothing else."""

import gdb

from .. import _core
from .debugger import registers
from .state import session, write

# What went wrong inside stop(), where nothing may be printed: told at the next stop.
_problems = []


class CallBreakpoint(gdb.Breakpoint):
    """A hardware breakpoint at a function's first instruction, where the arguments are still in their registers.

    Hardware, because one in software could not be set before the kernel's memory exists. What to record and
    where to stop is the session's to know (`iommu record`, `iommu break`).
    """

    def __init__(self, symbol, arguments):
        self.symbol = symbol
        self.arguments = arguments
        super().__init__("*%s" % symbol, gdb.BP_HARDWARE_BREAKPOINT)
        self.silent = True

    def stop(self):
        try:
            return session().hit(self.symbol, registers(self.arguments))
        except (_core.Error, gdb.error) as error:
            note_problem(error)
            return True
        except KeyboardInterrupt:
            # Whoever presses Ctrl-C while hits follow each other wants to stop.
            return True


def ours():
    """The breakpoints of this package that GDB still has, those of an earlier sourcing included."""
    return [point for point in gdb.breakpoints() if type(point).__name__ == "CallBreakpoint"]


def install():
    """Sees to one breakpoint on each function of the driver; returns their symbols by kind."""
    functions = session().functions()
    present = [point.symbol for point in ours()]
    for function in functions:
        if function["symbol"] not in present:
            CallBreakpoint(function["symbol"], len(function["parameters"]))
    return {function["kind"]: function["symbol"] for function in functions}


def remove_idle():
    """Deletes the breakpoints when nothing is left to watch."""
    if not session().is_watching():
        for point in ours():
            point.delete()


def adopt():
    """Replaces the breakpoints of an earlier sourcing by ones of this code."""
    earlier = ours()
    for point in earlier:
        point.delete()
    if earlier:
        install()


def note_problem(error):
    """Keeps what went wrong inside stop() until it may be told."""
    _problems.append(str(error))


def report_problem():
    """Prints what went wrong inside stop()."""
    while _problems:
        write("iommu: %s" % _problems.pop(0))
