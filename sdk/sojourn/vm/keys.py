"""Keys of dicts and members of sets: what may be one, and what looking for it costs.

The host hashes integers and tuples anew whenever it looks for them, and compares texts whole that are equal and not one
object. What is short costs no more than the instruction; what is long is paid for here, before the host does it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from sojourn.vm.bounded import bounded
from sojourn.vm.faults import Raised, refuse_box
from sojourn.vm.state import Run
from sojourn.vm.values import Box, Handle, Value, type_name

__all__ = ["LONG_KEY", "MAX_DEPTH", "MAX_KEY_NODES", "check_key", "check_member", "pay_members", "pay_walk"]

MAX_DEPTH: Final = 100  # of nested containers, where CPython's own limit depends on the stack of its caller
MAX_KEY_NODES: Final = 1_024
LONG_KEY: Final = 1_024  # characters

_NUMBERS: Final = frozenset((bool, int, float))
_SHORT: Final = 8
_LARGE: Final = 1 << 62
_LIGHT: Final = frozenset((type(None), bool, float, str, bytes, Handle))


def check_key(run: Run, key: Value) -> None:
    """Raise TypeError unless `key` may be a key of a dict; nested tuples are bounded and paid for."""
    kind = type(key)
    if kind is str or kind in _NUMBERS:
        if kind is int:
            run.spend(key.bit_length() >> 12)
        elif kind is str and len(key) >= LONG_KEY:  # an equal one that is another object is compared whole
            run.spend(len(key) >> 10)
        return
    work, nodes, bits = [(key, 0)], 0, 0
    while work:
        value, depth = work.pop()
        nodes += 1
        kind = type(value)
        if kind is tuple:
            if depth > MAX_DEPTH or nodes + len(work) + len(value) > MAX_KEY_NODES:
                raise Raised("ValueError", f"a key is a tuple nested too deep or of more than {MAX_KEY_NODES} values")
            work.extend((item, depth + 1) for item in value)
        elif kind is int:
            bits += value.bit_length()
        elif kind is str or kind is bytes:
            bits += len(value) << 2
        elif kind is Box:
            refuse_box("use as a key", value)
        elif kind not in _NUMBERS and kind is not Handle and value is not None:
            raise Raised("TypeError", f"unhashable type: '{type_name(value)}'")
    run.spend((nodes >> 3) + (bits >> 12))


def check_member(run: Run, key: Value) -> None:
    """As `check_key`, where one instruction takes many: a tuple is a unit more, for the time that it takes."""
    if type(key) is tuple:
        run.spend(1)
    check_key(run, key)


@bounded
def pay_members(run: Run, members: Iterable[Value]) -> None:
    """Pay for looking for many keys in one instruction: what does not keep its hash, and what is long to compare."""
    for key in members:
        if type(key) is not str or len(key) >= LONG_KEY:
            check_member(run, key)


def pay_walk(run: Run, keys: Collection[Value]) -> None:
    """Pay before a walk through a dict, which looks for each of its keys again: for those that are long to hash."""
    kinds = set(map(type, keys))
    if kinds <= _LIGHT or (kinds == {int} and min(keys) > -_LARGE and max(keys) < _LARGE):
        return
    pay_members(run, [key for key in keys if not _light(key)])


def _light(key: Value) -> bool:
    if type(key) is tuple:
        return len(key) <= _SHORT and all(type(item) is not tuple and _light(item) for item in key)
    return type(key) is not int or -_LARGE < key < _LARGE
