"""One instruction at a time: the table of handlers, and the loop that follows it."""

from __future__ import annotations

from typing import Final

from sojourn.vm import instructions, transfers
from sojourn.vm.faults import Exhausted
from sojourn.vm.op import Op
from sojourn.vm.state import Run
from sojourn.vm.stops import Ask, Enter, Fork, Handler, Return, Stop
from sojourn.vm.values import UNBOUND, Iter, IterKind

__all__ = ["HANDLERS", "Ask", "Enter", "Fork", "Return", "Stop", "step", "step_to"]


def step(run: Run, floor: int) -> Stop | None:
    """Execute instructions until the run's fuel is down to `floor`, or something stops it.

    Raises:
        Raised, Exhausted: an instruction failed; the top frame's `pc` is behind it.
    """
    if run.fuel == 0:
        raise Exhausted("fuel")
    program, handlers, frames = run.program, HANDLERS, run.frames
    codes, constants = program.codes, program.constants
    while run.fuel > floor:
        frame = frames[-1]
        words, values, stack = codes[frame.function].instructions, frame.locals, frame.stack
        pc, fuel = frame.pc, run.fuel
        while fuel > floor:
            op, a, b = words[pc]
            pc += 1
            fuel -= 1
            # What cannot fail is done here; for all else frame and run are as the handler expects them.
            if op == _LOAD and (value := values[a]) is not UNBOUND:
                stack.append(value)
                continue
            if op == _STORE:
                values[a] = stack.pop()
                continue
            if op == _CONST:
                stack.append(constants[a])
                continue
            if op == _JUMP:
                pc = a
                continue
            if op == _NEXT and type(it := values[a]) is Iter and it.kind is _SEQUENCE and type(it.source) in _FREE:
                try:
                    stack.append(it.source[it.index])
                except IndexError:  # the end is the handler's
                    pass
                else:
                    it.index += 1
                    continue
            frame.pc, run.fuel = pc, fuel
            stop = handlers[op](run, frame, a, b)
            if stop is not None:
                return stop
            if op in _MOVING:
                break
            pc, fuel = frame.pc, run.fuel
        else:
            frame.pc, run.fuel = pc, fuel
    return None


def step_to(run: Run, floor: int, marks: dict[int, frozenset[int]]) -> Stop | None:
    """As `step`, with more fuel than `floor`; ends too where a jump, call or loop leads to a mark of its function."""
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
_STORE: Final = int(Op.STORE)
_CONST: Final = int(Op.CONST)
_JUMP: Final = int(Op.JUMP)
_NEXT: Final = int(Op.NEXT)
_SEQUENCE: Final = IterKind.SEQUENCE
_FREE: Final = frozenset((list, tuple, range))  # sequences whose items are not paid for when they are drawn
_MOVING: Final = frozenset((Op.CALL, Op.CALL_VALUE, Op.CALL_SPREAD, Op.RETURN))  # another frame may be the last one
_LEADING: Final = frozenset((Op.JUMP, Op.ITER, Op.CALL, Op.CALL_VALUE, Op.CALL_SPREAD))
_NOWHERE: Final[frozenset[int]] = frozenset()


def _table() -> tuple[Handler, ...]:
    known = {**vars(instructions), **vars(transfers)}
    by_number = {int(op): known[f"_{op.name.lower()}"] for op in Op}
    return tuple(by_number.get(number, known["_pop"]) for number in range(max(Op) + 1))


HANDLERS: Final = _table()
