"""The GDB side: reads values, calls the core, prints. Nothing is decoded here."""

import gdb

from . import ask, breakpoints, commands, functions, parameters, state, translations


def install():
    """Registers commands, parameters and functions; harmless when done again."""
    parameters.register()
    commands.register(ask.Ask)
    functions.register()
    state.connect_events()
    breakpoints.adopt(breakpoints.install, "CallBreakpoint", "CookieBreakpoint")
    breakpoints.adopt(translations.install, "TranslationBreakpoint")
    translations.prepare()
