"""Breakpoints on the driver's map and unmap functions. A hit reads registers and calls the core; nothing else."""

import gdb

from .. import _core
from .debugger import EntryRegisters, names_above, registers
from .state import session
from .terminal import write

# What went wrong inside stop(), where nothing may be printed: told at the next stop.
_problems = []

# Whether `iommu record -callers` wants the functions above every call, which cost as much as the stop itself.
_with_callers = False

# The breakpoints that were made, to notice when the user deletes or disables one.
_made = []


class Watch(gdb.Breakpoint):
    """A breakpoint on the function `symbol` whose `hit` says whether to stop; what goes wrong in it stops, too."""

    def __init__(self, symbol, *place):
        self.symbol = symbol
        super().__init__(*place)
        self.silent = True
        _made.append(self)

    def stop(self):
        try:
            return self.hit()
        except (_core.Error, gdb.error) as error:
            _problems.append(str(error))
            return True
        except KeyboardInterrupt:
            # Whoever presses Ctrl-C while hits follow each other wants to stop.
            return True


class _EntryBreakpoint(Watch):
    """A hardware breakpoint at a function's first instruction, where the arguments are still in their registers.

    Hardware, because one in software could not be set before the kernel's memory exists.
    """

    def __init__(self, symbol):
        super().__init__(symbol, "*%s" % symbol, gdb.BP_HARDWARE_BREAKPOINT)


class CallBreakpoint(_EntryBreakpoint):
    """At a map or unmap function. What to record and where to stop is the session's to know."""

    def __init__(self, symbol, arguments):
        self.registers = EntryRegisters(arguments)
        super().__init__(symbol)

    def hit(self):
        stack, arguments = self.registers.read()
        callers = names_above(gdb.newest_frame()) if _with_callers else []
        return session().hit(self.symbol, arguments, gdb.selected_thread().num, stack, callers)


class CookieBreakpoint(_EntryBreakpoint):
    """Where a domain is prepared for the DMA layer: a few times at boot, and a mistake there loses the domain."""

    symbol_watched = "iommu_get_dma_cookie"

    def hit(self):
        session().cookie_requested(registers(1)[0], names_above(gdb.newest_frame(), 8))
        return False


def gap():
    """A sentence on what goes by unseen because the user has deleted or disabled breakpoints; None where nothing does."""
    lost = {point.symbol for point in _made if not point.is_valid() or not point.enabled}
    if not lost or not session().is_watching():
        return None
    return "Not watched, because a breakpoint of IOMMULens was deleted or disabled: %s. `iommu record` sets it again." % (
        ", ".join(sorted(lost))
    )


def renew():
    """Enables what the user has disabled, and forgets what is gone, once all that is needed is there."""
    _made[:] = [point for point in _made if point.is_valid()]
    for point in _made:
        if not point.enabled:
            point.enabled = True


def ours(*kinds):
    """The breakpoints of the classes named `kinds` that GDB still has, those of an earlier sourcing included."""
    return [point for point in gdb.breakpoints() if type(point).__name__ in kinds]


def install():
    """Sees to one breakpoint on each function of the driver; returns their symbols by kind."""
    functions = session().functions()
    present = [point.symbol for point in ours("CallBreakpoint", "CookieBreakpoint")]
    for function in functions:
        if function["symbol"] not in present:
            CallBreakpoint(function["symbol"], len(function["parameters"]))
    if session().records_everything() and CookieBreakpoint.symbol_watched not in present:
        if gdb.lookup_global_symbol(CookieBreakpoint.symbol_watched) is not None:
            CookieBreakpoint(CookieBreakpoint.symbol_watched)
    renew()
    return {function["kind"]: function["symbol"] for function in functions}


def read_callers(wanted):
    """Whether recorded calls come with the functions above them from now on."""
    global _with_callers
    _with_callers = wanted


def remove_idle():
    """Deletes the breakpoints when nothing is left to watch."""
    if not session().is_watching():
        for point in ours("CallBreakpoint", "CookieBreakpoint", "TranslationBreakpoint"):
            point.delete()
        _made.clear()


def adopt(install, *kinds):
    """Replaces the breakpoints of an earlier sourcing by ones of this code."""
    earlier = ours(*kinds)
    for point in earlier:
        point.delete()
    if earlier:
        install()


def report_problem():
    """Prints what went wrong inside stop(); whether anything did."""
    problems = _problems[:]
    del _problems[:]
    for problem in problems:
        write("iommu: %s" % problem)
    return bool(problems)
