"""Answers `task.spawn`, `task.join` and `task.cancel` of a run, deadlines and the end of parents.

Rules:

* A child's beginning and a join of one that has ended follow from what runs did: they have a record, and a replay
  comes to them again.
* That a deadline has passed, and where a cancellation meets a child, follows from when: it is decided only when a
  replay is over, and sealed at once, before any run goes on. A crash before that has decided nothing.
* When a join begins to wait with a deadline, the deadline is recorded: the time of a restart counts.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

from sojourn.agent.records import Commit, EffectRecord, Raised
from sojourn.agent.replay import Nondeterministic, Replay
from sojourn.agent.tasks import Task, TaskTree, failure_of
from sojourn.errors import BudgetExhausted
from sojourn.vm import Effect

__all__ = ["Answered", "TaskEffects"]

_CANCELLED: Final = "cancelled by the run that began it"
_ORPHANED: Final = "the run that began it has ended"
_MISSED: Final = "the child has not ended in time; it goes on"


class Answered(Enum):
    """Whether an effect has its result, also with the turn ended and sealed, or waits for another run or a replay."""

    YES = "yes"
    DECIDED = "decided"
    WAITS = "waits"


class TaskEffects:
    """The effects of one order on its own runs.

    Args:
        tree: the runs.
        replay: records.
        seal: writes the whole tree, durably.
    """

    def __init__(self, tree: TaskTree, replay: Replay, seal: Callable[[], None]) -> None:
        self._tree = tree
        self._replay = replay
        self._seal = seal

    def answer(self, task: Task, effect: Effect, asked: bytes, known: EffectRecord | None) -> Answered:
        """Answer one effect of `task`.

        Raises:
            Nondeterministic: it does not do what its record says.
        """
        if known is not None and not isinstance(known, Commit):
            raise Nondeterministic(f"operation {effect.occurrence.operation} was no {effect.name}")
        if effect.name == "task.spawn":
            return self._spawn(task, effect, asked, known)
        child = self._tree.asked_for(task, effect)
        if isinstance(child, Raised):
            return self._record(task, effect, asked, known, child)
        if known is not None and known.raised is not None and known.raised.code == BudgetExhausted.code:
            return self._record(task, effect, asked, known, known.raised)
        if self._tree.ended(child):
            return self._join(task, effect, asked, known, child)
        if known is not None:
            return Answered.WAITS  # a replay: it had ended
        if effect.name == "task.join":
            return self._wait(task, effect, asked)
        return self._cancel(task, effect, asked, child)

    def _spawn(self, task: Task, effect: Effect, asked: bytes, known: Commit | None) -> Answered:
        raised = self._tree.refused(task) if known is None else known.raised
        self._note(effect, asked, known, raised)
        if raised is None:
            task.machine.resume(self._tree.spawn(task))
        else:
            _throw(task, raised)
        return Answered.YES

    def _join(self, task: Task, effect: Effect, asked: bytes, known: Commit | None, child: Task) -> Answered:
        """Of a child that has ended: `join` gives what it returned or raises its error, `cancel` does nothing."""
        task.until_ms = 0
        raised = failure_of(child) if effect.name == "task.join" else None
        if raised is not None or effect.name == "task.cancel":
            return self._record(task, effect, asked, known, raised)
        self._note(effect, asked, known, None)
        task.machine.take(child.machine)
        return Answered.YES

    def _wait(self, task: Task, effect: Effect, asked: bytes) -> Answered:
        if task.until_ms:
            return Answered.WAITS
        begun = self._replay.begun(effect, asked)
        until = begun.until_ms if begun is not None else self._tree.deadline(effect)
        if until == 0:
            return Answered.WAITS
        refused = self._tree.wait_refused()
        if refused is not None:
            return self._record(task, effect, asked, None, refused)
        if begun is None:
            self._replay.begin(effect, asked, until, sync=False)
        self._replay.waits(effect)
        self._tree.count_wait()
        task.until_ms = until
        return Answered.WAITS

    def _cancel(self, task: Task, effect: Effect, asked: bytes, child: Task) -> Answered:
        if not self._replay.over:
            return Answered.WAITS
        refused = self._tree.wait_refused()
        if refused is not None:
            return self._record(task, effect, asked, None, refused)
        self._tree.count_wait()
        self._give_up(child, _CANCELLED)
        task.machine.resume(None)
        self._replay.decided(effect)
        self._tree.moved(task)
        self._seal()
        return Answered.DECIDED

    def late(self) -> bool:
        """Whether a deadline has passed that can be decided now."""
        return self._replay.over and self._tree.missed() is not None

    def decide(self) -> bool:
        """Decide what depends on time and on the end of parents, and seal it; False if there is nothing."""
        if not self._replay.over:
            return False
        late = self._tree.missed()
        orphans = self._tree.orphans()
        if late is not None and late.machine.pending is not None:
            effect = late.machine.pending
            late.until_ms, late.code = 0, ""
            late.machine.throw("DeadlineMissed", _MISSED)
            self._replay.decided(effect)
            self._tree.give(late)
        elif orphans:
            for child in orphans:
                child.cancelled = True
                self._give_up(child, _ORPHANED)
            self._tree.stir()
        else:
            return False
        self._seal()
        return True

    def _give_up(self, child: Task, why: str) -> None:
        """Cancel: with the region that the child is in, or the join in which it waits."""
        child.until_ms = 0
        child.machine.cancel(why)
        self._tree.leave(child)

    def _record(
        self, task: Task, effect: Effect, asked: bytes, known: Commit | None, raised: Raised | None
    ) -> Answered:
        """Answer with nothing or an error, as it was recorded or is recorded now."""
        self._note(effect, asked, known, raised)
        if raised is None:
            task.machine.resume(None)
        else:
            _throw(task, raised)
        return Answered.YES

    def _note(self, effect: Effect, asked: bytes, known: Commit | None, raised: Raised | None) -> None:
        if known is None:
            run, operation = effect.occurrence
            self._replay.executed(Commit(run, operation, effect.name, asked, raised))
        elif known.raised != raised:
            raise Nondeterministic(f"{effect.name} at operation {effect.occurrence.operation} gave another result")
        else:
            self._replay.resumed(effect)


def _throw(task: Task, raised: Raised) -> None:
    task.machine.throw(raised.type_name, raised.message)
    task.code = raised.code
