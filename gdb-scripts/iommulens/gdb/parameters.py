"""`set iommu …` and `show iommu …`."""

import gdb

from .. import _core
from .state import DEFAULT_FILE, session

_values = {}


def value(name):
    """The value of the parameter `iommu NAME`; None when it is empty."""
    return _values[name].value or None


class _Prefix(gdb.Command):
    def __init__(self, name, documentation):
        self.__doc__ = documentation
        super().__init__(name, gdb.COMMAND_DATA, gdb.COMPLETE_NONE, True)

    def invoke(self, argument, _from_tty):
        # Blanks that GDB does not take for such are no word.
        words = argument.split()
        if words:
            raise gdb.GdbError("'%s' is not a preference. `help set iommu` lists them." % words[0])
        gdb.execute("help " + ("set iommu" if "Change" in self.__doc__ else "show iommu"))


class _Parameter(gdb.Parameter):
    def __init__(self, name, set_doc, show_doc, documentation, kind, default, choices=None):
        self.set_doc = set_doc
        self.show_doc = show_doc
        self.__doc__ = documentation
        arguments = ("iommu " + name, gdb.COMMAND_DATA, kind)
        super().__init__(*arguments, *([choices] if choices else []))
        self.value = self._accepted = default
        self._name = name

    def get_set_string(self):
        if self._name in ("memory", "qemu-pid") and len(_values) == 4:
            try:
                session().prefer(_values["memory"].value, _values["qemu-pid"].value)
            except _core.Error as error:
                # GDB has set it already.
                self.value = self._accepted
                raise gdb.GdbError(str(error)) from None
        self._accepted = self.value
        return ""

    def get_show_string(self, shown):
        return "%s is %s." % (self._name, shown or "not set")


def register():
    """Registers the parameters; their values survive a second sourcing."""
    earlier = {name: parameter.value for name, parameter in getattr(gdb, "_iommulens_parameters", {}).items()}
    _Prefix("set iommu", "Change what IOMMULens prefers.")
    _Prefix("show iommu", "Show what IOMMULens prefers.")
    _values["file"] = _Parameter(
        "file",
        "Set the investigation file that is opened by default.",
        "Show the default investigation file.",
        "It is used by `iommu open` without a name and by recording commands.",
        gdb.PARAM_OPTIONAL_FILENAME,
        DEFAULT_FILE,
    )
    _values["device"] = _Parameter(
        "device",
        "Set the device that iommu commands are about by default.",
        "Show the default device of iommu commands.",
        "A PCI address, 0000:00:01.0; empty for none.",
        gdb.PARAM_STRING,
        "",
    )
    _values["memory"] = _Parameter(
        "memory",
        "Set where iommu commands read guest memory from.",
        "Show where iommu commands read guest memory from.",
        "auto: the fastest source that works; remote: GDB's own connection, page by page.",
        gdb.PARAM_ENUM,
        "auto",
        ["auto", "remote"],
    )
    _values["qemu-pid"] = _Parameter(
        "qemu-pid",
        "Set the process id of the QEMU that iommu commands look at.",
        "Show the process id of the QEMU that iommu commands look at.",
        "0 finds the process behind GDB's connection.",
        gdb.PARAM_ZUINTEGER,
        0,
    )
    for name, kept in earlier.items():
        _values[name].value = kept
    gdb._iommulens_parameters = dict(_values)
