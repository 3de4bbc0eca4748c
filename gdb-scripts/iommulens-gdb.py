"""The one file to source in GDB: `source gdb-scripts/iommulens-gdb.py`.

Sourcing it again loads the package anew and keeps the open investigation.
"""

import os
import sys

_here = os.path.dirname(os.path.realpath(os.path.expanduser(__file__)))
if _here not in sys.path:
    sys.path.insert(0, _here)

import gdb  # noqa: E402


def _load():
    try:
        from iommulens import _core  # noqa: F401
    except ImportError as error:
        raise gdb.GdbError(
            "IOMMULens: the extension _core could not be loaded from %s: %s. `make build` makes it." % (_here, error)
        ) from None
    from iommulens import gdb as package

    package.install()


_load()
