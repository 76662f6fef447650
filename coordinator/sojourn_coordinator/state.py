"""The coordinator's state folder.

Layout: `identity.key`, `certificate.pem`, `roster.signed`, `root.pub` (copied from the trust set-up), `operator.token`
(0600), `coordinator.db`, `objects/`, and the folder's own lock and version files.
"""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path
from typing import Final

from sojourn.crypto import Identity, load_trusted_set
from sojourn.errors import ConfigError
from sojourn.streams import StateFolder

__all__ = ["DATABASE_FILE", "OBJECTS_FOLDER", "ROLE", "TOKEN_FILE", "init_state", "read_token"]

ROLE: Final = "coordinator"
TOKEN_FILE: Final = "operator.token"  # noqa: S105 - a file name
DATABASE_FILE: Final = "coordinator.db"
OBJECTS_FOLDER: Final = "objects"
_TRUST_FILES: Final = ("identity.key", "certificate.pem", "roster.signed", "root.pub")


def init_state(state: Path, trust: Path) -> str:
    """Make a state folder from the coordinator's folder of a trust set-up.

    Args:
        state: is created.
        trust: what `sojourn trust init` made, or its `coordinator` folder alone.

    Returns:
        The operator's token, which is also in `operator.token`.

    Raises:
        ConfigError: the folder is a coordinator's state already, or the trust folder lacks a file.
    """
    source = trust / ROLE if (trust / ROLE).is_dir() else trust
    missing = [name for name in _TRUST_FILES if not (source / name).is_file()]
    if missing:
        raise ConfigError(f"{source} has no {missing[0]}; give the folder that `sojourn trust init` made")
    load_trusted_set(source)
    identity = Identity.load(source / "identity.key")
    if identity.role != ROLE:
        raise ConfigError(f"{source} is the folder of a {identity.role}; give the coordinator's")
    with StateFolder.open(state, ROLE):
        if (state / "identity.key").exists():
            raise ConfigError(f"{state} holds a coordinator's state already; choose another folder or remove it")
        for name in _TRUST_FILES[1:]:
            shutil.copyfile(source / name, state / name)
        token = secrets.token_urlsafe(32)
        _write_private(state / TOKEN_FILE, token + "\n")
        identity.save(state / "identity.key")
    return token


def read_token(state: Path) -> str:
    """The operator's token.

    Raises:
        ConfigError: the folder holds no coordinator's state.
    """
    try:
        return (state / TOKEN_FILE).read_text("ascii").strip()
    except OSError as problem:
        raise ConfigError(f"{state} holds no coordinator's state; run `sojourn-coordinator init` first") from problem


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, "ascii")
