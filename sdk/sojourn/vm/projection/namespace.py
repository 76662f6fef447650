"""The fixed words of generated code: all that it can name besides numbered variables. The host's builtins are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sojourn.vm import containers
from sojourn.vm.arithmetic import binary, inplace, unary
from sojourn.vm.calling import call_value
from sojourn.vm.classes import is_a
from sojourn.vm.compare import compare, truth
from sojourn.vm.faults import Raised
from sojourn.vm.iteration import END, advance, make_iter
from sojourn.vm.methods import call_method
from sojourn.vm.projection.kinds import LIMIT
from sojourn.vm.projection.meter import GUARD, STOP, Meter, Settled, back, closed_slot, ended, open_any
from sojourn.vm.state import Frame, Run
from sojourn.vm.step import HANDLERS
from sojourn.vm.text import format_of
from sojourn.vm.textmethods import BLANKS
from sojourn.vm.values import NAN, UNBOUND, Box, BuiltinValue, Cell, ExcValue, FunctionValue, Iter, RecordValue, Value

__all__ = ["fixed", "handler_of"]

_NUMBERS: Final = frozenset((bool, int, float))
_SIZED: Final = frozenset((str, bytes, tuple, list, dict))


def handler_of(function: int, at: int, op: int, a: int, b: int) -> Callable[[Run, list[Value]], list[Value]]:
    """The stepper's handler of one instruction, for use on a stack of its own."""
    act = HANDLERS[op]

    def apply(run: Run, stack: list[Value]) -> list[Value]:
        frame = Frame(function, at + 1, [], stack)
        act(run, frame, a, b)
        return frame.stack

    return apply


def fixed(meter: Meter) -> dict[str, Any]:
    """A namespace for the generated code of one program."""
    return {
        "__builtins__": {},
        "None": None,
        "False": False,
        "True": True,  # words of the host's; here for the names in rows
        # The machine's.
        "R": meter,
        "S": STOP,
        "G": GUARD,
        "W": Raised,
        "X": meter.leave,
        "H": meter.handles,
        "P": meter.passes,
        "V": Settled,
        "Z": locals,
        "U": UNBOUND,
        "BLANKS": BLANKS,
        "NAN": NAN,
        "END": END,
        "LIM": LIMIT,
        "NLIM": -LIMIT,
        "NUM": _NUMBERS,
        "PLAIN": frozenset((*_NUMBERS, *_SIZED, range, type(None))),
        "SIZED": _SIZED,
        "KEYS": frozenset((*_NUMBERS, str, type(None))),
        "LDT": frozenset((list, dict, tuple)),
        "Box": Box,
        "BuiltinValue": BuiltinValue,
        "Cell": Cell,
        "ExcValue": ExcValue,
        "Iter": Iter,
        "FunctionValue": FunctionValue,
        "RecordValue": RecordValue,
        # Operations.
        "binary": binary,
        "inplace": inplace,
        "unary": unary,
        "compare": compare,
        "truth": truth,
        "is_a": is_a,
        **{name: getattr(containers, name) for name in _CONTAINERS},
        "advance": advance,
        "back": back,
        "ended": ended,
        "close": closed_slot,
        "make_iter": make_iter,
        "KEPT": frozenset((Iter, str)),
        "open_any": open_any,
        "format_of": format_of,
        "call_method": call_method,
        "call_value": call_value,
        "attribute": containers.attribute,
        # The host's, where they do what the language does.
        "BaseException": BaseException,
        "type": type,
        "len": len,
        "map": map,
        "sum": sum,
        "iter": iter,
        "next": next,
        "abs": abs,
        "int": int,
        "float": float,
        "str": str,
        "list": list,
        "dict": dict,
        "tuple": tuple,
    }


_CONTAINERS: Final = (
    *("append", "delete_index", "delete_slice", "index", "make_dict", "slice_of", "store_index", "store_slice"),
    *("unpack_rest", "unpack_values"),
)
