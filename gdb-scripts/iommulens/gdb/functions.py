"""`$iommu_walk(iova)` and `$iommu_index(iova, level)`."""

import gdb

from .. import _core
from .state import session


class Walk(gdb.Function):
    # GDB prints this as it stands, so it is not indented.
    """Where the specification walk sends an IOVA.

$iommu_walk(IOVA) is the guest-physical address, or 0 when the IOVA is not mapped.
The table is that of `set iommu device`, else that of the last recorded call."""

    def __init__(self):
        super().__init__("iommu_walk")

    def invoke(self, iova):
        from . import parameters

        try:
            found = session().translate(int(iova) & 0xFFFFFFFFFFFFFFFF, device=parameters.value("device"))
        except _core.Error as error:
            raise gdb.GdbError(str(error)) from None
        return gdb.Value(found or 0).cast(gdb.lookup_type("unsigned long"))


class Index(gdb.Function):
    """The index of an IOVA in its Sv39 table at a level, 2 for the root.

$iommu_index(IOVA, LEVEL)"""

    def __init__(self):
        super().__init__("iommu_index")

    def invoke(self, iova, level):
        try:
            return session().index(int(iova) & 0xFFFFFFFFFFFFFFFF, int(level))
        except _core.Error as error:
            raise gdb.GdbError(str(error)) from None


def register():
    """Registers the functions."""
    Walk()
    Index()
