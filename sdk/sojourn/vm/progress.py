"""What a machine says to its host: a closed union of frozen values.

Those that are made at every effect are structures of msgspec, which take a tenth of the time of a frozen dataclass.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from sojourn.contracts import Occurrence
from sojourn.labels import Label
from sojourn.vm.effects import Durability
from sojourn.vm.values import Value

__all__ = ["Done", "Effect", "Failed", "OutOfFuel", "Parked", "Progress", "Sliced"]


class Effect(msgspec.Struct, frozen=True, gc=False):
    """A request to the host.

    Attributes:
        name: as in `EFFECTS`.
        args: by parameter name; copies that belong to the host.
        occurrence: under which it is journalled and done once.
        durability: the effect's class.
        label: PUBLIC in the public world, the region's label in a region.
        boxed: an argument is, or holds, a box or a private handle in the public world; the result will be boxed.
    """

    name: str
    args: dict[str, Value]
    occurrence: Occurrence
    durability: Durability
    label: Label
    boxed: bool

    def __repr__(self) -> str:
        return f"Effect({self.name}, {self.occurrence}, {self.label})"


class Parked(msgspec.Struct, frozen=True, gc=False):
    """The program waits for the result of an effect: `Machine.resume` or `Machine.throw`."""

    effect: Effect


@dataclass(frozen=True, slots=True)
class Done:
    """The run ended with a value."""

    value: Value = field(repr=False)


@dataclass(frozen=True, slots=True)
class Sliced:
    """The run has more; `Machine.run` goes on.

    Attributes:
        entered: a private region has begun, and may be over already; False where the slice of fuel is used.
    """

    entered: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """The run ended with an error in the public world.

    Attributes:
        code: public: `fuel`, `memory`, or a class of `sojourn.vm.op.EXCEPTIONS`.
        line: public source line.
        detail: text for the owner's log only.
    """

    code: str
    line: int
    detail: str = field(repr=False)


Progress = Parked | Done | Sliced | Failed
OutOfFuel = Sliced
