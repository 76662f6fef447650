"""One instruction at a time: a table of small handlers, and the loop that follows it.

A handler gets the run, the frame and two operands; `pc` already points behind the instruction. It returns None, or a
`Stop` where the machine has to act: an effect, a region, the end of the run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sojourn.vm import containers
from sojourn.vm.arithmetic import binary, inplace, unary
from sojourn.vm.builtins import BUILTIN_FUNCTIONS
from sojourn.vm.calling import bound_arguments, call_value, make_function, new_frame
from sojourn.vm.classes import is_a
from sojourn.vm.compare import compare, truth
from sojourn.vm.faults import Exhausted, Raised, refuse_box
from sojourn.vm.iteration import END, advance, make_iter
from sojourn.vm.methods import call_method
from sojourn.vm.op import BINARY, BUILTINS, COMPARE, CONVERSIONS, EXCEPTIONS, EXTENDS, UNARY, Op
from sojourn.vm.state import CELL_BYTES, MEMBER, SLOT, Frame, Run, bytes_of_parts, size_of
from sojourn.vm.suspending import suspend
from sojourn.vm.text import format_by, format_of
from sojourn.vm.values import (
    UNBOUND,
    BuiltinValue,
    Cell,
    ExcValue,
    FunctionValue,
    Iter,
    SetValue,
    Value,
    type_name,
)

__all__ = ["HANDLERS", "Ask", "Enter", "Fork", "Return", "Stop", "step", "step_to"]


@dataclass(frozen=True, slots=True)
class Ask:
    """The program asks for an effect; its arguments are off the stack."""

    name: str
    args: dict[str, Value]


@dataclass(frozen=True, slots=True)
class Enter:
    """The program enters a private region: of a function by its index, with all its parameters, or of a value."""

    function: int | None
    callee: Value
    args: list[Value]
    fuel: Value
    memory: Value


@dataclass(frozen=True, slots=True)
class Fork:
    """The program asks for a child: of a value to call, of `here()`'s, or (None) of itself."""

    callee: Value
    args: list[Value]
    fuel: Value
    memory: Value


@dataclass(frozen=True, slots=True)
class Return:
    """The run's first function has returned."""

    value: Value


Stop = Ask | Enter | Fork | Return
Handler = Callable[[Run, Frame, int, int], Stop | None]


def step(run: Run, floor: int) -> Stop | None:
    """Execute instructions until the run's fuel is down to `floor`, or something stops it.

    Raises:
        Raised, Exhausted: an instruction failed; the top frame's `pc` is behind it.
    """
    if run.fuel == 0:
        raise Exhausted("fuel")
    codes, handlers, frames = run.program.codes, HANDLERS, run.frames
    while run.fuel > floor:
        frame = frames[-1]
        instructions = codes[frame.function].instructions
        while run.fuel > floor:
            op, a, b = instructions[frame.pc]
            frame.pc += 1
            run.fuel -= 1
            if op == _LOAD and (value := frame.locals[a]) is not UNBOUND:
                frame.stack.append(value)
                continue
            stop = handlers[op](run, frame, a, b)
            if stop is not None:
                return stop
            if op in _MOVING:
                break
    return None


def step_to(run: Run, floor: int, marks: dict[int, frozenset[int]]) -> Stop | None:
    """As `step`, and also until a jump, a call or the beginning of a loop leads to one of `marks`, by function."""
    if run.fuel == 0:
        raise Exhausted("fuel")
    codes, handlers = run.program.codes, HANDLERS
    while run.fuel > floor:
        frame = run.frames[-1]
        op, a, b = codes[frame.function].instructions[frame.pc]
        frame.pc += 1
        run.fuel -= 1
        stop = handlers[op](run, frame, a, b)
        if stop is not None:
            return stop
        if op in _LEADING:
            frame = run.frames[-1]
            if frame.pc in marks.get(frame.function, _NOWHERE):
                return None
    return None


_LOAD: Final = int(Op.LOAD)
_MOVING: Final = frozenset((Op.CALL, Op.CALL_VALUE, Op.CALL_SPREAD, Op.RETURN))  # another frame may be the last one
_LEADING: Final = frozenset((Op.JUMP, Op.ITER, Op.CALL, Op.CALL_VALUE, Op.CALL_SPREAD))
_NOWHERE: Final[frozenset[int]] = frozenset()


def _take(frame: Frame, count: int) -> list[Value]:
    """Pop `count` values, the deepest first."""
    if count == 0:
        return []
    values = frame.stack[-count:]
    del frame.stack[-count:]
    return values


def _const(run: Run, frame: Frame, a: int, _: int) -> None:
    frame.stack.append(run.program.constants[a])


def _unbound(run: Run, frame: Frame, local: int, *, free: int) -> Raised:
    name = run.program.codes[frame.function].locals[local].partition(".")[0]
    if free:
        return Raised(
            "NameError",
            f"cannot access free variable '{name}' where it is not associated with a value in enclosing scope",
        )
    return Raised("UnboundLocalError", f"cannot access local variable '{name}' where it is not associated with a value")


def _load(run: Run, frame: Frame, a: int, b: int) -> None:
    value = frame.locals[a]
    if value is UNBOUND:
        raise _unbound(run, frame, a, free=b)
    frame.stack.append(value)


def _load_cell(run: Run, frame: Frame, a: int, b: int) -> None:
    value = frame.locals[a].content
    if value is UNBOUND:
        raise _unbound(run, frame, a, free=b)
    frame.stack.append(value)


def _store_cell(_run: Run, frame: Frame, a: int, _: int) -> None:
    frame.locals[a].content = frame.stack.pop()


def _delete(run: Run, frame: Frame, a: int, b: int) -> None:
    if not b and frame.locals[a] is UNBOUND:
        raise _unbound(run, frame, a, free=0)
    frame.locals[a] = UNBOUND


def _delete_cell(run: Run, frame: Frame, a: int, b: int) -> None:
    if not b and frame.locals[a].content is UNBOUND:
        raise _unbound(run, frame, a, free=int(a in run.program.codes[frame.function].free))
    frame.locals[a].content = UNBOUND


def _new_cell(run: Run, frame: Frame, a: int, _: int) -> None:
    run.allocate(CELL_BYTES)
    frame.locals[a] = Cell()


def _store(_run: Run, frame: Frame, a: int, _: int) -> None:
    frame.locals[a] = frame.stack.pop()


def _clear(_run: Run, frame: Frame, a: int, _: int) -> None:
    frame.locals[a] = UNBOUND


def _pop(_run: Run, frame: Frame, _a: int, _b: int) -> None:
    frame.stack.pop()


def _dup(_run: Run, frame: Frame, a: int, _: int) -> None:
    frame.stack.extend(frame.stack[len(frame.stack) - a :])


def _rot(_run: Run, frame: Frame, a: int, _: int) -> None:
    if a:
        frame.stack.insert(len(frame.stack) - a, frame.stack.pop())


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


def _is_a(run: Run, frame: Frame, a: int, _: int) -> None:
    frame.stack[-1] = is_a(frame.stack[-1], run.program.constants[a])


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


def _set(run: Run, frame: Frame, a: int, _: int) -> None:
    run.allocate(56 + MEMBER * a)
    made = SetValue({})
    for item in frame.stack[len(frame.stack) - a :]:
        containers.add_member(run, made, item)
    _take(frame, a)
    frame.stack.append(made)


def _append(run: Run, frame: Frame, _a: int, _b: int) -> None:
    containers.append(run, frame.stack[-2], frame.stack[-1])
    frame.stack.pop()


def _put(run: Run, frame: Frame, _a: int, _b: int) -> None:
    target, key, value = frame.stack[-3:]
    if type(target) is not dict:
        raise Raised("TypeError", f"'{type_name(target)}' object does not take keys here")
    containers.store_index(run, target, key, value)
    del frame.stack[-2:]


def _extend(run: Run, frame: Frame, a: int, _: int) -> None:
    below = 4 if EXTENDS[a] == "keywords" else 3
    callee: Value = frame.stack[-below] if len(frame.stack) >= below else None
    name = callee.name if type(callee) in (FunctionValue, BuiltinValue) else "function"
    containers.extend(run, EXTENDS[a], frame.stack[-2], frame.stack[-1], name)
    frame.stack.pop()


def _tuple_of(run: Run, frame: Frame, _a: int, _b: int) -> None:
    items = containers.list_of(run, frame.stack[-1])
    frame.stack[-1] = tuple(items)


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


def _store_slice(run: Run, frame: Frame, _a: int, _b: int) -> None:
    value, container, *bounds = frame.stack[-5:]
    containers.store_slice(run, container, bounds, value)
    del frame.stack[-5:]


def _delete_slice(run: Run, frame: Frame, _a: int, _b: int) -> None:
    container, *bounds = frame.stack[-4:]
    containers.delete_slice(run, container, bounds)
    del frame.stack[-4:]


def _unpack_rest(run: Run, frame: Frame, a: int, b: int) -> None:
    frame.stack[-1:] = reversed(containers.unpack_rest(run, frame.stack[-1], a, b))


def _unpack(run: Run, frame: Frame, a: int, _: int) -> None:
    items = containers.unpack_values(run, frame.stack[-1], a)
    frame.stack[-1:] = reversed(items)


def _attribute(run: Run, frame: Frame, a: int, _: int) -> None:
    frame.stack[-1] = containers.attribute(frame.stack[-1], run.program.program.names[a])


def _format(run: Run, frame: Frame, a: int, b: int) -> None:
    spec: str = run.program.constants[a]
    frame.stack[-1] = format_of(run, frame.stack[-1], spec, CONVERSIONS[b])


def _format_by(run: Run, frame: Frame, a: int, _: int) -> None:
    value, spec = frame.stack[-2:]
    frame.stack[-2:] = [format_by(run, value, spec, CONVERSIONS[a])]


def _join(run: Run, frame: Frame, a: int, _: int) -> None:
    parts = frame.stack[len(frame.stack) - a :]
    for part in parts:
        if type(part) is not str:
            raise Raised("TypeError", f"a piece of an f-string is not text but '{type_name(part)}'")
    run.allocate(bytes_of_parts(parts))
    run.spend(sum(len(part) for part in parts) >> 5)
    _take(frame, a)
    frame.stack.append("".join(parts))


def _call(run: Run, frame: Frame, a: int, _: int) -> None:
    bound = run.program.codes[frame.function].calls[frame.pc - 1]
    values = frame.stack[len(frame.stack) - bound.total :]
    called = new_frame(run, a, bound_arguments(run, a, bound, values))
    _take(frame, bound.total)
    run.frames.append(called)


def _call_value(run: Run, frame: Frame, _: int, b: int) -> None:
    args, keywords = _arguments(run, frame, b)
    total = len(args) + len(keywords)
    _called(run, frame, total + 1, call_value(run, frame.stack[-1 - total], args, keywords))


def _called(run: Run, frame: Frame, taken: int, called: Frame | Value) -> None:
    """Take a call's values off the stack; go on in its frame, or with its result."""
    _take(frame, taken)
    if type(called) is Frame:
        run.frames.append(called)
    else:
        frame.stack.append(called)


def _call_spread(run: Run, frame: Frame, _a: int, _b: int) -> None:
    callee, args, keywords = frame.stack[-3:]
    if type(args) is not list or type(keywords) is not dict or any(type(name) is not str for name in keywords):
        raise Raised("TypeError", "keywords must be strings")
    run.spend((len(args) + len(keywords)) >> 2)
    _called(run, frame, 3, call_value(run, callee, list(args), dict(keywords)))


def _closure(run: Run, frame: Frame, a: int, b: int) -> None:
    made = make_function(run, a, frame, tuple(frame.stack[len(frame.stack) - b :]))
    _take(frame, b)
    frame.stack.append(made)


def _builtin_value(_run: Run, frame: Frame, a: int, _: int) -> None:
    frame.stack.append(BuiltinValue(a, _BUILTIN_NAMES[a]))


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
    args, keywords = _arguments(run, frame, b)
    total = len(args) + len(keywords)
    result = call_method(run, a, frame.stack[-1 - total], args, keywords)
    _take(frame, total)
    frame.stack[-1] = result


def _return(run: Run, frame: Frame, _a: int, _b: int) -> Stop | None:
    if len(run.frames) == 1:
        return Return(frame.stack.pop())
    run.frames.pop()
    run.frames[-1].stack.append(frame.stack.pop())
    return None


def _exception(run: Run, frame: Frame, a: int, b: int) -> None:
    args = frame.stack[len(frame.stack) - b :]
    refuse_box("make an exception of", *args)
    made = ExcValue(EXCEPTIONS[a], tuple(args))
    run.allocate(size_of(made) + size_of(made.args))
    _take(frame, b)
    frame.stack.append(made)


def _raise(_run: Run, frame: Frame, a: int, _: int) -> None:
    value = frame.stack[-1 - a]
    if type(value) is not ExcValue:
        refuse_box("raise", value)
        raise Raised("TypeError", "exceptions must derive from BaseException")
    if a and frame.stack[-1] is not None and type(frame.stack[-1]) is not ExcValue:
        raise Raised("TypeError", "exception causes must derive from BaseException")
    raise Raised(value.name, "", value)


def _effect(run: Run, frame: Frame, a: int, _: int) -> Stop:
    names = run.program.codes[frame.function].effects[frame.pc - 1]
    return Ask(run.program.program.names[a], dict(zip(names, _take(frame, len(names)), strict=False)))  # as verified


def _private(run: Run, frame: Frame, a: int, _: int) -> Stop:
    bound = run.program.codes[frame.function].calls[frame.pc - 1]
    values = _take(frame, bound.total)
    args = bound_arguments(run, a, bound, values)
    return Enter(a, None, args, values[bound.limits[0]], values[bound.limits[1]])


def _started(run: Run, frame: Frame) -> tuple[list[Value], Value, Value]:
    """The positional arguments, fuel and memory of a call that starts a region or a child."""
    bound = run.program.codes[frame.function].calls[frame.pc - 1]
    values = _take(frame, bound.total)
    fuel, memory = bound.limits
    return [value for at, value in enumerate(values) if at not in bound.limits], values[fuel], values[memory]


def _private_value(run: Run, frame: Frame, _a: int, _b: int) -> Stop:
    args, fuel, memory = _started(run, frame)
    return Enter(None, frame.stack.pop(), args, fuel, memory)


def _spawn(run: Run, frame: Frame, _a: int, _b: int) -> Stop:
    args, fuel, memory = _started(run, frame)
    return Fork(frame.stack.pop(), args, fuel, memory)


def _fork(run: Run, frame: Frame, _a: int, _b: int) -> Stop:
    _, fuel, memory = _started(run, frame)
    return Fork(None, [], fuel, memory)


def _here(run: Run, frame: Frame, _a: int, _b: int) -> None:
    frame.stack.append(suspend(run))


def _table() -> tuple[Handler, ...]:
    by_name = {op: globals()[f"_{op.name.lower()}"] for op in Op}
    return tuple(by_name.get(Op(number) if number in set(Op) else Op.POP, _pop) for number in range(max(Op) + 1))


_BUILTIN_NAMES: Final = tuple(BUILTINS)
HANDLERS: Final = _table()
