"""`python3 -m iommulens`: tells where the file for GDB is."""

import argparse
import os

from . import __version__


def main():
    parser = argparse.ArgumentParser(
        prog="python3 -m iommulens",
        description="IOMMULens is a plugin for GDB, and a module for Python: `import iommulens`.",
        epilog='For every GDB from now on: echo "source $(python3 -m iommulens --gdb-script)" >> ~/.gdbinit',
    )
    # Without abbreviations: a script that writes `--gdb` today must not mean something else tomorrow.
    parser.allow_abbrev = False
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--gdb-script", action="store_true", help="print the file that GDB's `source` takes")
    what.add_argument("--version", action="version", version="iommulens " + __version__)
    parser.parse_args()
    print(os.path.join(os.path.dirname(os.path.realpath(__file__)), "iommulens-gdb.py"))


main()
