"""Breakpoints in QEMU on the device's translate function: at its entry and where it returns.

A hit tells the core which thread it was; nothing is stepped or resumed, and no breakpoint is made: any of QEMU's threads may
be in the function.
"""

import gdb

from .. import _core
from .breakpoints import note_problem
from .debugger import return_places
from .state import session

class TranslationBreakpoint(gdb.Breakpoint):
    """The function's entry, or a place where it returns."""

    def __init__(self, place, is_return):
        self.is_return = is_return
        super().__init__(place)
        self.silent = True

    def stop(self):
        try:
            # Not through a frame object, which would cost an unwinding.
            thread = gdb.selected_thread().ptid[1]
            return session().leave(thread) if self.is_return else session().enter(thread)
        except (_core.Error, gdb.error) as error:
            note_problem(error)
            return True
        except KeyboardInterrupt:
            # Whoever presses Ctrl-C while hits follow each other wants to stop.
            return True


def ours():
    """The breakpoints of this module that GDB still has, those of an earlier sourcing included."""
    return [point for point in gdb.breakpoints() if type(point).__name__ == "TranslationBreakpoint"]


def install():
    """Sees to the breakpoints on the device's function; returns its symbol."""
    function = session().translate_function()
    if not ours():
        places = return_places(function["symbol"])
        if not places:
            raise gdb.GdbError("%s has no return instruction to stop at." % function["symbol"])
        TranslationBreakpoint("*%s" % function["symbol"], False)
        for place in places:
            TranslationBreakpoint(place, True)
    return function["symbol"]


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


_prepared = []


def prepare():
    """In a session on QEMU, once for a program: its threads wake each other with SIGUSR1, which is nobody's news."""
    program = gdb.current_progspace().filename
    if program is None or program in _prepared or session().side() != "qemu":
        return
    _prepared.append(program)
    gdb.execute("handle SIGUSR1 nostop noprint pass", to_string=True)
