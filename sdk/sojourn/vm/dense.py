"""Dicts and sets of the host kept dense, so that what was deleted takes no time later.

The host's dict keeps the place of a deleted entry until it grows, and whoever walks through it steps over all of them:
a walk through a dict that held a million entries, or the search for the first of them, would take time that its few
entries do not pay for. What is rebuilt here is the same to the program, and is paid for by the deletions before.
"""

from __future__ import annotations

from typing import Final

from sojourn.vm.values import SetValue, Value

__all__ = ["deleted", "removed"]

SPARSE_BYTES: Final = 4_096
SPARSE_ENTRY: Final = 512  # bytes of the host's table; one that has only grown takes at most 120
FEW: Final = 256
OFTEN: Final = 64  # so many times the members are fewer than the square of what was removed: then both cost the same


def deleted(mapping: dict[Value, Value]) -> None:
    """To be called behind each deletion of an entry."""
    if mapping.__sizeof__() > SPARSE_BYTES + SPARSE_ENTRY * len(mapping):
        _rebuild(mapping)


def removed(owner: SetValue) -> None:
    """To be called behind each removal of a member. `pop` takes the first one, behind all that were removed before."""
    owner.removed += 1
    if owner.removed > FEW and owner.removed * owner.removed > OFTEN * len(owner.items):
        owner.removed = 0
        _rebuild(owner.items)


def _rebuild(mapping: dict[Value, Value]) -> None:
    rows = list(mapping.items())
    mapping.clear()
    mapping.update(rows)
