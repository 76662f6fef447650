"""What the language leaves out, and what to write instead: one table by syntax, one by name."""

from __future__ import annotations

import ast
from typing import Final

from sojourn.errors import ProgramRefused

__all__ = ["NAMES", "SYNTAX", "WORDS", "refuse", "refuse_syntax"]

_NO_FUNCTION_VALUES: Final = "write a function and call it"

# Words of the language that look like functions and are no values.
WORDS: Final = frozenset(("private", "here", "fork", "spawn", "join", "cancel"))

SYNTAX: Final[dict[type[ast.AST], tuple[str, str]]] = {
    ast.AsyncFor: ("async for is not in this language", "write a plain for: effects wait by themselves"),
    ast.AsyncFunctionDef: ("async def is not in this language", "write def: effects wait by themselves"),
    ast.AsyncWith: ("async with is not in this language", "write plain calls: effects wait by themselves"),
    ast.Await: ("await is not in this language", "write the call alone: effects wait by themselves"),
    ast.ClassDef: ("classes are not in this language", "write functions, and a dict for what belongs together"),
    ast.Global: (
        "global is not in this language",
        "write nonlocal for a variable of a function, or return the new value",
    ),
    ast.Import: ("imports are not in this language", "write only: from sojourn.program import ..."),
    ast.ImportFrom: (
        "imports are not in this language",
        "write only: from sojourn.program import ... above the functions",
    ),
    ast.Match: ("match is not in this language", "write if and elif"),
    ast.Starred: ("* does not stand here", "write the items one by one"),
    ast.TryStar: ("except* is not in this language", "write except"),
    ast.With: ("with is not in this language", "write plain calls"),
    ast.Yield: ("generators are not in this language", "write the items into a list and return it"),
    ast.YieldFrom: ("generators are not in this language", "write the items into a list and return it"),
}

NAMES: Final[dict[str, str]] = {
    "print": "write log.note(text), which goes to the data owner's log",
    "open": "write stream.open(name, fields=[...])",
    "input": "write what the program needs as an argument of its job",
    "type": "write code that knows the kind of its values",
    "map": "write [f(x) for x in items]",
    "filter": "write [x for x in items if f(x)]",
    "frozenset": "write a set, or a sorted tuple as a key",
    "hash": "write the value itself as the key of a dict",
    "id": "write a name of your own into the value",
    "eval": _NO_FUNCTION_VALUES,
    "exec": _NO_FUNCTION_VALUES,
    "getattr": "write value.name, or value[name] for a dict",
    "setattr": "write value[name] = ... for a dict",
    "hasattr": "write name in value for a dict",
    "bytearray": "write a list of ints",
    "complex": "write a tuple of two floats",
    "object": "write None",
    "super": "write functions, and a dict for what belongs together",
    "__import__": "write only: from sojourn.program import ...",
}


def refuse(file: str, node: ast.AST, why: str, instead: str) -> ProgramRefused:
    """The error for a place in the source."""
    return ProgramRefused(file, getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1, why, instead)


def refuse_syntax(file: str, node: ast.AST) -> ProgramRefused:
    """The error for a kind of syntax that has no handler."""
    why, instead = SYNTAX.get(
        type(node), (f"{type(node).__name__} is not in this language", "write it with functions, if, while and for")
    )
    return refuse(file, node, why, instead)
