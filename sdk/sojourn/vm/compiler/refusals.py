"""What the language leaves out, and what to write instead: tables by syntax, name, module and method."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

from sojourn.errors import ProgramRefused
from sojourn.vm.effects import EFFECTS

__all__ = [
    "FOREIGN_EXCEPTIONS",
    "METHOD_HINTS",
    "MODULES",
    "NAMES",
    "SYNTAX",
    "WORDS",
    "nearest",
    "refuse",
    "refuse_namespace",
    "refuse_syntax",
]

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
    ast.Import: (
        "imports are not in this language inside of functions",
        "write a module of your own, or from sojourn.program import ..., above the functions",
    ),
    ast.ImportFrom: (
        "imports are not in this language inside of functions",
        "write a module of your own, or from sojourn.program import ..., above the functions",
    ),
    ast.Match: ("match is not in this language", "write if and elif"),
    ast.Starred: ("* does not stand here", "write the items one by one"),
    ast.TryStar: ("except* is not in this language", "write except"),
    ast.With: ("with is not in this language", "write plain calls: nothing has to be closed"),
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
    "__import__": "write import, above the functions",
    "delattr": "write del value[name] for a dict",
    "dir": "write code that knows the kind of its values",
    "exit": "write return, or raise RuntimeError(text)",
    "issubclass": "write isinstance(value, int)",
    "memoryview": "write bytes, and slices of them",
    "quit": "write return, or raise RuntimeError(text)",
    "slice": "write value[start:stop]",
    "vars": "write a dict",
}

_GRAPH: Final = "write gpu.run(name, ...) with a graph of the job's plan: tensors are computed on there"
_NO_HOST: Final = (
    "write effects: stream.open(...) for rows, log.note(text) for words; a program sees nothing else of a host"
)
_NO_CLOCK: Final = "write a time as an argument of the job: a program has no clock, so that it can be resumed anywhere"
_VALUES: Final = "write dicts and lists: values travel as they are"

# Modules that authors reach for, by their names and by the names they are given.
MODULES: Final[dict[str, str]] = {
    **dict.fromkeys(("np", "numpy", "torch", "nn", "F", "tf", "tensorflow", "jax", "jnp", "scipy", "sklearn"), _GRAPH),
    **dict.fromkeys(("pd", "pandas", "csv"), "write stream.batch(rows, cursor, n) inside of private(...)"),
    **dict.fromkeys(("os", "sys", "pathlib", "io", "socket", "subprocess", "requests", "shutil"), _NO_HOST),
    **dict.fromkeys(("time", "datetime", "asyncio"), _NO_CLOCK),
    **dict.fromkeys(("json", "pickle"), _VALUES),
    "logging": "write log.note(text), which goes to the data owner's log",
    "math": "write ** 0.5 for a root, and a graph of the job's plan with gpu.run(...) for what else there is",
    "random": "write a seed as an argument of the job, and draw in a graph: a program has no randomness",
    "onnxruntime": _GRAPH,
    "self": "write a dict as the first argument: there are no classes",
}

# Methods of other libraries, and those of Python's that are left out.
METHOD_HINTS: Final[dict[str, str]] = {
    "format": "write an f-string, f'{value}'",
    "casefold": "write lower()",
    "isidentifier": "write a comparison with the texts that you expect",
    "item": "write tensor.item(handle)",
    "translate": "write replace(old, new)",
    **dict.fromkeys(
        ("backward", "cpu", "cuda", "detach", "mean", "numpy", "reshape", "step", "to", "tolist", "zero_grad"), _GRAPH
    ),
}

FOREIGN_EXCEPTIONS: Final = frozenset((
    "BufferError", "ConnectionError", "EOFError", "EnvironmentError", "FileExistsError", "FileNotFoundError",
    "GeneratorExit", "IOError", "ImportError", "InterruptedError", "KeyboardInterrupt", "MemoryError",
    "ModuleNotFoundError", "OSError", "StopAsyncIteration", "SyntaxError", "SystemError", "SystemExit", "TimeoutError",
    "Warning",
))  # fmt: skip
"""Exceptions of Python that the language does not have."""

_SPACES: Final[dict[str, list[str]]] = {}  # the effects of each namespace, in the order of the table
for _spec in EFFECTS.values():
    if not _spec.hidden:
        _SPACES.setdefault(_spec.name.partition(".")[0], []).append(_spec.name.partition(".")[2])

_LONGEST_NAME: Final = 40  # of a name that is compared with others


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The one of `known` that a mistyped name is most like, if any is."""
    if len(name) > _LONGEST_NAME:
        return None
    found = get_close_matches(name, sorted(known), n=1, cutoff=0.66)
    return found[0] if found else None


def refuse(file: str, node: ast.AST, why: str, instead: str) -> ProgramRefused:
    """The error for a place in the source."""
    return ProgramRefused(file, getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1, why, instead)


def refuse_namespace(file: str, node: ast.AST, name: str, attribute: str) -> ProgramRefused:
    """The error for `name.attribute` where nothing has that name.

    Args:
        file: of the source.
        node: the place.
        name: what stands before the full stop.
        attribute: what stands behind it.
    """
    if name in MODULES:
        return refuse(file, node, f"{name} is no namespace of this language", MODULES[name])
    likely = nearest(name, _SPACES) or next((space for space, effects in _SPACES.items() if attribute in effects), None)
    spaces = ", ".join(_SPACES)
    if likely is None:
        return refuse(
            file, node, f"nothing here has the name {name}",
            f"write a variable that has a value, or an effect; the namespaces of effects are {spaces}",
        )  # fmt: skip
    best = nearest(attribute, _SPACES[likely])
    shown = " or ".join(f"{likely}.{effect}(...)" for effect in ([best] if best else _SPACES[likely]))
    return refuse(
        file, node, f"{name} is no namespace of effects and no variable here (there are {spaces})", f"write {shown}"
    )


def refuse_syntax(file: str, node: ast.AST) -> ProgramRefused:
    """The error for a kind of syntax that has no handler."""
    why, instead = SYNTAX.get(
        type(node), (f"{type(node).__name__} is not in this language", "write it with functions, if, while and for")
    )
    return refuse(file, node, why, instead)
