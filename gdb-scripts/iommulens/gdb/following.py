"""QEMU's log, followed beside the calls: the device's side for a GDB on the kernel."""

import os

import gdb

from . import parameters
from .arguments import iova_range
from .debugger import require_guest
from .state import ensure_open, record_facts, session
from .terminal import write


def follow(parsed):
    """Follows the log that a `record translate` line names, or that of QEMU, and says so."""
    if parsed.limit or parsed.callers:
        raise gdb.GdbError(
            "A log is followed until `iommu record off`, and knows no functions: -limit and -callers do not go with it."
        )
    require_guest()
    session().functions()
    first, last = iova_range(parsed.iova)
    ensure_open(parameters.value("file"))
    record_facts()
    path = parsed.log and os.path.abspath(os.path.expanduser(parsed.log))
    write(session().follow_log(path, first, last, parsed.device or parameters.value("device")))


def refuse_log(parsed):
    """An error where -log was given for what is not read from a log."""
    if parsed.log:
        raise gdb.GdbError("-log goes with `iommu record translate` in the GDB on the kernel.")
