"""Keys that the host hashes to one number: no dict or set holds more than `CROWD` of them.

The host's dict compares a key with every other one of the same hash. Hashes of text and bytes differ from process to
process; those of numbers and of tuples of numbers follow from their values (`int`: modulo 2**61 - 1; `tuple`: as
CPython has it since 3.8), so that a program could make keys that all meet, and each look into their dict would take as
long as there are keys. How many there are is asked for by a look with a key that counts whom it is compared with and
equals nobody. That depends on what the dict holds, and on nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from sojourn.vm.faults import Raised
from sojourn.vm.state import Run
from sojourn.vm.values import Handle, Value

__all__ = ["CROWD", "crowd_of", "refuse_crowd", "refuse_crowds"]

CROWD: Final = 64
_APART: Final = 1 << 62  # of integers between -_APART and _APART five at most have one hash
_SMALL: Final = 1 << 30  # tuples of such and of text are not made to meet, for all that is known
_PLAIN: Final = frozenset((type(None), bool, str, bytes, Handle))
_MESSAGE: Final = f"more than {CROWD} keys with one hash in a dict or set; use their text, str(key)"


class _Counter:
    """Compared with every key of its hash, and equal to none."""

    __slots__ = ("_hash", "met")

    def __init__(self, number: int) -> None:
        self._hash, self.met = number, 0

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        self.met += 1
        return False


def crowd_of(mapping: Collection[Value], key: Value) -> int:
    """How many keys of a dict have the hash of `key`; 0 where they are few, or where nobody can have made them meet."""
    return _met(mapping, key) if len(mapping) >= CROWD and _made(key) else 0


def refuse_crowd(run: Run, mapping: Collection[Value], key: Value) -> None:
    """Before a new key is put into a dict: raise Raised if too many have its hash. `run` pays for the look."""
    if len(mapping) >= CROWD:
        met = crowd_of(mapping, key)
        run.spend(met >> 3)
        if met >= CROWD:
            raise Raised("RuntimeError", _MESSAGE)


def refuse_crowds(run: Run, mapping: Collection[Value], keys: Collection[Value]) -> None:
    """As `refuse_crowd`, before all keys of another dict are put into it: as if none of them were there already."""
    if len(mapping) + len(keys) > CROWD:
        for key in keys:
            if type(key) is not str and _made(key):
                met = _met(mapping, key) + _met(keys, key)
                run.spend(met >> 3)
                if met > CROWD:
                    raise Raised("RuntimeError", _MESSAGE)


def _met(mapping: Collection[Value], key: Value) -> int:
    counter = _Counter(hash(key))
    absent = counter not in mapping  # looks at all of them
    return counter.met * absent


def _made(key: Value) -> bool:
    if type(key) is int:
        return not -_APART < key < _APART
    return type(key) is tuple and not _harmless(key)


def _harmless(items: Iterable[Value]) -> bool:
    return all(type(item) in _PLAIN or (type(item) is int and -_SMALL < item < _SMALL) for item in items)
