"""The MI twins of the commands that answer something: `-iommu-walk` for `iommu walk`, with results in place of text."""

import gdb


def register(commands):
    """Registers a twin of each command, in GDBs that let Python do that (from 13 on)."""
    if not hasattr(gdb, "MICommand"):
        return

    class Twin(gdb.MICommand):
        """The MI command that answers as `command` does."""

        def __init__(self, command):
            self.command = command
            super().__init__("-" + command.name.replace(" ", "-"))

        def invoke(self, words):
            return self.command.records(words)

    for command in commands:
        Twin(command)
