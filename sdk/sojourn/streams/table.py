"""A table: rows of named tensors on a log, for an owner's private data.

Rules:

* The log's first record is the schema (`fields`). Each other record is a row group: a header and one block for each
  field in the order of their names, joined so that payloads are aligned. A row group is there whole or not at all; a
  long append makes several.
* Rows have numbers from 0 and never change. `extent` counts rows that are synced, so a reader that has fixed an extent
  can read all of it after any crash.
* Types are exact: nothing is converted in silence. Which values fit is for `fields` to say.
* Any number of threads may use one table; any number of processes may read it.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from sojourn.codec import Kind, Record, decode, encode
from sojourn.datoms import ALIGNMENT, Block, BlockKind, Codec, join_datoms, split_datoms
from sojourn.errors import DecodeError, LogCorrupt, StreamFieldMissing, UsageError
from sojourn.limits import BLOCK_PAYLOAD_BYTES, MAX_NAME_CHARS, MIB
from sojourn.streams.contract import START, Cursor
from sojourn.streams.fields import Field, decode_fields, encode_fields, fitting_columns
from sojourn.streams.log import LogSpec, LogStream

__all__ = ["TableStream"]

_MAX_FIELDS: Final = 256
_GROUPS_KEPT: Final = 4
_GROUP_BYTES: Final = 16 * MIB  # of all columns of the rows that one record holds
_HEAD_BYTES: Final = 2 * ALIGNMENT


class _RowGroup(Record, frozen=True):
    KIND: ClassVar[int] = Kind.ROWS
    start: int  # number of the first row
    rows: int


class _Group(NamedTuple):
    start: int
    rows: int
    position: int  # in the log


class TableStream:
    """Rows on a log. Make one with `create` or `open`; close it, or use `with`."""

    __slots__ = ("_cache", "_cursor", "_fields", "_groups", "_log", "_mutex", "_readonly", "_rows")

    def __init__(self, log: LogStream, fields: dict[str, Field], cursor: Cursor, *, readonly: bool) -> None:
        self._log, self._fields, self._cursor, self._readonly = log, fields, cursor, readonly
        self._groups: list[_Group] = []
        self._cache: OrderedDict[int, list[NDArray[Any]]] = OrderedDict()
        self._rows = 0
        self._mutex = threading.RLock()
        self._index()

    @classmethod
    def create(cls, path: Path | str, fields: Mapping[str, Field], spec: LogSpec | None = None) -> TableStream:
        """A new, empty table, open for writing.

        Raises:
            UsageError: something stands at `path`, or no fields, too many, or names out of bounds.
        """
        if not 0 < len(fields) <= _MAX_FIELDS or not all(0 < len(name) <= MAX_NAME_CHARS for name in fields):
            raise UsageError(f"a table has 1 to {_MAX_FIELDS} fields with names of 1 to {MAX_NAME_CHARS} characters")
        LogStream.create(path, spec, [encode_fields(fields)]).close()
        return cls.open(path)

    @classmethod
    def open(cls, path: Path | str, *, readonly: bool = False) -> TableStream:
        """Open a table for writing, or for reading what is synced.

        Raises:
            UsageError: there is no table at `path`.
            StateInUse: another writer has it open.
            LogCorrupt: something that was synced is damaged.
        """
        log = LogStream.open(path, readonly=readonly)
        try:
            return cls._opened(log, Path(path), readonly=readonly)
        except BaseException:
            log.close()
            raise

    @classmethod
    def _opened(cls, log: LogStream, path: Path, *, readonly: bool) -> TableStream:
        first = next(log.records(START), None)
        if first is None:
            raise UsageError(f"the log at {path} is no table: it is empty")
        try:
            fields = decode_fields(first[1])
        except (DecodeError, UsageError) as problem:
            raise UsageError(f"the log at {path} is no table: {problem}") from None
        return cls(log, fields, START, readonly=readonly)

    @property
    def fields(self) -> dict[str, Field]:
        """The columns, by name."""
        return dict(self._fields)

    def append(self, columns: Mapping[str, NDArray[Any]]) -> int:
        """Append rows: the new number of rows. They are durable after `sync` (or `extent`).

        Args:
            columns: for every field an array of shape `(rows, *field.shape)` and exactly the field's type (BF16 as
                `uint16` bit patterns).

        Raises:
            UsageError: fields are missing or unknown, or an array does not fit; nothing was appended.
        """
        arrays = fitting_columns(self._fields, columns)
        rows = len(next(iter(arrays)))
        widest = max(field.row_bytes for field in self._fields.values())
        total = sum(field.row_bytes for field in self._fields.values())
        step = max(1, min(BLOCK_PAYLOAD_BYTES // widest, _GROUP_BYTES // total))
        with self._mutex:
            for start in range(0, rows, step):
                part = [array[start : start + step] for array in arrays]
                group = _Group(self._rows, len(part[0]), self._log.put(self._encode(part)))
                self._groups.append(group)
                self._rows += group.rows
            return self._rows

    def sync(self) -> None:
        """Make every appended row durable."""
        self._log.sync()

    def extent(self) -> int:
        """Number of rows that are durable and readable now. A writer syncs what it appended first."""
        with self._mutex:
            if self._readonly:
                self._index()
            else:
                self._log.sync()
            return self._rows

    def read(self, start: int, n: int, end: int, fields: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Rows `start` to `min(start + n, end)` of some fields, as fresh arrays of shape `(rows, *field.shape)`.

        Args:
            start: first row.
            n: how many rows at most, at least 1.
            end: an extent that was fixed before; rows behind it are as if they were not there.
            fields: names; None for all.

        Raises:
            StreamFieldMissing: a field that the table does not have.
            UsageError: rows that do not exist.
            LogCorrupt: a row group is damaged.
        """
        wanted = self.check_fields(self._fields if fields is None else fields)
        if not (0 <= start <= end and n >= 1 and (end <= self._rows or end <= self.extent())):
            raise UsageError(f"rows {start} to {start + n} of {end}; the table has {self._rows} rows")
        stop = min(start + n, end)
        names = list(self._fields)
        pieces: dict[str, list[NDArray[Any]]] = {name: [] for name in wanted}
        index = bisect_right(self._groups, start, key=lambda group: group.start) - 1
        while start < stop:
            group = self._groups[index]
            arrays = self._load(group)
            low, high = start - group.start, min(stop - group.start, group.rows)
            for name, parts in pieces.items():
                parts.append(arrays[names.index(name)][low:high])
            start, index = group.start + high, index + 1
        return {name: self._joined(name, parts) for name, parts in pieces.items()}

    def check_fields(self, fields: Sequence[str] | Mapping[str, Field]) -> list[str]:
        """The names in `fields`.

        Raises:
            StreamFieldMissing: one that the table does not have; the message lists those that exist.
        """
        for name in fields:
            if name not in self._fields:
                near = get_close_matches(name, self._fields, 1)
                meant = f"; was {near[0]!r} meant?" if near else ""
                raise StreamFieldMissing(f"the stream has no field {name!r}; it has {', '.join(self._fields)}{meant}")
        return list(fields)

    def close(self) -> None:
        """Sync and close. Doing it again changes nothing."""
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _joined(self, name: str, parts: list[NDArray[Any]]) -> NDArray[Any]:
        field = self._fields[name]
        return np.concatenate(parts) if parts else np.empty((0, *field.shape), field.type.numpy)

    def _encode(self, arrays: list[NDArray[Any]]) -> bytes:
        datoms = [encode(_RowGroup(self._rows, len(arrays[0])))]
        for index, (array, field) in enumerate(zip(arrays, self._fields.values(), strict=True)):
            payload = np.asarray(array, field.type.numpy, order="C").reshape(-1).view(np.uint8).data
            position = len(self._groups)
            block = Block(BlockKind.RECORD, index, position, array.shape, field.type, Codec.RAW, payload)
            datoms.append(block.encode())
        return join_datoms(datoms)

    def _index(self) -> None:
        """Take up the row groups that have come since the last time; they are checked when they are read."""
        for position, head in self._log.peek(self._cursor, _HEAD_BYTES):
            if position:  # the schema stands at 0
                group = _head(head)
                if group.start != self._rows or group.rows < 1:
                    raise LogCorrupt(f"the row group at position {position} does not follow row {self._rows}")
                self._groups.append(_Group(group.start, group.rows, position))
                self._rows += group.rows
        self._cursor = self._log.end

    def _load(self, group: _Group) -> list[NDArray[Any]]:
        with self._mutex:
            arrays = self._cache.get(group.position)
            if arrays is None:
                arrays = self._decode(group, self._log.read_at(group.position))
                self._cache[group.position] = arrays
                if len(self._cache) > _GROUPS_KEPT:
                    self._cache.popitem(last=False)
            return arrays

    def _decode(self, group: _Group, data: bytes) -> list[NDArray[Any]]:
        head, *blocks = split_datoms(data)
        found = decode(_RowGroup, head)
        decoded = [Block.decode(block) for block in blocks]
        shapes = [(field.type, (group.rows, *field.shape)) for field in self._fields.values()]
        if (found.start, found.rows) != (group.start, group.rows) or shapes != [(b.dtype, b.shape) for b in decoded]:
            raise LogCorrupt(f"the row group at position {group.position} is not as the table's schema says")
        return [block.array() for block in decoded]


def _head(data: bytes) -> _RowGroup:
    """The header of a row group, from the first bytes of its record; the length of a datom stands right before it."""
    length = int.from_bytes(data[ALIGNMENT - 4 : ALIGNMENT], "big")
    try:
        return decode(_RowGroup, data[ALIGNMENT : ALIGNMENT + length])
    except DecodeError as problem:
        raise LogCorrupt(f"a record of the table is no row group: {problem}") from None
