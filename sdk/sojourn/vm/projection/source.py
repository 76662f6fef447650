"""The source of one form around its body, and its code."""

from __future__ import annotations

import re
from types import CodeType
from typing import Final, NamedTuple

from sojourn.vm.projection.meter import Form, Mode
from sojourn.vm.projection.shape import Shape
from sojourn.vm.projection.writer import Line
from sojourn.vm.reach import Code

__all__ = ["Key", "assembled"]


class Key(NamedTuple):
    """Which form: `at` is the loop's head; -1 for a call, -2 for a call as a value."""

    function: int
    at: int
    kinds: tuple[str, ...]
    stack: tuple[str, ...] = ()


def assembled(key: Key, code: Code, shape: Shape, form: Form, number: int) -> CodeType:
    """The code of a form, after its kinds were found; `form` gets its rows.

    Raises:
        SyntaxError, RecursionError, MemoryError: the host does not compile it.
    """
    lines = [*_prologue(key, code, shape), *shape.write(shape.graph.entry)]
    memory = _keeps_memory(lines)
    source = [
        "def make(fuel_, mem_):",
        f" def g({', '.join([*_parameters(key, code), 'd'])}):",
        "  nonlocal fuel_, mem_",
        "  fuel = fuel_; mem = mem_" if memory else "  fuel = fuel_",
        "  try:",
    ]
    for line in lines:
        text = line.text.replace("H(e, Y,", f"H(e, Y{number},")
        if not memory:
            for pattern, short in _IN_CELL:
                text = pattern.sub(short, text)
        source.append(" " * (3 + line.indent) + text)
        if line.row is not None:
            form.rows[len(source)] = line.row
            handler = code.handler_at[line.row.pc - 1] if line.row.mode is not Mode.BEFORE else -1
            if handler >= 0:
                form.traps[len(source)] = code.handlers[handler].target
    source += [
        "  except W as e:",
        "   if not e.settled:",
        f"    P(e, Y{number}, fuel, {'mem' if memory else 'mem_'})",
    ]
    source += ["   raise"]
    source += ["  except BaseException as e:", f"   X(e, Y{number}, Z())", "   raise", " return g"]
    outer = compile("\n".join(source), "<projection>", "exec", dont_inherit=True)
    return _inside(_inside(outer))


def _inside(outer: CodeType) -> CodeType:
    """The code of the function that is defined in it."""
    return next(part for part in outer.co_consts if isinstance(part, CodeType))


def _parameters(key: Key, code: Code) -> list[str]:
    if key.at < 0:
        return [*(f"v{k}" for k in range(len(key.kinds))), *(["k"] if key.at == -2 else [])]
    names = []
    for local in range(len(code.locals)):
        names += [f"n{local}", f"q{local}"] if local in code.loops else [f"v{local}"]
    return [*names, *(f"s{k}" for k in range(len(key.stack)))]


def _prologue(key: Key, code: Code, shape: Shape) -> list[Line]:
    lines = []
    if key.at >= 0:
        opened = [local for local in sorted(code.loops) if key.kinds[local] in "KVP"]
        return [Line(0, f"m{k} = q{k}.source.mapping; l{k} = len(q{k}.keys)") for k in opened]
    given = len(key.kinds)
    loops = [f"n{local} = q{local}" for local in sorted(code.loops)]
    if loops:
        lines.append(Line(0, f"{' = '.join(loops)} = None"))
    maybe = [
        f"v{local}"
        for local in range(given, len(code.locals))
        if local not in code.loops and local not in code.boxed
        and any(state.locals[local] in "U!" for state in shape.states.values())
    ]  # fmt: skip
    if maybe:
        lines.append(Line(0, f"{' = '.join(maybe)} = U"))
    lines += [Line(0, f"v{k} = Cell({f'v{k}' if k < given else ''})") for k in code.cells]
    if code.free:
        lines.append(Line(0, f"({''.join(f'v{local}, ' for local in code.free)}) = k"))
    return lines


# Functions that only hand memory on to others leave its counter in the cell.
_IN_CELL: Final = (
    (re.compile(r"; mem = mem_$|; mem_ = mem$|; mem = mem_(?=;)"), ""),
    (re.compile(r"\bmem_ = mem - (\w+)"), r"mem_ -= \1"),
    (re.compile(r"\bmem < (\d+|size):"), r"mem_ < \1:"),
    (re.compile(r"fuel, mem, "), "fuel, mem_, "),
)


def _keeps_memory(lines: list[Line]) -> bool:
    """Whether a function takes memory for anything else than calls."""
    for line in lines:
        text = line.text
        for pattern, short in _IN_CELL:
            text = pattern.sub(short, text)
        if re.search(r"\bmem\b", text):
            return True
    return False
