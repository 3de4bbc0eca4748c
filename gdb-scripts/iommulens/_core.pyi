"""What IOMMULens knows, for Python. Built from Sources/IOMMULensPython; see `make build`."""

from collections.abc import Callable
from os import PathLike
from types import TracebackType
from typing import Literal, Protocol, SupportsIndex, TypedDict, final

version: str
modes: list[str]
"""The paging modes that are known."""
flag_letters: str
"""The letters of a page-table entry's flags, from bit 0 on."""

Mode = Literal["sv32", "sv39", "sv48", "sv57", "sv39x4", "sv48x4", "sv57x4"]

Memory = Callable[[int, int], bytes | bytearray | memoryview]
"""`memory(address, length)` returns that many bytes of guest-physical memory, or raises UnreadableMemory. Any other
exception ends the operation and reaches its caller as it is."""

class Error(Exception):
    """The base of this module's exceptions."""

class UnreadableMemory(Error):
    """Guest memory that cannot be read; raise it from a memory callable to say so."""

    address: int | None
    """The first address that cannot be read. None in an instance made by Python: the address asked for counts."""
    reason: str | None
    """Why, as a phrase. None in an instance made by Python: its text counts."""

class InvalidArgument(Error, ValueError):
    """An argument with a value that makes no sense."""

class InvestigationError(Error):
    """An investigation file that cannot be opened, read or written."""

class TargetError(Error):
    """Something that the debugger or its target refused."""

class Entry(TypedDict):
    """A page-table entry. This class and the following describe dicts; they exist for type checkers only."""

    raw: int
    kind: Literal["invalid", "pointer", "leaf"]
    flags: str
    """The letters of the set flags, `V R W`; `-` for none."""
    address: int
    """The page that the entry names: a table for a pointer, the mapped page for a leaf."""
    ppn: int
    rsw: int
    pbmt: int
    contiguous: bool
    reserved: int
    problem: str | None
    """What the specification forbids about the entry at its level."""

class Step(TypedDict):
    """One entry read by a walk."""

    level: int
    table: int
    index: int
    entry_address: int
    entry: Entry

class Mapped(TypedDict):
    """The leaf was found: where the IOVA goes, the bytes that the leaf maps, and its flags."""

    kind: Literal["mapped"]
    target: int
    size: int
    flags: str

class NotMapped(TypedDict):
    """The entry at this level is not valid."""

    kind: Literal["not_mapped"]
    level: int

class Malformed(TypedDict):
    """The entry at this level is valid and breaks a rule."""

    kind: Literal["malformed"]
    level: int
    problem: str

class Unreadable(TypedDict):
    """An entry could not be read."""

    kind: Literal["unreadable"]
    address: int
    reason: str

class NotCanonical(TypedDict):
    """The bits above the mode's input are not what the mode demands; no entry was read."""

    kind: Literal["not_canonical"]

class Walk(TypedDict):
    """One translation by the specification."""

    mode: Mode
    root: int
    iova: int
    steps: list[Step]
    """The entries read, root first."""
    outcome: Mapped | NotMapped | Malformed | Unreadable | NotCanonical

class Row(TypedDict):
    """One entry of a table."""

    index: int
    entry_address: int
    entry: Entry

def decode_entry(raw: SupportsIndex, level: SupportsIndex = 0, mode: Mode = "sv39") -> Entry:
    """Decodes a page-table entry as it stands in memory; `problem` says what the specification forbids about it."""

def styled(text: str, styles: dict[str, str]) -> str:
    """A text of a session with a terminal's styles in it.

    `styles` has the escape sequence that begins each of `address`, `function`, `title` and `highlight`; one that is missing or
    empty leaves its part plain.
    """

def walk_steps(memory: Memory, root: SupportsIndex, iova: SupportsIndex, mode: Mode = "sv39") -> Walk:
    """Walks from the table at `root` for `iova`: the entries read and how it ended.

    `memory(address, length)` returns that many bytes of guest-physical memory, or raises UnreadableMemory.
    """

@final
class PageTable:
    """The tables under one root.

    `memory(address, length)` returns that many bytes of guest-physical memory, or raises UnreadableMemory.
    """

    def __init__(self, memory: Memory, root: SupportsIndex, mode: Mode = "sv39") -> None: ...
    def walk(self, iova: SupportsIndex) -> Walk:
        """Walks for `iova`: the entries read and how it ended."""

    def entries(self, table: SupportsIndex | None = None, level: SupportsIndex | None = None) -> list[Row]:
        """The valid entries of the table at address `table`, which is of `level`; of the root when neither is given."""

class Function(TypedDict):
    """A function of the driver to watch, with its parameters in the order of the calling convention."""

    symbol: str
    kind: Literal["map", "unmap"]
    parameters: list[str]

class TranslateFunction(TypedDict):
    """The function of QEMU in which the device translates."""

    symbol: str
    parameters: list[str]
    """The memory region, the address and the access, as its sources name them."""

class Debugger(Protocol):
    """What a session asks of the debugger that holds the guest, or QEMU. Each method answers or raises TargetError."""

    def evaluate(self, expression: str) -> int: ...
    def string(self, expression: str) -> str: ...
    def parameters(self, function: str) -> list[str]: ...
    def function(self, address: int) -> str:
        """The name of the function that starts at `address`."""

    def read_virtual(self, address: int, length: int) -> bytes: ...
    def read_physical(self, address: int, length: int) -> bytes: ...
    def read_physical_pages(self, addresses: list[int]) -> bytes:
        """Whole pages one behind the other."""

    def write_physical(self, address: int, data: bytes) -> None:
        """Guest-physical memory or registers; for Session.ask() alone."""

    def connection(self) -> str | None: ...
    def monitor(self, command: str) -> str: ...
    def is_inside(self, function: str, thread: int | None, stack: int | None) -> bool:
        """Whether a call of `function`, entered with that stack pointer, is on the thread's stack; on any for None."""

    def progress(self, text: str | None) -> None:
        """Shows somebody who waits how far the work is; None when there is no more to wait for."""

    def process(self) -> int | None:
        """The process that the debugger itself holds."""

    def architecture(self) -> str: ...
    def callers(self, function: str, limit: int) -> list[str]:
        """The functions above `function`, which the selected thread is in."""

    def argument(self, function: str, depth: int, name: str) -> int | None:
        """A parameter of the function `depth` frames above `function`, a pointer followed."""

Form = Literal["text", "json", "records"]
"""How a session answers: in words, as JSON, or as dicts, lists and texts with the same names, without what is not known."""

Answer = str | dict[str, object]
"""A dict for `records`, else a str."""

@final
class Session:
    """An investigation from inside a debugger.

    `debugger` has the methods evaluate(expression) -> int, string(expression) -> str, parameters(function) -> [str],
    function(address) -> str, read_virtual(address, length) -> bytes, read_physical(address, length) -> bytes,
    read_physical_pages(addresses) -> bytes, write_physical(address, bytes) -> None for ask(), connection() -> str or None,
    monitor(command) -> str,
    is_inside(function, thread or None, stack or None) -> bool, progress(text or None) -> None and,
    for QEMU's side, process() -> int or None, architecture() -> str, callers(function, limit) -> [str] and
    argument(function, depth, name) -> int or None; each raises TargetError with a full sentence when it cannot answer.
    """

    def __init__(self, debugger: Debugger) -> None: ...
    def functions(self) -> list[Function]:
        """The driver's map and unmap functions: symbol, kind, parameters."""

    def status(self, form: Form = "text") -> Answer:
        """What is known: driver, kernel, memory source, registers, investigation."""

    def fit(self, width: SupportsIndex | None = None) -> None:
        """Says how many columns texts may have from now on; None for lines as long as they come."""

    def was_interrupted(self) -> bool:
        """Whether an answer has ended early since this was asked last, on Ctrl-C: it has what was found up to then."""

    def known_devices(self) -> list[str]:
        """PCI addresses of devices in the investigation and of those that this session has met. Asks nothing of the target."""

    def known_domains(self) -> list[int]:
        """Domains of recorded calls, as kernel-virtual addresses. Asks nothing of the target."""

    def forget(self) -> None:
        """Forgets what was found out about the target: other symbols, another guest."""

    def target_ran(self) -> None:
        """Forgets what changes while the guest runs."""

    def prefer(self, memory: Literal["auto", "remote"] = "auto", qemu_pid: SupportsIndex = 0) -> None:
        """Chooses where guest memory is read from."""

    def open(self, path: str) -> str:
        """Starts or resumes the investigation in a file; returns what it holds."""

    def is_open(self) -> bool:
        """Whether an investigation is open."""

    def record_facts(self, debugger: str | None = None, source: str | None = None) -> None:
        """Stores what is known of the kernel at a stop."""

    def watch(
        self,
        kinds: list[str],
        stop: Literal["never", "always", "mismatch"] = "never",
        first: SupportsIndex | None = None,
        last: SupportsIndex | None = None,
        device: str | None = None,
        limit: SupportsIndex | None = None,
    ) -> None:
        """Adds a rule: what hit() records and where it asks to stop.

        `stop` is never, always or mismatch; calls of other kinds in the range are recorded too, because they undo what
        these did.
        """

    def unwatch(self, stops: bool) -> int:
        """Drops the rules that stop the guest, or those that only record."""

    def is_watching(self) -> bool:
        """Whether the driver's functions still have to be watched."""

    def hit(
        self,
        function: str,
        arguments: list[SupportsIndex] | tuple[SupportsIndex, ...],
        thread: SupportsIndex | None = None,
        stack: SupportsIndex | None = None,
        callers: list[str] | tuple[str, ...] | None = None,
    ) -> bool:
        """Takes note of a call at its entry, after what QEMU's log has and after verifying the calls before it; whether the guest
        should stop.

        `thread` is the debugger's number for the CPU, `stack` its stack pointer: they tell which calls have returned.
        """

    def cookie_requested(self, domain: SupportsIndex, callers: list[str] | tuple[str, ...]) -> None:
        """Takes note of a call of the kernel's iommu_get_dma_cookie() at its entry."""

    def records_everything(self) -> bool:
        """Whether all calls are recorded, so that what happens once at boot is worth it."""

    def stopped(self, callers: list[str] | None = None) -> str:
        """What the user should see when stopped at a recorded call: the call before it, if that went wrong, and this one."""

    def returned(self) -> str | None:
        """Verifies the last recorded call, which must have returned. Text when the user was shown its entry, else None."""

    def pending(self) -> str | None:
        """The function of the recorded call that has not been verified yet, or None."""

    def args(
        self,
        function: str,
        arguments: list[SupportsIndex] | tuple[SupportsIndex, ...],
        callers: list[str] = [],
        form: Form = "text",
    ) -> Answer:
        """Decodes a call and the entries it should write."""

    def recorded_args(
        self, function: str, thread: SupportsIndex, stack: SupportsIndex, form: Form = "text"
    ) -> Answer | None:
        """The call that was recorded when `function` was entered there, decoded as by args(); None when none was."""

    def predict(
        self,
        iova: SupportsIndex,
        paddr: SupportsIndex,
        size: SupportsIndex,
        prot: SupportsIndex,
        shift: SupportsIndex | None = None,
        device: str | None = None,
        domain: SupportsIndex | None = None,
        root: SupportsIndex | None = None,
        mode: Mode = "sv39",
        form: Form = "text",
    ) -> Answer:
        """The entries that the driver should write for a mapping, or would write with another root shift."""

    def walk(
        self,
        iova: SupportsIndex,
        device: str | None = None,
        domain: SupportsIndex | None = None,
        root: SupportsIndex | None = None,
        mode: Mode = "sv39",
        device_walk: bool = False,
        write: bool = False,
        form: Form = "text",
    ) -> Answer:
        """Walks for `iova` by the specification and, with `device_walk`, as the device does when it reads, or with `write`
        writes.
        """

    def translate(
        self,
        iova: SupportsIndex,
        device: str | None = None,
        domain: SupportsIndex | None = None,
        root: SupportsIndex | None = None,
        mode: Mode = "sv39",
    ) -> int | None:
        """Where the specification walk sends `iova`; None when it is not mapped."""

    def dump(
        self,
        emit: Callable[[Answer], object],
        first: SupportsIndex | None = None,
        last: SupportsIndex | None = None,
        flags: str | None = None,
        raw: bool = False,
        device: str | None = None,
        domain: SupportsIndex | None = None,
        root: SupportsIndex | None = None,
        mode: Mode = "sv39",
        form: Form = "text",
    ) -> None:
        """Passes the tables' mappings, or with `raw` their entries, to emit(): in pieces of text, as JSON a line a mapping, or as
        records.
        """

    def write_dump(
        self,
        path: str,
        first: SupportsIndex | None = None,
        last: SupportsIndex | None = None,
        flags: str | None = None,
        raw: bool = False,
        device: str | None = None,
        domain: SupportsIndex | None = None,
        root: SupportsIndex | None = None,
        mode: Mode = "sv39",
        form: Form = "text",
    ) -> None:
        """Writes what dump() passes on into the file at `path`, as text or JSON. A file that is there is replaced when all is
        written.
        """

    def index(self, iova: SupportsIndex, level: SupportsIndex, mode: Mode = "sv39") -> int:
        """The index of `iova` in its table at `level`."""

    def devices(self, form: Form = "text") -> Answer:
        """Who is behind the IOMMU, as the kernel and the device's tables see it."""

    def probe(self, form: Form = "text") -> Answer:
        """The checklist of an IOMMU's bring-up, as it stands now."""

    def domains(self, form: Form = "text") -> Answer:
        """The domains that groups and devices use, and what is mapped in them."""

    def registers(self, form: Form = "text") -> Answer:
        """The device's registers, decoded."""

    def check(
        self,
        first: SupportsIndex | None = None,
        last: SupportsIndex | None = None,
        limit: SupportsIndex | None = None,
        form: Form = "text",
    ) -> Answer:
        """Compares recorded calls, tables and device: at most `limit` groups of ranges, worst first; every range without one."""

    def diagnose(self, form: Form = "text") -> Answer:
        """The hypotheses that explain what disagrees, best first."""

    def import_texts(self, paths: list[str] | tuple[str, ...]) -> str:
        """Takes in evidence from text files; returns what was read and what was not."""

    def side(self) -> Literal["kernel", "qemu"]:
        """Which side of the bus the debugger is on: kernel or qemu."""

    def translate_function(self) -> TranslateFunction | None:
        """The device's function to watch: its symbol and its parameters' names. None without one."""

    def watch_translations(
        self,
        stop: Literal["never", "always", "mismatch"] = "never",
        first: SupportsIndex | None = None,
        last: SupportsIndex | None = None,
        device: str | None = None,
        limit: SupportsIndex | None = None,
    ) -> None:
        """Adds a rule: which translations are recorded, and where enter() and leave() ask to stop."""

    def enter(self, thread: SupportsIndex) -> bool:
        """Takes note of a translation at whose entry the thread with this system id stands; whether QEMU should stop."""

    def leave(self, thread: SupportsIndex) -> bool:
        """Takes note of the answer of a translation that the thread is about to return from; whether QEMU should stop."""

    def translation(self) -> str | None:
        """What the user should see when stopped in a translation: what the one before came to, if they saw it, and this one."""

    def answer(self) -> str | None:
        """What the translation whose entry the user saw came to, or None."""

    def follow_log(
        self,
        path: str | PathLike[str] | None = None,
        first: SupportsIndex | None = None,
        last: SupportsIndex | None = None,
        device: str | None = None,
    ) -> str:
        """Records what QEMU's device does from its log, by default the one that QEMU was started with: from now on, until
        unwatch(). Says so.
        """

    def take_log(self) -> str | None:
        """Stores what QEMU has written into the log that is followed. What is to be said about the log, or None."""

    def flush(self) -> None:
        """Stores the translations seen up to now, so that other sessions see them."""

    def translation_args(
        self, region: SupportsIndex, address: SupportsIndex, access: SupportsIndex, form: Form = "text"
    ) -> Answer:
        """Decodes the arguments of a translation that the selected thread is in."""

    def timeline(
        self,
        emit: Callable[[Answer], object],
        first: SupportsIndex | None = None,
        last: SupportsIndex | None = None,
        count: SupportsIndex | None = None,
        form: Form = "text",
    ) -> None:
        """Passes what was recorded on all sides, in order, to emit(), at most `count` entries: in pieces of text, as JSON a line
        an entry, or as records.
        """

    def ask(
        self,
        iova: SupportsIndex,
        device: str | None = None,
        write: bool = False,
        execute: bool = False,
        process: SupportsIndex | None = None,
        privileged: bool = False,
        intrusive: bool = False,
        form: Form = "text",
    ) -> Answer:
        """Asks the device itself where it would send `iova`, by its debug registers: writes to them, and a refusal is reported
        to the guest as a fault. Does nothing unless `intrusive` says that this is meant.
        """

    def note(self, text: str) -> None:
        """Writes a remark into the investigation."""

    def export(
        self,
        path: str | PathLike[str],
        template: str | PathLike[str] | None = None,
        events: str | None = None,
        picture: str | None = None,
    ) -> None:
        """Writes the investigation to a file that ends in .md, .json, .csv or .svg."""

class Call(TypedDict):
    """One call of the driver's map or unmap function. Addresses and sizes are in bytes."""

    event: int
    """Its number in the investigation, which orders everything that was recorded."""
    kind: Literal["map", "unmap"]
    number: int
    """1 for the first call of its kind."""
    function: str
    domain: int
    """The kernel-virtual address of the domain; 0 where the call was seen without it."""
    iova: int
    length: int
    page_size: int | None
    page_count: int | None
    """Size and number of pages; None where the driver is passed a length only."""
    target: int | None
    """The guest-physical address that a map call asks for; None for an unmap."""
    prot: int | None
    """IOMMU_READ (1), IOMMU_WRITE (2), IOMMU_CACHE (4) and so on; None where it was not seen."""
    gfp: int | None
    requester: str | None
    """The device, `0000:00:01.0`."""
    root: int | None
    """The guest-physical address of the domain's root table."""
    mode: Mode | None
    callers: list[str]
    """The functions above, innermost first."""
    origin: str | None
    """The text and line that told of the call; None for one seen in a debugger."""
    verdict: str | None
    """What the tables held right after the call, against what they should: `agrees`, `missing`, `wrong address`, …; None for
    a call that was not verified."""
    finding: str | None
    """The verdict with its particulars."""
    pages_checked: int | None
    """Leaf entries that were compared: all, or an even sample of a large call."""
    pages_right: int | None

class Translation(TypedDict):
    """Translations that the device made: one, or a run of equal ones at even distances."""

    event: int
    requester: str | None
    iova: int
    """The first address."""
    count: int
    stride: int
    """Bytes from one to the next; 0 for a single one."""
    access: Literal["none", "read", "write", "read and write"] | None
    """What was wanted, `none` for a probe. None here and in what follows: not seen."""
    target: int | None
    """Where the first one was sent: a guest-physical address."""
    mask: int | None
    """The bytes that the answer covers, minus one."""
    permission: Literal["none", "read", "write", "read and write"] | None
    """What the answer allows."""
    refused: bool | None
    device: str | None
    """The device model that asked, the function in it that did, and how it accessed memory."""
    operation: str | None
    path: str | None
    length: int | None
    """Bytes of the whole access."""
    before: dict[str, int]
    after: dict[str, int]
    """The IOMMU's registers by name, before the first and after the last."""

class Hypothesis(TypedDict):
    """A cause that would explain what disagrees."""

    place: int
    """In the ranking: 1 for the best."""
    title: str
    explained: int
    total: int
    """How much of what disagrees it explains, of how much; both counted in `unit`s."""
    unit: str
    evidence: list[str]
    against: list[str]
    effects: list[str]
    remedy: str
    """Where to look, and what to change."""
    open_question: str | None
    """What would narrow it down, and the command that finds out; None when nothing is open."""

@final
class Investigation:
    """An investigation's file, `*.iommulens`, outside a debugger; also as a context manager.

    Where there is no such file, import_texts() makes it. Everything else then raises InvestigationError, as every method
    does after close(). What other processes add meanwhile is seen.
    """

    def __init__(self, path: str | PathLike[str]) -> None: ...
    def __enter__(self) -> "Investigation":
        """The investigation itself."""

    def __exit__(
        self, type: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Closes the investigation."""

    def close(self) -> None:
        """Lets the file go; every other method raises InvestigationError from then on."""

    def import_texts(self, paths: list[str | PathLike[str]] | tuple[str | PathLike[str], ...]) -> str:
        """Takes in evidence from text files; returns what was read and what was not.

        Texts of one call are taken together, as `iommulens import` does. A text that is known already adds nothing.
        """

    def check(self, iova: SupportsIndex | None = None, all: bool = False) -> str:
        """Compares recorded calls, tables and device, for one IOVA or for all: the worst 20 groups of ranges, or `all`."""

    def diagnose(self) -> str:
        """The hypotheses that explain what disagrees, best first, as text."""

    def hypotheses(self) -> list[Hypothesis]:
        """The hypotheses that explain what disagrees, best first, as data."""

    def timeline(
        self,
        first: SupportsIndex | None = None,
        last: SupportsIndex | None = None,
        count: SupportsIndex | None = None,
    ) -> str:
        """What was recorded on all sides, in order; about the IOVAs `first` to `last` only, at most `count` entries at the end."""

    def markdown(self) -> str:
        """The investigation as Markdown."""

    def export(
        self,
        path: str | PathLike[str],
        template: str | PathLike[str] | None = None,
        events: str | None = None,
        picture: str | None = None,
    ) -> None:
        """Writes the investigation to a file that ends in .md, .json, .csv or .svg.

        `template` is a file, for Markdown; `events` is "calls", "translations", "registers", "log" or "verifications", for
        CSV; `picture` is "map" or "walk", for SVG. An older file is replaced when the new one is complete.
        """

    def calls(self) -> list[Call]:
        """The driver's map and unmap calls in the order in which they were recorded, as data."""

    def translations(self) -> list[Translation]:
        """What the device was seen to translate, in the order in which it was recorded, as data."""
