"""What IOMMULens knows, for Python. Built from Sources/IOMMULensPython; see `make build`."""

from collections.abc import Callable
from typing import Literal, SupportsIndex, TypedDict, final

version: str

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
