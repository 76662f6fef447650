"""What one run cannot do alone: the reasons for which stepping stops, for the machine to act on.

They are structures of msgspec for the reason that `progress` gives.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from sojourn.vm.state import Frame, Run
from sojourn.vm.values import Value

__all__ = ["Ask", "Enter", "Fork", "Handler", "Return", "Stop", "take"]


class Ask(msgspec.Struct, frozen=True, gc=False):
    """The program asks for an effect; its arguments are off the stack."""

    name: str
    args: dict[str, Value]


class Enter(msgspec.Struct, frozen=True):
    """The program enters a private region: of a function by its index, with all its parameters, or of a value."""

    function: int | None
    callee: Value
    args: list[Value]
    fuel: Value
    memory: Value


class Fork(msgspec.Struct, frozen=True):
    """The program asks for a child: of a value to call, of `here()`'s, or (None) of itself."""

    callee: Value
    args: list[Value]
    fuel: Value
    memory: Value


class Return(msgspec.Struct, frozen=True):
    """The run's first function has returned."""

    value: Value


Stop = Ask | Enter | Fork | Return
Handler = Callable[[Run, Frame, int, int], Stop | None]


def take(frame: Frame, count: int) -> list[Value]:
    """Pop `count` values, the deepest first."""
    if count == 0:
        return []
    values = frame.stack[-count:]
    del frame.stack[-count:]
    return values
