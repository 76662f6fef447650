"""What the source of a program may import: names for editors and type checkers.

    from sojourn.program import continuation, fleet, gpu, log, model, private, release, stream, tensor, updates
    from sojourn.program import cancel, fork, here, join, spawn, task, Cancelled, DeadlineMissed, QuorumMissed

The compiler reads such an import and ignores it; in the machine the names are the language's own. Called outside of
the machine each effect raises `UsageError` and says what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from sojourn.errors import UsageError
from sojourn.vm.authoring import continuation
from sojourn.vm.values import Box, Handle, Value

__all__ = [
    "Cancelled",
    "DeadlineMissed",
    "QuorumMissed",
    "cancel",
    "continuation",
    "fleet",
    "fork",
    "gpu",
    "here",
    "join",
    "log",
    "model",
    "private",
    "release",
    "spawn",
    "stream",
    "task",
    "tensor",
    "updates",
]


class QuorumMissed(Exception):
    """`fleet.ask` closed with fewer answers than its phase asks for."""


class DeadlineMissed(Exception):
    """`join(task, within=...)`: the child has not ended in time. It goes on."""


class Cancelled(BaseException):
    """Somebody called `cancel` on this run. `finally` blocks run; `except Exception` does not catch it."""


def _outside(name: str) -> NoReturn:
    raise UsageError(
        f"{name}() was called outside of the machine. Compile the file with sojourn.vm.compile_source and submit it "
        "with `sojourn submit`, or drive sojourn.vm.Machine in a test and answer the effect there"
    )


def private(f: Callable[..., Any], *args: Value, fuel: int, memory: int) -> Box:
    """Run `f(*args)` in a private region, where boxes are open; the result, or its error, is a box.

    Args:
        f: a function of the same file, by its name; or a function as a value, with the variables that it shares.
        args: public values, boxes and private handles; lists and dicts are copied.
        fuel: instructions that the region may execute; charged whole on entry.
        memory: bytes that its values may cost; charged whole on entry.
    """
    _outside("private")


def here() -> Any:
    """The run as it stands: a continuation as a value, for `spawn`. In a child that `spawn` began from it, what
    `spawn` gave: `spawn(k, value, fuel=..., memory=...)`."""
    _outside("here")


def fork(*, fuel: int, memory: int) -> Handle | None:
    """A child that goes on from here with copies of all variables: None in the child, its task handle in the parent.

    Args:
        fuel: instructions that the child may execute, taken off this run's.
        memory: bytes that its values may cost, taken off this run's for good.
    """
    _outside("fork")


def spawn(f: Any, *args: Any, fuel: int, memory: int) -> Handle:
    """A child that calls `f(*args)` on copies, or goes on from a continuation that `here()` gave; its task handle.

    `fuel` and `memory` leave this run's own, for good. A child does not outlive the run that began it.
    """
    _outside("spawn")


def join(task: Handle, within: float | None = None) -> Any:
    """What a child of this run returned, or its error; `DeadlineMissed` unless it ends in `within` seconds.

    The time is the host's and goes on while the host is down; the child goes on too. Only the run that began a child
    joins it. A child that spent its fuel or memory raises RuntimeError here, a cancelled one Cancelled.
    """
    _outside("task.join")


def cancel(task: Handle) -> None:
    """Raise `Cancelled` in a child of this run where it stands, unless it has ended; what it released stays.

    A private region that it is in is given up. It goes on with its `finally` blocks, and may catch it.
    """
    _outside("task.cancel")


class _Task:
    """The effects behind `join` and `cancel`, by their names in policies."""

    join = staticmethod(join)
    cancel = staticmethod(cancel)


class _Stream:
    def open(self, name: str, fields: Sequence[str]) -> Handle:
        """The rows of a private stream that are there now. Public world only."""
        _outside("stream.open")

    def first(self, rows: Handle) -> Handle:
        """A cursor before the first row. Private regions only."""
        _outside("stream.first")

    def batch(self, rows: Handle, cursor: Handle, n: int) -> tuple[dict[str, Any], Handle | None]:
        """Up to `n` rows as tensors by field plus `rows`, their number; and the next cursor, or None at the end."""
        _outside("stream.batch")


class _Gpu:
    def run(self, name: str, **inputs: Value) -> Any:
        """Run a graph of the order's plan: a dict from output name to handle; a box if an input is one."""
        _outside("gpu.run")


class _Tensor:
    def item(self, tensor: Handle | Box) -> Any:
        """The number in a tensor of one element."""
        _outside("tensor.item")


class _Release:
    def update(self, box: Box, of: str, weight: str, base: Handle) -> None:
        """Release the clipped difference of state `of` and `base`, with the integer weight under the key `weight`."""
        _outside("release.update")

    def count(self, box: Box, of: str, name: str, high: float) -> None:
        """Release the number under the key `of`, bounded to 0..`high`."""
        _outside("release.count")

    def mean(self, box: Box, of: str, name: str, low: float, high: float) -> None:
        """Release the mean of one value a unit, each bounded to `low`..`high`."""
        _outside("release.mean")

    def sum(self, box: Box, of: str, name: str, low: float, high: float) -> None:
        """Release the sum of one value a unit, each bounded to `low`..`high`."""
        _outside("release.sum")


class _Log:
    def note(self, text: str) -> None:
        """Write a line to the log of whoever owns the host."""
        _outside("log.note")


class _Fleet:
    def invite(self, round: int) -> Handle:  # noqa: A002 - the name in the language
        """Freeze the cohort of a round."""
        _outside("fleet.invite")

    def ask(self, cohort: Handle, phase: str, **args: Value) -> Handle:
        """Run a phase of the job at the cohort's agents; the committed answers, or `QuorumMissed`."""
        _outside("fleet.ask")


class _Updates:
    def aggregate(self, answers: Handle, policy: Value, base: Handle) -> Handle:
        """Fold the updates of the answers into a model."""
        _outside("updates.aggregate")


class _Model:
    def publish(self, model: Handle, round: int) -> Handle:  # noqa: A002 - the name in the language
        """Commit a model; the next round's weights."""
        _outside("model.publish")


stream = _Stream()
gpu = _Gpu()
tensor = _Tensor()
release = _Release()
log = _Log()
fleet = _Fleet()
updates = _Updates()
model = _Model()
task = _Task()
