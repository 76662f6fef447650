"""What the projector knows of a value before it runs: a kind, one letter.

`I` an integer below 2**62 in magnitude, `F` float, `B` bool, `S` text, `L` list, `D` dict, `T` tuple, `N` None, `E`
an exception, `R` a range of `I`, `K`, `V`, `P` a dict's keys, values, items, `f3` the program's function 3, `?` any
value; of locals also `U` unbound, `!` perhaps unbound. Loop slots: `r` an iterator over `R`, `k` one over a list, tuple
or bytes, `s` one over ASCII text, `K`, `V`, `P` one over a dict's keys, values, items, `*` any iterator or none, `U`
none. A kind is never a guess: generated code that relies on one has tested it, or was entered with it.
"""

from __future__ import annotations

from typing import Final

from sojourn.vm.values import UNBOUND, ExcValue, FunctionValue, Iter, IterKind, Value

__all__ = ["LIMIT", "NATIVE", "NUMBERS", "PLAIN", "join", "kind_of", "slot_kind"]

LIMIT: Final = 1 << 62  # sums of two such integers need no memory of their own, see `arithmetic`
NUMBERS: Final = frozenset("IFB")
PLAIN: Final = frozenset("IFBSLDTNR")  # kinds that are no box, and whose truth is the host's
NATIVE: Final = frozenset("rksKVP")  # slots that generated code draws from by a `for` of the host's
_KINDS: Final[dict[type, str]] = {
    bool: "B",
    dict: "D",
    float: "F",
    list: "L",
    str: "S",
    tuple: "T",
    type(None): "N",
    ExcValue: "E",
}
_WALKED: Final = frozenset((list, tuple, bytes))


def kind_of(value: Value) -> str:
    """The kind of a local's value."""
    kind = type(value)
    if kind is int:
        return "I" if -LIMIT < value < LIMIT else "?"
    if kind is range:
        return "R" if _small(value) else "?"
    if kind is FunctionValue:
        return f"f{value.function}"
    return "U" if value is UNBOUND else _KINDS.get(kind, "?")


def _small(value: range) -> bool:
    return -LIMIT < value.start < LIMIT and -LIMIT < value.stop < LIMIT and -LIMIT < value.step < LIMIT


def slot_kind(value: Value) -> str:
    """The kind of a loop slot's content."""
    if value is UNBOUND:
        return "U"
    if type(value) is Iter and value.kind == IterKind.SEQUENCE:
        source = value.source
        if type(source) is range and _small(source):
            return "r"
        if type(source) in _WALKED and value.index <= len(source):
            return "k"
        if type(source) is str and source.isascii():
            return "s"
    if type(value) is Iter and value.kind == IterKind.DICT:
        return "KVP"[value.source.kind]
    return "*"


def join(one: str, other: str) -> str:
    """The kind of a local that may have either."""
    if other in (one, "-"):
        return one
    if one == "-":
        return other
    return "!" if one in "U!" or other in "U!" else "?"
