"""Prints docs/commands.md, the manual of GDB's `iommu` commands and of the command line, from their help. Run at the top
of a checkout, where `swift build` has made the command line, by a GDB with the plugin loaded:

gdb-multiarch -nx -batch -x gdb-scripts/iommulens-gdb.py -x docs/commands.py
"""

import re
import subprocess
import textwrap

import gdb

INTRODUCTION = """\
# Commands

What `help` says of every command, parameter and function of IOMMULens, in one place; behind them the command line, which
reads the same files without GDB. `make docs` makes this file.

In a usage line, capitals are yours to fill in, and `[…]` may be left out. Numbers are GDB expressions: `iova`,
`$a1+0x1000` and `0xfffff000` are all understood. A device is a PCI address, `0000:00:01.0` or shorter `00:01.0`."""


def help_of(name):
    return gdb.execute("help " + name, to_string=True).strip()


def members(prefix, text):
    """The names that the help of a prefix lists, `iommu walk -- Walk the …`."""
    return re.findall(r"^(%s \S+) -- " % re.escape(prefix), text, re.MULTILINE)


def own_words(text):
    """The help of a prefix without the list that GDB appends."""
    return re.split(r"^List of .*subcommands:$", text, flags=re.MULTILINE)[0].strip()


def section(title, text):
    """A command's help: its first line as prose, the rest as it stands."""
    summary, _, rest = text.partition("\n")
    rest = textwrap.dedent(rest).strip("\n")
    return "### `%s`\n\n%s" % (title, summary) + ("\n\n```text\n%s\n```" % rest if rest else "")


def command_line(*names):
    """What the command line says of itself, or of one of its subcommands."""
    # Its lines are as long as the terminal is wide, and that is not to be ours.
    run = subprocess.run(
        [".build/debug/iommulens", "help", *names], stdout=subprocess.PIPE, check=True, encoding="utf-8", env={}
    )
    return run.stdout.strip()


def manual():
    whole = help_of("iommu")
    commands = members("iommu", whole)
    parts = [INTRODUCTION, "## The prefix", section("iommu", own_words(whole)), "## Commands"]
    parts += [section(name, help_of(name)) for name in commands]
    parts.append("## Parameters")
    parts.append("`set iommu …` changes them, `show iommu …` shows them.")
    parts += [section(name, help_of(name)) for name in members("set iommu", help_of("set iommu"))]
    parts.append("## Functions")
    for name in re.findall(r"^function (iommu_\w+) -- ", help_of("function"), re.MULTILINE):
        parts.append(section("$" + name, help_of("function " + name)))
    parts.append("## The command line")
    parts.append("`swift run iommulens …` in a checkout.")
    overview = command_line()
    parts.append("```text\n%s\n```" % overview)
    for name in re.findall(r"^  (\w+)  ", overview.partition("SUBCOMMANDS:")[2], re.MULTILINE):
        parts.append("### `iommulens %s`\n\n```text\n%s\n```" % (name, command_line(name)))
    return "\n\n".join(parts)


gdb.execute("set width 0")
print(manual())
