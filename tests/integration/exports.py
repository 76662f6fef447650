"""Exports taken apart and put together again: what somebody could do to one, with and without the coordinator's key."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
from sojourn.codec import Record, decode, digest, encode
from sojourn.contracts import LedgerEntry, LedgerHead, Signed, entry_line
from sojourn.contracts.ledger import FIRST_PREVIOUS
from sojourn.crypto import Identity, sign_document

Items = dict[str, bytes]
R = TypeVar("R", bound=Record)

LOCAL_HEADER = 30  # bytes of a zip's header before an item, without the name


def read(path: Path) -> Items:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, items: Mapping[str, bytes]) -> Path:
    """A well-formed export of these items."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for name, data in items.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    path.write_bytes(made.getvalue())
    return path


class Altered:
    """An export of which one item at a time is another, of the same length: cheap enough for every byte of an item."""

    def __init__(self, path: Path, items: Mapping[str, bytes]) -> None:
        self._path, self._items = path, items
        self._whole = write(path, items).read_bytes()
        with zipfile.ZipFile(path) as archive:
            self._headers = {info.filename: info.header_offset for info in archive.infolist()}

    def __call__(self, name: str, data: bytes) -> Path:
        """The well-formed export with `data` for this item: what `write` would make."""
        assert len(data) == len(self._items[name])
        made, encoded, checksum = bytearray(self._whole), name.encode(), zlib.crc32(data).to_bytes(4, "little")
        local, listed = self._headers[name], made.rindex(b"PK\x01\x02", 0, made.rindex(encoded))
        begin = local + LOCAL_HEADER + len(encoded)
        made[begin : begin + len(data)] = data
        made[local + 14 : local + 18] = made[listed + 16 : listed + 20] = checksum
        self._path.write_bytes(made)
        return self._path


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ (1 << position % 8)]) + data[position + 1 :]


def positions(length: int, spread: int = 8) -> list[int]:
    """First, last, and `spread` between them."""
    return sorted({0, length - 1, *(length * k // (spread + 1) for k in range(1, spread + 1))})


def payload(cls: type[R], signed: bytes) -> R:
    return decode(cls, decode(Signed, signed).payload)


def forge(
    items: Items,
    coordinator: Identity,
    changes: Mapping[str, Record | bytes | None],
    edit: Callable[[LedgerEntry], LedgerEntry | None] = lambda entry: entry,
) -> Items:
    """What a coordinator could show instead: documents changed and signed again, and its ledger made to fit.

    Args:
        items: of a true export.
        coordinator: with its key.
        changes: records to be signed, bytes as they are, None to leave an item out, by name.
        edit: makes an entry of the ledger another one; None leaves it out.
    """
    made, renamed = dict(items), {}
    for name, change in changes.items():
        data = sign_document(coordinator, change) if isinstance(change, Record) else change
        if name in made:
            renamed[digest(made.pop(name))] = None if data is None else digest(data)
        if data is not None:
            made[name] = data
    previous, lines = FIRST_PREVIOUS, []
    for line in items["ledger.jsonl"].splitlines():
        entry = decode(LedgerEntry, bytes.fromhex(msgspec.json.decode(line)["bytes"]))
        subject = renamed.get(entry.subject, entry.subject)
        edited = None if subject is None else edit(msgspec.structs.replace(entry, subject=subject))
        if edited is None:
            continue
        data = encode(msgspec.structs.replace(edited, sequence=len(lines), previous=previous))
        previous = digest(data)
        lines.append(entry_line(data) + "\n")
    head = payload(LedgerHead, items["ledger.signed"])
    made["ledger.jsonl"] = "".join(lines).encode()
    made["ledger.signed"] = sign_document(coordinator, msgspec.structs.replace(head, entries=len(lines), head=previous))
    return made
