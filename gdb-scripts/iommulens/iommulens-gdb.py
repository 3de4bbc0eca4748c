"""The one file to source in GDB: `source gdb-scripts/iommulens-gdb.py`, or what `python3 -m iommulens --gdb-script` prints.

Sourcing it again keeps the open investigation.
"""

import importlib.util
import os
import sys

import gdb


def _load():
    """Loads the package that this file lies in, unless it is loaded already.

    The folder around the package stays out of sys.path: once installed, that is a folder of packages for another Python
    than the one inside GDB, and those must not come before GDB's own.
    """
    if "iommulens" not in sys.modules:
        here = os.path.dirname(os.path.realpath(os.path.expanduser(__file__)))
        spec = importlib.util.spec_from_file_location(
            "iommulens", os.path.join(here, "__init__.py"), submodule_search_locations=[here]
        )
        package = importlib.util.module_from_spec(spec)
        sys.modules["iommulens"] = package
        try:
            spec.loader.exec_module(package)
        except ImportError as error:
            del sys.modules["iommulens"]
            raise gdb.GdbError(
                "IOMMULens: the extension _core could not be loaded from %s: %s. `make build` makes it." % (here, error)
            ) from None
    from iommulens.gdb import install

    install()


_load()
