"""`@continuation`, for the source of a program."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Generic, NoReturn, ParamSpec, TypeVar

from sojourn.errors import UsageError

__all__ = ["Continuation", "continuation"]

P = ParamSpec("P")
T = TypeVar("T")


class Continuation(Generic[P, T]):
    """An entry of a program. It runs only in the machine; the plain function is `function`, for tests."""

    def __init__(self, function: Callable[P, T]) -> None:
        self.function = function
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> NoReturn:
        """Refuse to run outside of the machine."""
        raise UsageError(
            f"{self.function.__name__}() is an entry of a program and runs only in the machine; compile the file with "
            "sojourn.vm.compile_source and submit it with `sojourn submit`"
        )

    def __repr__(self) -> str:
        return f"<continuation {self.function.__name__}>"


def continuation(function: Callable[P, T]) -> Continuation[P, T]:
    """Mark a function as an entry that an order may start."""
    return Continuation(function)
