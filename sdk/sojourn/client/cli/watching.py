"""What `sojourn program run` shows while a program runs, and how whoever sits there says what to do next."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sojourn.client.sources import Source
from sojourn.client.trial.desk import Heard
from sojourn.client.trial.driver import Command, Outcome, Trial, TrialStopped
from sojourn.client.trial.values import shown
from sojourn.console import say, tell
from sojourn.labels import Label
from sojourn.vm import Effect, RegionError
from sojourn.vm.views import FrameView, runs_of

__all__ = ["ConsoleWatcher", "effect_text", "frame_lines"]

_HELP: Final = "Enter: one step · c: on to the next stop · v: variables · w: where · q: leave"
_STEPS: Final = {"": "line", "s": "line", "i": "instruction", "c": "no"}
_QUIET: Final = frozenset(("note", "released", "neutral release"))  # what --quiet still shows


def effect_text(effect: Effect, label: Label | None = None) -> str:
    """An effect as a call. With a label, arguments show only that."""
    hidden = None if label is None or label.is_public else f"<{label}>"
    args = ", ".join(f"{name}={hidden or shown(value)}" for name, value in effect.args.items())
    return f"{effect.name}({args})"


def frame_lines(frame: FrameView, source: Source, label: Label | None = None) -> list[str]:
    """A frame with its line and variables. With a label that is not public, values show only that."""
    hidden = None if label is None or label.is_public else f"<{label}>"
    head = f"{frame.function}, {source.words(frame.line)}, instruction {frame.pc}"
    text = source.line(frame.line)
    lines = [f"{head}: {text}" if text else head]
    return lines + [f"    {name} = {hidden or shown(value)}" for name, value in frame.variables.items()]


class ConsoleWatcher:
    """Prints what happens, and keeps it for `--json`.

    Args:
        source: of the program.
        quiet: show releases, notes and errors only.
        as_json: print nothing; what happened is in `events`.
    """

    def __init__(self, source: Source, *, quiet: bool, as_json: bool) -> None:
        self._source, self._quiet, self._json = source, quiet, as_json
        self.events: list[dict[str, Any]] = []
        self.trial: Trial | None = None
        self.failed_before = False  # a private region, before the run was saved

    def effect(self, effect: Effect, line: int) -> None:
        """See `Watcher`."""
        run, operation = effect.occurrence
        self.events.append({
            "effect": effect.name,
            "run": run.hex(),
            "operation": operation,
            "label": list(effect.label.names),
            **self._source.as_json(line),
            "args": {name: shown(value) for name, value in effect.args.items()},
        })  # fmt: skip
        if not self._quiet:
            self._say(
                f"{run.hex()[:8]}#{operation}  {self._source.where(line)}  [{effect.label}]  {effect_text(effect)}"
            )

    def outcome(self, effect: Effect, outcome: Outcome) -> None:
        """See `Watcher`."""
        event = self.events[-1]
        event["by"] = outcome.by
        if outcome.raised is not None:
            event["raised"] = [outcome.raised.type_name, outcome.raised.message]
            self._say(f"    raises {outcome.raised.type_name}: {outcome.raised.message}")
        else:
            event["result"] = shown(outcome.value)
            if not self._quiet and outcome.value is not None:
                boxed = " in a box" if effect.boxed else ""
                self._say(f"    gives {event['result']}{boxed}")

    def region_failed(self, error: RegionError) -> None:
        """See `Watcher`."""
        self.events.append(
            {
                "region_failed": error.type_name,
                "code": error.code,
                **self._source.as_json(error.line),
                "detail": error.message,
            }
        )
        text = self._source.line(error.line)
        where = f" at {self._source.where(error.line)}" if error.line else ""
        self._say(f"    private: {error.type_name}{where}: {error.message}{f'   | {text}' if text else ''}")

    @property
    def regions_failed(self) -> bool:
        """Whether a private region of this run failed, so that what it releases is neutral."""
        return self.failed_before or any("region_failed" in event for event in self.events)

    def place(self, line: int) -> str:
        """A line by file, number and text."""
        text = self._source.line(line)
        return f"{self._source.where(line)}{f'   | {text}' if text else ''}"

    def misfit(self, problem: str) -> None:
        """See `Watcher`."""
        tell(f"that does not fit: {problem}")

    def heard(self, heard: Heard) -> None:
        """A line of the owner's log."""
        fields = {name: _plain(value) for name, value in heard.fields.items() if name not in {"run", "operation"}}
        self.events.append({"log": heard.event, **fields})
        if not self._quiet or heard.event in _QUIET:
            words = ", ".join(f"{name} {value}" for name, value in fields.items() if value not in {"", None})
            self._say(f"    log: {heard.event}{': ' if words else ''}{words}")

    def stopped(self, frame: FrameView | None, effect: Effect | None) -> Command:
        """See `Watcher`: asks on standard error, reads a line of standard input."""
        if effect is not None:
            tell(f"stopped before {effect_text(effect)}")
        if frame is not None:
            place = f"{self._source.where(frame.line)}  {self._source.line(frame.line)}"
            tell(f"{place}   ({frame.function} {frame.pc})")
        while True:
            line = read_line(f"{_HELP} > ")
            if line is None or line == "q":
                raise TrialStopped
            if line in _STEPS:
                return Command(_STEPS[line])  # type: ignore[arg-type]  # its values are steps
            for text in self._state(variables=line == "v"):
                tell(text)

    def ask(self, effect: Effect) -> str | None:
        """One answer of whoever sits there; None when nobody does."""
        tell(f"what does {effect.name} give? JSON, Enter for its natural answer, or !Class text to raise")
        return read_line("answer > ")

    def _state(self, *, variables: bool) -> list[str]:
        if self.trial is None:
            return []
        runs = runs_of(self.trial.machine)
        if variables and runs[-1].frames:
            return frame_lines(runs[-1].frames[-1], self._source)
        return [
            f"{'private region' if run.region else 'run'} [{run.label}]: {frame_lines(frame, self._source)[0]}"
            for run in runs
            for frame in run.frames
        ]

    def _say(self, text: str) -> None:
        if not self._json:
            say(text)


def read_line(prompt: str) -> str | None:
    """A line of standard input without its end; None at the end of it."""
    sys.stderr.write(prompt)
    sys.stderr.flush()
    line = sys.stdin.readline()
    return line.strip() if line else None


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
