"""The state folder of an agent or a coordinator: one process at a time, one version, nobody else's eyes.

A state folder has mode 0700 and two files of this module: `lock`, which holds the process id of whoever has it open,
and `version`, one line with role and version. Everything else in it belongs to the role. A new folder is made where
there is nothing, an empty folder, or one that only holds what its owner may write before (an agent's `policy.toml`).
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final, Self

from sojourn.errors import ConfigError, StateVersion, StoreError
from sojourn.streams.files import FileLock, make_private_folder, write_atomic

__all__ = ["STATE_VERSION", "StateFolder"]

STATE_VERSION: Final = 1
_LOCK: Final = "lock"
_VERSION: Final = "version"
_BEFORE: Final = {"agent": frozenset({"policy.toml"})}  # by role, what may stand in a folder that becomes one


class StateFolder:
    """An open, locked state folder. Make one with `open`; close it, or use `with`.

    Attributes:
        path: the folder.
        role: whose it is, `"agent"` or `"coordinator"`.
        version: of its layout.
    """

    __slots__ = ("_lock", "_made", "path", "role", "version")

    def __init__(self, path: Path, role: str, version: int, lock: FileLock, made: tuple[Path, ...] = ()) -> None:
        self.path, self.role, self.version, self._lock, self._made = path, role, version, lock, made

    @classmethod
    def open(cls, path: Path | str, role: str, version: int = STATE_VERSION, *, create: bool = True) -> StateFolder:
        """Lock the state folder at `path`; make it where there is nothing or an empty folder.

        Args:
            path: the folder.
            role: whose it has to be.
            version: the version of the layout that the caller reads and writes.
            create: whether a missing or empty folder becomes a new state folder.

        Raises:
            StateInUse: another process has it open; the message names that process.
            StateVersion: it was written by another version; nothing was changed.
            ConfigError: it is another role's, holds something else, or is missing and not to be created.
        """
        path = Path(path)
        made: tuple[Path, ...] = ()
        if not (path / _VERSION).is_file():
            _check_new(path, role, create=create)
            made = (path / _VERSION, path / _LOCK) if path.exists() else (path / _VERSION, path / _LOCK, path)
            make_private_folder(path)
        lock = FileLock.acquire(path / _LOCK, f"state folder {path}")
        try:
            if (path / _VERSION).is_file():
                _check_version(path, role, version)
            else:
                write_atomic(path / _VERSION, f"sojourn {role} {version}\n".encode())
            path.chmod(0o700)
        except BaseException:
            lock.release()
            raise
        return cls(path, role, version, lock, made)

    def undo(self) -> None:
        """Remove what `open` made, unlock, and leave things as they were before it; what was there already stays."""
        with contextlib.suppress(OSError):  # something else came into the folder, or the system keeps open files
            for path in self._made:
                path.rmdir() if path.is_dir() else path.unlink()
        self.close()

    def close(self) -> None:
        """Unlock. Doing it again changes nothing."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _check_new(path: Path, role: str, *, create: bool) -> None:
    if path.is_dir() and any(not _ours(entry.name, role) for entry in path.iterdir()):
        raise ConfigError(f"{path} holds files but is no state folder of Sojourn; give a new or an empty folder")
    if not create:
        raise ConfigError(f"there is no state folder of a Sojourn {role} at {path}; check the path, or set it up first")


def _ours(name: str, role: str) -> bool:
    """A file that its owner may write before, or that an interrupted creation of a state folder leaves behind."""
    return name == _LOCK or name.startswith(f".{_VERSION}.") or name in _BEFORE.get(role, ())


def _check_version(path: Path, role: str, version: int) -> None:
    words = (path / _VERSION).read_text("ascii", "replace").split()
    if len(words) != 3 or words[0] != "sojourn" or not words[2].isdecimal():
        raise StoreError(f"{path / _VERSION} is damaged; it should read 'sojourn {role} {version}'")
    if words[1] != role:
        raise ConfigError(f"{path} is the state folder of a Sojourn {words[1]}, not of a {role}; give another folder")
    found = int(words[2])
    if found > version:
        raise StateVersion(
            f"state folder {path} was written by a newer Sojourn (version {found}; this program reads {version}); "
            "nothing was changed: upgrade this program, or give another folder"
        )
    if found < version:
        raise StateVersion(
            f"state folder {path} is of version {found}, this program reads {version}; nothing was changed: open it "
            "with the program that wrote it, or give another folder"
        )
