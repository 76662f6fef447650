"""The owner's private streams in a state folder, and the same behind the owner's policy.

Rules: a stream is a table under `streams/<name>/`; its name is a plain file name; rows are appended, never changed.
An import adds all rows of a file or none, and makes no stream if it adds none.
A program sees a stream only through `AdmittedStreams`, which asks the admission of its order each time.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from sojourn.agent.csvrows import read_csv
from sojourn.datoms import DType
from sojourn.errors import ConfigError, StateInUse, StreamFieldMissing, StreamInUse, UsageError
from sojourn.labels import Label
from sojourn.streams import Field, TableStream, fitting_columns

if TYPE_CHECKING:  # a command that only shows or fills streams loads neither machine nor policy
    from sojourn.agent.objects import Array, OpenStream
    from sojourn.privacy import Admission

__all__ = ["AdmittedStreams", "AgentStreams", "StreamInfo", "fields_of", "import_rows", "read_columns", "read_streams"]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_NPZ: Final = "give one plain array for each field, first axis rows, saved with numpy.savez(path, x=..., y=...)"


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What may be shown of a stream: schema and size, no values.

    Attributes:
        name: of the stream.
        fields: by name.
        rows: how many.
    """

    name: str
    fields: Mapping[str, Field]
    rows: int


def fields_of(columns: Mapping[str, npt.NDArray[Any]], nan: Collection[str] = ()) -> dict[str, Field]:
    """The fields that fit some columns: their types, and their shapes without the first axis.

    Args:
        columns: arrays, first axis rows.
        nan: names of those that may hold NaN and infinities.

    Raises:
        UsageError: a column without rows, or of a type that streams do not hold; or a name in `nan` of no float column.
    """
    unknown = sorted(set(nan) - set(columns))
    if unknown:
        raise UsageError(f"there is no column {unknown[0]!r} that could hold NaN; columns: {', '.join(columns)}")
    fields: dict[str, Field] = {}
    for name, array in columns.items():
        if array.ndim == 0:
            raise UsageError(f"column {name!r} is one number; a column has one entry for each row")
        fields[name] = Field(DType.of(array.dtype).name_of, array.shape[1:], name in nan)
    return fields


class AgentStreams:
    """The streams of one agent. Opened tables stay open until `close`.

    Args:
        folder: `streams/` of the state folder, which this process holds.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tables: dict[str, TableStream] = {}

    def names(self) -> list[str]:
        """Names of the streams, sorted."""
        if not self._folder.is_dir():
            return []
        return sorted(path.name for path in self._folder.iterdir() if _NAME.fullmatch(path.name))

    def create(self, name: str, fields: Mapping[str, Field]) -> None:
        """Make an empty stream.

        Args:
            name: 1 to 64 of letters, digits, `_`, `.`, `-`.
            fields: what each row holds.

        Raises:
            UsageError: a bad name, or the stream exists.
        """
        if name in self.names():
            raise UsageError(
                f"there is a stream {name!r} already, and streams are durable: create it only `if {name!r} not in "
                "agent.streams.names()`, or give another name"
            )
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._tables[name] = TableStream.create(self._path(name), fields)

    def append(self, name: str, columns: Mapping[str, npt.NDArray[Any]]) -> int:
        """Append rows, durably; returns the new number of rows.

        Raises:
            UsageError: no such stream, or columns that do not fit its fields, or a NaN or an infinity where the field
                was not declared to hold them (`Field(..., nan=True)`); nothing was appended.
        """
        table = self.table(name)
        rows = table.append(columns)
        table.sync()
        return rows

    def info(self, name: str) -> StreamInfo:
        """Schema and size of a stream."""
        table = self.table(name)
        return StreamInfo(name, table.fields, table.extent())

    def table(self, name: str) -> TableStream:
        """The table behind a stream.

        Raises:
            UsageError: there is none; the message names those that exist.
            StreamInUse: somebody else has it open for writing.
        """
        table = self._tables.get(name)
        if table is None:
            path = self._path(name)
            if not path.is_dir():
                known = ", ".join(self.names()) or "none yet"
                raise UsageError(f"there is no stream {name!r} here; streams: {known}; import data to make one")
            try:
                table = self._tables[name] = TableStream.open(path)
            except StateInUse as problem:
                raise StreamInUse(
                    f"stream {name!r}: {problem}. A stream of an agent is opened by that agent only: append to it with "
                    "agent.streams.append, or while the agent is stopped"
                ) from None
        return table

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} is no name of a stream; use 1 to 64 of A-Z a-z 0-9 _ . -, not . or - first")
        return self._folder / name

    def close(self) -> None:
        """Close every table."""
        for table in self._tables.values():
            table.close()
        self._tables.clear()


class AdmittedStreams:
    """The streams that one order's admission opens.

    Args:
        streams: the agent's.
        admission: the owner's word on this order.
    """

    def __init__(self, streams: AgentStreams, admission: Admission) -> None:
        self._streams = streams
        self._admission = admission

    def open(self, name: str, fields: tuple[str, ...]) -> int:
        """Rows that can be read now; they are durable.

        Raises:
            AdmissionRefused: the policy does not admit stream or field.
            StreamFieldMissing: the stream does not exist, or lacks a field.
            StreamInUse: somebody else has it open for writing.
        """
        self._admission.check_open(name, fields)
        try:
            table = self._streams.table(name)
        except StreamInUse:
            raise
        except UsageError as problem:
            raise StreamFieldMissing(str(problem)) from None
        table.check_fields(fields)
        return table.extent()

    def read(self, stream: OpenStream, start: int, count: int) -> Mapping[str, Array]:
        """Columns of rows [start, start + count) of an opened stream."""
        return self._streams.table(stream.name).read(start, count, stream.extent, stream.fields)

    def label(self, name: str) -> Label:
        """The label of a stream's rows: its owner and its name."""
        return Label.of(f"{self._admission.owner}/{name}")


def read_columns(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The columns of an `.npz` file; nothing in it is ever unpickled.

    Raises:
        ConfigError: it cannot be read, or holds something else than plain arrays.
    """
    try:
        if not zipfile.is_zipfile(path):  # numpy would take it for a pickle, and advise to load it as one
            path.open("rb").close()  # a file that is missing or closed to us says so itself
            raise ConfigError(f"{path} is no .npz file; {_NPZ}")
        with np.load(path, allow_pickle=False) as archive:
            columns = {name: archive[name] for name in archive.files}
    except OSError as problem:
        raise ConfigError(f"{path}: {problem.strerror or problem}; {_NPZ}") from None
    except (ValueError, EOFError, zipfile.BadZipFile) as problem:
        why = "it holds Python objects" if "pickle" in str(problem) else str(problem)
        raise ConfigError(f"{path}: {why}; {_NPZ}") from None
    if not columns:
        raise ConfigError(f"{path} holds no arrays; {_NPZ}")
    return columns


def import_rows(streams: AgentStreams, name: str, path: Path, nan: Collection[str] = ()) -> int:
    """Append the rows of an `.npz` or `.csv` file, durably, all or none; returns the new number of rows.

    Args:
        streams: the agent's.
        name: of the stream; made if it does not exist, unless the rows do not fit.
        path: of the file.
        nan: names of fields that may hold NaN and infinities, if the stream is made here.

    Raises:
        ConfigError: the file cannot be read.
        UsageError: it holds something else than rows of this stream; the message says where. Nothing was changed.
    """
    known = streams.info(name).fields if name in streams.names() else None
    if known is not None and any(field not in known or not known[field].nan for field in nan):
        raise UsageError(
            f"stream {name!r} exists, and what its fields may hold was said when it was made ({_words(known)}); leave "
            "--allow-nan out, or import into a new stream"
        )
    columns = read_csv(path, known, nan=frozenset(nan)) if path.suffix.lower() == ".csv" else read_columns(path)
    if known is None:
        fields = fields_of(columns, nan)
        fitting_columns(fields, columns)  # a stream is not made for rows that it would refuse
        streams.create(name, fields)
    return streams.append(name, columns)


def _words(fields: Mapping[str, Field]) -> str:
    return ", ".join(f"{name} {'any' if field.nan else 'finite'}" for name, field in fields.items())


def read_streams(folder: Path) -> list[StreamInfo]:
    """Schema and size of every stream under `folder`, beside a running agent too; changes nothing."""
    found: list[StreamInfo] = []
    for name in AgentStreams(folder).names():
        with TableStream.open(folder / name, readonly=True) as table:
            found.append(StreamInfo(name, table.fields, table.extent()))
    return found
