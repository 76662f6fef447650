"""Streams: append-only sequences of datoms with one contract and several transports, and what is kept on them.

`contract` fixes what every stream does; `ring` is one in memory, `log` one on disk; `table` keeps rows on a log, and
`folder` guards the folder in which an agent or a coordinator keeps its logs.
"""

from sojourn.streams.contract import (
    START,
    Appended,
    Blocked,
    Cursor,
    Data,
    Descriptor,
    End,
    Full,
    Gap,
    Sealed,
    Stream,
)
from sojourn.streams.fields import Field, fitting_columns
from sojourn.streams.files import FileLock, write_atomic
from sojourn.streams.folder import STATE_VERSION, StateFolder
from sojourn.streams.log import LogSpec, LogStream
from sojourn.streams.ring import RingStream
from sojourn.streams.table import TableStream

__all__ = [
    "START",
    "STATE_VERSION",
    "Appended",
    "Blocked",
    "Cursor",
    "Data",
    "Descriptor",
    "End",
    "Field",
    "FileLock",
    "Full",
    "Gap",
    "LogSpec",
    "LogStream",
    "RingStream",
    "Sealed",
    "StateFolder",
    "Stream",
    "TableStream",
    "fitting_columns",
    "write_atomic",
]
