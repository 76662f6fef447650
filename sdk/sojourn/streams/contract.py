"""What every stream does, whatever it is made of.

Rules:

* Outcomes are values. `append` gives `Appended`, `Full` or `Sealed`; `read` gives `Data`, `Blocked`, `End` or `Gap`.
* Reading never destroys and never hides: a reader whose place is no longer kept gets a `Gap` with the earliest one.
* A cursor belongs to its reader and is immutable; reading from the same cursor again gives the same datoms.
* A descriptor is plain data that can be sent; a stream object is local to its process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, Literal, Protocol, runtime_checkable

from sojourn.codec import Kind, Record

__all__ = [
    "START",
    "Appended",
    "Blocked",
    "Cursor",
    "Data",
    "Descriptor",
    "End",
    "Full",
    "Gap",
    "Sealed",
    "Stream",
]


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """A reader's place: the position of the datom that it reads next. Only streams make positions."""

    position: int


START: Final = Cursor(0)
"""The beginning of every stream."""


@dataclass(frozen=True, slots=True)
class Appended:
    """The datom was taken; `position` names it for as long as the stream lives."""

    position: int


@dataclass(frozen=True, slots=True)
class Full:
    """A bounded stream has no room; append again after a reader has let go of something."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """The stream was sealed; nothing can be appended to it any more."""


@dataclass(frozen=True, slots=True)
class Data:
    """At least one datom, in order, and the cursor behind the last."""

    datoms: tuple[bytes, ...]
    next: Cursor


@dataclass(frozen=True, slots=True)
class Blocked:
    """Nothing here yet; more may come."""


@dataclass(frozen=True, slots=True)
class End:
    """Nothing here, and nothing will come: the stream is sealed."""


@dataclass(frozen=True, slots=True)
class Gap:
    """What stood at the cursor is gone; the stream is kept from `earliest` on."""

    earliest: Cursor


class Descriptor(Record, frozen=True):
    """A stream's serialisable name.

    Attributes:
        transport: what the stream is made of.
        stream: 16 random bytes, drawn when it was created.
        name: for people and for finding it again below a folder that both sides know; never an absolute path.
    """

    KIND: ClassVar[int] = Kind.STREAM_DESCRIPTOR
    transport: Literal["ring", "log"]
    stream: bytes
    name: str


@runtime_checkable
class Stream(Protocol):
    """The one contract; `sojourn.testing.stream_conformance` checks it."""

    @property
    def descriptor(self) -> Descriptor:
        """The stream's serialisable name."""
        ...

    def append(self, datom: bytes) -> Appended | Full | Sealed:
        """Put `datom` (one byte at least) behind all others."""
        ...

    def read(self, cursor: Cursor, limit: int) -> Data | Blocked | End | Gap:
        """Up to `limit` datoms from `cursor` on; fewer where that is kinder to memory, never none in a `Data`."""
        ...

    def seal(self) -> None:
        """End the stream. Doing it again changes nothing."""
        ...
