"""When a phase closes, and what counts.

Rules:

* Participants are frozen when the phase opens. An agent answers once: the same answer again is acknowledged again,
  another one under the same order is misbehaviour.
* An agent is *through* when its answer is committed, or when it declined or failed. The phase closes when all are
  through, or when its remaining time is spent; it is closed with the answers committed by then if they reach the
  quorum, else it is missed. It is missed early once all are through without a quorum.
* Remaining time is spent by `elapse` only, so time during which nobody calls it (a stopped coordinator) is not spent.
* What was committed decides, not who was quick: the same set of commits gives the same closing in any order.

The host judges an answer, commits it, and only then calls `answered`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self, TypeAlias

from sojourn.errors import UsageError

__all__ = [
    "Again",
    "Closed",
    "Conflict",
    "Judgement",
    "Late",
    "Missed",
    "Open",
    "Outcome",
    "PhaseLedger",
    "Stranger",
    "Take",
]


@dataclass(frozen=True, slots=True)
class Take:
    """Commit it."""


@dataclass(frozen=True, slots=True)
class Again:
    """It is committed already: acknowledge again."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Another answer of this agent is committed: refuse and record."""


@dataclass(frozen=True, slots=True)
class Late:
    """The phase is over, or the agent had declined: tell it so; nothing is wrong."""


@dataclass(frozen=True, slots=True)
class Stranger:
    """Not invited: refuse and record."""


Judgement: TypeAlias = Take | Again | Conflict | Late | Stranger


@dataclass(frozen=True, slots=True)
class Open:
    """Still open: how many answers count so far, of how many participants."""

    answers: int
    of: int


@dataclass(frozen=True, slots=True)
class Closed:
    """Closed with these answers: (key id, digest of the signed answer), sorted by key id."""

    answers: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Missed:
    """Over without a quorum."""

    answers: int
    quorum: int


Outcome: TypeAlias = Open | Closed | Missed


class PhaseLedger:
    """State of one phase.

    Args:
        participants: key ids, frozen.
        quorum: fewest answers with which it closes.
        remaining_ms: time left.

    Raises:
        UsageError: no participants, one twice, or a quorum that cannot be reached.
    """

    def __init__(self, participants: Iterable[bytes], quorum: int, remaining_ms: int) -> None:
        self.participants = tuple(sorted(participants))
        self._invited = frozenset(self.participants)
        if not self.participants or len(self._invited) != len(self.participants):
            raise UsageError("a phase needs participants, each once")
        if not 1 <= quorum <= len(self.participants):
            raise UsageError(f"a quorum of {quorum} cannot be reached by {len(self.participants)} participants")
        self.quorum = quorum
        self.remaining_ms = max(0, remaining_ms)
        self._answers: dict[bytes, bytes] = {}
        self._gone: dict[bytes, bytes] = {}
        self._outcome: Outcome = Open(0, len(self.participants))

    @classmethod
    def restore(
        cls,
        participants: Iterable[bytes],
        quorum: int,
        remaining_ms: int,
        answers: Mapping[bytes, bytes],
        gone: Mapping[bytes, bytes],
    ) -> Self:
        """The state that the same commits had made.

        Args:
            participants: as in the constructor.
            quorum: as in the constructor.
            remaining_ms: what was stored last; 0 for a phase that is over.
            answers: key id and digest of each committed answer that counts.
            gone: the same of each agent that failed, or declined (then the digest is empty).
        """
        ledger = cls(participants, quorum, remaining_ms)
        ledger._answers.update(answers)
        ledger._gone.update(gone)
        if not (answers.keys() | gone.keys()) <= ledger._invited or answers.keys() & gone.keys():
            raise UsageError("an answer of an agent that was not invited, or two of one agent")
        ledger._settle()
        return ledger

    @property
    def outcome(self) -> Outcome:
        """Open, closed or missed. Once it is not open it never changes."""
        return self._outcome

    @property
    def awaited(self) -> frozenset[bytes]:
        """Participants that are not through."""
        return self._invited - self._answers.keys() - self._gone.keys()

    @property
    def counted(self) -> tuple[bytes, ...]:
        """Participants whose committed answers count, sorted."""
        return tuple(sorted(self._answers))

    def judge(self, agent: bytes, answer: bytes) -> Judgement:
        """What to do with an answer whose statement holds; changes nothing.

        Args:
            agent: key id of the verified signer.
            answer: digest of the exact signed answer.
        """
        if agent not in self._invited:
            return Stranger()
        stored = self._answers.get(agent) or self._gone.get(agent)
        if stored:
            return Again() if stored == answer else Conflict()
        if agent in self._gone or not isinstance(self._outcome, Open):
            return Late()
        return Take()

    def answered(self, agent: bytes, answer: bytes) -> Outcome:
        """An answer that counts is committed."""
        self._require(agent)
        self._answers[agent] = answer
        return self._settle()

    def gave_up(self, agent: bytes, answer: bytes = b"") -> Outcome:
        """The agent declined, or its committed answer says that its run failed (then `answer` is its digest)."""
        self._require(agent)
        self._gone[agent] = answer
        return self._settle()

    def elapse(self, ms: int) -> Outcome:
        """Time has passed while the phase was served."""
        if isinstance(self._outcome, Open):
            self.remaining_ms = max(0, self.remaining_ms - ms)
            self._settle()
        return self._outcome

    def _require(self, agent: bytes) -> None:
        if (
            not isinstance(self._outcome, Open)
            or agent in self._answers
            or agent in self._gone
            or agent not in self._invited
        ):
            raise UsageError("only an open phase takes an answer, and one from each participant")

    def _settle(self) -> Outcome:
        through = len(self._answers) + len(self._gone) == len(self.participants)
        if through or self.remaining_ms == 0:
            if len(self._answers) >= self.quorum:
                self._outcome = Closed(tuple(sorted(self._answers.items())))
            else:
                self._outcome = Missed(len(self._answers), self.quorum)
        else:
            self._outcome = Open(len(self._answers), len(self.participants))
        return self._outcome
