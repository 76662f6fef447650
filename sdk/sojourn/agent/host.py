"""Drives an order's run and its children: machines, effects and journal. Every effect happens once, a restart goes on.

Rules:

* Synchronous, and made for a worker thread: the caller's event loop stays alive. `stop` is looked at between effects
  and between slices of fuel; a run that is stopped seals its state first.
* `pure`: computed, its lineage record appended, then given to the machine. Once in `SEAL_CADENCE_EFFECTS` of them the
  machines and their live tensors are sealed, before the next effect starts: no crash costs more than the cadence.
* `read`: its record is appended before the machine sees the value; a replay takes the value from the record.
* `commit`: durable where it belongs before its record is appended; a replay skips it. Where there are children it is
  recorded first that it begins, so that no deadline overtakes it in a replay.
* Runs take turns (`sojourn.agent.tasks`). What depends on time, and where a cancellation meets a run, is decided when
  a replay is over, and sealed before any run goes on (`docs/design/machine.md`, "Children on an agent").
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from sojourn.agent.asked import effect_digest
from sojourn.agent.effects import Broken, Effects, Given
from sojourn.agent.faults import Faults
from sojourn.agent.joining import Answered, TaskEffects
from sojourn.agent.journal import Journal
from sojourn.agent.objects import ObjectTable
from sojourn.agent.records import BodyRefAt, Commit, EffectRecord, End, Pure, Raised, Read, Sealed, SealedObject
from sojourn.agent.replay import Nondeterministic, Replay, Statistics
from sojourn.agent.tasks import TaskTree
from sojourn.limits import SEAL_CADENCE_EFFECTS
from sojourn.vm import Effect, Failed, Machine, Sliced
from sojourn.vm.places import in_file

__all__ = ["FUEL_SLICE", "Finished", "RunHost", "Statistics", "Stopped"]

FUEL_SLICE: Final = 200_000  # instructions between two looks at `stop`


@dataclass(frozen=True, slots=True)
class Finished:
    """The run ended. `code` and `line` are public; `detail` is for the owner's log only.

    `effects` counts the run's effects and its children's, executed or resumed.
    """

    outcome: Literal["done", "failed", "refused"]
    code: str = ""
    line: int = 0
    detail: str = ""
    effects: int = 0


@dataclass(frozen=True, slots=True)
class Stopped:
    """The run was asked to stop; its state is sealed and it can go on."""


class RunHost:
    """One order's run on this agent, with its children.

    Args:
        machine: at its start, or as loaded from `journal.recovered.sealed`.
        serve: makes what carries the effects of a machine out: this one's, or a child's.
        objects: items of the runs' handles; restored already when recovered.
        journal: of this order.
        faults: test hooks.
        stop: set by another thread to make `drive` return `Stopped`.
        tell: takes `(effects so far, newly resumed, newly recomputed)` and makes them durable.
        now_ms: the host's clock, for deadlines.
    """

    def __init__(
        self,
        machine: Machine,
        serve: Callable[[Machine], Effects],
        objects: ObjectTable,
        journal: Journal,
        faults: Faults,
        stop: threading.Event,
        tell: Callable[[int, int, int], None],
        now_ms: Callable[[], int],
    ) -> None:
        self._tree = TaskTree(machine, serve, now_ms)
        self._task = self._tree.root
        self._objects = objects
        self._journal = journal
        self._faults = faults
        self._stop = stop
        self._replay = Replay(journal, tell)
        self._children = TaskEffects(self._tree, self._replay, self._seal)
        self._pure_since_seal = 0

    @property
    def statistics(self) -> Statistics:
        """What happened to effects in this process."""
        return self._replay.statistics

    def drive(self) -> Finished | Stopped:
        """Run until the program ends or `stop` is set.

        Raises:
            StoreError: journal, ledger or a stream failed; the run stays as it is and can be tried again.
        """
        recovered = self._journal.recovered
        if recovered is None:
            self._seal()
        elif recovered.end is not None:
            self._replay.count(recovered.sealed.effects + len(recovered.tail), 0)
            return self._ended(Finished(recovered.end.outcome, recovered.end.code, recovered.end.line))
        else:
            self._replay.take_up()
            if recovered.sealed.tree is not None:
                self._tree.restore(recovered.sealed.tree, recovered.children)
        try:
            ending = self._loop()
        except Nondeterministic as problem:
            ending = Finished("refused", "nondeterministic", 0, str(problem))
        if isinstance(ending, Stopped):
            return ending
        self._journal.end(End(ending.outcome, ending.code, ending.line))
        return self._ended(ending)

    def _ended(self, ending: Finished) -> Finished:
        return dataclasses.replace(ending, effects=self.statistics.effects)

    def _loop(self) -> Finished | Stopped:
        root = self._tree.root
        while True:
            failed = root.machine.outcome
            if isinstance(failed, Failed):
                code = root.code or failed.code
                outcome: Literal["failed", "refused"] = "refused" if code == "admission_refused" else "failed"
                detail = in_file(failed.detail, failed.line, root.machine.program.program.modules)
                return Finished(outcome, code, failed.line, detail)
            if self._tree.ended(root):
                return Finished("done")
            if self._children.decide():
                continue
            task = self._tree.next()
            if task is None:
                raise Nondeterministic("the journal holds effects that no run asks for again")
            self._task = task
            if not (self._inside_turn() if self._tree.inside(task) else self._turn()):
                return self._stopped()

    def _turn(self) -> bool:
        """Let a run go on outside of regions, to the end of its turn. False if it is stopped."""
        machine = self._task.machine
        if machine.pending is None:
            progress = machine.run(FUEL_SLICE, self._tree.floor)
            if isinstance(progress, Sliced):
                if progress.entered:
                    self._tree.enter(self._task)
                elif machine.fuel_left > self._tree.floor:
                    return not self._stop.is_set()
            if machine.pending is None:
                self._tree.moved(self._task)
                return self._task.over or not self._stop.is_set()
            self._task.code = ""
        if self._stop.is_set():
            return False
        answered = self._answer(machine.pending)
        if answered is Answered.YES:
            self._tree.moved(self._task)
        elif answered is Answered.WAITS:
            self._tree.waited(self._task)
        return True

    def _inside_turn(self) -> bool:
        """Let a run go on inside of a region, to its end or to a deadline that has passed. False if it is stopped."""
        machine = self._task.machine
        while machine.in_region:
            if machine.pending is None:
                machine.run(FUEL_SLICE, machine.fuel_left)
            if self._stop.is_set():
                return False
            if machine.in_region and machine.pending is not None:
                self._answer(machine.pending)
            if self._children.late():
                return True
        self._tree.leave(self._task)
        return True

    def _stopped(self) -> Stopped:
        self._seal()
        return Stopped()

    def _answer(self, effect: Effect) -> Answered:
        """Carry one effect of the run whose turn it is out, or feed its recorded result, or find that it waits."""
        if self._pure_since_seal >= SEAL_CADENCE_EFFECTS:
            self._seal()
        asked = effect_digest(effect)
        known = self._replay.known(effect, asked)
        if effect.name.startswith("task."):
            return self._children.answer(self._task, effect, asked, known)
        match effect.durability:
            case "pure":
                self._pure(effect, asked, known)
            case "read":
                self._read(effect, asked, known)
            case _:
                self._commit(effect, asked, known)
        return Answered.YES

    def _pure(self, effect: Effect, asked: bytes, known: EffectRecord | None) -> None:
        outcome = self._task.effects.pure(effect)
        if known is None:
            run, operation = effect.occurrence
            self._replay.executed(Pure(run, operation, effect.name, asked, outcome.digest))
            if effect.name == "gpu.run" and self._task.effects.in_region(effect):
                self._faults.gpu_run_done(effect.occurrence)
        elif not isinstance(known, Pure) or known.output != outcome.digest:
            raise Nondeterministic(f"{effect.name} at operation {effect.occurrence.operation} gave another result")
        else:
            self._replay.recomputed(effect)
        self._pure_since_seal += 1
        self._resume(effect, outcome)

    def _read(self, effect: Effect, asked: bytes, known: EffectRecord | None) -> None:
        if known is None:
            found = self._task.effects.read(effect)
            run, operation = effect.occurrence
            self._replay.executed(Read(run, operation, effect.name, asked, found), sync=effect.name == "stream.open")
        elif isinstance(known, Read):
            found = known.found
            self._replay.resumed(effect)
        else:
            raise Nondeterministic(f"operation {effect.occurrence.operation} was no {effect.name}")
        self._resume(effect, self._task.effects.found(effect, found))

    def _commit(self, effect: Effect, asked: bytes, known: EffectRecord | None) -> None:
        if known is None:
            if self._tree.branched and self._replay.begun(effect, asked) is None:
                self._replay.begin(effect, asked, 0, sync=effect.name.startswith("release."))
            raised = self._task.effects.commit(effect)
            run, operation = effect.occurrence
            self._replay.executed(Commit(run, operation, effect.name, asked, raised))
        elif isinstance(known, Commit):
            raised = known.raised
            self._replay.resumed(effect)
        else:
            raise Nondeterministic(f"operation {effect.occurrence.operation} was no {effect.name}")
        self._resume(effect, Given(None) if raised is None else raised)

    def _resume(self, effect: Effect, outcome: Given | Broken | Raised) -> None:
        """Give the machine the result. A failure's code may become the run's public code: only one of the public
        world, on public arguments; a private one must not show in any code."""
        if isinstance(outcome, Given):
            self._task.machine.resume(outcome.value)
            return
        raised = outcome.raised if isinstance(outcome, Broken) else outcome
        self._task.machine.throw(raised.type_name, raised.message)
        private = effect.boxed and not effect.name.startswith("release.")  # a release fails for public reasons only
        self._task.code = "" if private or self._task.effects.in_region(effect) else raised.code

    def _seal(self) -> None:
        """Write the machines and everything they can reach, durable when this returns."""
        self._tree.prune()
        snapshot = self._tree.root.machine.dump()
        children = self._tree.snapshots()
        handles = [handle for task in self._tree for handle in task.machine.handles()]
        live = list(dict.fromkeys(handle.id for handle in handles if handle.kind != "task"))
        self._objects.prune(live)
        sealed = Sealed(
            snapshot,
            tuple(SealedObject(handle, self._objects.refer(handle)) for handle in live),
            self.statistics.effects,
            self._tree.sealed(),
        )
        present = frozenset() if self._journal.will_rotate() else frozenset(self._journal.sealed_bodies)
        absent = [e.handle for e in sealed.objects if isinstance(e.ref, BodyRefAt) and e.handle not in present]
        for handle in absent:
            self._objects.tensors(handle)  # loads what is still in the generation that may be left now
        bodies = ((handle, self._objects.body(handle)) for handle in absent)
        self._journal.seal(sealed, bodies, self._replay.left, children)
        self._pure_since_seal = 0
