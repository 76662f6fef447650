"""A label is a set of sources, ordered by inclusion.

The lattice is the powerset of source names: `join` is union, `flows_to` is inclusion, `PUBLIC` is the bottom
(Denning, "A lattice model of secure information flow", 1976). A clearance is a label too: what a destination may
receive.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

__all__ = ["PUBLIC", "Label"]


@dataclass(frozen=True, slots=True)
class Label:
    """The private sources that something depends on.

    Attributes:
        sources: names of the form `"owner/stream"`.
    """

    sources: frozenset[str]

    @classmethod
    def of(cls, *sources: str) -> Label:
        """The label of these sources."""
        return cls(frozenset(sources))

    @classmethod
    def join_all(cls, labels: Iterable[Label]) -> Label:
        """The least label that every one of `labels` flows to; `PUBLIC` for none."""
        return cls(frozenset().union(*(label.sources for label in labels)))

    @property
    def is_public(self) -> bool:
        """Whether nothing private is behind this label."""
        return not self.sources

    @property
    def names(self) -> tuple[str, ...]:
        """The sources in sorted order: the form that is encoded."""
        return tuple(sorted(self.sources))

    def join(self, other: Label) -> Label:
        """The least label that both flow to."""
        if self.sources >= other.sources:
            return self
        return Label(self.sources | other.sources)

    def flows_to(self, clearance: Label) -> bool:
        """Whether a destination of this clearance may receive what carries this label."""
        return self.sources <= clearance.sources

    def __str__(self) -> str:
        return "{" + ", ".join(self.names) + "}" if self.sources else "public"


PUBLIC: Final = Label(frozenset())
