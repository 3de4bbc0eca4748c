"""The grammar of the commands. What a command line may hold is said once; parsing, usage, help and completion follow from it."""

import glob
import os
import re
import textwrap

import gdb

from .. import _core

HELP_WIDTH = 96


class Value:
    """What stands for an argument: how usage shows it. Nothing is known of its values."""

    def __init__(self, shown):
        self.shown = shown

    def demand(self, text):
        """What a value has to be, where `text` is none; None for a good one."""
        return None

    def candidates(self, start):
        """Values that begin with `start`."""
        return []


class Choice(Value):
    """One of a few words."""

    def __init__(self, *words, shown=None):
        super().__init__(shown or "|".join(words))
        self.words = words

    def demand(self, text):
        return None if text.lower() in self.words else _either(self.words)

    def candidates(self, start):
        return [word for word in self.words if word.startswith(start)]


class Known(Value):
    """A value of which some are known in this session."""

    def __init__(self, shown, known):
        super().__init__(shown)
        self.known = known

    def candidates(self, start):
        return [name for name in self.known() if name.startswith(start)]


class Letters(Value):
    """Letters of a set, each once."""

    def __init__(self, shown, letters):
        super().__init__(shown)
        self.letters = letters.lower()

    def candidates(self, start):
        rest = [letter for letter in self.letters if letter not in start.lower()]
        return ([start] if start else []) + [start + letter for letter in rest]


class File(Value):
    """A file's name."""

    def candidates(self, start):
        found = _names(os.path.expanduser(_plain(start)))
        # A folder that is the only candidate would be taken for the end of the argument.
        while len(found) == 1 and found[0].endswith("/"):
            inside = _names(found[0])
            if not inside:
                break
            found = inside
        names = [re.sub(r"(\s)", r"\\\1", name) for name in found]
        home = os.path.expanduser("~") + "/"
        return ["~/" + name[len(home) :] for name in names] if start.startswith("~/") else names


def _names(start):
    return sorted(name + "/" if os.path.isdir(name) else name for name in glob.glob(glob.escape(start) + "*"))


def _plain(text):
    return re.sub(r"\\(.)", r"\1", text)


def _either(words):
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " or " + words[-1]


class Word:
    """An argument that is told by its place."""

    def __init__(self, value, about, optional=False, many=False):
        self.value, self.about, self.optional, self.many = value, about, optional, many

    def usage(self):
        shown = self.value.shown + ("..." if self.many else "")
        return "[%s]" % shown if self.optional else shown

    def head(self):
        return self.value.shown


class Option:
    """`-name`, or `-name VALUE`."""

    def __init__(self, name, about, value=None):
        self.name, self.about, self.value = name, about, value

    @property
    def attribute(self):
        """The option's name in a parsed command line."""
        return self.name.replace("-", "_")

    def usage(self):
        return "[%s]" % self.head()

    def head(self):
        return "-" + self.name + (" " + self.value.shown if self.value else "")


class Group:
    """Options in a bracket of their own: alternatives, each of one or more options."""

    def __init__(self, *alternatives):
        self.alternatives = alternatives

    def usage(self):
        return "[%s]" % " | ".join(" ".join(option.head() for option in options) for options in self.alternatives)


JSON = Option("json", "the answer as JSON, for programs")


class Parsed:
    """A command line taken apart: positional words and options by name."""

    def __init__(self, words, options):
        self.words = words
        self.options = options

    def __getattr__(self, name):
        return self.options.get(name)


class Grammar:
    """What may follow a command's name, and in its place the single word `instead`, where there is one."""

    def __init__(self, *parts, instead=None):
        self.parts = parts
        self.instead = instead
        self.words = [part for part in parts if isinstance(part, Word)]
        self.groups = [part for part in parts if isinstance(part, Group)]
        self.options = {}
        for part in parts:
            alternatives = part.alternatives if isinstance(part, Group) else [[part]] if isinstance(part, Option) else []
            for options in alternatives:
                self.options.update((option.name, option) for option in options)

    def holds_files_only(self):
        """Whether there is nothing to complete but files' names, which GDB does best."""
        return not self.options and bool(self.words) and all(type(word.value) is File for word in self.words)

    # Help.

    def usage(self, name):
        """The forms of a command line, one a line."""
        forms = [" ".join([name] + [part.usage() for part in self.parts])]
        if self.instead:
            forms.append("%s %s" % (name, self.instead))
        return forms

    def help(self, name, text):
        """What `help` says of a command: `text` has a line that says what it does, and may have more to say."""
        summary, _, details = textwrap.dedent(text.strip()).partition("\n")
        paragraphs = [summary, self._usage_lines(name), self._argument_lines(), textwrap.dedent(details).strip()]
        return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)

    def _usage_lines(self, name):
        lines = []
        for form in self.usage(name):
            # What stands in a bracket stays on one line.
            kept = re.sub(r"\[[^]]*\]+", lambda bracket: bracket.group().replace(" ", "\0"), form)
            lines += textwrap.wrap(
                kept,
                HELP_WIDTH,
                initial_indent="       " if lines else "Usage: ",
                subsequent_indent=" " * (8 + len(name)),
                break_on_hyphens=False,
                break_long_words=False,
            )
        return "\n".join(lines).replace("\0", " ")

    def _argument_lines(self):
        described = self.words + list(self.options.values())
        width = max([len(part.head()) for part in described], default=0)
        lines = []
        for part in described:
            lines += textwrap.wrap(
                part.about,
                HELP_WIDTH,
                initial_indent="  %-*s  " % (width, part.head()),
                subsequent_indent=" " * (width + 4),
                break_on_hyphens=False,
            )
        return "\n".join(lines)

    # Parsing.

    def parse(self, name, text):
        """Takes a command line apart; a wrong option or number of words is an error that shows the usage."""
        usage = " | ".join(self.usage(name))
        try:
            words = gdb.string_to_argv(text)
        except gdb.error as error:
            raise gdb.GdbError("%s. Usage: %s" % (error, usage)) from None
        return self.parse_words(name, words)

    def parse_words(self, name, words):
        """The same for a line that is split into words already."""
        usage = " | ".join(self.usage(name))
        if self.instead and list(words) == [self.instead]:
            return Parsed([self.instead], {})
        positional, options = [], {}
        rest = list(words)
        while rest:
            word = rest.pop(0)
            if not _is_option(word):
                positional.append(word)
                continue
            option = self.options.get(word[1:])
            if option is None:
                raise gdb.GdbError("%s is not an option of this command. Usage: %s" % (word, usage))
            if option.value and not rest:
                raise gdb.GdbError("%s needs a value. Usage: %s" % (word, usage))
            value = rest.pop(0) if option.value else True
            demand = option.value and option.value.demand(value)
            if demand:
                raise gdb.GdbError("%s is %s, not '%s'." % (word, demand, value))
            options[option.attribute] = value
        self._refuse_contradictions(options, usage)
        least = sum(not word.optional for word in self.words)
        if len(positional) < least:
            raise gdb.GdbError("Too few arguments. Usage: %s" % usage)
        if len(positional) > len(self.words) and not (self.words and self.words[-1].many):
            raise gdb.GdbError("Too many arguments. Usage: %s" % usage)
        for word, given in zip(self.words, positional):
            demand = word.value.demand(given)
            if demand:
                raise gdb.GdbError("'%s' is not %s. Usage: %s" % (given, demand, usage))
        return Parsed(positional, options)

    def _refuse_contradictions(self, options, usage):
        """An error where options of two alternatives were given: one of them would be ignored."""
        for group in self.groups:
            given = [
                option for alternative in group.alternatives for option in alternative[:1] if option.attribute in options
            ]
            if len(given) > 1:
                raise gdb.GdbError("-%s and -%s exclude each other. Usage: %s" % (given[0].name, given[1].name, usage))

    # Completion.

    def complete(self, text, word):
        """What may come in place of `word`, the end of `text`. Asks nothing of the target and never raises."""
        try:
            # Blanks that a backslash keeps together do not separate.
            tokens = re.split(r"(?<!\\)\s+", text.lstrip())
            last = tokens.pop()
            found = self._candidates(tokens, last)
        except (gdb.error, _core.Error, OSError, ValueError):
            return []
        if word is None:
            return []
        # GDB's word starts behind a colon or slash within the argument.
        shared = len(last) - len(word) if last.endswith(word) else 0
        return [candidate[shared:] for candidate in found]

    def _candidates(self, before, last):
        if self.instead and before[:1] == [self.instead]:
            return []
        used, count = [], 0
        waiting = None
        for token in before:
            if waiting:
                waiting = None
            elif _is_option(token):
                option = self.options.get(token[1:])
                used.append(token[1:])
                waiting = option if option and option.value else None
            else:
                count += 1
        if waiting:
            return waiting.value.candidates(last)
        found = []
        if not last.startswith("-"):
            if count < len(self.words):
                found += self.words[count].value.candidates(last)
            elif self.words and self.words[-1].many:
                found += self.words[-1].value.candidates(last)
            if self.instead and not before and self.instead.startswith(last):
                found.append(self.instead)
        if not last or last.startswith("-"):
            found += ["-" + name for name in self._open_options(used) if ("-" + name).startswith(last)]
        return found

    def _open_options(self, used):
        """The options that may still come after those that are `used`."""
        closed = set(used)
        for group in self.groups:
            taken = [options for options in group.alternatives if any(option.name in used for option in options)]
            for options in group.alternatives:
                if taken and options not in taken:
                    closed.update(option.name for option in options)
                elif not taken:
                    # What goes with an option comes after it.
                    closed.update(option.name for option in options[1:])
        return [name for name in self.options if name not in closed]


def _is_option(word):
    """Whether a word is an option: a minus and a letter. A number may be negative."""
    return word.startswith("-") and len(word) > 1 and not word[1:2].isdigit()


def number(text, what):
    """The unsigned 64-bit value of an expression."""
    try:
        value = gdb.parse_and_eval(text)
        if value.type.strip_typedefs().code == gdb.TYPE_CODE_FLT:
            raise ValueError("It is a fraction.")
        return int(value) & 0xFFFFFFFFFFFFFFFF
    except (gdb.error, ValueError) as error:
        raise gdb.GdbError("%s '%s' is not an address or number: %s" % (what, text, str(error).strip())) from None


def count(text, option):
    """The value of an option that says how many; None where it was not given."""
    if text is None:
        return None
    value = number(text, option)
    if value < 1 or value >> 31:
        demand = "at least 1" if value < 1 else "less than 2147483648"
        raise gdb.GdbError("%s must be %s, not %s." % (option, demand, text))
    return value


def iova_range(text):
    """`A-B` (both inclusive) or `A`, as first and last; twice None for None. The minus must stand between two plain numbers."""
    if text is None:
        return None, None
    head, minus, tail = text.partition("-")
    first = number(head, "IOVA")
    last = number(tail, "IOVA") if minus else first
    if last < first:
        raise gdb.GdbError("The range %s ends before it starts." % text)
    return first, last


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
