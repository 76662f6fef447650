"""Large released outputs, one file each, named by the SHA-256 of its bytes.

Rules of this module:

* A file appears whole and synced, or not at all: it is written under another name, synced, renamed, and the folder is
  synced. A file without a row in the ledger is garbage that the same output fills again.
* Folder and files are the owner's alone (0700, 0600).
"""

from __future__ import annotations

import os
from pathlib import Path

from sojourn.errors import StoreError

__all__ = ["OutputFolder"]


class OutputFolder:
    """A folder of outputs; it is made with the first one.

    Args:
        path: the folder.
    """

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    def keep(self, name: bytes, output: bytes) -> None:
        """Write `output` under its digest `name`, durably.

        Raises:
            StoreError: the disk refused.
        """
        final = self._path / name.hex()
        temporary = final.with_suffix(".part")
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(output)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(final)
            _sync(self._path)
        except OSError as problem:
            raise StoreError(
                f"privacy ledger: an output cannot be kept in {self._path}: {problem.strerror}; nothing was released"
            ) from None

    def fetch(self, name: bytes) -> bytes:
        """The bytes kept under `name`, not yet compared with it.

        Raises:
            StoreError: the file is missing or cannot be read.
        """
        try:
            return (self._path / name.hex()).read_bytes()
        except OSError as problem:
            raise StoreError(
                f"privacy ledger: the stored output {name.hex()} cannot be read from {self._path}: {problem.strerror}"
            ) from None


def _sync(folder: Path) -> None:
    if os.name == "nt":
        return  # a folder cannot be opened there; the rename is durable with the file system's journal
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
