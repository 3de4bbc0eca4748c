"""The `iommu` commands. Each reads its arguments, asks the core and prints the answer."""

import gdb

from .. import _core
from . import breakpoints, parameters, translations
from .arguments import SELECTORS, iova_range, number, parse, selector
from .debugger import Debugger, arguments, names_above, registers, require_guest, stack_pointer, step_in_target
from .state import ensure_open, on_qemu, record_facts, session, settle, write


class Command(gdb.Command):
    """A subcommand of `iommu`: turns the core's errors into GDB's."""

    repeats = True

    def __init__(self):
        super().__init__(self.name, gdb.COMMAND_DATA, self.completer())

    def completer(self):
        """GDB's completion class for the command's words."""
        return gdb.COMPLETE_NONE

    def invoke(self, argument, from_tty):
        if not self.repeats:
            self.dont_repeat()
        try:
            if on_qemu() and session().is_open():
                session().flush()
            self.run(argument)
        except _core.Error as error:
            raise gdb.GdbError(str(error)) from None
        except gdb.GdbError:
            raise
        except gdb.error as error:
            raise gdb.GdbError(str(error)) from None


class Iommu(gdb.Command):
    """Decode an IOMMU driver's map calls and check the tables they make.

    Connect to a guest (`target remote :1234`) with the kernel's symbols loaded, then:
      iommu break map        stop at the next map call and decode it
      finish                 when it has returned, see what it wrote and what the device makes of it
      iommu record           record all calls without stopping
      iommu check            compare everything recorded with the tables and the device
      iommu diagnose         name the cause
      iommu export x.md      write it down

    Or attach a second GDB to QEMU's own process, with QEMU's symbols and the same file:
      iommu break translate  stop at the device's next translation
      iommu record translate record them without stopping
      iommu timeline         what both sides have seen, in order"""

    def __init__(self):
        super().__init__("iommu", gdb.COMMAND_DATA, gdb.COMPLETE_NONE, True)

    def invoke(self, argument, from_tty):
        if argument:
            raise gdb.GdbError("'%s' is not an iommu command. `help iommu` lists them." % argument.split()[0])
        gdb.execute("help iommu")


class Status(Command):
    """Show what is known of driver, kernel, memory, device and investigation.

    Usage: iommu status"""

    name = "iommu status"

    def run(self, argument):
        parse("iommu status", argument)
        write(session().status())


class Open(Command):
    """Start or resume an investigation.

    Usage: iommu open [FILE]

    FILE is one SQLite file, by default `investigation.iommulens` in the current directory
    (`set iommu file`). Everything recorded is in it when the command that shows it returns."""

    name = "iommu open"
    repeats = False

    def completer(self):
        return gdb.COMPLETE_FILENAME

    def run(self, argument):
        parsed = parse("iommu open [FILE]", argument, most=1)
        write(session().open(parsed.words[0] if parsed.words else parameters.value("file") or ""))


_FILTERS = "[-iova A[-B]] [-device BDF]"


def _watch(usage, parsed, default_kinds, stop):
    """Adds the rule that a `break` or `record` command line describes; returns the functions it is about."""
    kinds = parsed.words or (["translate"] if on_qemu() else default_kinds)
    if kinds[0] not in ("map", "unmap", "translate"):
        raise gdb.GdbError("'%s' is not map, unmap or translate. Usage: %s" % (kinds[0], usage))
    first, last = iova_range(parsed.iova) if parsed.iova else (None, None)
    limit = number(parsed.limit, "Limit") if parsed.limit else None
    if limit is not None and not 0 < limit < 1 << 31:
        raise gdb.GdbError("-limit must be at least 1, not %s." % parsed.limit)
    device = parsed.device or parameters.value("device")
    if kinds == ["translate"]:
        if not on_qemu():
            raise gdb.GdbError(
                "Translations are made in QEMU: watch them in a second GDB that is attached to QEMU's process, with the "
                "same investigation file open."
            )
        ensure_open(parameters.value("file"))
        symbol = translations.install()
        session().watch_translations(stop, first=first, last=last, device=device, limit=limit)
        return symbol
    require_guest()
    session().functions()
    session().watch(kinds, stop, first=first, last=last, device=device, limit=limit)
    ensure_open(parameters.value("file"))
    # A GDB on QEMU that reads the file meanwhile wants to know the driver.
    record_facts()
    write(step_in_target())
    symbols = breakpoints.install()
    return ", ".join(symbols[kind] for kind in kinds if kind in symbols)


class Break(Command):
    """Stop at the driver's map or unmap calls, or at the device's translations, decoded.

    Usage: iommu break [map|unmap|translate] [-iova A[-B]] [-device BDF] [-when mismatch|always] [-limit N]
           iommu break off

    Stops at the entry of each call that passes the filter; `finish` then shows what the call
    wrote. With `-when mismatch` the guest stops only after a call whose entries are wrong: at
    the entry of the next one, because the tables do not change in between. Calls are recorded
    as by `iommu record`, also after -limit stops.

    translate is for the GDB on QEMU, and what is meant there without a word. It stops at the
    first translation of a run of equal ones; `finish` shows the answer. With `-when mismatch`
    it stops where the device refuses an access, or answers with another address than the
    tables give by the specification."""

    name = "iommu break"
    repeats = False

    def run(self, argument):
        usage = "iommu break [map|unmap|translate] %s [-when mismatch|always] [-limit N] | iommu break off" % _FILTERS
        parsed = parse(usage, argument, values=("iova", "device", "when", "limit"), most=1)
        if parsed.words == ["off"]:
            if on_qemu():
                _off(True, "No translation stops QEMU any more.", "No translation stopped QEMU.")
            else:
                _off(True, "No call stops the guest any more.", "No call stopped the guest.")
            return
        when = parsed.when or "always"
        if when not in ("mismatch", "always"):
            raise gdb.GdbError("-when is mismatch or always, not '%s'." % when)
        symbols = _watch(usage, parsed, ["map"], when)
        if on_qemu():
            write("Stops at %s." % (symbols if when == "always" else "wrong answers of %s" % symbols))
        else:
            write("Stops %s %s." % ("at" if when == "always" else "after a wrong", symbols))


class Record(Command):
    """Record the driver's map and unmap calls, or the device's translations, without stopping.

    Usage: iommu record [map|unmap|translate] [-iova A[-B]] [-device BDF] [-limit N] [-callers]
           iommu record off

    Each call is stored with its arguments; what it left in the tables is verified at the next
    one. The word says which calls -limit counts; those of the other kind that touch the same
    range are recorded too, because they undo what these did. With -callers also the functions
    above each call, which doubles what a call costs. Started before the kernel boots and
    without a filter, requests for DMA cookies are recorded as well (iommu_get_dma_cookie).

    translate is for the GDB on QEMU, and what is meant there without a word. Translations that
    follow each other in equal steps, with the same outcome and for the same access, are stored
    as one run; -limit counts runs."""

    name = "iommu record"
    repeats = False

    def run(self, argument):
        usage = "iommu record [map|unmap|translate] %s [-limit N] [-callers] | iommu record off" % _FILTERS
        parsed = parse(usage, argument, flags=("callers",), values=("iova", "device", "limit"), most=1)
        breakpoints.read_callers(bool(parsed.callers))
        if parsed.words == ["off"]:
            _off(False, "Recording stopped.", "Nothing was being recorded.")
            return
        symbols = _watch(usage, parsed, ["map", "unmap"], "never")
        if on_qemu():
            write("Records %s." % symbols)
            return
        write("Records %s." % ", ".join(function["symbol"] for function in session().functions()))


def _off(stops, done, nothing):
    settle()
    write(done if session().unwatch(stops) else nothing)
    breakpoints.remove_idle()


def _call_in_frames():
    """The map or unmap call of the selected frame or the nearest one above it: the function, and its frame."""
    require_guest()
    known = {function["symbol"]: function for function in session().functions()}
    try:
        frame = gdb.selected_frame()
    except gdb.error:
        raise gdb.GdbError("The guest is not stopped: there is no frame to read arguments from.") from None
    # Up from the selected frame; from the newest one when the user has gone above the call.
    for start in (frame, gdb.newest_frame()):
        while start is not None:
            function = known.get(start.name())
            if function is not None:
                return function, start
            start = start.older()
    raise gdb.GdbError(
        "Not stopped in a map or unmap call: neither %s is on the stack. `iommu break map` stops in one."
        % " nor ".join(sorted(known))
    )


def _decoded(function, frame):
    """The call that `frame` is of, decoded. What was recorded at its entry is exact; debug information may have lost it since."""
    start = int(gdb.parse_and_eval("(unsigned long)&%s" % function["symbol"]))
    symbol, caller = function["symbol"], frame.older()
    if frame.pc() == start and frame == gdb.newest_frame():
        return session().args(symbol, registers(len(function["parameters"])), names_above(frame))
    if caller is not None:
        # A caller's stack pointer is what the function found at its entry.
        recorded = session().recorded_args(symbol, gdb.selected_thread().num, stack_pointer(caller))
        if recorded is not None:
            return recorded
    return session().args(symbol, arguments(frame, symbol, function["parameters"]), names_above(frame))


def _translation_in_frames():
    """The arguments of the translation that the selected thread is in."""
    function = session().translate_function()
    try:
        frame = gdb.newest_frame()
    except gdb.error:
        raise gdb.GdbError("QEMU is not stopped: there is no frame to read arguments from.") from None
    start = int(gdb.parse_and_eval("(unsigned long)&%s" % function["symbol"]))
    if frame.pc() == start:
        # The System V ABI's second to fourth argument registers: the first one says where the answer goes.
        return [int(frame.read_register(name)) & 0xFFFFFFFFFFFFFFFF for name in ("rsi", "rdx", "rcx")]
    while frame is not None:
        if frame.name() == function["symbol"]:
            return arguments(frame, function["symbol"], function["parameters"])
        frame = frame.older()
    raise gdb.GdbError(
        "This thread is not in a translation: %s is not on its stack. `iommu break translate` stops in one."
        % function["symbol"]
    )


class Args(Command):
    """Decode the map or unmap call in the selected frame, or the nearest one up the stack.

    Usage: iommu args

    Of a call that is being recorded, the arguments are those at its entry, also where the compiler
    has overwritten them since. In QEMU, the translation that the selected thread is in."""

    name = "iommu args"

    def run(self, argument):
        parse("iommu args", argument)
        if on_qemu():
            write(session().translation_args(*_translation_in_frames()))
            return
        write(_decoded(*_call_in_frames()))


class Predict(Command):
    """Show the entries that the driver should write for a mapping.

    Usage: iommu predict IOVA PADDR SIZE PROT [-shift N] [-device BDF | -domain EXPR | -root GPA -mode sv39]

    SIZE is in bytes, PROT the driver's (1 read, 2 write, 4 cache). With -shift, the entries as
    they would be if the root were indexed with that shift."""

    name = "iommu predict"

    def run(self, argument):
        if on_qemu():
            raise gdb.GdbError("What the driver writes is predicted where the driver is: in the GDB on the kernel.")
        usage = "iommu predict IOVA PADDR SIZE PROT [-shift N] [-device BDF | -domain EXPR | -root GPA -mode sv39]"
        parsed = parse(usage, argument, values=("shift",) + SELECTORS, least=4, most=4)
        iova, paddr, size, prot = [
            number(word, what) for word, what in zip(parsed.words, ("IOVA", "PADDR", "SIZE", "PROT"))
        ]
        shift = number(parsed.shift, "Shift") if parsed.shift else None
        write(session().predict(iova, paddr, size, prot, shift=shift, **selector(parsed, parameters.value("device"))))


class Walk(Command):
    """Walk the I/O page table for an IOVA, every step shown.

    Usage: iommu walk IOVA [-device BDF | -domain EXPR | -root GPA -mode sv39] [-device-walk]

    With -device-walk also as the device does it, its deviations from the specification included."""

    name = "iommu walk"

    def run(self, argument):
        usage = "iommu walk IOVA [-device BDF | -domain EXPR | -root GPA -mode sv39] [-device-walk]"
        parsed = parse(usage, argument, flags=("device_walk",), values=SELECTORS, least=1, most=1)
        write(
            session().walk(
                number(parsed.words[0], "IOVA"),
                device_walk=bool(parsed.device_walk),
                **selector(parsed, parameters.value("device"))
            )
        )


class Dump(Command):
    """List the mappings of an I/O page table.

    Usage: iommu dump [-device BDF | -domain EXPR | -root GPA -mode sv39] [-iova A-B] [-flags rw] [-raw] [-o FILE]

    Contiguous mappings with equal flags are one line. -raw lists entries with their addresses,
    -o writes to a file."""

    name = "iommu dump"

    def run(self, argument):
        usage = (
            "iommu dump [-device BDF | -domain EXPR | -root GPA -mode sv39] [-iova A-B] [-flags rw] [-raw] [-o FILE]"
        )
        parsed = parse(usage, argument, flags=("raw",), values=("iova", "flags", "o") + SELECTORS)
        first, last = iova_range(parsed.iova) if parsed.iova else (None, None)
        chosen = selector(parsed, parameters.value("device"))
        options = dict(first=first, last=last, flags=parsed.flags, raw=bool(parsed.raw), **chosen)
        if not parsed.o:
            session().dump(gdb.write, **options)
            return
        try:
            with open(parsed.o, "w", encoding="utf-8") as output:
                session().dump(output.write, **options)
        except OSError as error:
            raise gdb.GdbError("%s cannot be written: %s." % (parsed.o, error.strerror)) from None
        write("Written to %s." % parsed.o)


class Devices(Command):
    """List the devices that the IOMMU's device table knows, and their tables.

    Usage: iommu devices"""

    name = "iommu devices"

    def run(self, argument):
        parse("iommu devices", argument)
        write(session().devices())


class Domains(Command):
    """List the domains that IOMMU groups use, their tables and how much is mapped.

    Usage: iommu domains"""

    name = "iommu domains"

    def run(self, argument):
        parse("iommu domains", argument)
        write(session().domains())


class Regs(Command):
    """Show the IOMMU's registers, decoded.

    Usage: iommu regs

    Where the driver's name for a register differs from the device's, both are shown."""

    name = "iommu regs"

    def run(self, argument):
        parse("iommu regs", argument)
        write(session().registers())


class Check(Command):
    """Compare the recorded calls with the tables and the device, worst first.

    Usage: iommu check [IOVA[-B]] [-all]

    The worst twenty lines, neighbours of which the same is to be said as one, and how many pages
    disagree in which way. With -all one line per range."""

    name = "iommu check"

    def run(self, argument):
        parsed = parse("iommu check [IOVA[-B]] [-all]", argument, flags=("all",), most=1)
        settle()
        record_facts()
        first, last = iova_range(parsed.words[0]) if parsed.words else (None, None)
        write(session().check(first, last, limit=None if parsed.all else 20))
        if Debugger().connection() is not None and not on_qemu() and not session().is_watching():
            write("Recording is off: calls made since it ended are not known to this check.")


class Diagnose(Command):
    """Name the causes that explain what disagrees, best first, with the evidence.

    Usage: iommu diagnose"""

    name = "iommu diagnose"

    def run(self, argument):
        parse("iommu diagnose", argument)
        settle()
        record_facts()
        write(session().diagnose())


class Probe(Command):
    """Go through the checklist of an IOMMU's bring-up: what was seen, where, and what fails.

    Usage: iommu probe

    The kernel's configuration, driver, default domains, device table, DMA operations, what VFIO
    needs, who is told of faults. Nothing runs in the guest: what the driver's callbacks answer,
    and which registers its interrupt handler reads, is found by following their instructions."""

    name = "iommu probe"

    def run(self, argument):
        parse("iommu probe", argument)
        require_guest()
        write(session().probe())


class Import(Command):
    """Take in evidence from texts: backtraces, logs, configurations, traces.

    Usage: iommu import FILE...

    A text may hold all of it, pasted as it came. The answer lists what was read, by kind and
    line, and what looks like evidence but could not be read. Prose is no evidence."""

    name = "iommu import"
    repeats = False

    def completer(self):
        return gdb.COMPLETE_FILENAME

    def run(self, argument):
        parsed = parse("iommu import FILE...", argument, least=1, most=1 << 16)
        ensure_open(parameters.value("file"))
        write(session().import_texts(parsed.words))


class Timeline(Command):
    """List what was seen on all sides, in order.

    Usage: iommu timeline [-last N] [-iova A[-B]]

    Calls and what they left wrong, translations, register changes, log lines, notes: event,
    seconds since the first one, and the side that saw it. Other GDBs' events are in it as soon
    as they are in the file."""

    name = "iommu timeline"

    def run(self, argument):
        parsed = parse("iommu timeline [-last N] [-iova A[-B]]", argument, values=("last", "iova"))
        first, last = iova_range(parsed.iova) if parsed.iova else (None, None)
        count = number(parsed.last, "Number") if parsed.last else None
        if count is not None and not 0 < count < 1 << 31:
            raise gdb.GdbError("-last must be at least 1, not %s." % parsed.last)
        settle()
        session().timeline(gdb.write, first, last, count)


class Note(Command):
    """Write a remark into the investigation.

    Usage: iommu note TEXT"""

    name = "iommu note"
    repeats = False

    def run(self, argument):
        if not argument.strip():
            raise gdb.GdbError("A note needs text. Usage: iommu note TEXT")
        ensure_open(parameters.value("file"))
        session().note(argument.strip())


class Export(Command):
    """Write the investigation as Markdown, JSON, CSV or a picture.

    Usage: iommu export FILE.md [-template FILE]
           iommu export FILE.json
           iommu export FILE.csv [-events calls|translations|registers|log|verifications]
           iommu export FILE.svg [-picture map|walk]

    The report for a colleague, the same for programs, its events as a table, and the addresses or
    the walk as a picture. `iommulens template` prints the report's template, to start your own."""

    name = "iommu export"
    repeats = False

    def completer(self):
        return gdb.COMPLETE_FILENAME

    def run(self, argument):
        usage = "iommu export FILE.md|.json|.csv|.svg [-template FILE] [-events KIND] [-picture KIND]"
        parsed = parse(usage, argument, values=("template", "events", "picture"), least=1, most=1)
        path = parsed.words[0]
        settle()
        record_facts()
        session().export(path, template=parsed.template, events=parsed.events, picture=parsed.picture)
        write("Written to %s." % path)


def register():
    """Registers the prefix and its commands."""
    for command in (
        Iommu,
        Status,
        Open,
        Break,
        Record,
        Args,
        Predict,
        Walk,
        Dump,
        Devices,
        Domains,
        Regs,
        Check,
        Diagnose,
        Probe,
        Import,
        Timeline,
        Note,
        Export,
    ):
        command()
