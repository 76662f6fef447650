"""Calls at run time: frames, the binding of arguments, functions and builtins as values.

A call of a function by its name was bound by the verifier; a call of a value is bound here, with CPython's messages.
"""

from __future__ import annotations

from typing import Final

from sojourn.limits import MAX_FRAMES
from sojourn.vm.binding import BoundCall
from sojourn.vm.builtins import BUILTIN_FUNCTIONS
from sojourn.vm.costs import CELL_BYTES, SLOT
from sojourn.vm.faults import Raised, refuse_box
from sojourn.vm.op import BUILTINS
from sojourn.vm.program import COMPUTED, NAMED, REQUIRED, REST
from sojourn.vm.reach import Code
from sojourn.vm.state import Frame, Run
from sojourn.vm.tables import MANY
from sojourn.vm.values import UNBOUND, BuiltinValue, Cell, FunctionValue, Value, type_name

__all__ = ["bind_values", "bound_arguments", "call_value", "fresh", "make_function", "new_frame"]

_ARITIES: Final = tuple(BUILTINS.items())


def new_frame(run: Run, function: int, args: list[Value], cells: tuple[Cell, ...] = ()) -> Frame:
    """A frame at the start of `function`, paid for; `args` fill its first locals."""
    if len(run.frames) >= MAX_FRAMES:
        raise Raised("RecursionError", "maximum recursion depth exceeded")
    code = run.program.codes[function]
    run.allocate(run.frame_bytes(function) + CELL_BYTES * len(code.cells))
    values = args + [UNBOUND] * (len(code.locals) - len(args))
    for position in code.cells:
        values[position] = Cell(values[position])
    for position, cell in zip(code.free, cells, strict=True):
        values[position] = cell
    return Frame(function, 0, values, [])


def fresh(run: Run, default: Value) -> Value:
    """A default that is a constant; tuples are made anew, so that no two states share what a snapshot cannot."""
    if type(default) is not tuple:
        return default
    run.spend(_slots(default) >> 3)
    return _anew(run, default)


def _slots(default: tuple[Value, ...]) -> int:
    """How many values a constant holds (256 at most, as the verifier has seen to), and eight for each tuple in it."""
    return len(default) + sum(8 + _slots(item) for item in default if type(item) is tuple)


def _anew(run: Run, default: tuple[Value, ...]) -> tuple[Value, ...]:
    run.allocate(56 + SLOT * len(default))
    return tuple([_anew(run, item) if type(item) is tuple else item for item in default])


def bound_arguments(run: Run, function: int, bound: BoundCall, values: list[Value]) -> list[Value]:
    """The first locals of a call that the verifier bound, from the values on the stack and constant defaults."""
    code = run.program.codes[function]
    args = [
        values[source] if source >= 0 else fresh(run, code.constant_defaults[-1 - source]) for source in bound.sources
    ]
    if code.flags & REST:
        run.allocate(56 + SLOT * len(bound.rest))
        args.append(tuple([values[source] for source in bound.rest]))
    if code.flags & NAMED:
        run.allocate(56 + 3 * SLOT * len(bound.named))
        args.append({name: values[source] for name, source in bound.named})
    return args


def make_function(run: Run, function: int, frame: Frame, defaults: tuple[Value, ...]) -> FunctionValue:
    """The value of a function where its CLOSURE instruction stands."""
    code = run.program.codes[function]
    run.allocate(56 + SLOT * (len(defaults) + len(code.captures)))
    return FunctionValue(function, code.name, defaults, tuple([frame.locals[local] for local in code.captures]))


def call_value(run: Run, callee: Value, args: list[Value], keywords: dict[str, Value]) -> Frame | Value:
    """Call a value: the frame of a function of the program, which is not pushed yet, or a builtin's result."""
    if type(callee) is FunctionValue:
        code = run.program.codes[callee.function]
        bound = bind_values(run, code, callee.defaults, args, keywords)
        return new_frame(run, callee.function, bound, callee.cells)
    if type(callee) is BuiltinValue:
        name, arity = _ARITIES[callee.number]
        for keyword in keywords:
            if keyword not in arity.keywords and "*" not in arity.keywords:
                raise Raised("TypeError", f"{name}() got an unexpected keyword argument '{keyword}'")
        if not arity.least <= len(args) <= arity.most:
            raise Raised("TypeError", f"{name}() takes {_range(arity.least, arity.most)} arguments ({len(args)} given)")
        return BUILTIN_FUNCTIONS[callee.number](run, args, keywords)
    refuse_box("call", callee)
    raise Raised("TypeError", f"'{type_name(callee)}' object is not callable")


def _range(least: int, most: int) -> str:
    return str(least) if least == most else f"at least {least}" if most == MANY else f"{least} to {most}"


def bind_values(
    run: Run, code: Code, computed: tuple[Value, ...], args: list[Value], keywords: dict[str, Value]
) -> list[Value]:
    """The first locals of a call, or CPython's TypeError."""
    names, positional = code.locals[: code.params + code.keyword_only], len(args)
    values: list[Value] = args[: code.params] + [UNBOUND] * (len(names) - min(positional, code.params))
    rest: tuple[Value, ...] = ()
    if code.flags & REST:
        rest = tuple(args[code.params :])
        run.allocate(56 + SLOT * len(rest))
    further: dict[str, Value] = {}
    for name, value in keywords.items():
        position = names.index(name) if name in names else -1
        if position < 0:
            if not code.flags & NAMED:
                raise Raised("TypeError", f"{code.name}() got an unexpected keyword argument '{name}'")
            run.allocate(3 * SLOT)
            further[name] = value
        elif values[position] is not UNBOUND:
            raise Raised("TypeError", f"{code.name}() got multiple values for argument '{name}'")
        else:
            values[position] = value
    if positional > code.params and not code.flags & REST:
        raise _too_many(code, positional, values)
    _fill_defaults(run, code, computed, values)
    if code.flags & REST:
        values.append(rest)
    if code.flags & NAMED:
        run.allocate(56)
        values.append(further)
    return values


def _fill_defaults(run: Run, code: Code, computed: tuple[Value, ...], values: list[Value]) -> None:
    optional = len(code.defaults)
    missing = [k for k in range(code.params - optional) if values[k] is UNBOUND]
    if missing:
        raise _missing(code, "positional", missing)
    left = iter(computed)
    for k, default in enumerate((*code.defaults, *code.keyword_defaults)):
        value: Value = UNBOUND
        if default == COMPUTED:
            value = next(left)
        position = code.params - optional + k
        if values[position] is UNBOUND and default != REQUIRED:
            values[position] = fresh(run, run.program.constants[default]) if default != COMPUTED else value
    missing = [code.params + k for k in range(code.keyword_only) if values[code.params + k] is UNBOUND]
    if missing:
        raise _missing(code, "keyword-only", missing)


def _missing(code: Code, kind: str, positions: list[int]) -> Raised:
    quoted = [f"'{code.locals[position]}'" for position in positions]
    if len(quoted) > 2:
        quoted = [", ".join(quoted[:-1]) + ",", quoted[-1]]
    plural = "s" if len(positions) > 1 else ""
    names = " and ".join(quoted)
    return Raised("TypeError", f"{code.name}() missing {len(positions)} required {kind} argument{plural}: {names}")


def _too_many(code: Code, given: int, values: list[Value]) -> Raised:
    least = code.params - len(code.defaults)
    takes = f"{code.params}" if not code.defaults else f"from {least} to {code.params}"
    plural = "s" if code.params != 1 or code.defaults else ""
    named = sum(value is not UNBOUND for value in values[code.params :])
    was = f"{given}"
    if named:
        more = "s" if given != 1 else ""
        was += f" positional argument{more} (and {named} keyword-only argument{'s' if named != 1 else ''})"
    verb = "was" if given == 1 and not named else "were"
    return Raised("TypeError", f"{code.name}() takes {takes} positional argument{plural} but {was} {verb} given")
