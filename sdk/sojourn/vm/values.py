"""Values of the language, and what only the machine sees.

A value is None, a bool, int, float, str, bytes, tuple, list, dict or range of CPython, or one of the classes here.
Plain Python objects stand for themselves, so that a host reads and makes values without conversion. No value holds
a host object: tensors, streams and models are handles, private things in the public world are boxes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Any, Final, TypeAlias

from sojourn.labels import Label

__all__ = [
    "HANDLE_KINDS",
    "NAN",
    "UNBOUND",
    "Box",
    "BuiltinValue",
    "Cell",
    "DictView",
    "ExcValue",
    "FunctionValue",
    "Handle",
    "Iter",
    "IterKind",
    "RecordValue",
    "RegionError",
    "SetValue",
    "Suspended",
    "Unbound",
    "Value",
    "ViewKind",
    "canonical_float",
    "type_name",
]

# The union of the module's docstring. Spelled as Any: lists and dicts are invariant, so that a recursive union would
# force a cast on every host that makes one.
Value: TypeAlias = Any

HANDLE_KINDS: Final = frozenset(("tensor", "state", "stream", "model", "cohort", "answers", "cursor", "task"))

# One object for every not-a-number: `x in [x]` and dict keys go by identity in CPython.
NAN: Final = float("nan")


def canonical_float(number: float) -> float:
    """`number`, with every not-a-number as the one object `NAN`."""
    return number if number == number else NAN  # noqa: PLR0124 - the test for not-a-number


@dataclass(frozen=True, slots=True, eq=False)
class Handle:
    """A name for something the host keeps. Equal by id; nothing inside is reachable for a program.

    Attributes:
        kind: one of `HANDLE_KINDS`.
        id: made by the host from the occurrence that produced it, so that every run of the effect makes the same.
        label: what the thing depends on.
    """

    kind: str
    id: bytes
    label: Label

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Handle) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"Handle({self.kind} {self.id.hex()[:12]} {self.label})"


@dataclass(frozen=True, slots=True, eq=False)
class Box:
    """A sealed private value in the public world. The content lies in the machine that made it."""

    id: bytes
    label: Label

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Box) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"Box({self.id.hex()[:12]} {self.label})"


@dataclass(frozen=True, slots=True, eq=False)
class RecordValue:
    """A value with fixed field names, read as attributes (`order.weights`); immutable."""

    type_name: str
    fields: Mapping[str, Value]

    def __repr__(self) -> str:
        return f"RecordValue({self.type_name}: {', '.join(self.fields)})"


@dataclass(frozen=True, slots=True)
class RegionError:
    """How a private region, or an effect on boxes, failed: the content of its box.

    Attributes:
        type_name: class of the exception, `MemoryError` or `FuelExhausted` for a spent budget.
        message: private text, for the owner's log only.
        code: as in `Failed`: the class, or `fuel`, or `memory`.
        line: source line in the region; 0 where an effect failed outside of one.
    """

    type_name: str
    message: str = field(repr=False)
    code: str
    line: int = 0


class Unbound(Enum):
    """The content of a variable before its first assignment."""

    UNBOUND = 0


UNBOUND: Final = Unbound.UNBOUND


@dataclass(slots=True, eq=False)
class Cell:
    """A variable that functions share. Programs see its content only."""

    content: Value = UNBOUND


@dataclass(slots=True, eq=False)
class FunctionValue:
    """A function of the program as a value.

    Attributes:
        function: its index.
        name: qualified, for messages.
        defaults: the defaults that were computed when it was made.
        cells: the variables that it shares with the functions around it.
    """

    function: int
    name: str
    defaults: tuple[Value, ...] = ()
    cells: tuple[Cell, ...] = ()


@dataclass(frozen=True, slots=True)
class BuiltinValue:
    """A builtin function as a value; equal by number."""

    number: int
    name: str


@dataclass(slots=True, eq=False)
class ExcValue:
    """An exception; equal by identity.

    Attributes:
        name: its class, one of `EXCEPTIONS`.
        args: what it was made of.
        line: source line where it was first raised; 0 before.
    """

    name: str
    args: tuple[Value, ...]
    line: int = 0


@dataclass(slots=True, eq=False)
class SetValue:
    """A set in order of insertion.

    Attributes:
        items: the members are the keys.
        removed: members that were removed since the host's table was last rebuilt (`dense`). No state.
    """

    items: dict[Value, None]
    removed: int = 0

    def __repr__(self) -> str:
        return "{" + ", ".join(map(repr, self.items)) + "}" if self.items else "set()"


@dataclass(slots=True, eq=False)
class Suspended:
    """The frames of a run as they stood at `here()`: a continuation as a value. Never changed once it is made.

    Attributes:
        frames: see `sojourn.vm.state.Frame`.
        waiting: the last frame waits for a value; not so in a child that is about to begin.
    """

    frames: tuple[Any, ...]
    waiting: bool = True


class ViewKind(IntEnum):
    """Which view of a dict; numbers are part of the snapshot format."""

    KEYS = 0
    VALUES = 1
    ITEMS = 2


@dataclass(frozen=True, slots=True, eq=False)
class DictView:
    """`d.keys()`, `d.values()` or `d.items()`."""

    kind: ViewKind
    mapping: dict[Value, Value]


class IterKind(IntEnum):
    """What an iterator walks over; numbers are part of the snapshot format."""

    DONE = 0
    SEQUENCE = 1
    DICT = 2
    ENUMERATE = 3
    ZIP = 4
    SET = 5
    REVERSED = 6


@dataclass(slots=True, eq=False)
class Iter:
    """An iterator as plain data.

    Attributes:
        kind: see `IterKind`; `shown` keeps the name of its class when it is done.
        source: the sequence, the set, or the view of a dict.
        keys: keys of the dict or set when the iteration began.
        index: next position; for enumerate, the next number.
        inner: iterators that this one draws from.
        depth: 1 + the greatest depth of `inner`.
    """

    kind: IterKind
    shown: str
    source: Value = None
    keys: tuple[Value, ...] = ()
    index: int = 0
    inner: tuple[Iter, ...] = ()
    depth: int = 1


def type_name(value: Value) -> str:
    """The name of a value's class as messages of the language show it."""
    kind = type(value)
    if value is None:
        return "NoneType"
    if kind is Handle:
        return f"{value.kind} handle"
    if kind is Box:
        return "box"
    if kind is RecordValue:
        return str(value.type_name)
    if kind is ExcValue:
        return str(value.name)
    if kind in _NAMES:
        return _NAMES[kind]
    if kind is DictView:
        return "dict_" + ViewKind(value.kind).name.lower()
    if kind is Iter:
        return str(value.shown)
    return str(kind.__name__)


_NAMES: Final[dict[type, str]] = {
    BuiltinValue: "builtin_function_or_method",
    FunctionValue: "function",
    SetValue: "set",
    Suspended: "continuation",
}
