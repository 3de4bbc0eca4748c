"""Types commands into a GDB on a terminal of its own, and prints what it shows, with escape sequences made visible.

usage: terminal.py GDB COLUMNS [COMMAND ...]
"""

import fcntl
import os
import pty
import re
import struct
import sys
import termios

PROMPT = b"(gdb) "


class Terminal:
    def __init__(self, gdb, columns):
        self.process, self.end = pty.fork()
        if self.process == 0:
            os.environ["TERM"] = "xterm"
            os.environ.pop("NO_COLOR", None)
            os.execvp(gdb, [gdb, "-nx", "-q"])
        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        self.until_prompt()

    def until_prompt(self):
        """What is shown before the next prompt."""
        shown = b""
        while not shown.endswith(PROMPT):
            try:
                shown += os.read(self.end, 4096)
            except OSError:
                return shown
        return shown[: -len(PROMPT)]

    def answer(self, command):
        """What a command shows, without its echo and without what readline does to the line."""
        os.write(self.end, command.encode() + b"\n")
        shown = self.until_prompt()
        shown = re.sub(rb"\x1b\[\?2004[hl]\r?", b"", shown)
        return shown[shown.index(b"\n") + 1 :].replace(b"\r\n", b"\n").replace(b"\x1b", b"\\e").decode()


terminal = Terminal(sys.argv[1], int(sys.argv[2]))
for command in ["set pagination off", "set height 50", "set width " + sys.argv[2]]:
    terminal.answer(command)
for command in sys.argv[3:]:
    print("(gdb) " + command)
    print(terminal.answer(command), end="")
os.write(terminal.end, b"quit\n")
os.waitpid(terminal.process, 0)
