"""Keys made to meet in the host's hash table: refused before a dict or set holds too many, on every way into one."""

from __future__ import annotations

from typing import Any

import pytest
from sojourn.errors import MachineError, SnapshotInvalid
from sojourn.vm import Done, Failed, Machine, Parked
from sojourn.vm.crowds import CROWD, crowd_of
from sojourn.vm.values import SetValue

MODULUS = (1 << 61) - 1  # of the host's hash of integers

WAYS = {
    "d[k] = v": "for k in keys:\n        d[k] = 1",
    "in a comprehension": "d = {k: 1 for k in keys}",
    "set in a comprehension": "s = {k for k in keys}",
    "setdefault": "for k in keys:\n        d.setdefault(k, 1)",
    "update by pairs": "d.update([(k, 1) for k in keys])",
    "dict of pairs": "d = dict([(k, 1) for k in keys])",
    "dict of zip": "d = dict(zip(keys, keys))",
    "dict with a dict": "a = dict(zip(keys[:50], keys))\n    b = dict(zip(keys[50:100], keys))\n    d = a | b",
    "dict updated by a dict": "a = dict(zip(keys[:50], keys))\n    a.update(dict(zip(keys[50:100], keys)))",
    "dict |= dict": "a = dict(zip(keys[:50], keys))\n    a |= dict(zip(keys[50:100], keys))",
    "dict with two unpacked": "a = dict(zip(keys[:50], keys))\n    d = {**a, **dict(zip(keys[50:100], keys))}",
    "set": "s = set(keys)",
    "add": "for k in keys:\n        s.add(k)",
    "set |": "s = set(keys[:50]) | set(keys[50:100])",
    "set ^": "s = set(keys[:50]) ^ set(keys[50:100])",
    "set |=": "s = set(keys[:50])\n    s |= set(keys[50:100])",
    "union": "s = set(keys[:50]).union(keys[50:100])",
    "update of a set": "s = set()\n    s.update(keys)",
}
MADE = {
    "integers": "[(k + 1) * ((1 << 61) - 1) for k in range(200)]",
    "negative ones": "[-(k + 1) * ((1 << 61) - 1) for k in range(200)]",
    "in tuples": "[((k + 1) * ((1 << 61) - 1), 'x') for k in range(200)]",
    "in tuples of tuples": "[(1, ((k + 1) * ((1 << 61) - 1),)) for k in range(200)]",
}


@pytest.mark.parametrize("projection", [False, True])
@pytest.mark.parametrize("keys", MADE)
@pytest.mark.parametrize("way", WAYS)
def test_too_many_keys_with_one_hash_are_refused(kit: Any, way: str, keys: str, projection: bool) -> None:
    source = f"@continuation\ndef main():\n    d, s, keys = {{}}, set(), {MADE[keys]}\n    {WAYS[way]}\n"
    machine = Machine.start(kit.program_of(source), "main", [], bytes(32), 10**6, 10**6, projection=projection)
    end = machine.run(10**6)
    assert isinstance(end, Failed)
    assert f"RuntimeError: more than {CROWD} keys with one hash" in end.detail


def test_what_nobody_made_meet_is_not_refused(kit: Any) -> None:
    source = """
@continuation
def main():
    a = {k * 2 ** 40: k for k in range(500)}
    b = {(k, "x", None): k for k in range(500)}
    c = {(k * 2 ** 40, k): k for k in range(500)}
    d = {1 << 62 + k: k for k in range(200)}
    e = set([k * 1.5e300 for k in range(500)])
    f = {(k / 7, k): k for k in range(500)} | c
    return len(a) + len(b) + len(c) + len(d) + len(e) + len(f)
"""
    assert kit.evaluate(source, fuel=10**6, memory=10**7).value == 500 * 3 + 200 + 500 + 999


def pairs(count: int) -> dict[int, int]:
    """Small integers with others, so that all pairs have one hash: CPython's hash of tuples solved for the second item.

    Source: Objects/tupleobject.c of CPython 3.8 and later, the 64-bit xxHash.
    """
    first, second, fifth, word = 11400714785074694791, 14029467366897019727, 2870177450012600261, 1 << 64

    def turned(number: int, by: int) -> int:
        return (number << by | number >> (64 - by)) % word

    wanted, made = turned(12_345 * pow(first, -1, word) % word, 33), {}
    for k in range(100 * count):
        begun = turned((fifth + k * second) % word, 31) * first % word
        lane = (wanted - begun) * pow(second, -1, word) % word
        if lane < MODULUS and len(made) < count:
            made[k] = lane
    assert len({hash(pair) for pair in made.items()}) == 1
    return made


@pytest.mark.parametrize("way", ["d.items() & d.items()", "set(d.items())", "{p for p in d.items()}"])
def test_pairs_of_small_integers_may_meet_too(kit: Any, way: str) -> None:
    end = kit.evaluate(f"@continuation\ndef main(d):\n    return {way}\n", pairs(200), fuel=10**6, memory=10**6)
    assert isinstance(end, Failed)
    assert "keys with one hash" in end.detail
    assert isinstance(kit.evaluate("@continuation\ndef main(d):\n    return d.items() & d.items()\n", pairs(60)), Done)


def test_a_forged_state_with_a_crowd_is_refused(kit: Any) -> None:
    for made in ("{}", "set([0])"):
        machine = kit.start(f"@continuation\ndef main():\n    d = {made}\n    log.note('x')\n")
        assert isinstance(machine.run(1_000), Parked)
        (held,) = [value for value in machine.runs[0].frames[0].locals if type(value) in (dict, SetValue)]
        members = held if type(held) is dict else held.items
        members.clear()
        for count, refused in ((CROWD, False), (CROWD + 1, True)):
            members.update(dict.fromkeys(((k + 1) * 2 * MODULUS for k in range(count)), None))
            data = machine.dump()
            if refused:
                with pytest.raises(SnapshotInvalid, match="too many keys with one hash"):
                    Machine.load(machine.program, data)
            else:
                assert Machine.load(machine.program, data).dump() == data


def test_a_host_brings_no_crowd(kit: Any) -> None:
    machine = kit.start("@continuation\ndef main():\n    return tensor.item(stream.open('patients', fields=[]))\n")
    machine.run(1_000)
    with pytest.raises(MachineError, match="keys with one hash"):
        machine.resume({(k + 1) * 2 * MODULUS: 1 for k in range(CROWD + 1)})


def test_a_crowd_is_counted_by_what_is_held_alone() -> None:
    """Deleted keys and the order of keys make no difference."""
    keys = [(k + 4) * MODULUS for k in range(300)]
    one, other = dict.fromkeys(keys), dict.fromkeys(reversed(keys))
    for key in keys[:100]:
        del one[key]
        del other[key]
    new = 1_000 * MODULUS
    assert crowd_of(one, new) == crowd_of(other, new) == crowd_of(dict.fromkeys(keys[100:]), new) == 200
    assert crowd_of(one, "text") == crowd_of(one, 5) == crowd_of({}, new) == 0
