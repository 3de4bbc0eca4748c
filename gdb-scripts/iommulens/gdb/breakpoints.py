"""Breakpoints on the driver's map and unmap functions. A hit reads registers and calls the core; nothing else."""

import gdb

from .. import _core
from .debugger import registers
from .state import session, write

# What went wrong inside stop(), where nothing may be printed: told at the next stop.
_problems = []


class Watch(gdb.Breakpoint):
    """A breakpoint whose `hit` says whether to stop; what goes wrong in it stops, too."""

    def stop(self):
        try:
            return self.hit()
        except (_core.Error, gdb.error) as error:
            _problems.append(str(error))
            return True
        except KeyboardInterrupt:
            # Whoever presses Ctrl-C while hits follow each other wants to stop.
            return True


class CallBreakpoint(Watch):
    """A hardware breakpoint at a function's first instruction, where the arguments are still in their registers.

    Hardware, because one in software could not be set before the kernel's memory exists. What to record and
    where to stop is the session's to know (`iommu record`, `iommu break`).
    """

    def __init__(self, symbol, arguments):
        self.symbol = symbol
        self.arguments = arguments
        super().__init__("*%s" % symbol, gdb.BP_HARDWARE_BREAKPOINT)
        self.silent = True

    def hit(self):
        return session().hit(self.symbol, registers(self.arguments))


def ours(kind):
    """The breakpoints of the class named `kind` that GDB still has, those of an earlier sourcing included."""
    return [point for point in gdb.breakpoints() if type(point).__name__ == kind]


def install():
    """Sees to one breakpoint on each function of the driver; returns their symbols by kind."""
    functions = session().functions()
    present = [point.symbol for point in ours("CallBreakpoint")]
    for function in functions:
        if function["symbol"] not in present:
            CallBreakpoint(function["symbol"], len(function["parameters"]))
    return {function["kind"]: function["symbol"] for function in functions}


def remove_idle():
    """Deletes the breakpoints when nothing is left to watch."""
    if not session().is_watching():
        for point in ours("CallBreakpoint") + ours("TranslationBreakpoint"):
            point.delete()


def adopt(kind, install):
    """Replaces the breakpoints of an earlier sourcing by ones of this code."""
    earlier = ours(kind)
    for point in earlier:
        point.delete()
    if earlier:
        install()


def report_problem():
    """Prints what went wrong inside stop()."""
    while _problems:
        write("iommu: %s" % _problems.pop(0))
