"""The grammar of the commands: words, -options, and expressions that GDB evaluates."""

import gdb


class Parsed:
    """A command line taken apart: positional words and options by name."""

    def __init__(self, words, options):
        self.words = words
        self.options = options

    def __getattr__(self, name):
        return self.options.get(name)


def parse(usage, text, flags=(), values=(), least=0, most=0):
    """Splits `text`; a wrong option or number of words is an error that shows `usage`."""
    try:
        words = gdb.string_to_argv(text)
    except gdb.error as error:
        raise gdb.GdbError("%s. Usage: %s" % (error, usage)) from None
    positional, options = [], {}
    position = 0
    while position < len(words):
        word = words[position]
        name = word[1:].replace("-", "_")
        if word.startswith("-") and not word[1:2].isdigit() and len(word) > 1:
            if name in flags:
                options[name] = True
            elif name in values:
                position += 1
                if position == len(words):
                    raise gdb.GdbError("%s needs a value. Usage: %s" % (word, usage))
                options[name] = words[position]
            else:
                raise gdb.GdbError("%s is not an option of this command. Usage: %s" % (word, usage))
        else:
            positional.append(word)
        position += 1
    if not least <= len(positional) <= most:
        what = "too few" if len(positional) < least else "too many"
        raise gdb.GdbError("%s arguments. Usage: %s" % (what.capitalize(), usage))
    return Parsed(positional, options)


def number(text, what):
    """The unsigned 64-bit value of an expression."""
    try:
        value = int(gdb.parse_and_eval(text))
    except (gdb.error, ValueError) as error:
        raise gdb.GdbError("%s '%s' is not an address or number: %s" % (what, text, str(error).strip())) from None
    return value & 0xFFFFFFFFFFFFFFFF


def iova_range(text):
    """`A-B` (both inclusive) or `A`; the minus must stand between two plain numbers."""
    head, minus, tail = text.partition("-")
    first = number(head, "IOVA")
    last = number(tail, "IOVA") if minus else first
    if last < first:
        raise gdb.GdbError("The range %s ends before it starts." % text)
    return first, last


SELECTORS = ("device", "domain", "root", "mode")


def selector(parsed, default_device=None):
    """Keyword arguments that name a table, from -device, -domain or -root with -mode."""
    chosen = {}
    if parsed.domain:
        chosen["domain"] = number(parsed.domain, "Domain")
    if parsed.root:
        chosen["root"] = number(parsed.root, "Root")
        chosen["mode"] = (parsed.mode or "sv39").lower()
    elif parsed.mode:
        raise gdb.GdbError("-mode goes with -root: the mode of a device or domain is read from its descriptor.")
    device = parsed.device or (default_device if not chosen else None)
    if device:
        chosen["device"] = device
    return chosen
