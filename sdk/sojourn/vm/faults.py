"""How an operation of the language fails, inside the machine. Neither class leaves this package."""

from __future__ import annotations

from typing import Final, Literal

from sojourn.limits import MAX_INSTRUCTION_FUEL
from sojourn.vm.values import (
    Box,
    BuiltinValue,
    ExcValue,
    FunctionValue,
    Handle,
    RecordValue,
    Suspended,
    Value,
    type_name,
)

__all__ = ["Exhausted", "Raised", "item_help", "key_error", "need_c_int", "need_index", "no_operation", "refuse_box"]

BOX_HELP: Final = (
    "a box is sealed in the public world; pass it to private(f, box, fuel=..., memory=...), where f gets it opened, "
    "or to release.*"
)


class Raised(Exception):
    """An exception of the language.

    Attributes:
        type_name: its class.
        message: its text.
        value: the exception itself, where there is one already; a handler gets it, or a new one of the message.
        settled: it is a value and paid for, and generated code has put its counters where a caller finds them.
    """

    settled = False

    def __init__(self, type_name: str, message: str, value: ExcValue | None = None) -> None:
        self.type_name, self.message, self.value = type_name, message, value
        super().__init__(type_name)


def key_error(key: Value) -> Raised:
    """The KeyError of a key that is not there."""
    return Raised("KeyError", "", ExcValue("KeyError", (key,)))


class Exhausted(Exception):
    """A budget of the run is spent.

    Attributes:
        budget: which one.
        instruction: whether it is the fuel that one instruction may use, and not the run's.
    """

    def __init__(self, budget: Literal["fuel", "memory"], *, instruction: bool = False) -> None:
        self.budget, self.instruction = budget, instruction
        super().__init__(budget)

    @property
    def detail(self) -> str:
        """What happened, and what to do where that is not plain."""
        if self.instruction:
            return (f"one instruction would use more than {MAX_INSTRUCTION_FUEL} units of fuel; "
                    "do its work in a loop, or in a graph")  # fmt: skip
        return f"the run's {self.budget} is spent"


def need_index(number: int, type_name: str = "OverflowError") -> None:
    """Raise unless `number` has 64 bits, as CPython's counts and positions do; so on every machine."""
    if not -(1 << 63) <= number < 1 << 63:
        raise Raised(type_name, "cannot fit 'int' into an index-sized integer")


def need_c_int(number: int) -> None:
    """Raise unless `number` has 32 bits, as some of CPython's flags do."""
    if not -(1 << 31) <= number < 1 << 31:
        raise Raised("OverflowError", "Python int too large to convert to C int")


def refuse_box(what: str, *values: Value) -> None:
    """Raise TypeError if one of `values` is a box; `what` says what the program tried (`"compare"`)."""
    for value in values:
        if type(value) is Box:
            raise Raised("TypeError", f"cannot {what} a box: {BOX_HELP}")


def item_help(*values: Value) -> str:
    """What to write for a tensor that is used as a number; empty where none of `values` is one."""
    if any(type(value) is Handle and value.kind == "tensor" for value in values):
        return "; tensor.item(handle) gives the number in a tensor of one element"
    return ""


def no_operation(what: str, value: Value) -> Raised:
    """The TypeError for an operation that opaque values do not have."""
    refuse_box(what, value)
    if type(value) is Handle:
        return Raised(
            "TypeError",
            f"cannot {what} a {type_name(value)}: a handle only names something that the host keeps{item_help(value)}",
        )
    if type(value) is RecordValue:
        return Raised("TypeError", f"cannot {what} {type_name(value)}: read its fields ({', '.join(value.fields)})")
    if type(value) in (BuiltinValue, FunctionValue, Suspended):
        return Raised(
            "TypeError", f"cannot {what} a {type_name(value)}: it has no value that is the same on every machine"
        )
    return Raised("TypeError", f"cannot {what} a value of type '{type_name(value)}'; write list(...) around it first")
