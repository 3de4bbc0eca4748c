"""`$iommu_walk(iova)` and `$iommu_index(iova, level)`."""

import gdb

from .. import _core
from .state import absence, follow_target, session


def _numbers(arguments, usage):
    """The arguments as numbers, as many as `usage` has: GDB passes whatever somebody has written."""
    count = usage.count(",") + 1
    if len(arguments) != count:
        raise gdb.GdbError("Too %s arguments. Usage: %s" % ("few" if len(arguments) < count else "many", usage))
    try:
        return [int(argument) for argument in arguments]
    except (gdb.error, OverflowError, ValueError) as error:
        raise gdb.GdbError("%s is about numbers: %s" % (usage, str(error).strip())) from None


class Walk(gdb.Function):
    # GDB prints this as it stands, so it is not indented.
    """Where the specification walk sends an IOVA.

$iommu_walk(IOVA) is the guest-physical address, or 0 when the IOVA is not mapped.
The table is that of `set iommu device`, else that of the last recorded call."""

    def __init__(self):
        super().__init__("iommu_walk")

    def invoke(self, *arguments):
        from . import parameters

        (iova,) = _numbers(arguments, "$iommu_walk(IOVA)")
        follow_target()
        try:
            found = session().translate(iova & 0xFFFFFFFFFFFFFFFF, device=parameters.value("device"))
        except _core.TargetError as error:
            raise gdb.GdbError(str(error) + absence()) from None
        except _core.Error as error:
            raise gdb.GdbError(str(error)) from None
        return gdb.Value(found or 0).cast(gdb.lookup_type("unsigned long"))


class Index(gdb.Function):
    """The index of an IOVA in its Sv39 table at a level, 2 for the root.

$iommu_index(IOVA, LEVEL)"""

    def __init__(self):
        super().__init__("iommu_index")

    def invoke(self, *arguments):
        iova, level = _numbers(arguments, "$iommu_index(IOVA, LEVEL)")
        try:
            return session().index(iova & 0xFFFFFFFFFFFFFFFF, level)
        except _core.Error as error:
            raise gdb.GdbError(str(error)) from None


def register():
    """Registers the functions."""
    Walk()
    Index()
