"""Carries effects out: private streams, the interpreter, the owner's log; releases are in `sojourn.agent.releases`.

Rules:

* An effect that cannot be carried out fails as an exception of the language (`Raised`). In the public world its `code`
  becomes the run's public code if nothing catches it; in a region the error stays in the region's box.
* Messages of `Raised` name fields, shapes and limits, never values; what a runtime says goes to the owner's log.
* Everything a handle stands for is put into the object table before its handle is given out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from sojourn.agent.asked import raised_digest, value_digest
from sojourn.agent.objects import (
    Array,
    Column,
    Computed,
    Cursor,
    ObjectTable,
    OpenStream,
    RowsSlice,
    Tensors,
    handle_id,
    tensors_digest,
)
from sojourn.agent.owner import OwnerLog
from sojourn.agent.records import Batch, First, Opened, Raised
from sojourn.codec import digest_parts
from sojourn.contracts import Occurrence
from sojourn.errors import AdmissionRefused, GraphFailed, MachineError, StreamFieldMissing, StreamInUse, UsageError
from sojourn.labels import Label
from sojourn.vm import Box, Effect, Handle, Machine, RegionError, Value
from sojourn.vm.op import EXCEPTIONS

__all__ = ["Broken", "Effects", "Found", "Given", "GraphRunner", "Releases", "StreamSource"]

_MAX_BATCH_ROWS: Final = 1 << 24
_KINDS: Final = {
    AdmissionRefused: "PermissionError",
    StreamFieldMissing: "LookupError",
    StreamInUse: "RuntimeError",
}

Found = Opened | First | Batch | Raised


@dataclass(frozen=True, slots=True)
class Given:
    """An effect's result for the machine; `digest` is that of a pure one's output."""

    value: Value
    digest: bytes = b""


@dataclass(frozen=True, slots=True)
class Broken:
    """A pure effect that failed."""

    raised: Raised

    @property
    def digest(self) -> bytes:
        """What its lineage record holds."""
        return raised_digest(self.raised.type_name, self.raised.message)


class GraphRunner(Protocol):
    """The interpreter with the order's plan loaded."""

    def __call__(self, graph: str, inputs: Mapping[str, Tensors]) -> Mapping[str, Tensors]:
        """Run one graph of the plan. Raises `GraphFailed`."""


class StreamSource(Protocol):
    """The owner's private streams, behind the owner's policy."""

    def open(self, name: str, fields: tuple[str, ...]) -> int:
        """Rows that can be read now. Raises `AdmissionRefused`, `StreamFieldMissing` or `StreamInUse`."""

    def read(self, stream: OpenStream, start: int, count: int) -> Mapping[str, Array]:
        """Columns of rows [start, start + count)."""

    def label(self, name: str) -> Label:
        """The label of the stream's rows."""


class Releases(Protocol):
    """Carries out `release.*`."""

    def release(self, effect: Effect, payload: Value | RegionError) -> Raised | None:
        """Make one release durable in the privacy ledger, once for its occurrence."""


class Effects:
    """The effects of one run.

    Args:
        run: the run's id; effects of another run are those of its regions.
        machine: whose boxes are opened.
        objects: items of handles.
        streams: private streams.
        graphs: the interpreter.
        releases: release mechanisms and ledger.
        log: the owner's.
    """

    def __init__(
        self,
        run: bytes,
        machine: Machine,
        objects: ObjectTable,
        streams: StreamSource,
        graphs: GraphRunner,
        releases: Releases,
        log: OwnerLog,
    ) -> None:
        self._run = run
        self._machine = machine
        self._objects = objects
        self._streams = streams
        self._graphs = graphs
        self._releases = releases
        self._log = log
        self._noted: frozenset[Occurrence] | None = None

    def in_region(self, effect: Effect) -> bool:
        """Whether the effect was made inside a private region."""
        return effect.occurrence.run != self._run

    # pure

    def pure(self, effect: Effect) -> Given | Broken:
        """Carry a pure effect out."""
        opened: dict[str, Value] = {}
        for name, value in effect.args.items():
            content = self._machine.open(value) if isinstance(value, Box) else value
            if isinstance(content, RegionError):
                kind = content.type_name if content.type_name in EXCEPTIONS else "RuntimeError"
                return Broken(Raised(kind, content.message, ""))
            opened[name] = content
        try:
            if effect.name == "tensor.item":
                return self._item(opened["tensor"])
            return self._gpu_run(effect, opened)
        except _Fault as fault:
            return Broken(fault.raised)

    def _gpu_run(self, effect: Effect, args: dict[str, Value]) -> Given:
        graph = args.pop("name")
        if not isinstance(graph, str):
            raise _Fault("TypeError", "gpu.run takes a graph's name first, as a str")
        inputs = {name: self._input(name, value) for name, value in args.items()}
        try:
            outputs = self._graphs(graph, inputs)
        except GraphFailed as problem:
            self._log.warning(
                "graph failed", run=effect.occurrence.run, operation=effect.occurrence.operation, graph=graph,
                problem=str(problem), detail=problem.detail,
            )  # fmt: skip
            raise _Fault("RuntimeError", str(problem), problem.code) from None
        label = _joined(effect)
        value: dict[str, Value] = {}
        digests: list[bytes] = []
        for name, tensors in outputs.items():
            content = tensors_digest(tensors)
            digests += (name.encode(), content)
            state = not isinstance(tensors, np.ndarray)
            handle = Handle("state" if state else "tensor", handle_id(effect.occurrence, name), label)
            self._objects.put(handle.id, Computed(content, state, tensors))
            value[name] = handle
        return Given(value, digest_parts("outputs", *digests))

    def _input(self, name: str, value: Value) -> Tensors:
        tensors = self._objects.tensors(value.id) if isinstance(value, Handle) else None
        if tensors is None:
            raise _Fault("TypeError", f"gpu.run: input {name!r} is no tensor and no state; pass a handle to one")
        return tensors

    def _item(self, value: Value) -> Given:
        tensor = self._objects.tensors(value.id) if isinstance(value, Handle) else None
        if not isinstance(tensor, np.ndarray):
            raise _Fault("TypeError", "tensor.item takes a handle to one tensor")
        if tensor.size != 1:
            raise _Fault("ValueError", f"tensor.item takes a tensor of one element; this one's shape is {tensor.shape}")
        item: Value = tensor.reshape(-1)[0].item()
        return Given(item, value_digest(item))

    # read

    def read(self, effect: Effect) -> Found:
        """Carry a read effect out: what it found, which `found` turns into a value."""
        try:
            match effect.name:
                case "stream.open":
                    return self._open(effect)
                case "stream.first":
                    stream = self._stream(effect.args["rows"], effect.name)
                    return First(0 if stream.extent else None)
                case "stream.batch":
                    return self._batch(effect)
        except _Fault as fault:
            return fault.raised
        raise MachineError(f"this host has no read effect {effect.name!r}")

    def _open(self, effect: Effect) -> Opened:
        name, fields = effect.args["name"], effect.args["fields"]
        if not isinstance(name, str) or not _are_names(fields):
            raise _Fault("TypeError", "stream.open takes a stream's name and a list of field names")
        try:
            return Opened(name, tuple(fields), self._streams.open(name, tuple(fields)))
        except (AdmissionRefused, StreamFieldMissing, StreamInUse) as problem:
            self._log.warning("stream not opened", run=self._run, stream=name, fields=list(fields), why=str(problem))
            raise _Fault(_KINDS[type(problem)], _shown(problem), problem.code) from None

    def _batch(self, effect: Effect) -> Batch:
        stream = self._stream(effect.args["rows"], effect.name)
        place = effect.args["cursor"]
        cursor = self._objects.get(place.id) if isinstance(place, Handle) else None
        if not isinstance(cursor, Cursor) or cursor.stream != stream:
            raise _Fault(
                "TypeError", "stream.batch takes a cursor of the same stream, from stream.first or stream.batch"
            )
        count = effect.args["n"]
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= _MAX_BATCH_ROWS:
            raise _Fault("ValueError", f"stream.batch takes 1 to {_MAX_BATCH_ROWS} rows")
        taken = min(count, stream.extent - cursor.row)
        columns = self._streams.read(stream, cursor.row, taken)
        after = cursor.row + taken
        rows = RowsSlice(stream, cursor.row, taken, tensors_digest(columns), columns)
        self._put_columns(effect, rows)
        return Batch(cursor.row, taken, after if after < stream.extent else None, rows.digest)

    def found(self, effect: Effect, found: Found) -> Given | Raised:
        """The value of a read effect, from its record alone: nothing is read here."""
        match found:
            case Raised():
                return found
            case Opened():
                label = self._streams.label(found.name)
                handle = Handle("stream", handle_id(effect.occurrence, "stream"), label)
                self._objects.put(handle.id, OpenStream(found.name, found.fields, found.extent))
                return Given(handle)
            case First():
                return Given(self._cursor(effect, found.row))
            case Batch():
                return Given(self._batch_value(effect, found))

    def _batch_value(self, effect: Effect, found: Batch) -> Value:
        stream = self._stream(effect.args["rows"], effect.name)
        if not self._objects.has(handle_id(effect.occurrence, stream.fields[0])):
            self._put_columns(effect, RowsSlice(stream, found.start, found.count, found.digest))
        label = _joined(effect)
        batch: dict[str, Value] = {
            field: Handle("tensor", handle_id(effect.occurrence, field), label) for field in stream.fields
        }
        batch["rows"] = found.count
        return (batch, self._cursor(effect, found.next))

    def _put_columns(self, effect: Effect, rows: RowsSlice) -> None:
        for name in rows.stream.fields:
            self._objects.put(handle_id(effect.occurrence, name), Column(rows, name))

    def _cursor(self, effect: Effect, row: int | None) -> Handle | None:
        if row is None:
            return None
        stream = self._stream(effect.args["rows"], effect.name)
        handle = Handle("cursor", handle_id(effect.occurrence, "#cursor"), _joined(effect))
        self._objects.put(handle.id, Cursor(stream, row))
        return handle

    def _stream(self, value: Value, name: str) -> OpenStream:
        item = self._objects.get(value.id) if isinstance(value, Handle) else None
        if not isinstance(item, OpenStream):
            raise _Fault("TypeError", f"{name} takes a stream first, as stream.open gives it")
        return item

    # commit

    def commit(self, effect: Effect) -> Raised | None:
        """Carry a commit effect out, durably; None is success."""
        if effect.name == "log.note":
            return self._note(effect)
        if not effect.name.startswith("release."):
            raise MachineError(f"this host has no commit effect {effect.name!r}")
        box = effect.args["box"]
        try:
            return self._releases.release(effect, self._machine.open(box) if isinstance(box, Box) else box)
        except (AdmissionRefused, UsageError) as problem:
            self._log.warning("release refused", run=self._run, effect=effect.name, why=str(problem))
            kind = "PermissionError" if isinstance(problem, AdmissionRefused) else "ValueError"
            return Raised(kind, str(problem), problem.code)

    def _note(self, effect: Effect) -> Raised | None:
        text = effect.args["text"]
        if not isinstance(text, str):
            return Raised("TypeError", "log.note takes a str; write str(value) around it", "")
        if self._noted is None:
            self._noted = self._log.noted()
        if effect.occurrence not in self._noted:
            self._log.note(effect.occurrence, text)
        return None


class _Fault(Exception):
    """An effect that fails as an exception of the language."""

    def __init__(self, type_name: str, message: str, code: str = "") -> None:
        self.raised = Raised(type_name, message, code)
        super().__init__(type_name)


def _joined(effect: Effect) -> Label:
    """The label of what an effect gives: its own, and those of its arguments."""
    return Label.join_all([effect.label, *(v.label for v in effect.args.values() if isinstance(v, Handle | Box))])


def _shown(problem: AdmissionRefused | StreamFieldMissing | StreamInUse) -> str:
    """What the program sees of a stream that is not opened; which process has it is for the owner's log."""
    return "another process of the owner has the stream open" if isinstance(problem, StreamInUse) else str(problem)


def _are_names(value: Value) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, str) for item in value)
