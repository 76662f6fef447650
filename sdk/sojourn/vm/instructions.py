"""Instructions within a frame: variables, operators, jumps, containers, text.

A handler gets the run, the frame and two operands; `pc` already points behind the instruction. Its operands are on the
stack until nothing in it can fail any more, so that a recount of memory sees them. It returns None, or a `Stop`.
"""

from __future__ import annotations

from sojourn.vm import containers
from sojourn.vm.arithmetic import binary, inplace, unary
from sojourn.vm.classes import is_a
from sojourn.vm.compare import compare, truth
from sojourn.vm.costs import CELL_BYTES, MEMBER, SLOT, bytes_of_parts
from sojourn.vm.faults import Raised, refuse_box
from sojourn.vm.iteration import END, advance, make_iter
from sojourn.vm.op import BINARY, COMPARE, CONVERSIONS, EXTENDS, UNARY
from sojourn.vm.state import Frame, Run
from sojourn.vm.stops import take
from sojourn.vm.text import format_by, format_of
from sojourn.vm.values import (
    UNBOUND,
    BuiltinValue,
    Cell,
    FunctionValue,
    Iter,
    SetValue,
    Value,
    type_name,
)

__all__: list[str] = []


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
    frame.stack.append(tuple(take(frame, a)))


def _list(run: Run, frame: Frame, a: int, _: int) -> None:
    run.allocate(56 + SLOT * a)
    frame.stack.append(take(frame, a))


def _dict(run: Run, frame: Frame, a: int, _: int) -> None:
    made = containers.make_dict(run, frame.stack[len(frame.stack) - 2 * a :])
    take(frame, 2 * a)
    frame.stack.append(made)


def _set(run: Run, frame: Frame, a: int, _: int) -> None:
    run.allocate(56 + MEMBER * a)
    made = SetValue({})
    for item in frame.stack[len(frame.stack) - a :]:
        containers.add_member(run, made, item)
    take(frame, a)
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
    take(frame, a)
    frame.stack.append("".join(parts))
