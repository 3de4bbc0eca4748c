"""I/O page tables of QEMU guests: walk them, compare them with the device, name what is wrong.

In GDB, source `iommulens-gdb.py`. Outside GDB, this package gives notebooks the same core.
"""

from ._core import (  # noqa: F401
    Error,
    InvalidArgument,
    Investigation,
    InvestigationError,
    PageTable,
    TargetError,
    UnreadableMemory,
    decode_entry,
    version as __version__,
    walk_steps,
)
