"""Instructions that leave a frame: calls, returns, exceptions, and what the machine or the host has to do.

Handlers are as in `instructions`.
"""

from __future__ import annotations

from typing import Final

from sojourn.vm.builtins import BUILTIN_FUNCTIONS
from sojourn.vm.calling import bound_arguments, call_value, make_function, new_frame
from sojourn.vm.costs import size_of
from sojourn.vm.faults import Raised, refuse_box
from sojourn.vm.methods import call_method
from sojourn.vm.op import BUILTINS, EXCEPTIONS
from sojourn.vm.state import Frame, Run
from sojourn.vm.stops import Ask, Enter, Fork, Return, Stop, take
from sojourn.vm.suspending import suspend
from sojourn.vm.values import (
    BuiltinValue,
    ExcValue,
    Value,
)

__all__: list[str] = []


def _call(run: Run, frame: Frame, a: int, _: int) -> None:
    bound = run.program.codes[frame.function].calls[frame.pc - 1]
    values = frame.stack[len(frame.stack) - bound.total :]
    called = new_frame(run, a, bound_arguments(run, a, bound, values))
    take(frame, bound.total)
    run.frames.append(called)


def _call_value(run: Run, frame: Frame, _: int, b: int) -> None:
    args, keywords = _arguments(run, frame, b)
    total = len(args) + len(keywords)
    _called(run, frame, total + 1, call_value(run, frame.stack[-1 - total], args, keywords))


def _called(run: Run, frame: Frame, taken: int, called: Frame | Value) -> None:
    """Take a call's values off the stack; go on in its frame, or with its result."""
    take(frame, taken)
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
    take(frame, b)
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
    take(frame, len(args) + len(keywords))
    frame.stack.append(result)


def _method(run: Run, frame: Frame, a: int, b: int) -> None:
    args, keywords = _arguments(run, frame, b)
    total = len(args) + len(keywords)
    result = call_method(run, a, frame.stack[-1 - total], args, keywords)
    take(frame, total)
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
    take(frame, b)
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
    program, stack = run.program, frame.stack
    names = program.codes[frame.function].effects[frame.pc - 1]
    first = len(stack) - len(names)
    args = dict(zip(names, stack[first:]))  # noqa: B905 - as many, as verified
    del stack[first:]
    return Ask(program.program.names[a], args)


def _private(run: Run, frame: Frame, a: int, _: int) -> Stop:
    bound = run.program.codes[frame.function].calls[frame.pc - 1]
    values = take(frame, bound.total)
    args = bound_arguments(run, a, bound, values)
    return Enter(a, None, args, values[bound.limits[0]], values[bound.limits[1]])


def _started(run: Run, frame: Frame) -> tuple[list[Value], Value, Value]:
    """The positional arguments, fuel and memory of a call that starts a region or a child."""
    bound = run.program.codes[frame.function].calls[frame.pc - 1]
    values = take(frame, bound.total)
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


_BUILTIN_NAMES: Final = tuple(BUILTINS)
