"""The runs of one order: its own, and the children that it began. Who may run, who waits, what may be joined.

Rules (`docs/design/machine.md`, "Children on an agent"):

* One run executes at a time. Turns go round in the order in which runs began; one ends with an effect of the public
  world, where a private region begins, or `TASK_TURN_FUEL` public instructions on.
* A region goes on when every run outside of one waits, or after `TASK_REGION_TURNS` of their turns; then the one that
  began first, to its end. So the order of what public worlds do does not depend on how long regions take.
* A task handle is good for the run that began the child, and for no other.
* A run has ended when its program has ended and so has every child of it. A child whose parent's program has ended is
  cancelled.
* Time never goes back here: what was looked at last is sealed with the tree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from sojourn.agent.effects import Effects
from sojourn.agent.records import Raised, SealedTask, SealedTree
from sojourn.errors import BudgetExhausted
from sojourn.labels import PUBLIC
from sojourn.limits import (
    MAX_JOIN_SECONDS,
    MAX_TASK_DEPTH,
    MAX_TASK_WAITS,
    MAX_TASKS,
    TASK_REGION_TURNS,
    TASK_TURN_FUEL,
)
from sojourn.vm import Effect, Failed, Handle, Machine, Value
from sojourn.vm.op import EXCEPTIONS

__all__ = ["Task", "TaskTree", "failure_of"]

_NOT_BEGUN: Final = -1


@dataclass(slots=True)
class Task:
    """One run.

    Attributes:
        machine: that executes it.
        effects: what carries its effects out.
        parent: the run that began it; empty for the order's own.
        depth: 0 for the order's own run.
        code: public code of the failure of its latest effect; empty for none.
        until_ms: deadline of the join in which it waits; 0 for none.
        cancelled: it was cancelled because its parent has ended.
    """

    machine: Machine
    effects: Effects
    parent: bytes = b""
    depth: int = 0
    code: str = ""
    until_ms: int = 0
    cancelled: bool = False

    @property
    def over(self) -> bool:
        """Whether its own program has ended."""
        return self.machine.outcome is not None


class TaskTree:
    """All runs of one order.

    Args:
        root: machine of the order's own run.
        serve: makes what carries the effects of a machine out.
        now_ms: the host's clock.
    """

    def __init__(self, root: Machine, serve: Callable[[Machine], Effects], now_ms: Callable[[], int]) -> None:
        self._serve = serve
        self._now_ms = now_ms
        self._tasks: dict[bytes, Task] = {root.run_id: Task(root, serve(root))}
        self._turn = root.run_id  # who comes next, unless it waits
        self._current, self._floor = b"", _NOT_BEGUN  # whose turn has begun
        self._regions = [root.run_id] if root.in_region else []
        self._patience = 0
        self._waiting: set[bytes] = set()  # since another one has moved
        self._spawned = 0
        self._waits = 0
        self._clock_ms = 0

    # What there is.

    @property
    def root(self) -> Task:
        """The order's own run."""
        return next(iter(self._tasks.values()))

    @property
    def branched(self) -> bool:
        """Whether there has been a child."""
        return self._spawned > 0

    def __iter__(self) -> Iterator[Task]:
        return iter(self._tasks.values())

    def ended(self, task: Task) -> bool:
        """Whether a run and everything below it has ended."""
        return task.over and all(self.ended(child) for child in self._children(task))

    def _children(self, task: Task) -> list[Task]:
        return [child for child in self._tasks.values() if child.parent == task.machine.run_id]

    def orphans(self) -> list[Task]:
        """Runs that go on although their parents' programs have ended, and have not been cancelled for that."""
        return [
            task
            for task in self._tasks.values()
            if task.parent and not task.over and not task.cancelled and self._tasks[task.parent].over
        ]

    # Turns.

    def next(self) -> Task | None:
        """The run whose turn it is; None if all wait for what does not come. Somebody must not have ended."""
        if self._regions and self._patience >= TASK_REGION_TURNS:
            return self._tasks[self._regions[0]]
        if self._current not in self._tasks or not self._ready(self._current):
            self._current = next(filter(self._ready, self._ring(self._turn)), b"")
            self._floor = _NOT_BEGUN
        if not self._current:
            return self._tasks[self._regions[0]] if self._regions else None
        task = self._tasks[self._current]
        if self._floor == _NOT_BEGUN:
            self._floor = max(task.machine.fuel_left - TASK_TURN_FUEL, 0)
        return task

    def _ready(self, run: bytes) -> bool:
        return not self._tasks[run].over and run not in self._regions and run not in self._waiting

    def _ring(self, start: bytes) -> list[bytes]:
        """All runs in the order of turns."""
        runs = list(self._tasks)
        at = runs.index(start)
        return runs[at:] + runs[:at]

    @property
    def floor(self) -> int:
        """`fuel_left` with which the turn ends."""
        return self._floor

    def inside(self, task: Task) -> bool:
        """Whether a region of this run has begun, whose turn is not over."""
        return task.machine.run_id in self._regions

    def enter(self, task: Task) -> None:
        """A region of this run has begun: it goes on when the other runs wait."""
        self._regions.append(task.machine.run_id)

    def leave(self, task: Task) -> None:
        """The region of this run is over, or was given up."""
        if self.inside(task):
            self._regions.remove(task.machine.run_id)
            self.stir()

    def moved(self, task: Task) -> None:
        """End the turn of a run outside of regions."""
        ring = self._ring(task.machine.run_id)
        self._turn, self._current = (ring[1:] or ring)[0], b""
        self._waiting.clear()
        self._patience += bool(self._regions)

    def waited(self, task: Task) -> None:
        """A run only waits: it has no turn before another one has moved."""
        self._waiting.add(task.machine.run_id)

    def give(self, task: Task) -> None:
        """Let this run have the next turn."""
        self._turn, self._current = task.machine.run_id, b""
        self.stir()

    def stir(self) -> None:
        """Something has changed: let the runs outside of regions look again first."""
        self._waiting.clear()
        self._patience = 0

    def _settle(self) -> None:
        """Name nobody who has ended as the next one."""
        live = [run for run in self._ring(self._turn) if not self._tasks[run].over]
        self._turn = next(iter(live), self.root.machine.run_id)
        if self._current not in live:
            self._current = b""

    # Children.

    def refused(self, task: Task) -> Raised | None:
        """Why this run may not begin another child; None if it may."""
        if self._spawned >= MAX_TASKS:
            return _limit(f"an order begins at most {MAX_TASKS} children")
        if task.depth >= MAX_TASK_DEPTH:
            return _limit(f"children are nested deeper than {MAX_TASK_DEPTH}")
        return None

    def spawn(self, task: Task) -> Handle:
        """Begin the child that a run's pending `task.spawn` asks for; the handle that the effect gives."""
        child = task.machine.child()
        self._tasks[child.run_id] = Task(child, self._serve(child), task.machine.run_id, task.depth + 1)
        self._spawned += 1
        return Handle("task", child.run_id, PUBLIC)

    def asked_for(self, task: Task, effect: Effect) -> Task | Raised:
        """The child that a `task.join` or `task.cancel` names, or what does not fit."""
        handle = effect.args["task"]
        if not isinstance(handle, Handle) or handle.kind != "task":
            return Raised("TypeError", f"{effect.name} takes a task, as spawn() and fork() give it", "")
        child = self._tasks.get(handle.id)
        if child is None or child.parent != task.machine.run_id:
            return Raised("ValueError", f"{effect.name}: this task is not a child of this run; pass on its result", "")
        return _within_refused(effect.args.get("within")) or child

    # Time.

    def now(self) -> int:
        """The host's time, ms, which does not go back in one order."""
        self._clock_ms = max(self._clock_ms, self._now_ms())
        return self._clock_ms

    def deadline(self, effect: Effect) -> int:
        """When a join that begins to wait now gives up, ms; 0 for never."""
        within = effect.args.get("within")
        return self.now() + math.ceil(within * 1000) if isinstance(within, int | float) else 0

    def wait_refused(self) -> Raised | None:
        """Why no further deadline or cancellation is served; None if one is."""
        if self._waits >= MAX_TASK_WAITS:
            return _limit(f"an order waits with a deadline, and cancels, at most {MAX_TASK_WAITS} times")
        return None

    def count_wait(self) -> None:
        """One deadline or cancellation more."""
        self._waits += 1

    def missed(self) -> Task | None:
        """The first run whose deadline has passed before its child has ended."""
        waiting = [task for task in self._tasks.values() if task.until_ms]
        if not waiting:
            return None
        now = self.now()
        for task in waiting:
            effect = task.machine.pending
            child = None if effect is None else self.asked_for(task, effect)
            if task.until_ms <= now and isinstance(child, Task) and not self.ended(child):
                return task
        return None

    # Storing.

    def prune(self) -> None:
        """Forget children that have ended and that their parents cannot join any more."""
        self._settle()
        held: dict[bytes, set[bytes]] = {}
        for run, task in reversed(list(self._tasks.items())):  # children began after their parents
            if not task.parent or not self.ended(task):
                continue
            parent = self._tasks[task.parent]
            if not parent.over and task.parent not in held:
                held[task.parent] = {handle.id for handle in parent.machine.handles()}
            if run not in held.get(task.parent, ()):
                del self._tasks[run]

    def sealed(self) -> SealedTree | None:
        """What a snapshot says beside the machines."""
        if not self.branched and not self.root.code:
            return None
        rows = tuple(
            SealedTask(run, task.parent, task.code, task.until_ms, task.cancelled) for run, task in self._tasks.items()
        )
        return SealedTree(
            rows, self._turn, self._current, self._floor, tuple(self._regions), self._patience, self._spawned,
            self._waits, self._clock_ms,
        )  # fmt: skip

    def snapshots(self) -> dict[bytes, bytes]:
        """The machines of the children, by run.

        Raises:
            MachineError: one is larger than a snapshot may be.
        """
        return {run: task.machine.dump() for run, task in self._tasks.items() if task.parent}

    def restore(self, tree: SealedTree, snapshots: Mapping[bytes, bytes]) -> None:
        """Take up what `sealed` and `snapshots` gave.

        Raises:
            DecodeError, SnapshotInvalid: a snapshot is none of this program.
        """
        program = self.root.machine.program
        for row in tree.tasks:
            if row.parent:
                machine = Machine.load(program, snapshots[row.run])
                depth = self._tasks[row.parent].depth + 1
                self._tasks[row.run] = Task(machine, self._serve(machine), row.parent, depth)
            task = self._tasks[row.run]
            task.code, task.until_ms, task.cancelled = row.code, row.until_ms, row.cancelled
        self._turn, self._current, self._floor = tree.turn, tree.current, tree.floor
        self._regions, self._patience = list(tree.regions), tree.patience
        self._spawned, self._waits, self._clock_ms = tree.spawned, tree.waits, tree.clock_ms


def failure_of(task: Task) -> Raised | None:
    """What joining an ended run raises; None if it has returned."""
    failed = task.machine.outcome
    if not isinstance(failed, Failed):
        return None
    if failed.code in EXCEPTIONS:
        return Raised(failed.code, failed.detail.partition(": ")[2], task.code)
    return Raised("RuntimeError", f"the child's {failed.code} is spent", failed.code)


def _within_refused(within: Value) -> Raised | None:
    """Why a join does not take this number of seconds."""
    if within is None:
        return None
    if isinstance(within, bool) or not isinstance(within, int | float) or within != within:  # noqa: PLR0124 - a NaN
        return Raised("TypeError", "task.join takes within= as a number of seconds", "")
    if not 0 <= within <= MAX_JOIN_SECONDS:
        return Raised("ValueError", f"task.join takes within= from 0 to {MAX_JOIN_SECONDS} seconds", "")
    return None


def _limit(message: str) -> Raised:
    return Raised("RuntimeError", message, BudgetExhausted.code)
