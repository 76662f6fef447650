"""Drives one run at an author's desk: effects as they come, breakpoints, single steps, and what went wrong where.

Rules of this module: it knows no console. What happens is told to a `Watcher` and what to do next is asked of it; a run
that is stopped can be saved and gone on with. An effect at which a run stops has not happened yet.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from sojourn.agent.records import Raised
from sojourn.client.trial.answers import Answers, NoAnswer, Throw
from sojourn.client.trial.desk import Desk
from sojourn.errors import MachineError, UsageError
from sojourn.vm import Done, Effect, Failed, Machine, Parked, RegionError, Sliced, Value
from sojourn.vm.views import FrameView, boxes_of, runs_of

__all__ = ["Command", "Ended", "Outcome", "Stepping", "Trial", "TrialStopped", "Watcher"]

FUEL_SLICE: Final = 200_000

Stepping = Literal["no", "line", "instruction"]


class TrialStopped(Exception):
    """Whoever watches has stopped the run. Its state is as it was before the effect or the instruction."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an effect.

    Attributes:
        value: its result; None where it failed.
        raised: how it failed; None where it did not.
        by: who answered: `desk`, or the line of a file, or `console`.
    """

    value: Value
    raised: Throw | None
    by: str


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended.

    Attributes:
        outcome: `done` or `failed`.
        value: what the entry returned.
        code: public code of the failure, as a coordinator would learn it.
        line: public source line of the failure.
        detail: private text of the failure, as the owner's log would have it.
    """

    outcome: Literal["done", "failed"]
    value: Value = None
    code: str = ""
    line: int = 0
    detail: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Command:
    """What to do after a stop: go on, or step."""

    stepping: Stepping


class Watcher(Protocol):
    """Who watches a trial."""

    def effect(self, effect: Effect, line: int) -> None:
        """An effect is about to be carried out, in this source line."""

    def outcome(self, effect: Effect, outcome: Outcome) -> None:
        """It has been."""

    def region_failed(self, error: RegionError) -> None:
        """A private region, or an effect on boxes, has put an error into its box."""

    def misfit(self, problem: str) -> None:
        """An answer from the console was none; it is asked for again."""

    def stopped(self, frame: FrameView | None, effect: Effect | None) -> Command:
        """A breakpoint or a step: what next? Raises `TrialStopped` to leave."""


class Trial:
    """One run.

    Args:
        machine: at its start, or as it was loaded.
        desk: carries effects out.
        answers: for those that the desk does not carry out.
        watcher: is told and asked.
        breaks: effects before which to stop.
        stepping: whether to stop from the beginning.
    """

    def __init__(
        self,
        machine: Machine,
        desk: Desk,
        answers: Answers,
        watcher: Watcher,
        breaks: frozenset[str] = frozenset(),
        stepping: Stepping = "no",
    ) -> None:
        self.machine = machine
        self._desk, self._answers, self._watcher = desk, answers, watcher
        self._breaks, self._stepping = breaks, stepping
        self._seen: set[bytes] = {box.id for box in boxes_of(machine)}
        self._place: tuple[str, int, int] | None = None
        self._passed = machine.pending  # stopped there before: not again

    def run(self) -> Ended:
        """Go on to the end.

        Raises:
            TrialStopped: the watcher said so.
            NoAnswer: an effect that nothing answers; the run can be saved and gone on with.
            UsageError: a line of a file that is no answer to its effect.
        """
        while True:
            self._stop_between()
            progress = self.machine.run(FUEL_SLICE if self._stepping == "no" else 1)
            if not self.machine.in_region:
                self._report_boxes()
            match progress:
                case Parked(effect=effect):
                    self._stop_before(effect)
                    self._carry_out(effect)
                case Sliced():
                    continue
                case Done(value=value):
                    return Ended("done", value)
                case Failed() as failed:
                    return Ended("failed", None, failed.code, failed.line, failed.detail)

    def _stop_between(self) -> None:
        """With single steps, stop at each instruction, or at the first one of each line."""
        if self._stepping == "no" or self.machine.pending is not None or self.machine.outcome is not None:
            return
        frame = self.frame
        place = None if frame is None else (frame.function, frame.line, len(runs_of(self.machine)))
        if self._stepping == "instruction" or place != self._place:
            self._place = place
            self._stepping = self._watcher.stopped(frame, None).stepping

    @property
    def unused(self) -> str:
        """What is left of the answers, in words; empty when nothing is."""
        return self._answers.unused()

    @property
    def frame(self) -> FrameView | None:
        """The call that executes now; None at the end."""
        frames = runs_of(self.machine)[-1].frames
        return frames[-1] if frames else None

    def _stop_before(self, effect: Effect) -> None:
        if effect.name in self._breaks and effect is not self._passed:
            self._stepping = self._watcher.stopped(self.frame, effect).stepping

    def _carry_out(self, effect: Effect) -> None:
        frame = self.frame
        self._watcher.effect(effect, 0 if frame is None else frame.line)
        scripted = self._answers.scripted(effect)
        if scripted is not None:
            answer, where = scripted
            problem = self._give(effect, answer, where)
            if problem:
                raise UsageError(f"{where}: {problem}")
        elif self._desk.serves(effect):
            outcome = self._desk.perform(effect)
            result = Throw(outcome.type_name, outcome.message) if isinstance(outcome, Raised) else outcome.value
            problem = self._give(effect, result, "desk")
            if problem:
                raise UsageError(problem)
        else:
            self._ask(effect)

    def _ask(self, effect: Effect) -> None:
        """A release is answered with None whatever it holds; everything else by whoever sits there."""
        if effect.name.startswith("release."):
            self._give(effect, None, "console")
            return
        while True:
            try:
                problem = self._give(effect, self._answers.asked(effect), "console")
            except NoAnswer:
                raise
            except UsageError as refusal:
                problem = str(refusal)
            if not problem:
                return
            self._watcher.misfit(problem)

    def _give(self, effect: Effect, answer: Value | Throw, by: str) -> str:
        """Give the machine an answer; returns why it is none, or nothing."""
        try:
            if isinstance(answer, Throw):
                self.machine.throw(answer.type_name, answer.message)
            else:
                self.machine.resume(answer)
        except MachineError as problem:
            return str(problem)
        raised = answer if isinstance(answer, Throw) else None
        self._watcher.outcome(effect, Outcome(None if raised else answer, raised, by))
        return ""

    def _report_boxes(self) -> None:
        """Say what went wrong inside of regions: the rows are the author's own, so there is nothing to hide."""
        for box in boxes_of(self.machine):
            if box.id not in self._seen:
                self._seen.add(box.id)
                content = self.machine.open(box)
                if isinstance(content, RegionError):
                    self._watcher.region_failed(content)
