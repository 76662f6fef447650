"""One instruction at a time: a table of small handlers, and the loop that follows it.

A handler gets the run, the frame and two operands; `pc` already points behind the instruction. It returns None, or a
`Stop` where the machine has to act: an effect, a region, the end of the run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sojourn.limits import MAX_FRAMES
from sojourn.vm import containers
from sojourn.vm.arithmetic import binary, inplace, unary
from sojourn.vm.builtins import BUILTIN_FUNCTIONS
from sojourn.vm.compare import compare, truth
from sojourn.vm.faults import Exhausted, Raised, no_operation, refuse_box
from sojourn.vm.iteration import END, advance, make_iter
from sojourn.vm.methods import call_method
from sojourn.vm.op import BINARY, COMPARE, CONVERSIONS, EXCEPTIONS, UNARY, Op
from sojourn.vm.state import SLOT, Frame, Run, bytes_of_text
from sojourn.vm.text import format_of, repr_of, str_of
from sojourn.vm.values import UNBOUND, Iter, RecordValue, Value, type_name

__all__ = ["Ask", "Enter", "Return", "Stop", "bound_arguments", "new_frame", "step"]


@dataclass(frozen=True, slots=True)
class Ask:
    """The program asks for an effect; its arguments are off the stack."""

    name: str
    args: dict[str, Value]


@dataclass(frozen=True, slots=True)
class Enter:
    """The program enters a private region; `args` are the parameters of the function."""

    function: int
    args: list[Value]
    fuel: Value
    memory: Value


@dataclass(frozen=True, slots=True)
class Return:
    """The run's first function has returned."""

    value: Value


Stop = Ask | Enter | Return
Handler = Callable[[Run, Frame, int, int], Stop | None]


def step(run: Run, floor: int) -> Stop | None:
    """Execute instructions until the run's fuel is down to `floor`, or something stops it.

    Raises:
        Raised, Exhausted: an instruction failed; the top frame's `pc` is behind it.
    """
    if run.fuel == 0:
        raise Exhausted("fuel")
    codes, handlers = run.program.codes, _HANDLERS
    while run.fuel > floor:
        frame = run.frames[-1]
        op, a, b = codes[frame.function].instructions[frame.pc]
        frame.pc += 1
        run.fuel -= 1
        stop = handlers[op](run, frame, a, b)
        if stop is not None:
            return stop
    return None


def new_frame(run: Run, function: int, args: list[Value]) -> Frame:
    """A frame at the start of `function`, paid for."""
    if len(run.frames) >= MAX_FRAMES:
        raise Raised("RecursionError", "maximum recursion depth exceeded")
    code = run.program.codes[function]
    run.allocate(run.frame_bytes(function))
    return Frame(function, 0, args + [UNBOUND] * (len(code.locals) - code.params), [])


def bound_arguments(run: Run, function: int, sources: tuple[int, ...], values: list[Value]) -> list[Value]:
    """The parameters of a call from the values on the stack and the defaults."""
    defaults = run.program.codes[function].defaults
    return [values[source] if source >= 0 else defaults[-1 - source] for source in sources]


def _take(frame: Frame, count: int) -> list[Value]:
    """Pop `count` values, the deepest first."""
    if count == 0:
        return []
    values = frame.stack[-count:]
    del frame.stack[-count:]
    return values


def _const(run: Run, frame: Frame, a: int, _: int) -> None:
    frame.stack.append(run.program.constants[a])


def _load(run: Run, frame: Frame, a: int, _: int) -> None:
    value = frame.locals[a]
    if value is UNBOUND:
        name = run.program.codes[frame.function].locals[a]
        raise Raised(
            "UnboundLocalError", f"cannot access local variable '{name}' where it is not associated with a value"
        )
    frame.stack.append(value)


def _store(_run: Run, frame: Frame, a: int, _: int) -> None:
    frame.locals[a] = frame.stack.pop()


def _clear(_run: Run, frame: Frame, a: int, _: int) -> None:
    frame.locals[a] = UNBOUND


def _pop(_run: Run, frame: Frame, _a: int, _b: int) -> None:
    frame.stack.pop()


def _dup(_run: Run, frame: Frame, _a: int, _b: int) -> None:
    frame.stack.append(frame.stack[-1])


def _dup2(_run: Run, frame: Frame, _a: int, _b: int) -> None:
    frame.stack.extend(frame.stack[-2:])


def _rot2(_run: Run, frame: Frame, _a: int, _b: int) -> None:
    frame.stack[-2:] = [frame.stack[-1], frame.stack[-2]]


def _rot3(_run: Run, frame: Frame, _a: int, _b: int) -> None:
    frame.stack.insert(-2, frame.stack.pop())


def _binary(run: Run, frame: Frame, a: int, _: int) -> None:
    stack = frame.stack
    stack[-2:] = [binary(run, BINARY[a], stack[-2], stack[-1])]


def _inplace(run: Run, frame: Frame, a: int, _: int) -> None:
    stack = frame.stack
    stack[-2:] = [inplace(run, BINARY[a], stack[-2], stack[-1])]


def _unary(run: Run, frame: Frame, a: int, _: int) -> None:
    frame.stack[-1] = unary(run, UNARY[a], frame.stack[-1])


def _not(_run: Run, frame: Frame, _a: int, _b: int) -> None:
    frame.stack[-1] = not truth(frame.stack[-1])


def _compare(run: Run, frame: Frame, a: int, _: int) -> None:
    stack = frame.stack
    stack[-2:] = [compare(run, COMPARE[a], stack[-2], stack[-1])]


def _is_none(_run: Run, frame: Frame, a: int, _: int) -> None:
    value = frame.stack[-1]
    refuse_box("compare", value)
    frame.stack[-1] = (value is None) != bool(a)


def _jump(_run: Run, frame: Frame, a: int, _: int) -> None:
    frame.pc = a


def _jump_if_false(_run: Run, frame: Frame, a: int, _: int) -> None:
    if not truth(frame.stack[-1]):
        frame.pc = a
    frame.stack.pop()


def _jump_if_true(_run: Run, frame: Frame, a: int, _: int) -> None:
    if truth(frame.stack[-1]):
        frame.pc = a
    frame.stack.pop()


def _jump_if_false_or_pop(_run: Run, frame: Frame, a: int, _: int) -> None:
    if truth(frame.stack[-1]):
        frame.stack.pop()
    else:
        frame.pc = a


def _jump_if_true_or_pop(_run: Run, frame: Frame, a: int, _: int) -> None:
    if truth(frame.stack[-1]):
        frame.pc = a
    else:
        frame.stack.pop()


def _iter(run: Run, frame: Frame, a: int, _: int) -> None:
    frame.locals[a] = make_iter(run, frame.stack[-1])
    frame.stack.pop()


def _next(run: Run, frame: Frame, a: int, b: int) -> None:
    it = frame.locals[a]
    if type(it) is not Iter:
        raise Raised("RuntimeError", "a loop goes on that has not begun")
    item = advance(run, it)
    if item is END:
        frame.locals[a] = UNBOUND
        frame.pc = b
    else:
        frame.stack.append(item)


def _tuple(run: Run, frame: Frame, a: int, _: int) -> None:
    run.allocate(56 + SLOT * a)
    frame.stack.append(tuple(_take(frame, a)))


def _list(run: Run, frame: Frame, a: int, _: int) -> None:
    run.allocate(56 + SLOT * a)
    frame.stack.append(_take(frame, a))


def _dict(run: Run, frame: Frame, a: int, _: int) -> None:
    made = containers.make_dict(run, frame.stack[len(frame.stack) - 2 * a :])
    _take(frame, 2 * a)
    frame.stack.append(made)


def _index(run: Run, frame: Frame, _a: int, _b: int) -> None:
    stack = frame.stack
    stack[-2:] = [containers.index(run, stack[-2], stack[-1])]


def _slice(run: Run, frame: Frame, _a: int, _b: int) -> None:
    stack = frame.stack
    stack[-4:] = [containers.slice_of(run, stack[-4], stack[-3:])]


def _store_index(run: Run, frame: Frame, _a: int, _b: int) -> None:
    value, container, key = frame.stack[-3:]
    containers.store_index(run, container, key, value)
    del frame.stack[-3:]


def _delete_index(run: Run, frame: Frame, _a: int, _b: int) -> None:
    containers.delete_index(run, frame.stack[-2], frame.stack[-1])
    del frame.stack[-2:]


def _unpack(run: Run, frame: Frame, a: int, _: int) -> None:
    items = containers.unpack_values(run, frame.stack[-1], a)
    frame.stack[-1:] = reversed(items)


def _attribute(run: Run, frame: Frame, a: int, _: int) -> None:
    value, name = frame.stack[-1], run.program.program.names[a]
    if type(value) is RecordValue:
        if name not in value.fields:
            fields = ", ".join(value.fields)
            raise Raised("AttributeError", f"'{value.type_name}' object has no attribute '{name}'; it has {fields}")
        frame.stack[-1] = value.fields[name]
        return
    refuse_box("read an attribute of", value)
    if type_name(value).endswith(" handle"):
        raise no_operation(f"read .{name} of", value)
    raise Raised("AttributeError", f"'{type_name(value)}' object has no attribute '{name}'")


def _format(run: Run, frame: Frame, a: int, b: int) -> None:
    spec: str = run.program.constants[a]
    frame.stack[-1] = format_of(run, frame.stack[-1], spec, CONVERSIONS[b])


def _join(run: Run, frame: Frame, a: int, _: int) -> None:
    parts = _take(frame, a)
    for part in parts:
        if type(part) is not str:
            raise Raised("TypeError", f"a piece of an f-string is not text but '{type_name(part)}'")
    run.allocate(sum(bytes_of_text(part) for part in parts))
    run.spend(sum(len(part) for part in parts) >> 5)
    frame.stack.append("".join(parts))


def _call(run: Run, frame: Frame, a: int, _: int) -> None:
    bound = run.program.codes[frame.function].calls[frame.pc - 1]
    values = frame.stack[len(frame.stack) - bound.total :]
    called = new_frame(run, a, bound_arguments(run, a, bound.sources, values))
    _take(frame, bound.total)
    run.frames.append(called)


def _arguments(run: Run, frame: Frame, shape: int) -> tuple[list[Value], dict[str, Value]]:
    wanted = run.program.program.shapes[shape]
    values = frame.stack[len(frame.stack) - wanted.total :]
    return values[: wanted.positional], dict(zip(wanted.names, values[wanted.positional :], strict=True))


def _builtin(run: Run, frame: Frame, a: int, b: int) -> None:
    args, keywords = _arguments(run, frame, b)
    result = BUILTIN_FUNCTIONS[a](run, args, keywords)
    _take(frame, len(args) + len(keywords))
    frame.stack.append(result)


def _method(run: Run, frame: Frame, a: int, b: int) -> None:
    args, _ = _arguments(run, frame, b)
    result = call_method(run, a, frame.stack[-1 - len(args)], args)
    _take(frame, len(args))
    frame.stack[-1] = result


def _return(run: Run, frame: Frame, _a: int, _b: int) -> Stop | None:
    if len(run.frames) == 1:
        return Return(frame.stack.pop())
    run.frames.pop()
    run.frames[-1].stack.append(frame.stack.pop())
    return None


def _raise(run: Run, frame: Frame, a: int, b: int) -> None:
    name, args = EXCEPTIONS[a], _take(frame, b)
    refuse_box("print", *args)
    if not args:
        raise Raised(name, "")
    if len(args) > 1:
        raise Raised(name, repr_of(run, tuple(args)))
    raise Raised(name, repr_of(run, args[0]) if name == "KeyError" else str_of(run, args[0]))


def _effect(run: Run, frame: Frame, a: int, _: int) -> Stop:
    names = run.program.codes[frame.function].effects[frame.pc - 1]
    return Ask(run.program.program.names[a], dict(zip(names, _take(frame, len(names)), strict=True)))


def _private(run: Run, frame: Frame, a: int, _: int) -> Stop:
    bound = run.program.codes[frame.function].calls[frame.pc - 1]
    values = _take(frame, bound.total)
    args = bound_arguments(run, a, bound.sources, values)
    return Enter(a, args, values[bound.limits[0]], values[bound.limits[1]])


def _table() -> tuple[Handler, ...]:
    by_name = {op: globals()[f"_{op.name.lower()}"] for op in Op}
    return tuple(by_name.get(Op(number) if number in set(Op) else Op.POP, _pop) for number in range(max(Op) + 1))


_HANDLERS: Final = _table()
