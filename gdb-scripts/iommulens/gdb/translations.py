"""Breakpoints in QEMU on the device's translate function: at its entry and where it returns.

A hit tells the core which thread it was; nothing is stepped or resumed, and no breakpoint is made: any of QEMU's threads may
be in the function.
"""

import gdb

from .breakpoints import Watch, ours, renew
from .debugger import return_places
from .state import session

class TranslationBreakpoint(Watch):
    """The function's entry, or a place where it returns."""

    def __init__(self, symbol, place, is_return):
        self.is_return = is_return
        super().__init__(symbol, place)

    def hit(self):
        # Not through a frame object, which would cost an unwinding.
        thread = gdb.selected_thread().ptid[1]
        return session().leave(thread) if self.is_return else session().enter(thread)


def install():
    """Sees to the breakpoints on the device's function; returns its symbol."""
    symbol = session().translate_function()["symbol"]
    places = return_places(symbol)
    if not places:
        raise gdb.GdbError("%s has no return instruction to stop at." % symbol)
    present = ours("TranslationBreakpoint")
    if len(present) != 1 + len(places):
        for point in present:
            point.delete()
        TranslationBreakpoint(symbol, "*%s" % symbol, False)
        for place in places:
            TranslationBreakpoint(symbol, place, True)
    renew()
    return symbol


_prepared = []


def prepare():
    """In a session on QEMU, once for a program: its threads wake each other with SIGUSR1, which is nobody's news."""
    program = gdb.current_progspace().filename
    if program is None or program in _prepared or session().side() != "qemu":
        return
    _prepared.append(program)
    gdb.execute("handle SIGUSR1 nostop noprint pass", to_string=True)
