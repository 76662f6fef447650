"""What the language leaves out, and what to write instead: one table by syntax, one by name."""

from __future__ import annotations

import ast
from typing import Final

from sojourn.errors import ProgramRefused

__all__ = ["NAMES", "SYNTAX", "refuse", "refuse_syntax"]

_LOOP: Final = "write a for loop that appends to a list"
_TRY: Final = "write an if that tests first; an error ends the run, or goes into the box of the private region"
_NO_FUNCTION_VALUES: Final = "write a function at the top of the file and call it by its name"

SYNTAX: Final[dict[type[ast.AST], tuple[str, str]]] = {
    ast.AsyncFor: ("async for is not in this language", "write a plain for: effects wait by themselves"),
    ast.AsyncFunctionDef: ("async def is not in this language", "write def: effects wait by themselves"),
    ast.AsyncWith: ("async with is not in this language", "write plain calls: effects wait by themselves"),
    ast.Await: ("await is not in this language", "write the call alone: effects wait by themselves"),
    ast.ClassDef: ("classes are not in this language", "write functions, and a dict for what belongs together"),
    ast.DictComp: ("comprehensions are not in this version of the language", "write a for loop that fills a dict"),
    ast.FunctionDef: (
        "a function inside of a function is not in this version of the language",
        "write it at the top of the file and pass what it needs as arguments",
    ),
    ast.GeneratorExp: ("generator expressions are not in this version of the language", _LOOP),
    ast.Global: ("global is not in this language", "write the value as an argument and return the new one"),
    ast.Import: ("imports are not in this language", "write only: from sojourn.program import ..."),
    ast.ImportFrom: (
        "imports are not in this language",
        "write only: from sojourn.program import ... above the functions",
    ),
    ast.Lambda: ("lambda is not in this version of the language", _NO_FUNCTION_VALUES),
    ast.ListComp: ("comprehensions are not in this version of the language", _LOOP),
    ast.Match: ("match is not in this language", "write if and elif"),
    ast.NamedExpr: (
        "assignment inside of an expression is not in this language",
        "write the assignment on its own line",
    ),
    ast.Nonlocal: ("nonlocal is not in this language", "write the value as an argument and return the new one"),
    ast.Set: ("sets are not in this version of the language", "write a dict with the members as keys"),
    ast.SetComp: ("comprehensions are not in this version of the language", "write a for loop that fills a dict"),
    ast.Starred: ("* is not in this version of the language", "write the items one by one"),
    ast.Try: ("try is not in this version of the language", _TRY),
    ast.TryStar: ("try is not in this version of the language", _TRY),
    ast.With: ("with is not in this language", "write plain calls"),
    ast.Yield: ("generators are not in this language", "write the items into a list and return it"),
    ast.YieldFrom: ("generators are not in this language", "write the items into a list and return it"),
}

NAMES: Final[dict[str, str]] = {
    "print": "write log.note(text), which goes to the data owner's log",
    "open": "write stream.open(name, fields=[...])",
    "input": "write what the program needs as an argument of its job",
    "isinstance": "write code that knows the kind of its values",
    "type": "write code that knows the kind of its values",
    "map": _LOOP,
    "filter": _LOOP,
    "set": "write a dict with the members as keys",
    "frozenset": "write a sorted tuple",
    "iter": "write a for loop",
    "next": "write a for loop with break",
    "reversed": "write items[::-1]",
    "pow": "write a ** b",
    "divmod": "write a // b and a % b",
    "hash": "write the value itself as the key of a dict",
    "id": "write a name of your own into the value",
    "eval": _NO_FUNCTION_VALUES,
    "exec": _NO_FUNCTION_VALUES,
    "getattr": "write value.name, or value[name] for a dict",
    "setattr": "write value[name] = ... for a dict",
    "hasattr": "write name in value for a dict",
    "callable": _NO_FUNCTION_VALUES,
    "bytearray": "write a list of ints",
    "ord": "write the number as a literal",
    "chr": "write the character as a literal",
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
