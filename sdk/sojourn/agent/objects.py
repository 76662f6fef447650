"""What handles stand for on an agent: tensors, states, opened streams, cursors, the order's weights.

Rules:

* A handle's id derives from its occurrence and the name of the output, so that a replay gives the same handles.
* An item never changes. It is kept as long as the machine can reach its handle; `prune` drops the rest.
* Every item can say how a snapshot refers to it (`SealedObject`): weights and batch columns by the name of durable
  bytes, computed tensors by the digest of their body in the journal. Items restored from a snapshot load lazily.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sojourn.agent.records import BodyRefAt, ColumnRef, CursorRef, ObjectRef, StreamRef, WeightsRef
from sojourn.codec import digest, digest_parts
from sojourn.contracts import Occurrence
from sojourn.datoms import BlockKind, join_datoms, pack_list, split_datoms, unpack
from sojourn.errors import MachineError, StoreError

__all__ = [
    "Array",
    "Column",
    "Computed",
    "Cursor",
    "Item",
    "Loaders",
    "ObjectTable",
    "OpenStream",
    "RowsSlice",
    "Tensors",
    "Weights",
    "handle_id",
    "tensors_digest",
]

Array = npt.NDArray[Any]
Tensors = Array | Mapping[str, Array]
_SINGLE: Final = "value"


def handle_id(at: Occurrence, name: str) -> bytes:
    """Id of the handle that the effect at `at` gives out under `name`, 32 bytes."""
    return digest_parts("handle", at.run, at.operation.to_bytes(8, "big"), name.encode())


def tensors_digest(value: Tensors) -> bytes:
    """Digest of one tensor or of a state: names, dtypes, shapes and bytes."""
    named = {_SINGLE: value} if isinstance(value, np.ndarray) else value
    parts = [b"tensor" if isinstance(value, np.ndarray) else b"state"]
    for name in sorted(named):
        array = np.ascontiguousarray(named[name])
        content = digest(array.reshape(-1).view(np.uint8).data)
        parts += [name.encode(), array.dtype.str.encode(), repr(named[name].shape).encode(), content]
    return digest_parts("tensors", *parts)


@dataclass(frozen=True, slots=True)
class OpenStream:
    """A private stream, opened: readable rows are [0, extent)."""

    name: str
    fields: tuple[str, ...]
    extent: int


@dataclass(frozen=True, slots=True)
class Cursor:
    """The next row of an opened stream to read."""

    stream: OpenStream
    row: int


@dataclass(slots=True)
class RowsSlice:
    """Rows [start, start + count) of an opened stream; `columns` is None until they are needed again."""

    stream: OpenStream
    start: int
    count: int
    digest: bytes
    columns: Mapping[str, Array] | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """One field of a batch."""

    rows: RowsSlice
    field: str


@dataclass(slots=True)
class Computed:
    """What an interpreter gave. After a restart, `tensors` is None until it is loaded from the journal."""

    digest: bytes
    state: bool
    tensors: Tensors | None = None


@dataclass(slots=True)
class Weights:
    """The order's weights: public, named by the root of their stream."""

    root: bytes
    tensors: Mapping[str, Array] | None = None


Item = OpenStream | Cursor | Column | Computed | Weights


@dataclass(slots=True)
class Loaders:
    """Where lazy items come from.

    Attributes:
        body: joined datoms of a sealed handle.
        rows: columns of rows of a stream, by (stream, start, count).
        weights: the order's weights.
    """

    body: Callable[[bytes], bytes]
    rows: Callable[[OpenStream, int, int], Mapping[str, Array]]
    weights: Callable[[], Mapping[str, Array]]


@dataclass(slots=True)
class ObjectTable:
    """The items behind the live handles of one run."""

    loaders: Loaders
    _items: dict[bytes, Item] = field(default_factory=dict)

    def put(self, handle: bytes, item: Item) -> None:
        """Keep an item under a handle's id."""
        self._items[handle] = item

    def has(self, handle: bytes) -> bool:
        """Whether there is an item of this id."""
        return handle in self._items

    def get(self, handle: bytes) -> Item:
        """The item of a handle.

        Raises:
            MachineError: the host lost it, which is a defect.
        """
        try:
            return self._items[handle]
        except KeyError:
            raise MachineError("a live handle has no item on this host") from None

    def tensors(self, handle: bytes) -> Tensors | None:
        """The tensor or state behind a handle, loaded if need be; None when it stands for something else.

        Raises:
            StoreError: what is loaded is not what the snapshot or the journal names.
        """
        item = self.get(handle)
        match item:
            case Weights():
                if item.tensors is None:
                    item.tensors = self.loaders.weights()
                return item.tensors
            case Computed():
                if item.tensors is None:
                    item.tensors = self._computed(handle, item)
                return item.tensors
            case Column():
                return self._columns(item.rows)[item.field]
            case _:
                return None

    def _computed(self, handle: bytes, item: Computed) -> Tensors:
        named = unpack(split_datoms(self.loaders.body(handle)), root=None)
        value: Tensors = named if item.state else named[_SINGLE]
        if tensors_digest(value) != item.digest:
            raise StoreError("a tensor in the journal is not the one that its snapshot names")
        return value

    def _columns(self, rows: RowsSlice) -> Mapping[str, Array]:
        if rows.columns is None:
            columns = self.loaders.rows(rows.stream, rows.start, rows.count)
            if tensors_digest(columns) != rows.digest:
                raise StoreError(f"rows of stream {rows.stream.name!r} have changed since the run read them")
            rows.columns = columns
        return rows.columns

    def prune(self, live: Iterable[bytes]) -> None:
        """Drop every item whose handle is not among `live`."""
        keep = set(live)
        self._items = {handle: item for handle, item in self._items.items() if handle in keep}

    def refer(self, handle: bytes) -> ObjectRef:
        """How a snapshot names the item of a handle."""
        item = self.get(handle)
        match item:
            case Weights():
                return WeightsRef(item.root)
            case OpenStream():
                return StreamRef(item.name, item.fields, item.extent)
            case Cursor():
                return CursorRef(item.stream.name, item.stream.fields, item.stream.extent, item.row)
            case Column():
                rows, stream = item.rows, item.rows.stream
                return ColumnRef(
                    stream.name, stream.fields, stream.extent, rows.start, rows.count, item.field, rows.digest
                )
            case Computed():
                return BodyRefAt(item.state, item.digest)

    def body(self, handle: bytes) -> bytes:
        """The joined datoms of a computed item, for the journal."""
        value = self.tensors(handle)
        if value is None:
            raise MachineError("only tensors have bodies")
        named = {_SINGLE: value} if isinstance(value, np.ndarray) else value
        datoms, _ = pack_list(named, BlockKind.STATE)
        return join_datoms(datoms)

    def restore(self, handle: bytes, ref: ObjectRef) -> None:
        """Put an item back as a snapshot names it; nothing is loaded yet."""
        self._items[handle] = _restored(ref)


def _restored(ref: ObjectRef) -> Item:
    match ref:
        case WeightsRef(root=root):
            return Weights(root)
        case StreamRef():
            return OpenStream(ref.name, ref.fields, ref.extent)
        case CursorRef():
            return Cursor(OpenStream(ref.name, ref.fields, ref.extent), ref.row)
        case ColumnRef():
            stream = OpenStream(ref.name, ref.fields, ref.extent)
            return Column(RowsSlice(stream, ref.start, ref.count, ref.digest), ref.field)
        case BodyRefAt():
            return Computed(ref.digest, ref.state)
