"""Files that hold keys and trusted documents: written whole or not at all, private ones readable by their owner only.

Rules:

* A private file is created with mode 0600, never overwritten, and refused on load when group or others can read it.
* A public file is replaced atomically. Both are synced, and so is their folder, before the call returns.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from sojourn.errors import ConfigError

__all__ = ["make_private_folder", "read_private", "read_public", "write_private", "write_public"]

_POSIX: Final = os.name == "posix"
MAX_KEY_FILE_BYTES: Final = 64 * 1024
MAX_PUBLIC_FILE_BYTES: Final = 16 * 1024 * 1024


def make_private_folder(path: Path) -> Path:
    """Create `path` with mode 0700 where it does not exist yet; returns it."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def write_private(path: Path, data: bytes) -> None:
    """Create `path` with mode 0600 and exactly `data`, durably.

    Raises:
        ConfigError: the file exists; a key is never overwritten.
    """
    temporary = _write_temporary(path, data, 0o600)
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise ConfigError(
            f"{path} exists and a key file is never overwritten; move it away first if you really want a new key"
        ) from None
    finally:
        temporary.unlink()
    _sync_folder(path.parent)


def write_public(path: Path, data: bytes) -> None:
    """Create or atomically replace `path`, mode 0644 less the umask, durably."""
    _write_temporary(path, data, 0o644).replace(path)
    _sync_folder(path.parent)


def read_private(path: Path) -> bytes:
    """The bytes of a private file.

    Raises:
        ConfigError: missing, too large, or readable by group or others; the message says what to do.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if _POSIX and stat.S_IMODE(status.st_mode) & 0o077:
                raise ConfigError(
                    f"{path} holds a private key and can be read by others (mode {stat.S_IMODE(status.st_mode):04o}); "
                    f"run: chmod 600 {path}"
                )
            data = file.read(MAX_KEY_FILE_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; enrol or create the identity first") from None
    except (PermissionError, IsADirectoryError) as problem:
        raise ConfigError(f"{path} cannot be read: {problem.strerror}") from None
    if len(data) > MAX_KEY_FILE_BYTES:
        raise ConfigError(f"{path} is larger than any key file of this program; is this the right file?")
    return data


def read_public(path: Path) -> bytes:
    """The bytes of a public file (roster, certificate, root key).

    Raises:
        ConfigError: missing, unreadable or too large.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_PUBLIC_FILE_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; is this the folder of an enrolled party?") from None
    except (PermissionError, IsADirectoryError) as problem:
        raise ConfigError(f"{path} cannot be read: {problem.strerror}") from None
    if len(data) > MAX_PUBLIC_FILE_BYTES:
        raise ConfigError(f"{path} is larger than any such file of this program; is this the right file?")
    return data


def _write_temporary(path: Path, data: bytes, mode: int) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileNotFoundError:
        raise ConfigError(f"the folder {path.parent} does not exist; create it first") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink()
        raise
    return temporary


def _sync_folder(path: Path) -> None:
    if not _POSIX:
        return  # a folder cannot be opened there
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
