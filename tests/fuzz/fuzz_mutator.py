"""Changes inputs inside of their records, so that most of them get past the codec.

Records are arrays of MessagePack. A change takes a node anywhere in the tree and puts something else there: a near
number, a value from a table or from elsewhere in the tree, a shorter, longer or reordered array, an instruction with
another operation or operand. Then a program is encoded as its record is, and a state is loaded without the test of its
form and written as the machine writes it: what is left is wrong in its meaning, not in its spelling.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

import msgspec
from fuzz_oracle import pack_program, pack_state, unpack_input
from sojourn.codec import HEADER_BYTES, encode
from sojourn.errors import SojournError
from sojourn.vm import VerifiedProgram, op, verify
from sojourn.vm.cells import Cells
from sojourn.vm.machine import MAX_NESTED_REGIONS
from sojourn.vm.program import Function, Program
from sojourn.vm.restore import _Loader
from sojourn.vm.snapshot import Snapshot, dump

__all__ = ["mutate"]

_LEAVES: Final = (
    *range(-2, 24), 2**31, 2**53, 2**62, 2**63 - 1, 2**64 - 1, -(2**63), 10**12, None, True, False, 0.0, 1.5, "", "a",
    "main", "ValueError", "zip", "log.note", "list_iterator", "a/b", "a.b", b"", b"\x00", b"\x00" * 32, [], [0], [[]],
)  # fmt: skip
_OPS: Final = tuple(int(row) for row in op.Op)
_FIELDS: Final = len(Function.__struct_fields__)


def mutate(data: bytes, size: int, seed: int, plain: Callable[[bytes, int], bytes]) -> bytes:
    """Another input.

    Args:
        data: the input.
        size: most bytes that the other one may have.
        seed: decides what is changed.
        plain: changes bytes as bytes; used now and then, and for what is no record.
    """
    draw = random.Random(seed)
    parts = unpack_input(data)
    if parts is None or draw.random() < 0.1:
        return plain(data, size)
    program, snapshot = parts
    if snapshot is None:
        made = pack_program(_program(program, draw))
    elif draw.random() < 0.85:
        made = pack_state(program, _snapshot(program, snapshot, draw))
    else:
        changed = _program(program, draw)
        made = pack_state(changed, _snapshot(changed, snapshot, draw))
    return made if len(made) <= size else plain(data, size)


def _program(data: bytes, draw: random.Random) -> bytes:
    tree = _tree(data)
    if not isinstance(tree, list):
        return data
    for _ in range(draw.choice((1, 1, 2, 3))):
        if draw.random() < 0.5:
            _change_code(tree, draw)
        else:
            _change(tree, draw)
    return _encoded(Program, data, tree)


def _snapshot(program: bytes, data: bytes, draw: random.Random) -> bytes:
    try:
        verified = verify(program)
    except SojournError:
        verified = None
    changed = data
    for _ in range(draw.choice((1, 6))):  # half of the time until one is a state
        tree = _tree(data)
        if not isinstance(tree, list):
            return data
        for _ in range(draw.choice((1, 1, 2, 3))):
            _change(tree, draw)
        if verified is not None and len(tree) > 1:
            tree[1] = verified.digest
        changed = _encoded(Snapshot, data, tree)
        written = _as_written(verified, changed) if verified is not None else None
        if written is not None:
            changed = written
            if written != data:
                break
    return changed


def _as_written(program: VerifiedProgram, data: bytes) -> bytes | None:
    """A state in the form in which the machine writes it; None for what is no state."""
    try:
        snapshot = msgspec.msgpack.decode(data[HEADER_BYTES:], type=Snapshot)
        if 1 <= len(snapshot.runs) <= 1 + MAX_NESTED_REGIONS:
            return dump(_Loader(program, snapshot, Cells(snapshot.cells, program.codes)).machine())
    except (SojournError, msgspec.MsgspecError, RecursionError):
        pass
    return None


def _tree(data: bytes) -> Any:
    try:
        return msgspec.msgpack.decode(data[HEADER_BYTES:])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _encoded(kind: type[Any], data: bytes, tree: Any) -> bytes:
    try:
        return encode(msgspec.convert(tree, kind))
    except (msgspec.MsgspecError, OverflowError, ValueError, RecursionError):
        pass
    try:
        return data[:HEADER_BYTES] + msgspec.msgpack.encode(tree)
    except (OverflowError, ValueError, RecursionError):
        return data


def _change_code(tree: list[Any], draw: random.Random) -> None:
    """Another operation or operand in one instruction of one function, or an instruction more or less."""
    functions = [row for row in _lists(tree) if len(row) == _FIELDS and isinstance(row[11], list) and row[11]]
    if not functions:
        return
    function = draw.choice(functions)
    code, lines = function[11], function[12]
    at = draw.randrange(len(code))
    if not isinstance(code[at], int) or not 0 <= code[at] < 1 << 56:
        return
    number, a, b = op.unpack(code[at])
    what = draw.randrange(6)
    if what == 0:
        number = draw.choice(_OPS)
    elif what == 1:
        a = max(a + draw.choice((-2, -1, 1, 2, 7)), 0)
    elif what == 2:
        b = max(b + draw.choice((-1, 1, 3)), 0)
    elif what == 3:
        number, a, b = draw.choice(_OPS), draw.randrange(8), draw.randrange(4)
    elif what == 4 and isinstance(lines, list) and len(lines) == len(code) > 1:
        code[at:at], lines[at:at] = [draw.choice(code)], [draw.choice(lines)]
        return
    elif isinstance(lines, list) and len(lines) == len(code) > 1:
        del code[at], lines[at]
        return
    code[at] = op.pack(number, a & op.MAX_OPERAND, b & 0xFFFFFF)


def _lists(tree: Any) -> list[list[Any]]:
    found, work = [], [tree]
    while work:
        node = work.pop()
        if isinstance(node, list):
            found.append(node)
            work.extend(node)
    return found


def _change(tree: list[Any], draw: random.Random) -> None:
    """One change at one node."""
    rows = [row for row in _lists(tree) if row]
    if not rows:
        return
    row = draw.choice(rows)
    at = draw.randrange(len(row))
    what = draw.randrange(8)
    if what == 0:
        del row[at]
    elif what == 1:
        row.insert(at, draw.choice(_LEAVES))
    elif what == 2:
        row.insert(at, _copied(row[at]))
    elif what == 3:
        other = draw.randrange(len(row))
        row[at], row[other] = row[other], row[at]
    elif what == 4:
        row[at] = _copied(draw.choice(draw.choice(rows)))
    elif what in (5, 6) and isinstance(row[at], int) and not isinstance(row[at], bool):
        row[at] = row[at] + draw.choice((-3, -2, -1, 1, 2, 3, 40))
    else:
        row[at] = _copied(draw.choice(_LEAVES))


def _copied(node: Any) -> Any:
    return [_copied(item) for item in node] if isinstance(node, list) else node
