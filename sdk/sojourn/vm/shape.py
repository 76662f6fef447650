"""Call shapes: how many positional arguments a call has, and the names of the others, in stack order."""

from __future__ import annotations

from sojourn.codec import Record

__all__ = ["Shape"]


class Shape(Record, frozen=True):
    """The arguments of one call as they lie on the stack: `positional` values, then one for each of `names`."""

    positional: int
    names: tuple[str, ...]

    @property
    def total(self) -> int:
        """Values on the stack."""
        return self.positional + len(self.names)
