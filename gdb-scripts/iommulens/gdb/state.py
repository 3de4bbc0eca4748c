"""The session of this GDB, shared by commands, breakpoints and events, and what happens when the target changes."""

import gdb

from .. import _core
from . import terminal
from .debugger import Debugger, function_source, is_remote, names_above
from .terminal import write

DEFAULT_FILE = "investigation.iommulens"


def session():
    """The one session of this GDB; it survives sourcing the script again."""
    kept = getattr(gdb, "_iommulens_session", None)
    if kept is None:
        kept = gdb._iommulens_session = _core.Session(Debugger())
    return kept


# What the target is known by, and where the last guest was.
_target = None
_guest = None


def follow_target():
    """Forgets what was found out about the target when the user has chosen another one.

    Not every GDB has an event for another inferior, for symbols that were taken away and for a library's that moved.
    """
    global _guest, _target
    inferior = gdb.selected_inferior()
    connection = getattr(inferior, "connection", None)
    if is_remote(connection):
        _guest = connection.details
    now = (inferior.num, getattr(inferior, "connection_num", None), [objfile.filename for objfile in gdb.objfiles()])
    if _target not in (None, now):
        session().forget()
    _target = now


def absence():
    """A sentence on where the guest went, to be added where the selected inferior has none; empty where nothing is known."""
    if Debugger().connection() is not None or gdb.selected_inferior().pid:
        return ""
    for inferior in gdb.inferiors():
        if is_remote(getattr(inferior, "connection", None)):
            return " Inferior %d is connected to one: `inferior %d` selects it." % (inferior.num, inferior.num)
    return " The connection to %s has ended." % _guest if _guest else ""


def on_qemu():
    """Whether this GDB holds QEMU itself."""
    return session().side() == "qemu"


def ensure_open(default=None):
    """Opens the default investigation when none is open, and says so."""
    if not session().is_open():
        write(session().open(default or DEFAULT_FILE))


def record_facts():
    """Writes what is known of kernel and debugger into the investigation."""
    if on_qemu():
        session().flush()
        return
    source = None
    try:
        functions = session().functions()
        source = function_source(functions[0]["symbol"])
    except _core.Error:
        pass
    session().record_facts("GDB " + gdb.VERSION, source)


def catch_up():
    """Stores what was seen beside the stops: translations, and what QEMU has written into the log that is followed."""
    if not session().is_open():
        return
    if on_qemu():
        session().flush()
    else:
        write(session().take_log())


def settle():
    """Verifies the last recorded call if it has returned; prints what it did when the user saw its entry."""
    function = session().pending()
    if function is None:
        return
    try:
        frame = gdb.newest_frame()
        inside = [frame.name()] + names_above(frame, 16)
    except gdb.error:
        return
    if function not in inside:
        write(session().returned())


def _on_stop(event):
    from . import breakpoints, translations

    follow_target()
    session().target_ran()
    session().fit(terminal.width())
    try:
        if on_qemu():
            session().flush()
            hit = any(isinstance(hit, translations.TranslationBreakpoint) for hit in getattr(event, "breakpoints", []))
            write(session().translation() if hit else session().answer())
            breakpoints.report_problem()
            breakpoints.remove_idle()
            return
        catch_up()
        own = breakpoints.ours("CallBreakpoint")
        hits = [hit for hit in getattr(event, "breakpoints", []) if hit in own]
        failed = breakpoints.report_problem()
        if hits and not failed:
            record_facts()
            write(session().stopped(names_above(gdb.newest_frame())))
        elif not hits:
            settle()
        breakpoints.remove_idle()
    except (_core.Error, gdb.error) as error:
        write("iommu: %s" % error)


def _on_continue(_event):
    session().target_ran()


def _on_new_symbols(event):
    from . import translations

    session().forget()
    follow_target()
    # A library tells nothing of the side; the program does.
    if getattr(event, "new_objfile", None) is None or event.new_objfile.filename == event.new_objfile.progspace.filename:
        translations.prepare()


def connect_events():
    """Connects the event handlers once, whatever number of times the script is sourced."""
    kept = getattr(gdb, "_iommulens_handlers", None)
    if kept:
        for registry, handler in kept:
            registry.disconnect(handler)
    wanted = [(gdb.events.stop, _on_stop), (gdb.events.cont, _on_continue), (gdb.events.new_objfile, _on_new_symbols)]
    if hasattr(gdb.events, "connection_removed"):
        wanted.append((gdb.events.connection_removed, _on_new_symbols))
    for registry, handler in wanted:
        registry.connect(handler)
    gdb._iommulens_handlers = wanted
