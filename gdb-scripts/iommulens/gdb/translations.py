"""Breakpoints in QEMU on the device's translate function: at its entry and where it returns.

A hit reads registers and calls the core; nothing is stepped or resumed, and no breakpoint is made: any of QEMU's threads
may be in the function.
"""

import gdb

from .. import _core
from .breakpoints import note_problem
from .debugger import return_places
from .state import session

_MASK = 0xFFFFFFFFFFFFFFFF


class TranslationBreakpoint(gdb.Breakpoint):
    """One place of the function; `registers` are what the core wants to know there."""

    def __init__(self, place, registers, is_return):
        self.registers = registers
        self.is_return = is_return
        super().__init__(place)
        self.silent = True

    def stop(self):
        try:
            # Through a frame object this would cost an unwinding.
            values = [int(gdb.parse_and_eval(name)) & _MASK for name in self.registers]
            return session().leave(values) if self.is_return else session().enter(values)
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
        TranslationBreakpoint("*%s" % function["symbol"], function["entry"], False)
        for place in places:
            TranslationBreakpoint(place, function["return"], True)
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
