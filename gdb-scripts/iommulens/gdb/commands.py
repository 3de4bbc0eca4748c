"""The `iommu` commands. Each says what its line may hold, asks the core and prints the answer."""

import gdb

from .. import _core
from . import breakpoints, following, mi, parameters, terminal, translations
from .arguments import (
    JSON,
    Choice,
    File,
    Grammar,
    Group,
    Known,
    Letters,
    Option,
    Value,
    Word,
    count,
    iova_range,
    number,
    selector,
)
from .debugger import Debugger, arguments, frames, names_above, registers, require_guest, stack_pointer, step_in_target
from .state import absence, catch_up, ensure_open, follow_target, on_qemu, record_facts, session, settle
from .terminal import emit, write


def _brief(text, limit=1000):
    """An error's text without the middle of what it quotes, where somebody has pasted a page into a command line."""
    return text if len(text) <= limit else "%s ... %s" % (text[: limit // 2], text[-limit // 2 :])


class Command(gdb.Command):
    """A subcommand of `iommu`: takes its line apart by its grammar, and turns the core's errors into GDB's."""

    grammar = Grammar()
    repeats = True

    def __init__(self):
        # GDB asks both of the object. A class's own docstring would hide what follows from the grammar.
        self.__doc__ = self.grammar.help(self.name, type(self).__doc__)
        if self.grammar.holds_files_only():
            super().__init__(self.name, gdb.COMMAND_DATA, gdb.COMPLETE_FILENAME)
            return
        self.complete = self.grammar.complete
        super().__init__(self.name, gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        if not self.repeats:
            self.dont_repeat()
        self.attempt(lambda: self.run(self.parse(argument)))

    def attempt(self, action):
        """The result of `action`; what goes wrong is an error with a sentence."""
        guest = Debugger().connection()
        try:
            follow_target()
            session().fit(terminal.width())
            catch_up()
            return action()
        except gdb.GdbError as error:
            raise gdb.GdbError(_brief(str(error))) from None
        except (_core.TargetError, gdb.error) as error:
            if guest is not None and Debugger().connection() is None:
                # Whatever went wrong after that, and is told of the guest, is not the cause.
                raise gdb.GdbError(
                    "The connection to %s ended meanwhile. `target remote %s` connects again." % (guest, guest)
                ) from None
            raise gdb.GdbError(_brief(str(error)) + absence()) from None
        except _core.Error as error:
            raise gdb.GdbError(_brief(str(error))) from None
        except KeyboardInterrupt:
            raise gdb.GdbError("Interrupted.") from None

    def parse(self, argument):
        """The line taken apart."""
        return self.grammar.parse(self.name, argument)

    def run(self, parsed):
        """Does what the line asks for."""
        raise NotImplementedError


class Question(Command):
    """A command that answers something: in words, as JSON, or to an MI front end."""

    def __init__(self):
        if JSON not in self.grammar.parts:
            self.grammar = Grammar(*self.grammar.parts, JSON)
        super().__init__()

    def answer(self, parsed, form):
        """The answer as the core gives it in that form."""
        raise NotImplementedError

    def run(self, parsed):
        write(self.answer(parsed, "json" if parsed.json else "text"))
        _tell_interruption()

    def records(self, words):
        """The answer to an MI command with these words."""
        return self.attempt(lambda: self.answer(self.grammar.parse_words("-" + self.name.replace(" ", "-"), words), "records"))


class Stream(Question):
    """A question with an answer of any length: piece by piece, as JSON an answer a line."""

    # The name that all of it has among MI's results.
    results = None

    def stream(self, parsed, emit, form):
        """Hands the answer's pieces to `emit`."""
        raise NotImplementedError

    def run(self, parsed):
        self.stream(parsed, emit, "json" if parsed.json else "text")
        _tell_interruption()

    def answer(self, parsed, form):
        found = []
        self.stream(parsed, found.append, form)
        return {self.results: found}


def _tell_interruption():
    if session().was_interrupted():
        raise gdb.GdbError("Interrupted: this is what was found up to then.")


def _known(method):
    """What the session knows of a kind, asked when somebody wants to complete it."""
    return lambda: getattr(session(), method)()


_BDF = Known("BDF", _known("known_devices"))
_RANGE = Option("iova", "only what is about these addresses, both inclusive", Value("A[-B]"))
_DEVICE = Option("device", "only this device: its PCI address, 0000:00:01.0", _BDF)
_KIND = Word(Choice("map", "unmap", "translate"), "calls of this kind; by default see below", optional=True)
_TABLE = Group(
    [Option("device", "the table of this device: its PCI address, 0000:00:01.0", _BDF)],
    [
        Option(
            "domain",
            "the table of this domain: the pointer that the driver's calls carry",
            Known("EXPR", lambda: ["0x%x" % domain for domain in session().known_domains()]),
        )
    ],
    [
        Option("root", "the table at this guest-physical address", Value("GPA")),
        Option("mode", "its format: %s; by default sv39" % ", ".join(_core.modes), Choice(*_core.modes, shown="MODE")),
    ],
)


class Iommu(gdb.Command):
    """Decode an IOMMU driver's map calls and check the tables they make.

    Connect to a guest (`target remote :1234`) with the kernel's symbols loaded, then:
      iommu status           what is known, and what is missing
      iommu break map        stop at the next map call and decode it
      finish                 when it has returned, see what it wrote and what the device makes of it
      iommu record           record all calls without stopping; `continue`, then Ctrl-C
      iommu check            compare everything recorded with the tables and the device
      iommu diagnose         name the cause
      iommu export x.md      write it down

    Look around meanwhile:
      iommu walk 0xfffff000  one address through the tables, step by step
      iommu dump             everything that is mapped
      iommu devices, domains who is behind the IOMMU, and by which table
      iommu regs             the device's registers
      iommu probe            the bring-up, item by item: what works, what does not
      iommu ask 0xfffff000   what the device itself says; the one command that writes to it

    Or attach a second GDB to QEMU's own process, with QEMU's symbols and the same file:
      iommu break translate  stop at the device's next translation
      iommu record translate record them without stopping; on the kernel, from QEMU's log
      iommu timeline         what both sides have seen, in order

    Notes and logs count as well: `iommu import`. Preferences: `help set iommu`. In expressions:
    $iommu_walk(iova), $iommu_index(iova, level). For programs: -json, and in GDB/MI -iommu-walk
    and the like. Tab completes options, devices and modes; Ctrl-C ends what takes too long."""

    def __init__(self):
        super().__init__("iommu", gdb.COMMAND_DATA, gdb.COMPLETE_NONE, True)

    def invoke(self, argument, from_tty):
        words = argument.split()
        if words:
            raise gdb.GdbError("'%s' is not an iommu command. `help iommu` lists them." % _brief(words[0], 80))
        gdb.execute("help iommu")


class Status(Question):
    """Show what is known of driver, kernel, memory, device and investigation."""

    name = "iommu status"

    def answer(self, parsed, form):
        return session().status(form=form)

    def run(self, parsed):
        super().run(parsed)
        if not parsed.json:
            write(breakpoints.gap())
            write(absence().strip())


class Open(Command):
    """Start or resume an investigation.

    Everything recorded is in the file when the command that shows it returns."""

    name = "iommu open"
    grammar = Grammar(
        Word(
            File("FILE"),
            "one SQLite file; by default that of `set iommu file`, investigation.iommulens in the current directory",
            optional=True,
        )
    )
    repeats = False

    def run(self, parsed):
        write(session().open(parsed.words[0] if parsed.words else parameters.value("file") or ""))


def _watch(parsed, default_kinds, stop):
    """Adds the rule that a `break` or `record` command line describes; returns the functions it is about."""
    kinds = parsed.words or (["translate"] if on_qemu() else default_kinds)
    first, last = iova_range(parsed.iova)
    limit = count(parsed.limit, "-limit")
    device = parsed.device or parameters.value("device")
    if kinds == ["translate"]:
        if not on_qemu():
            raise gdb.GdbError(
                "Translations are made in QEMU: watch them in a second GDB that is attached to QEMU's process, with the "
                "same investigation file open."
            )
        following.refuse_log(parsed)
        ensure_open(parameters.value("file"))
        symbol = translations.install()
        session().watch_translations(stop, first=first, last=last, device=device, limit=limit)
        return symbol
    following.refuse_log(parsed)
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

    Without a kind, map calls. Stops at the entry of each call that passes the filter; `finish`
    then shows what the call wrote. With `-when mismatch` the guest stops only after a call whose
    entries are wrong: at the entry of the next one, because the tables do not change in between.
    Calls are recorded as by `iommu record`, also after -limit stops.

    translate is for the GDB on QEMU, and what is meant there without a kind. It stops at the
    first translation of a run of equal ones; `finish` shows the answer. With `-when mismatch`
    it stops where the device refuses an access, or answers with another address than the
    tables give by the specification."""

    name = "iommu break"
    grammar = Grammar(
        _KIND,
        _RANGE,
        _DEVICE,
        Option("when", "stop only after a wrong call, or at each; always by default", Choice("mismatch", "always")),
        Option("limit", "stop so many times", Value("N")),
        instead="off",
    )
    repeats = False

    def run(self, parsed):
        if parsed.words == ["off"]:
            if on_qemu():
                _off(True, "No translation stops QEMU any more.", "No translation stopped QEMU.")
            else:
                _off(True, "No call stops the guest any more.", "No call stopped the guest.")
            return
        when = (parsed.when or "always").lower()
        symbols = _watch(parsed, ["map"], when)
        if on_qemu():
            write("Stops at %s." % (symbols if when == "always" else "wrong answers of %s" % symbols))
        else:
            write("Stops %s %s." % ("at" if when == "always" else "after a wrong", symbols))


class Record(Command):
    """Record the driver's map and unmap calls, or the device's translations, without stopping.

    Without a kind, map and unmap calls. Each call is stored with its arguments; what it left in
    the tables is verified at the next one. The kind says which calls -limit counts; those of the
    other kind that touch the same range are recorded too, because they undo what these did.
    Started before the kernel boots and without a filter, requests for DMA cookies are recorded
    as well (iommu_get_dma_cookie).

    translate is for the GDB on QEMU, and what is meant there without a kind. Translations that
    follow each other in equal steps, with the same outcome and for the same access, are stored
    as one run; -limit counts runs.

    In the GDB on the kernel, translate follows the log into which a QEMU writes its trace of the
    device (`-trace 'riscv_iommu*' -D FILE`), beside the calls: translations, faults and commands
    are recorded when the guest stands still at a call, a stop or a command, in their true order.
    The file is that of QEMU's -D unless -log names another one. -iova and -device choose
    translations; faults and invalidations are recorded always."""

    name = "iommu record"
    grammar = Grammar(
        _KIND,
        _RANGE,
        _DEVICE,
        Option("limit", "record so many", Value("N")),
        Option("callers", "also the functions above each call, which doubles what a call costs"),
        Option("log", "with translate: the log that QEMU writes; by default that of its -D", File("FILE")),
        instead="off",
    )
    repeats = False

    def run(self, parsed):
        if parsed.words == ["translate"] and not on_qemu():
            following.follow(parsed)
            return
        breakpoints.read_callers(bool(parsed.callers))
        if parsed.words == ["off"]:
            _off(False, "Recording stopped.", "Nothing was being recorded.")
            return
        symbols = _watch(parsed, ["map", "unmap"], "never")
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
        for candidate in frames(start):
            function = known.get(candidate.name())
            if function is not None:
                return function, candidate
    raise gdb.GdbError(
        "Not stopped in a map or unmap call: neither %s is on the stack. `iommu break map` stops in one."
        % " nor ".join(sorted(known))
    )


def _decoded(function, frame, form):
    """The call that `frame` is of, decoded. What was recorded at its entry is exact; debug information may have lost it since."""
    start = int(gdb.parse_and_eval("(unsigned long)&%s" % function["symbol"]))
    symbol, caller = function["symbol"], frame.older()
    if frame.pc() == start and frame == gdb.newest_frame():
        return session().args(symbol, registers(len(function["parameters"])), names_above(frame), form=form)
    if caller is not None:
        # A caller's stack pointer is what the function found at its entry.
        recorded = session().recorded_args(symbol, gdb.selected_thread().num, stack_pointer(caller), form=form)
        if recorded is not None:
            return recorded
    return session().args(symbol, arguments(frame, symbol, function["parameters"]), names_above(frame), form=form)


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
    for candidate in frames(frame):
        if candidate.name() == function["symbol"]:
            return arguments(candidate, function["symbol"], function["parameters"])
    raise gdb.GdbError(
        "This thread is not in a translation: %s is not on its stack. `iommu break translate` stops in one."
        % function["symbol"]
    )


class Args(Question):
    """Decode the map or unmap call in the selected frame, or the nearest one up the stack.

    Of a call that is being recorded, the arguments are those at its entry, also where the compiler
    has overwritten them since. In QEMU, the translation that the selected thread is in."""

    name = "iommu args"

    def answer(self, parsed, form):
        if on_qemu():
            return session().translation_args(*_translation_in_frames(), form=form)
        return _decoded(*_call_in_frames(), form)


class Predict(Question):
    """Show the entries that the driver should write for a mapping."""

    name = "iommu predict"
    grammar = Grammar(
        Word(Value("IOVA"), "where the mapping begins"),
        Word(Value("PADDR"), "the guest-physical address that it leads to"),
        Word(Value("SIZE"), "its size in bytes"),
        Word(Value("PROT"), "the driver's protection: 1 read, 2 write, 4 cache"),
        Option("shift", "the entries as they would be if the root were indexed with this shift", Value("N")),
        _TABLE,
    )

    def answer(self, parsed, form):
        if on_qemu():
            raise gdb.GdbError("What the driver writes is predicted where the driver is: in the GDB on the kernel.")
        iova, paddr, size, prot = [
            number(word, what) for word, what in zip(parsed.words, ("IOVA", "PADDR", "SIZE", "PROT"))
        ]
        shift = number(parsed.shift, "Shift") if parsed.shift else None
        chosen = selector(parsed, parameters.value("device"))
        return session().predict(iova, paddr, size, prot, shift=shift, form=form, **chosen)


class Walk(Question):
    """Walk the I/O page table for an IOVA, every step shown."""

    name = "iommu walk"
    grammar = Grammar(
        Word(Value("IOVA"), "the address that the device puts on the bus"),
        _TABLE,
        Option("device-walk", "also as the device does it, its deviations from the specification included"),
        Option("write", "the device walks for a write; without it, for a read"),
    )

    def answer(self, parsed, form):
        return session().walk(
            number(parsed.words[0], "IOVA"),
            device_walk=bool(parsed.device_walk),
            write=bool(parsed.write),
            form=form,
            **selector(parsed, parameters.value("device"))
        )


class Dump(Stream):
    """List the mappings of an I/O page table.

    Contiguous mappings with equal flags are one line."""

    name = "iommu dump"
    results = "items"
    grammar = Grammar(
        _TABLE,
        Option("iova", "only these addresses, both inclusive", Value("A[-B]")),
        Option("flags", "only what has all of these flags: rw", Letters("FLAGS", _core.flag_letters)),
        Option("raw", "entries with their addresses instead of mappings"),
        Option("o", "into this file", File("FILE")),
    )

    def stream(self, parsed, emit, form):
        session().dump(emit, form=form, **self.wanted(parsed))

    def run(self, parsed):
        if not parsed.o:
            super().run(parsed)
            return
        session().write_dump(parsed.o, form="json" if parsed.json else "text", **self.wanted(parsed))
        write("Written to %s." % parsed.o)
        _tell_interruption()

    def wanted(self, parsed):
        """What the line asks for, as the core takes it."""
        first, last = iova_range(parsed.iova)
        chosen = selector(parsed, parameters.value("device"))
        return dict(chosen, first=first, last=last, flags=parsed.flags, raw=bool(parsed.raw))


class Devices(Question):
    """List the devices that the IOMMU's device table knows, and their tables."""

    name = "iommu devices"

    def answer(self, parsed, form):
        return session().devices(form=form)


class Domains(Question):
    """List the domains that IOMMU groups use, their tables and how much is mapped."""

    name = "iommu domains"

    def answer(self, parsed, form):
        return session().domains(form=form)


class Regs(Question):
    """Show the IOMMU's registers, decoded.

    Where the driver's name for a register differs from the device's, both are shown."""

    name = "iommu regs"

    def answer(self, parsed, form):
        return session().registers(form=form)


class Check(Question):
    """Compare the recorded calls with the tables and the device, worst first.

    The worst twenty lines, neighbours of which the same is to be said as one, and how many pages
    disagree in which way."""

    name = "iommu check"
    grammar = Grammar(
        Word(Value("IOVA[-B]"), "only these addresses, both inclusive", optional=True),
        Option("all", "every range, one a line"),
    )

    def answer(self, parsed, form):
        settle()
        record_facts()
        first, last = iova_range(parsed.words[0] if parsed.words else None)
        return session().check(first, last, limit=None if parsed.all else 20, form=form)

    def run(self, parsed):
        super().run(parsed)
        if parsed.json:
            return
        write(breakpoints.gap())
        if not on_qemu() and not session().is_watching() and Debugger().connection() is not None:
            write("Recording is off: calls made since it ended are not known to this check.")


class Diagnose(Question):
    """Name the causes that explain what disagrees, best first, with the evidence."""

    name = "iommu diagnose"

    def answer(self, parsed, form):
        settle()
        record_facts()
        return session().diagnose(form=form)


class Probe(Question):
    """Go through the checklist of an IOMMU's bring-up: what was seen, where, and what fails.

    The kernel's configuration, driver, default domains, device table, DMA operations, what VFIO
    needs, who is told of faults. Nothing runs in the guest: what the driver's callbacks answer,
    and which registers its interrupt handler reads, is found by following their instructions."""

    name = "iommu probe"

    def answer(self, parsed, form):
        require_guest()
        return session().probe(form=form)


class Import(Command):
    """Take in evidence from texts: backtraces, logs, configurations, traces.

    The answer lists what was read, by kind and line, and what looks like evidence but could not
    be read. Prose is no evidence."""

    name = "iommu import"
    grammar = Grammar(Word(File("FILE"), "a text, which may hold all of it, pasted as it came", many=True))
    repeats = False

    def run(self, parsed):
        ensure_open(parameters.value("file"))
        write(session().import_texts(parsed.words))


class Timeline(Stream):
    """List what was seen on all sides, in order.

    Calls and what they left wrong, translations, register changes, log lines, notes: event,
    seconds since the first one, and the side that saw it. Other GDBs' events are in it as soon
    as they are in the file."""

    name = "iommu timeline"
    results = "events"
    grammar = Grammar(Option("last", "only so many at the end", Value("N")), _RANGE)

    def stream(self, parsed, emit, form):
        first, last = iova_range(parsed.iova)
        settle()
        session().timeline(emit, first, last, count(parsed.last, "-last"), form=form)


class Note(Command):
    """Write a remark into the investigation."""

    name = "iommu note"
    grammar = Grammar(Word(Value("TEXT"), "the remark: all of the line"))
    repeats = False

    def parse(self, argument):
        # A remark is no list of words: quotes and minus signs are its own.
        if not argument.strip():
            raise gdb.GdbError("A note needs text. Usage: iommu note TEXT")
        return argument.strip()

    def run(self, parsed):
        ensure_open(parameters.value("file"))
        session().note(parsed)


class Export(Command):
    """Write the investigation as Markdown, JSON, CSV or a picture.

    The report for a colleague, the same for programs, its events as a table, and the addresses or
    the walk as a picture. `iommulens template` prints the report's template, to start your own."""

    name = "iommu export"
    grammar = Grammar(
        Word(File("FILE"), "the file to write; .md, .json, .csv or .svg says as what"),
        Option("template", "Markdown by this template", File("FILE")),
        Option(
            "events",
            "CSV of these: calls, translations, registers, log or verifications; by default calls",
            Choice("calls", "translations", "registers", "log", "verifications", shown="KIND"),
        ),
        Option("picture", "the picture of the addresses or of the walk; by default map", Choice("map", "walk")),
    )
    repeats = False

    def run(self, parsed):
        path = parsed.words[0]
        settle()
        record_facts()
        session().export(path, template=parsed.template, events=parsed.events, picture=parsed.picture)
        write("Written to %s." % path)


def register(*others):
    """Registers the prefix, its commands and `others`, and the MI twins of those that answer something."""
    Iommu()
    commands = [
        command()
        for command in (
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
        )
        + others
    ]
    mi.register([command for command in commands if isinstance(command, Question)])
