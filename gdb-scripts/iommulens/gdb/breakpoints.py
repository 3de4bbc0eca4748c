"""Breakpoints on the driver's map and unmap functions. A hit reads registers and calls the core; nothing else."""

import gdb

from .. import _core
from .debugger import registers
from .state import session, write

# What went wrong inside stop(), where nothing may be printed: told at the next stop.
_problems = []


class CallBreakpoint(gdb.Breakpoint):
    """A hardware breakpoint at a function's first instruction, where the arguments are still in their registers.

    Hardware, because one in software could not be set before the kernel's memory exists.
    """

    def __init__(self, function, options):
        self.function = function
        self.options = options
        self.hits = 0
        self.exhausted = False
        super().__init__("*%s" % function["symbol"], gdb.BP_HARDWARE_BREAKPOINT, internal=False)
        self.silent = True

    def stop(self):
        options = self.options
        if self.exhausted:
            return False
        try:
            wrong = session().hit(
                self.function["symbol"],
                registers(len(self.function["parameters"])),
                options.first,
                options.last,
                options.device,
            )
        except (_core.Error, gdb.error) as error:
            _problems.append(str(error))
            return True
        if wrong is None:
            return False
        stops = options.stops and (wrong or options.when == "always")
        self.hits += stops or not options.stops
        # A breakpoint must not be edited here; it is deleted at the next stop.
        self.exhausted = options.limit is not None and self.hits >= options.limit
        return stops


class Options:
    """What a breakpoint filters and when it stops."""

    def __init__(self, first=None, last=None, device=None, when="always", limit=None, stops=True):
        self.first = first
        self.last = last
        self.device = device
        self.when = when
        self.limit = limit
        self.stops = stops


def ours():
    """The breakpoints of this package that GDB still has."""
    return [point for point in gdb.breakpoints() if type(point).__name__ == "CallBreakpoint" and hasattr(point, "options")]


def install(kinds, options):
    """Sets breakpoints on the driver's functions of these kinds, in place of earlier ones; returns the symbols."""
    wanted = [function for function in session().functions() if function["kind"] in kinds]
    for point in ours():
        if point.function["symbol"] in [function["symbol"] for function in wanted]:
            point.delete()
    points = [CallBreakpoint(function, options) for function in wanted]
    return [point.function["symbol"] for point in points]


def remove():
    """Deletes the breakpoints; returns how many there were."""
    points = ours()
    for point in points:
        point.delete()
    return len(points)


def remove_exhausted():
    """Deletes the breakpoints that have reached their -limit."""
    for point in ours():
        if point.exhausted:
            point.delete()


def adopt():
    """Replaces breakpoints of an earlier sourcing by new ones with the same options."""
    for point in ours():
        function, options = point.function, point.options
        point.delete()
        CallBreakpoint(function, options)


def report_problem():
    """Prints what went wrong inside stop()."""
    while _problems:
        write("iommu: %s" % _problems.pop(0))
