"""The terminal: what is printed on it, in which width and styles, and the line that tells how far long work is."""

import os

import gdb

from .. import _core

_STYLES = ("address", "function", "title", "highlight")
_COLORS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
_INTENSITIES = {"bold": "1", "dim": "2"}


def width():
    """The columns that lines may have; None for as many as they need."""
    return gdb.parameter("width")


def _is_terminal():
    # While GDB collects what is printed, for its `pipe` or for Python, and in -batch, a page has no limits.
    is_collected = gdb.parameter("width") is None and gdb.parameter("height") is None
    return not is_collected and os.environ.get("TERM", "dumb") != "dumb" and os.isatty(1) and not _is_front_end()


def _is_front_end():
    """Whether GDB was started for a program that reads MI or DAP: `-i=mi`, `--interpreter dap`."""
    try:
        with open("/proc/self/cmdline", "rb") as file:
            words = file.read().decode(errors="replace").split("\0")[1:]
    except OSError:
        return False
    for word, following in zip(words, words[1:] + [""]):
        name, equals, value = word.lstrip("-").partition("=")
        if word.startswith("-") and name and "interpreter".startswith(name):
            return (value if equals else following) != "console"
        if name == "args":
            return False
    return False


def _escape(style):
    """The sequence with which GDB begins a style of its own."""
    if hasattr(gdb, "Style"):
        return gdb.Style(style).escape_sequence()
    codes = []
    intensity = _INTENSITIES.get(gdb.parameter("style %s intensity" % style))
    if intensity:
        codes.append(intensity)
    for ground, base in (("foreground", 30), ("background", 40)):
        color = gdb.parameter("style %s %s" % (style, ground))
        if hasattr(color, "escape_sequence"):
            if not color.is_none:
                codes.append(color.escape_sequence(base == 30)[2:-1])
        elif color in _COLORS:
            codes.append(str(base + _COLORS.index(color)))
    return "\033[%sm" % ";".join(codes) if codes else ""


def emit(text):
    """Prints a piece of text; GDB's pager applies."""
    if gdb.parameter("style enabled") and _is_terminal():
        text = _core.styled(text, {style: _escape(style) for style in _STYLES})
    gdb.write(text)


def write(text):
    """Prints lines."""
    if text:
        emit(text + "\n")


def progress(text):
    """Shows how far long work is, in place of what was shown before; None takes it away. Only for somebody who watches."""
    if not _is_terminal() or _is_tui():
        return
    gdb.flush()
    columns = width()
    line = "" if text is None else text if columns is None else text[: columns - 1]
    os.write(1, ("\r\033[K" + line).encode())


def _is_tui():
    """Whether the TUI has the screen, where nobody else may write."""
    try:
        return "not active" not in gdb.execute("info win", to_string=True)
    except gdb.error:
        return False
