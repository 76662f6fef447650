"""Snapshots: every kind of value survives; bytes that are no state of the program are refused and never crash."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sojourn.codec import HEADER_BYTES, decode, encode
from sojourn.errors import DecodeError, SnapshotInvalid
from sojourn.labels import PUBLIC
from sojourn.vm import Done, Failed, Handle, Machine, Parked, RecordValue, Sliced, compile_source, verify
from sojourn.vm.snapshot import IntCell, Snapshot

ALL_VALUES = """
def inner(rows, items):
    total = 0
    for k, v in enumerate(zip(items, "abc")):
        total += tensor.item(rows)
        for key, value in {"a": [1], "b": (2,)}.items():
            total += k
    return {"n": total, "items": items}

@continuation
def main(record):
    rows = stream.open("patients", fields=["x"])
    big, small, nan, text, data = 10**40, -5, float("nan"), "héllo", b"\\x00\\xff"
    nested = [1, (2, [3, None, True], ()), {"k": {"deep": (0.5, -0.0)}, (1, "t"): [nan]}]
    nested.append(nested)
    span, views = range(3, 10**20, 7), {"x": 1}
    keys = views.keys()
    members, kept, walk, back = {1, "m"}, None, iter({2, 3}), reversed([1, 2])
    def share(by, step=[1], *rest, only=2, **named):
        nonlocal small
        small -= len(rest)
        return small + by
    try:
        members.remove("absent")
    except KeyError as error:
        kept = [error, lambda: small, len, share, next(walk), next(back)]
    here_now = here()
    first = private(inner, rows, [1, 2, 3], fuel=2000, memory=50000)
    for character in text:
        for number in span:
            if number > 20:
                break
        pairs = zip(enumerate(keys), [record.args, first])
        for pair in pairs:
            small += 1
    release.count(first, of="n", name="n", high=5)
    return [big, small, nested[0], nan, data, list(pairs), record.args["k"]]
"""


def states(kit: Any, host: Any) -> list[tuple[Machine, bytes]]:
    """The state after every instruction of a run that uses everything."""
    record = RecordValue("order", {"weights": Handle("state", b"w", PUBLIC), "args": {"k": [1, "x"]}})
    machine = kit.start(ALL_VALUES, record)
    found = []
    while True:
        progress = machine.run(1)
        found.append((machine, machine.dump()))
        if isinstance(progress, Parked):
            host.answer(machine, progress.effect)
        elif not isinstance(progress, Sliced):
            assert isinstance(progress, Done), progress
            return found


def finish(machine: Machine, host: Any) -> None:
    """Drive a machine that may stand anywhere to any end."""
    for _ in range(200):
        progress = machine.run(5_000)
        if isinstance(progress, Done | Failed):
            return
        if isinstance(progress, Parked):
            machine.throw("ValueError", "no host")


@pytest.fixture(scope="module")
def program() -> Any:
    return verify(compile_source(ALL_VALUES, "program.py").encode())


def test_every_state_survives_and_is_written_the_same(kit: Any, host: Any) -> None:
    found = states(kit, host)
    assert len(found) > 300
    for machine, data in found:
        assert Machine.load(machine.program, data).dump() == data


def test_aliasing_and_cycles_survive(kit: Any) -> None:
    source = """
@continuation
def main():
    a = [1]
    t = (a, a)
    a.append(t)
    log.note('x')
    a[0] = 2
    return [a is None, t[0][0], t[1][1][0][0], str(a)]
"""
    machine = kit.start(source)
    machine.run(1000)
    machine = Machine.load(machine.program, machine.dump())
    machine.resume(None)
    assert machine.run(1000) == Done([False, 2, 2, "[2, ([...], [...])]"])


def test_shared_tuples_do_not_blow_up(kit: Any) -> None:
    source = """
@continuation
def main():
    t = ()
    for _ in range(60):
        t = (t, t)
    log.note('x')
    return t
"""
    machine = kit.start(source)
    machine.run(10**6)
    data = machine.dump()
    assert len(data) < 1_000
    machine = Machine.load(machine.program, data)
    machine.resume(None)
    assert isinstance(machine.run(10**6), Done)


def test_deep_nesting_is_written_and_read_without_recursion(kit: Any) -> None:
    source = """
@continuation
def main():
    t, x, d = (), [], {}
    for _ in range(5000):
        t, x, d = (t,), [x], {'d': d}
    log.note('x')
    return [t, x, d]
"""
    machine = kit.start(source, memory=6 * 10**7)
    machine.run(10**6)
    data = machine.dump()
    again = Machine.load(machine.program, data)
    assert again.dump() == data
    again.resume(None)
    assert isinstance(again.run(100), Done)


def test_snapshot_of_another_program_or_contract(kit: Any, program: Any) -> None:
    machine = kit.start("@continuation\ndef main():\n    return 1\n")
    with pytest.raises(SnapshotInvalid, match="another program"):
        Machine.load(program, machine.dump())
    snapshot = decode(Snapshot, machine.dump())
    newer = msgspec.structs.replace(snapshot, contract=2)
    with pytest.raises(SnapshotInvalid, match="contract 2"):
        Machine.load(machine.program, frame(newer))


def frame(snapshot: Snapshot) -> bytes:
    return encode(snapshot)


def test_ended_states(kit: Any) -> None:
    for source in ("return [1, 'x']", "raise ValueError('v')"):
        machine = kit.start(f"@continuation\ndef main():\n    {source}\n")
        end = machine.run(100)
        again = Machine.load(machine.program, machine.dump())
        assert again.run(100) == end


FORGERIES = {
    "no frames": lambda s: s.__setitem__(2, [[*s[2][0][:6], []]]),
    "two ends": lambda s: s.__setitem__(5, ["fuel", 1, "x"]),
    "public world with a label": lambda s: s[2][0].__setitem__(1, ["a/b"]),
    "more memory than the limit": lambda s: s[2][0].__setitem__(4, 10**12),
    "negative fuel": lambda s: s[2][0].__setitem__(3, -1),
    "an instruction that is not reached like this": lambda s: s[2][0][6][0].__setitem__(1, 1),
    "an instruction outside": lambda s: s[2][0][6][0].__setitem__(1, 10**6),
    "a function that is none": lambda s: s[2][0][6][0].__setitem__(0, 99),
    "another function": lambda s: s[2][0][6][0].__setitem__(0, 0),
    "a stack too deep": lambda s: s[2][0][6][0][3].append(1),
    "too few locals": lambda s: s[2][0][6][0][2].pop(),
    "a reference to no cell": lambda s: s[2][0][6][0][2].__setitem__(0, 10**6),
    "a negative reference": lambda s: s[2][0][6][0][2].__setitem__(0, -1),
    "another effect": lambda s: s[3].__setitem__(0, "model.publish"),
    "an unknown effect": lambda s: s[3].__setitem__(0, "os.system"),
    "other parameters": lambda s: s[3].__setitem__(1, ["x"]),
    "no operation yet": lambda s: s[2][0].__setitem__(2, 0),
    "a region from nowhere": lambda s: s[2].append(s[2][0]),
    "an unused cell": lambda s: s[6].append([3, "unused"]),
    "a tuple in itself": lambda s: s[6].__setitem__(0, [5, [4]]),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_states_are_refused(kit: Any, name: str) -> None:
    source = (
        "def other():\n    return 1\n\n@continuation\ndef main():\n    x = [1]\n    gpu.run('g', x=x)\n    return x\n"
    )
    machine = kit.start(source)
    machine.run(100)
    data = machine.dump()
    raw = msgspec.msgpack.decode(data[HEADER_BYTES:])
    FORGERIES[name](raw)
    with pytest.raises(SnapshotInvalid):
        Machine.load(machine.program, data[:HEADER_BYTES] + msgspec.msgpack.encode(raw))


@pytest.fixture(scope="module")
def samples() -> list[bytes]:
    return []


def _collect(kit: Any, host: Any, samples: list[bytes]) -> list[bytes]:
    if not samples:
        samples.extend(data for _, data in states(kit, host)[::9])
    return samples


FUZZ = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


@FUZZ
@given(data=st.data())
def test_mutated_bytes(kit: Any, host: Any, program: Any, samples: list[bytes], data: st.DataObject) -> None:
    raw = bytearray(data.draw(st.sampled_from(_collect(kit, host, samples))))
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(raw) - 1))
        raw[position] = data.draw(st.integers(0, 255))
    _load_and_go_on(program, bytes(raw[: data.draw(st.sampled_from([len(raw), len(raw) - 1]))]), host)


@FUZZ
@given(data=st.data())
def test_mutated_structure(kit: Any, host: Any, program: Any, samples: list[bytes], data: st.DataObject) -> None:
    """Well encoded, and wrong inside: what a byte flip rarely reaches."""
    original = data.draw(st.sampled_from(_collect(kit, host, samples)))
    raw = msgspec.msgpack.decode(original[HEADER_BYTES:])
    for _ in range(data.draw(st.integers(1, 3))):
        node = raw
        while isinstance(node, list) and node:
            position = data.draw(st.integers(0, len(node) - 1))
            if not isinstance(node[position], list) or not node[position] or data.draw(st.integers(0, 4)) == 0:
                node[position] = data.draw(_LEAVES)
                break
            node = node[position]
    _load_and_go_on(program, original[:HEADER_BYTES] + msgspec.msgpack.encode(raw), host)


_LEAVES = st.one_of(
    st.integers(-1, 60),
    st.sampled_from(
        [2**63 - 1, 2**64 - 1, -(2**63), 10**12, None, "", "ValueError", "zip", b"", b"\x00" * 32, 1.5, []]
    ),
    st.lists(st.integers(-1, 40), max_size=4),
)


def _load_and_go_on(program: Any, raw: bytes, host: Any) -> None:
    try:
        machine = Machine.load(program, raw)
    except (DecodeError, SnapshotInvalid):
        return
    assert machine.dump() == raw
    finish(machine, host)


@pytest.mark.parametrize("step", [2**61 - 1, -(2**61 - 1)])
def test_integers_that_the_host_hashes_alike_are_stored_like_others(kit: Any, step: int) -> None:
    source = f"""
@continuation
def main(n):
    items = [i * {step} for i in range(1, n)]
    items.append(items[0] * 1)
    while len(items) > 0:
        pass
"""
    machine = kit.start(source, 30_000, fuel=10**8, memory=2**25)
    begin = time.process_time()
    assert isinstance(machine.run(1_000_000), Sliced)
    data = machine.dump()
    again = Machine.load(machine.program, data)
    assert time.process_time() - begin < 3, "a table of the machine's own finds them all in one place"
    assert again.dump() == data
    assert len(data) > 29_000 * 8  # of the loop behind it: all are there


def test_a_large_integer_that_many_slots_share_is_measured_and_stored_once(kit: Any) -> None:
    source = """
@continuation
def main():
    y = 1 << 4_000_000
    items = [y] * 20_000
    items.append(y + 0)
    z = "a" * 1_000_000
    for k in range(40):
        z = z[1:] + "a"
    while True:
        pass
"""
    machine = kit.start(source, fuel=10**9, memory=6_000_000)
    begin = time.process_time()
    assert isinstance(machine.run(10_000_000), Sliced)
    data = machine.dump()
    again = Machine.load(machine.program, data)
    assert time.process_time() - begin < 3, "each slot looks at the whole number"
    assert again.dump() == data
    assert len(data) < 2_000_000


@pytest.mark.parametrize(
    "made", ["range(y)", "range(0, 5, y)", "range(-y, 3)", "range(2**250, 2**251, 2**200)[:: 2**100]"]
)
@pytest.mark.parametrize("projection", [False, True])
def test_a_range_holds_no_large_numbers(kit: Any, made: str, projection: bool) -> None:
    """The host keeps the length of a range beside it, of any size, and no table of memory would know."""
    program = kit.program_of(
        f"@continuation\ndef main():\n    y = 1 << 2_000_000\n    try:\n        x = [{made} for _ in range(10)]\n"
        "    except OverflowError as error:\n        return str(error)\n    return None\n"
    )
    machine = Machine.start(program, "main", (), bytes(32), 10**6, 10**7, projection=projection)
    assert machine.run(10**6) == Done("range() takes integers of at most 256 bits")


def test_the_widest_range_is_stored_and_drawn_from_both_ends(kit: Any) -> None:
    source = """
@continuation
def main():
    widest = range(-(2**256) + 1, 2**256 - 1, 2**256 - 1)
    back, out = reversed(widest), [str(widest) != "", len(list(widest[1:]))]
    for item in widest:
        out.append(item < 0)
    for item in back:
        out.append(item > 0)
    return out
"""
    machine = kit.start(source)
    while not isinstance(ended := machine.run(1), Done):
        machine = Machine.load(machine.program, machine.dump())
    assert ended.value == [True, 1, True, False, False, False]


def test_a_stored_range_of_large_numbers_is_refused(kit: Any) -> None:
    source = "@continuation\ndef main():\n    y = 2**255\n    x = range(0, y)\n    while x is not None:\n        pass\n"
    machine = kit.start(source)
    assert isinstance(machine.run(1000), Sliced)
    data = machine.dump()
    snapshot = decode(Snapshot, data, limit=10**6)
    large = (1 << 259).to_bytes(33, "big")
    cells = [IntCell(large) if isinstance(cell, IntCell) else cell for cell in snapshot.cells]
    assert cells != list(snapshot.cells)
    forged = encode(msgspec.structs.replace(snapshot, cells=tuple(cells)))
    with pytest.raises(SnapshotInvalid, match="bounds of a range"):
        Machine.load(machine.program, forged)
