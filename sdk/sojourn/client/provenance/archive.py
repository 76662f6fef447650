"""A provenance export as a set of named items, read with suspicion.

An export is a zip from anywhere. Rules:

* Items are stored, not compressed, each name once, each of a known form and within the bound of its kind; together they
  are no larger than the file. So no item can make the reader allocate more than the file itself has.
* The first item that is missing, damaged or not allowed is named in `ProvenanceBroken`.
* Which items were read is remembered: what nothing has read in the end does not belong there.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Final, Self

from sojourn.crypto.documents import MAX_SIGNED_BYTES
from sojourn.errors import ContributionRefused, DecodeError, ProvenanceBroken, TrustError
from sojourn.limits import MAX_BODY_BYTES, MAX_EXPORT_DIRECTORY_BYTES, MAX_GRAPH_BYTES, MAX_LEDGER_BYTES

__all__ = ["Archive", "must", "naming"]

_KEY: Final = "[0-9a-f]{64}"
_NUMBER: Final = "(0|[1-9][0-9]{0,8})"
_ROUND: Final = f"rounds/{_NUMBER}"
_SURVEY: Final = f"surveys/{_NUMBER}"
_FORMS: Final = (
    (re.compile(r"(roster|job|program|rounds|plan|ledger)\.signed"), "MAX_SIGNED_BYTES", MAX_SIGNED_BYTES),
    (re.compile(rf"agents/{_KEY}\.entry"), "MAX_SIGNED_BYTES", MAX_SIGNED_BYTES),
    (re.compile(rf"{_ROUND}/(closure|publication|evaluation)\.signed"), "MAX_SIGNED_BYTES", MAX_SIGNED_BYTES),
    (re.compile(rf"{_SURVEY}/closure\.signed"), "MAX_SIGNED_BYTES", MAX_SIGNED_BYTES),
    (re.compile(rf"({_ROUND}|{_SURVEY})/(orders|answers)/{_KEY}\.signed"), "MAX_SIGNED_BYTES", MAX_SIGNED_BYTES),
    (re.compile(rf"{_ROUND}/updates/{_KEY}\.stream"), "MAX_BODY_BYTES", MAX_BODY_BYTES),
    (re.compile(r"heldout\.stream|models/(initial|0|[1-9][0-9]{0,8})\.stream"), "MAX_BODY_BYTES", MAX_BODY_BYTES),
    (re.compile(r"graph/.{1,256}"), "MAX_GRAPH_BYTES", MAX_GRAPH_BYTES),
    (re.compile(r"ledger\.jsonl"), "MAX_LEDGER_BYTES", MAX_LEDGER_BYTES),
)
_UNREADABLE: Final = (
    zipfile.BadZipFile,
    NotImplementedError,
    EOFError,
    ValueError,
    RuntimeError,
    OSError,
    OverflowError,
)
_END: Final = b"PK\x05\x06"
_END_BYTES: Final = 22
_END64: Final = b"PK\x06\x06"
_END64_BYTES: Final = 56 + 20  # record and locator


def must(item: str, holds: bool, why: str) -> None:
    """Raise `ProvenanceBroken` for `item` unless it holds."""
    if not holds:
        raise ProvenanceBroken(item, why)


@contextmanager
def naming(item: str) -> Iterator[None]:
    """Whatever is refused inside is refused because of `item`."""
    try:
        yield
    except (TrustError, DecodeError, ContributionRefused) as problem:
        raise ProvenanceBroken(item, str(problem)) from problem


class Archive:
    """An open export. A context manager.

    Args:
        path: of the zip.

    Raises:
        ProvenanceBroken: not a readable zip, or an item that breaks this module's rules.
    """

    def __init__(self, path: Path) -> None:
        self._read: set[str] = set()
        with ExitStack() as stack:
            try:
                file = stack.enter_context(path.open("rb"))
                size = file.seek(0, os.SEEK_END)
                _check_directory_size(file, size, path.name)
                self._zip = stack.enter_context(zipfile.ZipFile(file))
            except _UNREADABLE as problem:
                raise ProvenanceBroken(path.name, f"is not a readable export: {problem}") from None
            _check_items(self._zip, size)
            self._open = stack.pop_all()
        self.names: Final = frozenset(self._zip.namelist())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def __getitem__(self, name: str) -> bytes:
        """An item's exact bytes.

        Raises:
            ProvenanceBroken: it is missing or damaged.
        """
        self._read.add(name)
        try:
            return self._zip.read(name)
        except KeyError:
            raise ProvenanceBroken(name, "is missing from the export") from None
        except _UNREADABLE as problem:
            raise ProvenanceBroken(name, f"is damaged: {problem}") from None

    def under(self, prefix: str) -> list[str]:
        """Names that begin with `prefix`, sorted."""
        return sorted(name for name in self.names if name.startswith(prefix))

    def finish(self) -> None:
        """Everything in the export was read, or else does not belong there."""
        for name in sorted(self.names - self._read):
            raise ProvenanceBroken(name, "does not belong to this job's chain of models")


def _check_directory_size(file: BinaryIO, size: int, name: str) -> None:
    """The zip's directory is read whole when it is opened: bound it first (APPNOTE.TXT 4.3.14 and 4.3.16)."""
    file.seek(max(0, size - _END_BYTES - _END64_BYTES))
    tail = file.read()
    end = tail[-_END_BYTES:]
    must(
        name, len(end) == _END_BYTES and end.startswith(_END), "is not a readable export: it does not end as a zip does"
    )
    directory = int.from_bytes(end[12:16], "little")
    wide = tail[:-_END_BYTES]
    if wide.startswith(_END64) and len(wide) == _END64_BYTES:
        directory = max(directory if directory != 0xFFFFFFFF else 0, int.from_bytes(wide[40:48], "little"))
    must(
        name,
        directory <= MAX_EXPORT_DIRECTORY_BYTES,
        f"has a directory of {directory} bytes, the limit MAX_EXPORT_DIRECTORY_BYTES is {MAX_EXPORT_DIRECTORY_BYTES}",
    )


def _check_items(archive: zipfile.ZipFile, size: int) -> None:
    seen: set[str] = set()
    total = 0
    for info in archive.infolist():
        name = info.filename
        must(name, name not in seen, "is in the export twice")
        seen.add(name)
        must(name, info.compress_type == zipfile.ZIP_STORED, "is compressed; items of an export are stored as they are")
        limit = next(((label, most) for form, label, most in _FORMS if form.fullmatch(name)), None)
        if limit is None:
            raise ProvenanceBroken(name, "is not the name of an item of an export")
        label, most = limit
        must(name, info.file_size <= most, f"declares {info.file_size} bytes, the limit {label} is {most}")
        must(name, info.compress_size == info.file_size, "declares two different sizes")
        total += info.file_size
        must(name, total <= size, f"declares more bytes than the export has ({size})")
