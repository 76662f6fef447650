"""What is wrong with a policy file, in an operator's words.

Rules of this module:

* One line for each problem: the key's path, what was found, what is allowed there.
* An unknown key gets the keys that exist at that place and the closest of them.
* A policy is the owner's own text and not private: what was found is quoted, shortened.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel, ValidationError

__all__ = ["describe"]

_SHOWN_CHARS: Final = 80
_EMPTY: Final = frozenset({"too_short", "string_too_short"})


def describe(file: str, problem: ValidationError, levels: Mapping[tuple[str, ...], type[BaseModel]]) -> str:
    """The message for a file that does not validate.

    Args:
        file: the file's name.
        problem: what pydantic found.
        levels: the model of each table, by the names of the keys that lead to it.
    """
    lines = [_line(error, levels) for error in problem.errors(include_url=False)]
    if len(lines) == 1:
        return f"{file}: {lines[0]}"
    return "\n  ".join([f"{file}: {len(lines)} problems", *lines])


def _line(error: Mapping[str, Any], levels: Mapping[tuple[str, ...], type[BaseModel]]) -> str:
    location: Sequence[int | str] = error["loc"]
    path = _path(location) or "the file"
    names = tuple(part for part in location if isinstance(part, str))
    kind = str(error["type"])
    if kind == "extra_forbidden":
        return f"{path}: unknown key; {_keys(names, levels)}"
    allowed = _allowed(names, levels)
    if kind == "missing":
        nothing = " (without it nothing is admitted)" if names == ("admit",) else ""
        return f"{path}: missing{nothing}{allowed}"
    if kind in _EMPTY:
        return f"{path}: empty, so that nothing is admitted{allowed}"
    if kind == "value_error":
        text = str(error["msg"]).removeprefix("Value error, ")
        return f"{path}: {text}" if names in levels else f"{path}: {text}{allowed}"
    text = str(error["msg"]).replace("tuple", "list")
    return f"{path}: {text[:1].lower()}{text[1:]}, found {_shown(error['input'])}{allowed}"


def _path(location: Sequence[int | str]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f"{'.' if path else ''}{part}"
    return path


def _keys(names: tuple[str, ...], levels: Mapping[tuple[str, ...], type[BaseModel]]) -> str:
    model = levels.get(names[:-1])
    if model is None:
        return "remove it"
    known = list(model.model_fields)
    close = difflib.get_close_matches(names[-1], known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}keys here are {', '.join(known)}"


def _allowed(names: tuple[str, ...], levels: Mapping[tuple[str, ...], type[BaseModel]]) -> str:
    """The description of the innermost field on the way to the problem."""
    for end in range(len(names), 0, -1):
        model = levels.get(names[: end - 1])
        field = model.model_fields.get(names[end - 1]) if model else None
        if field is not None and field.description:
            return f"; allowed: {field.description}"
    return ""


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"
