"""How each command starts, and how Ctrl-C ends it while it does.

Rules: nothing heavy is imported here before Ctrl-C is looked after; until a command begins there is nothing to put in
order, so an interruption ends the process at once, silently, with 130. `sojourn.console` takes over from there.
"""

import os
import signal
from importlib import import_module
from types import FrameType
from typing import Final, NoReturn

__all__ = ["begun", "start"]

_INTERRUPTED: Final = 130


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    os._exit(_INTERRUPTED)


def start(module: str) -> None:
    """Run the program whose commands are `app` of `module`."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else somebody chose to ignore it
        signal.signal(signal.SIGINT, _leave)
    import_module(module).app()


def begun() -> None:
    """A command begins: from here on Ctrl-C raises `KeyboardInterrupt`, so that what is open is closed."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)
