"""The few things that durable streams ask of an operating system, in one place.

`fdatasync` where there is one; a folder's own entry is synced after a file was created, renamed or removed in it; a
lock is tied to an open file, so it ends with its process however that ends.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path

from sojourn.errors import StateInUse, UsageError

__all__ = ["FileLock", "make_private_folder", "sync_data", "sync_folder", "write_all", "write_atomic", "write_synced"]

if sys.platform == "win32":
    import msvcrt

    def _lock(fd: int) -> None:
        os.lseek(fd, 1 << 30, os.SEEK_SET)  # beyond the pid, which others have to be able to read
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def sync_data(fd: int) -> None:
    """Make what was written to `fd`, and the file's length, durable."""
    if sys.platform == "linux":
        os.fdatasync(fd)
    else:
        os.fsync(fd)


def sync_folder(path: Path) -> None:
    """Make the entries of a folder durable (creations, renames, removals in it)."""
    if sys.platform == "win32":
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes | bytearray | memoryview) -> None:
    """Write every byte of `data` to `fd`."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def write_synced(path: Path, data: bytes) -> None:
    """Create the file at `path`, readable by its owner only, with `data`, durable but for its entry in the folder."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomic(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace the file at `path` by `data`, durably: a reader sees the old bytes or the new ones, whole."""
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        try:
            Path(name).chmod(mode)
            write_all(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def make_private_folder(path: Path) -> None:
    """Create `path` (and its parents) with mode 0700, if missing.

    Raises:
        UsageError: something that is no folder stands there.
    """
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is not a folder; give the name of a new or an existing one")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


class FileLock:
    """An exclusive lock on a file that names its holder's process id. Held until `release` or the process's end."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def acquire(cls, path: Path, what: str) -> FileLock:
        """Take the lock, at once or not at all.

        Args:
            path: the lock file; created if missing, never removed.
            what: what it protects, for the message.

        Raises:
            StateInUse: another process, or another object of this one, holds it.
        """
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(fd)
        except OSError:
            holder = os.pread(fd, 32, 0) if sys.platform != "win32" else os.read(fd, 32)
            os.close(fd)
            raise StateInUse(f"{what} is in use by {_process(holder)}; stop that one first, or use another") from None
        os.ftruncate(fd, 0)
        os.lseek(fd, 0, os.SEEK_SET)
        write_all(fd, f"{os.getpid()}\n".encode())
        return cls(fd)

    def release(self) -> None:
        """Let go. Doing it again changes nothing."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = -1


def _process(holder: bytes) -> str:
    pid = holder.strip().decode("ascii", "replace")
    if pid == str(os.getpid()):
        return f"this process ({pid})"
    return f"process {pid}" if pid.isdigit() else "another process"
