"""What a run has done before, and what it does now: the records behind the latest snapshot, and the counts.

Rules:

* A replayed effect must ask for what it asked for, and a recomputed one must give what it gave. Anything else raises
  `Nondeterministic`, which ends the run as refused.
* Counts of what a replay did are durable at once: a second crash must not forget the first one's price.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sojourn.agent.journal import Journal
from sojourn.agent.records import Begun, EffectRecord
from sojourn.contracts import Occurrence
from sojourn.vm import Effect

__all__ = ["Nondeterministic", "Replay", "Statistics"]


class Nondeterministic(Exception):
    """A replay went another way than the run it replays."""


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


class Replay:
    """The records of one order's run and its children.

    Args:
        journal: where new ones go.
        tell: takes `(effects so far, newly resumed, newly recomputed)` and makes them durable.
    """

    def __init__(self, journal: Journal, tell: Callable[[int, int, int], None]) -> None:
        self._journal = journal
        self._tell = tell
        self._tail: dict[Occurrence, EffectRecord] = {}
        self._begun: dict[Occurrence, Begun] = {}
        self.statistics = Statistics()

    def take_up(self) -> None:
        """Go on from what the journal recovered."""
        recovered = self._journal.recovered
        if recovered is not None:
            self._tail, self._begun = dict(recovered.tail), dict(recovered.begun)
            self.count(recovered.sealed.effects, 0)

    @property
    def over(self) -> bool:
        """Whether everything that had been done is done again: nothing that depends on time is decided before."""
        return not self._tail and all(begun.until_ms for begun in self._begun.values())

    @property
    def left(self) -> list[EffectRecord | Begun]:
        """What a replay has still to go through; a new snapshot takes it along."""
        return [*self._tail.values(), *self._begun.values()]

    def known(self, effect: Effect, asked: bytes) -> EffectRecord | None:
        """The record of an effect that had been executed."""
        known = self._tail.get(effect.occurrence)
        _check(effect, asked, known)
        return known

    def begun(self, effect: Effect, asked: bytes) -> Begun | None:
        """The record of an effect that had begun."""
        known = self._begun.get(effect.occurrence)
        _check(effect, asked, known)
        return known

    def begin(self, effect: Effect, asked: bytes, until_ms: int, *, sync: bool) -> None:
        """An effect begins."""
        run, operation = effect.occurrence
        self._journal.effect(Begun(run, operation, effect.name, asked, until_ms), sync=sync)

    def executed(self, record: EffectRecord, *, sync: bool = False) -> None:
        """Something new was done; returns when it is recorded."""
        self._journal.effect(record, sync=sync)
        self._begun.pop(record.occurrence, None)
        self.statistics.effects += 1

    def decided(self, effect: Effect) -> None:
        """Something new was done that only the next snapshot records."""
        self._begun.pop(effect.occurrence, None)
        self.statistics.effects += 1

    def waits(self, effect: Effect) -> None:
        """An effect that had begun goes on; the next snapshot says since when."""
        self._begun.pop(effect.occurrence, None)

    def resumed(self, effect: Effect) -> None:
        """An effect was answered from its record."""
        self._tail.pop(effect.occurrence)
        self.count(1, 0)

    def recomputed(self, effect: Effect) -> None:
        """An effect was executed again."""
        self._tail.pop(effect.occurrence)
        self.count(0, 1)

    def count(self, resumed: int, recomputed: int) -> None:
        """Count what a replay did."""
        self.statistics.effects += resumed + recomputed
        self.statistics.resumed += resumed
        self.statistics.recomputed += recomputed
        self._tell(self.statistics.effects, resumed, recomputed)


def _check(effect: Effect, asked: bytes, known: EffectRecord | Begun | None) -> None:
    if known is not None and (known.name, known.asked) != (effect.name, asked):
        raise Nondeterministic(f"operation {effect.occurrence.operation} was {known.name}, now {effect.name}")
