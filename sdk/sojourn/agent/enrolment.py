"""Enrolment into a state folder: keys are made here, shown to nobody, and pinned to a root.

Rules: keys are stored before the token is used, so that a lost reply is asked for again with the same keys; a folder
is enrolled once; whatever is refused leaves the folder as it was, but for those keys.
"""

from __future__ import annotations

from pathlib import Path

from sojourn.agent.folder import AgentPaths
from sojourn.contracts import Entry
from sojourn.crypto import Identity
from sojourn.errors import ConfigError
from sojourn.registrar import enrol, parse_token
from sojourn.streams import StateFolder

__all__ = ["enrol_folder"]


async def enrol_folder(state: str | Path, token: str) -> Entry:
    """Enrol a state folder with a one-time token.

    Args:
        state: the folder; made if it does not exist.
        token: as the registrar printed it.

    Returns:
        The agent's entry, as the registrar signed it.

    Raises:
        ConfigError: the folder is enrolled already, the token is damaged, or the registrar cannot be reached.
        EnrolmentRefused: the token was used before, has expired, or is not known.
        StateInUse: another process holds the folder.
    """
    parsed = parse_token(token)
    with StateFolder.open(Path(state), "agent") as folder:
        paths = AgentPaths(folder.path)
        if paths.entry.exists():
            raise ConfigError(f"{state} is enrolled already; choose another folder for another agent")
        if paths.identity.exists():
            identity = Identity.load(paths.identity)
        else:
            identity = Identity.generate("agent", parsed.name)
            identity.save(paths.identity)
        enrolment = await enrol(token, identity)
        enrolment.save(folder.path)
        return enrolment.entry
