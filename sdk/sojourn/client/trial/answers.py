"""Answers to effects that nothing at an author's desk carries out: from a file of JSON lines, then from the console.

    {"effect": "fleet.invite"}                                        its natural answer: a cohort
    {"effect": "fleet.ask", "value": {"$handle": "answers"}}          a value; see `sojourn.client.trial.values`
    {"effect": "fleet.ask", "raise": ["QuorumMissed", "2 of 4"]}      an exception

Rules of this module: lines are taken in order, each by the next effect of its name; a line about an effect that the
desk could carry out is taken instead of doing so. A line that no effect takes is said at the end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sojourn.client.trial.values import from_json
from sojourn.errors import UsageError
from sojourn.labels import Label
from sojourn.vm import EFFECTS, Effect, Handle, Value
from sojourn.vm.op import EXCEPTIONS

__all__ = ["Answer", "Answers", "NoAnswer", "Throw", "parse_answer"]

_KEYS: Final = frozenset(("effect", "value", "raise"))
_NATURAL: Final[Mapping[str, Any]] = {
    "stream.open": {"$handle": "stream"},
    "stream.first": {"$handle": "cursor"},
    "stream.batch": {"$tuple": [{"rows": 0}, None]},
    "tensor.item": 0.0,
    "fleet.invite": {"$handle": "cohort"},
    "fleet.ask": {"$handle": "answers"},
    "updates.aggregate": {"$handle": "model"},
    "model.publish": {"$handle": "model"},
    "task.spawn": {"$handle": "task"},
}


@dataclass(frozen=True, slots=True)
class Throw:
    """Let the effect fail."""

    type_name: str
    message: str


class NoAnswer(UsageError):
    """Nothing answers an effect: neither the desk, nor a file, nor anybody at the console."""


Answer = Value | Throw


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    effect: str
    content: Mapping[str, Any]


class Answers:
    """Where answers come from.

    Args:
        text: JSON lines; empty lines and lines that begin with `#` are skipped.
        file: how messages name it.
        ask: asks whoever sits at the console; given the effect, returns one line, or None when nobody answers.

    Raises:
        UsageError: a line that is no answer.
    """

    def __init__(self, text: str, file: str, ask: Callable[[Effect], str | None]) -> None:
        self._file = file
        self._ask = ask
        self._lines = [
            _line(f"{file}:{number}", number, line)
            for number, line in enumerate(text.splitlines(), 1)
            if line.strip() and not line.lstrip().startswith("#")
        ]

    def scripted(self, effect: Effect) -> tuple[Answer, str] | None:
        """The answer of the next line, if it is about this effect, and where it stands.

        Raises:
            UsageError: its value is none.
        """
        if not self._lines or self._lines[0].effect != effect.name:
            return None
        line = self._lines.pop(0)
        where = f"{self._file}:{line.number}"
        try:
            return _answer(line.content, effect), where
        except UsageError as problem:
            raise UsageError(f"{where}: {problem}") from None

    def asked(self, effect: Effect) -> Answer:
        """The answer of whoever sits at the console.

        Raises:
            NoAnswer: nobody is there.
            UsageError: what was typed is no answer.
        """
        line = self._ask(effect)
        if line is None:
            natural = json.dumps({"effect": effect.name})
            hint = _HINTS.get(effect.name.partition(".")[0], "")
            have = f"; the next line of {self._file} is about {self._lines[0].effect}" if self._lines else ""
            raise NoAnswer(
                f"nothing answers {effect.name} (operation {effect.occurrence.operation}){have}; write a line such as "
                f"{natural} into a file and pass --answers FILE{hint}"
            )
        return parse_answer(line, effect)

    def unused(self) -> str:
        """What is left over, in words; empty when nothing is."""
        return f"{self._file}:{self._lines[0].number}: no effect took this answer" if self._lines else ""


_HINTS: Final = {
    "gpu": ", or --plan FOLDER with the graphs",
    "stream": ", or --rows FILE with rows of your own",
    "tensor": ", or --rows FILE and --plan FOLDER, so that there are tensors",
}


def parse_answer(line: str, effect: Effect) -> Answer:
    """What a person typed: nothing for the natural answer, `!Class message` for an exception, else JSON.

    Raises:
        UsageError: it is none of these.
    """
    text = line.strip()
    if not text:
        return _answer({}, effect)
    if text.startswith("!"):
        name, _, message = text[1:].partition(" ")
        return _answer({"raise": [name, message]}, effect)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise UsageError(f"that is no JSON: {problem}; write a value, nothing, or !ValueError text") from None
    return _answer({"value": found}, effect)


def _line(where: str, number: int, line: str) -> _Line:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as problem:
        raise UsageError(f"{where}: no JSON: {problem}; write one object a line") from None
    if not isinstance(found, dict) or not isinstance(found.get("effect"), str) or not set(found) <= _KEYS:
        raise UsageError(
            f'{where}: write {{"effect": NAME, "value": ...}} or {{"effect": NAME, "raise": [CLASS, TEXT]}}'
        )
    if found["effect"] not in EFFECTS:
        raise UsageError(f"{where}: there is no effect {found['effect']!r}; there are {', '.join(EFFECTS)}")
    if {"value", "raise"} <= set(found):
        raise UsageError(f'{where}: "value" and "raise" in one answer; write one of them')
    return _Line(number, found["effect"], found)


def _answer(content: Mapping[str, Any], effect: Effect) -> Answer:
    if "raise" in content:
        match content["raise"]:
            case [str(name), str(message)] if name in EXCEPTIONS:
                return Throw(name, message)
        raise UsageError(f"an exception is a class and a text; the classes are {', '.join(EXCEPTIONS)}")
    if "value" in content:
        try:
            return from_json(content["value"], effect)
        except RecursionError:
            raise UsageError("an answer is nested too deep; write fewer lists in lists") from None
    natural = from_json(_NATURAL.get(effect.name), effect)
    if effect.name == "stream.open" and isinstance(natural, Handle):
        return Handle(natural.kind, natural.id, Label.of(f"console/{effect.args['name']}"))
    return natural
