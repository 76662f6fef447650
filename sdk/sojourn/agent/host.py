"""Drives one run: machine, effects and journal, so that every effect happens once and a restart goes on.

Rules:

* Synchronous, and made for a worker thread: the caller's event loop stays alive. `stop` is looked at between effects
  and between slices of fuel; a run that is stopped seals its state first.
* `pure`: computed, its lineage record appended, then given to the machine. Once in `SEAL_CADENCE_EFFECTS` of them the
  machine and its live tensors are sealed, before the next effect starts: no crash costs more than the cadence.
* `read`: its record is appended before the machine sees the value; a replay takes the value from the record.
* `commit`: durable where it belongs before its record is appended; a replay skips it.
* A replayed effect must ask for what it asked for, and a recomputed one must give what it gave. Anything else ends
  the run as refused, `nondeterministic`.
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
from sojourn.agent.journal import Journal
from sojourn.agent.objects import ObjectTable
from sojourn.agent.records import BodyRefAt, Commit, EffectRecord, End, Pure, Raised, Read, Sealed, SealedObject
from sojourn.contracts import Occurrence
from sojourn.limits import SEAL_CADENCE_EFFECTS
from sojourn.vm import Done, Effect, Failed, Machine, Parked, Sliced

__all__ = ["FUEL_SLICE", "Finished", "RunHost", "Statistics", "Stopped"]

FUEL_SLICE: Final = 200_000  # instructions between two looks at `stop`


@dataclass(frozen=True, slots=True)
class Finished:
    """The run ended. `code` and `line` are public; `detail` is for the owner's log only.

    `effects` counts the run's effects, executed or resumed.
    """

    outcome: Literal["done", "failed", "refused"]
    code: str = ""
    line: int = 0
    detail: str = ""
    effects: int = 0


@dataclass(frozen=True, slots=True)
class Stopped:
    """The run was asked to stop; its state is sealed and it can go on."""


@dataclass(slots=True)
class Statistics:
    """What happened to a run's effects in this process.

    Attributes:
        effects: executed or resumed, since the run began.
        resumed: not executed again, because a snapshot or a record covered them.
        recomputed: pure effects that had been executed before the crash and were executed again.
    """

    effects: int = 0
    resumed: int = 0
    recomputed: int = 0


class _Nondeterministic(Exception):
    """A replay went another way than the run it replays."""


class RunHost:
    """One run on this agent.

    Args:
        machine: at its start, or as loaded from `journal.recovered.sealed`.
        effects: what carries the effects out.
        objects: items of the run's handles; restored already when recovered.
        journal: of this run.
        faults: test hooks.
        stop: set by another thread to make `drive` return `Stopped`.
        tell: takes `(effects so far, newly resumed, newly recomputed)` and makes them durable.
    """

    def __init__(
        self,
        machine: Machine,
        effects: Effects,
        objects: ObjectTable,
        journal: Journal,
        faults: Faults,
        stop: threading.Event,
        tell: Callable[[int, int, int], None],
    ) -> None:
        self._machine = machine
        self._effects = effects
        self._objects = objects
        self._journal = journal
        self._faults = faults
        self._stop = stop
        self._tell = tell
        self._tail: dict[Occurrence, EffectRecord] = {}
        self._pure_since_seal = 0
        self.statistics = Statistics()

    def drive(self) -> Finished | Stopped:
        """Run until the program ends or `stop` is set.

        Raises:
            StoreError: journal, ledger or a stream failed; the run stays as it is and can be tried again.
        """
        recovered = self._journal.recovered
        if recovered is None:
            self._seal()
        else:
            self._tail = dict(recovered.tail)
            if recovered.end is not None:
                self._count(recovered.sealed.effects + len(recovered.tail), 0)
                return self._ended(Finished(recovered.end.outcome, recovered.end.code, recovered.end.line))
            self._count(recovered.sealed.effects, 0)
        try:
            ending = self._loop()
        except _Nondeterministic as problem:
            ending = Finished("refused", "nondeterministic", 0, str(problem))
        if isinstance(ending, Stopped):
            return ending
        self._journal.end(End(ending.outcome, ending.code, ending.line))
        return self._ended(ending)

    def _ended(self, ending: Finished) -> Finished:
        return dataclasses.replace(ending, effects=self.statistics.effects)

    def _loop(self) -> Finished | Stopped:
        raised: Raised | None = None
        effect = self._machine.pending
        while True:
            if effect is None:
                match self._machine.run(FUEL_SLICE):
                    case Parked(effect=parked):
                        effect, raised = parked, None
                    case Sliced():
                        if self._stop.is_set():
                            return self._stopped()
                        continue
                    case Done():
                        return Finished("done")
                    case Failed() as failed:
                        code = raised.code if raised is not None and raised.code else failed.code
                        outcome: Literal["failed", "refused"] = "refused" if code == "admission_refused" else "failed"
                        return Finished(outcome, code, failed.line, failed.detail)
            if self._stop.is_set():
                return self._stopped()
            if self._pure_since_seal >= SEAL_CADENCE_EFFECTS:
                self._seal()
            raised = self._answer(effect)
            effect = None

    def _stopped(self) -> Stopped:
        if self._machine.pending is not None:
            self._seal()
        self._journal.sync()
        return Stopped()

    def _answer(self, effect: Effect) -> Raised | None:
        """Carry one effect out, or feed its recorded result; returns how it failed, if it did."""
        asked = effect_digest(effect)
        known = self._tail.pop(effect.occurrence, None)
        if known is not None and (known.name, known.asked) != (effect.name, asked):
            raise _Nondeterministic(f"operation {effect.occurrence.operation} was {known.name}, now {effect.name}")
        match effect.durability:
            case "pure":
                return self._pure(effect, asked, known)
            case "read":
                return self._read(effect, asked, known)
            case _:
                return self._commit(effect, asked, known)

    def _pure(self, effect: Effect, asked: bytes, known: EffectRecord | None) -> Raised | None:
        outcome = self._effects.pure(effect)
        if known is None:
            run, operation = effect.occurrence
            self._journal.effect(Pure(run, operation, effect.name, asked, outcome.digest), sync=False)
            self.statistics.effects += 1
            if effect.name == "gpu.run" and self._effects.in_region(effect):
                self._faults.gpu_run_done(effect.occurrence)
        elif not isinstance(known, Pure) or known.output != outcome.digest:
            raise _Nondeterministic(f"{effect.name} at operation {effect.occurrence.operation} gave another result")
        else:
            self._count(0, 1)
        self._pure_since_seal += 1
        return self._resume(effect, outcome)

    def _read(self, effect: Effect, asked: bytes, known: EffectRecord | None) -> Raised | None:
        if known is None:
            found = self._effects.read(effect)
            run, operation = effect.occurrence
            self._journal.effect(Read(run, operation, effect.name, asked, found), sync=effect.name == "stream.open")
            self.statistics.effects += 1
        elif isinstance(known, Read):
            found = known.found
            self._count(1, 0)
        else:
            raise _Nondeterministic(f"operation {effect.occurrence.operation} was no {effect.name}")
        return self._resume(effect, self._effects.found(effect, found))

    def _commit(self, effect: Effect, asked: bytes, known: EffectRecord | None) -> Raised | None:
        if known is None:
            raised = self._effects.commit(effect)
            run, operation = effect.occurrence
            self._journal.effect(Commit(run, operation, effect.name, asked, raised), sync=False)
            self.statistics.effects += 1
        elif isinstance(known, Commit):
            raised = known.raised
            self._count(1, 0)
        else:
            raise _Nondeterministic(f"operation {effect.occurrence.operation} was no {effect.name}")
        return self._resume(effect, Given(None) if raised is None else raised)

    def _resume(self, effect: Effect, outcome: Given | Broken | Raised) -> Raised | None:
        """Give the machine the result. Returns a failure whose code may become the run's public code: only one of the
        public world, on public arguments; a private one must not show in any code."""
        if isinstance(outcome, Given):
            self._machine.resume(outcome.value)
            return None
        raised = outcome.raised if isinstance(outcome, Broken) else outcome
        self._machine.throw(raised.type_name, raised.message)
        private = effect.boxed and not effect.name.startswith("release.")  # a release fails for public reasons only
        return None if private or self._effects.in_region(effect) else raised

    def _count(self, resumed: int, recomputed: int) -> None:
        """Count what a replay did, durably: a second crash must not forget the first one's price."""
        self.statistics.effects += resumed + recomputed
        self.statistics.resumed += resumed
        self.statistics.recomputed += recomputed
        self._tell(self.statistics.effects, resumed, recomputed)

    def _seal(self) -> None:
        """Write the machine and everything it can reach, durable when this returns."""
        snapshot = self._machine.dump()
        live = list(dict.fromkeys(handle.id for handle in self._machine.handles()))
        self._objects.prune(live)
        sealed = Sealed(
            snapshot,
            tuple(SealedObject(handle, self._objects.refer(handle)) for handle in live),
            self.statistics.effects,
        )
        present = frozenset() if self._journal.will_rotate() else frozenset(self._journal.sealed_bodies)
        absent = [e.handle for e in sealed.objects if isinstance(e.ref, BodyRefAt) and e.handle not in present]
        for handle in absent:
            self._objects.tensors(handle)  # loads what is still in the generation that may be left now
        bodies = ((handle, self._objects.body(handle)) for handle in absent)
        self._journal.seal(sealed, bodies, list(self._tail.values()))
        self._pure_since_seal = 0
