"""Enrolment into a state folder: keys are made here, shown to nobody, and pinned to a root.

Rules:

* What an attempt makes lies in a folder of its own, `enrolling-<token>/`, until all of it is there and verified; then
  it moves into place, the entry last. Whoever finds `entry.signed` finds the rest.
* Keys are durable before the token is used. If the answer is lost, or what came back does not hold on this host yet (a
  wrong clock), they stay, and the same token asks again with the same keys: the registrar repeats its answer.
* Whatever is refused, or never reached the registrar, leaves everything as it was before.
* A folder is enrolled once.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from sojourn.agent.folder import AgentPaths
from sojourn.codec import decode
from sojourn.contracts import Entry, Signed
from sojourn.crypto import Identity
from sojourn.crypto.keyfiles import make_private_folder
from sojourn.errors import ConfigError, EnrolmentRefused, EnrolmentUnanswered
from sojourn.registrar import EnrolmentToken, enrol, parse_token
from sojourn.registrar.messages import token_id, token_key
from sojourn.streams import StateFolder
from sojourn.streams.files import sync_folder

__all__ = ["enrol_folder"]

_ATTEMPT: Final = "enrolling-"


async def enrol_folder(state: str | Path, token: str) -> Entry:
    """Enrol a state folder with a one-time token.

    Args:
        state: the folder; made if it does not exist.
        token: as the registrar printed it.

    Returns:
        The agent's entry, as the registrar signed it.

    Raises:
        ConfigError: the folder is enrolled already, the token is damaged, or the registrar cannot be reached.
        EnrolmentUnanswered: the registrar was asked and did not answer; call this again with the same token.
        EnrolmentRefused: the token was used before, has expired, or is not known; or another agent has its name.
        StateInUse: another process holds the folder.
    """
    parsed = parse_token(token)
    with StateFolder.open(Path(state), "agent") as folder:
        paths = AgentPaths(folder.path)
        if paths.entry.exists():
            raise ConfigError(f"{state} is enrolled already; choose another folder for another agent")
        attempt = _Attempt(paths, parsed)
        try:
            if not attempt.complete:
                (await enrol(token, attempt.identity())).save(attempt.folder)
        except EnrolmentUnanswered:
            raise
        except (ConfigError, EnrolmentRefused):
            attempt.undo()
            folder.undo()
            raise
        return attempt.finish()


class _Attempt:
    """What one token makes, until it moves into place."""

    def __init__(self, paths: AgentPaths, token: EnrolmentToken) -> None:
        name = token_id(token_key(token.secret).public_key().public_bytes_raw()).hex()[:16]
        self._paths, self._name = paths, token.name
        self.folder = paths.root / f"{_ATTEMPT}{name}"
        self._made = not self.folder.exists()

    @property
    def complete(self) -> bool:
        """An earlier process got its answer and ended while it moved into place."""
        return (self.folder / self._paths.entry.name).exists()

    def identity(self) -> Identity:
        """The keys to ask with: those of an earlier try with this token, or new ones, durable.

        Raises:
            ConfigError: the folder holds the keys of an agent with another name.
        """
        if self._paths.identity.exists():  # the folder was enrolled once, and its entry is gone
            identity = Identity.load(self._paths.identity)
            if identity.name != self._name:
                raise ConfigError(
                    f"{self._paths.root} holds the keys of {identity.name!r}, the token is for {self._name!r}; ask "
                    "for a token with that name, or choose another folder"
                )
            make_private_folder(self.folder)
            return identity
        keys = make_private_folder(self.folder) / self._paths.identity.name
        if not keys.exists():
            Identity.generate("agent", self._name).save(keys)
            sync_folder(self._paths.root)
        return Identity.load(keys)

    def undo(self) -> None:
        """Nothing came of it. Keys of an earlier try stay: the registrar may know them."""
        if self._made:
            shutil.rmtree(self.folder, ignore_errors=True)

    def finish(self) -> Entry:
        """Move everything into place; returns the agent's entry."""
        paths = self._paths
        for path in (paths.identity, paths.root_key, paths.roster, paths.certificate, paths.entry):
            if (self.folder / path.name).exists():  # not so where an earlier process had moved it
                (self.folder / path.name).replace(path)
        sync_folder(self._paths.root)
        for left in self._paths.root.glob(f"{_ATTEMPT}*"):
            shutil.rmtree(left, ignore_errors=True)
        return decode(Entry, decode(Signed, self._paths.entry.read_bytes()).payload)
