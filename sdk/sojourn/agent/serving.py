"""An agent in the foreground: serve until somebody says stop.

Rules: SIGINT (Ctrl-C) and SIGTERM end it in order, at the run's next effect, with the state intact; neither raises
anything. The handlers that were there before are there afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final

from sojourn.errors import UsageError

__all__ = ["serve_until_signal"]

_STOPS: Final = (signal.SIGINT, signal.SIGTERM)


def serve_until_signal(run: Callable[[], Coroutine[Any, Any, None]]) -> signal.Signals:
    """Run `run` in an event loop of its own until a signal comes; blocks.

    Args:
        run: what serves, until it is cancelled.

    Returns:
        The signal.

    Raises:
        UsageError: this is not the main thread, or an event loop runs in it already.
    """
    if threading.current_thread() is not threading.main_thread():
        raise UsageError(
            "signals come to the main thread, and serve() waits for one: call it there, or run Agent.run() as a task "
            "of an event loop of your own and cancel it"
        )
    with contextlib.suppress(RuntimeError):
        asyncio.get_running_loop()
        raise UsageError("serve() blocks; where an event loop runs already, make Agent.run() one of its tasks")
    before = {number: signal.getsignal(number) for number in _STOPS}
    try:
        return _runner()(_until_signal(run))
    except KeyboardInterrupt:  # before the loop listens, and on Windows
        return signal.SIGINT
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _runner() -> Callable[[Coroutine[Any, Any, signal.Signals]], signal.Signals]:
    """uvloop where there is one: it takes a fraction of the memory of TLS connections."""
    if sys.platform != "win32":
        import uvloop  # noqa: PLC0415

        return uvloop.run
    return asyncio.run


async def _until_signal(run: Callable[[], Coroutine[Any, Any, None]]) -> signal.Signals:
    serving = asyncio.ensure_future(run())
    received: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        received.append(number)
        serving.cancel()

    loop = asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError):  # not on Windows, where Ctrl-C raises KeyboardInterrupt instead
        for number in _STOPS:
            loop.add_signal_handler(number, stop, number)
    try:
        await serving
    except asyncio.CancelledError:
        if not received:
            raise
    return received[0] if received else signal.SIGTERM
