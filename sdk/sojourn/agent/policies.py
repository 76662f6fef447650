"""The owner's policy file while an agent runs: what it says now is what the next order is judged by.

Rules:

* The file is read again for each order that is judged, and parsed again when a byte of it differs. Its time is not
  looked at: an edit within the clock's grain would be missed.
* A file that is gone or not a policy admits nothing, until it is mended. One that is only being written is read twice.
* A change never reaches into an order: what admitted it holds until it ends (`desk`), and that is what is recorded.
* A file that names another owner than the agent is likely a copy: that is said when the agent starts, and holds.
* What changed goes to the owner's log, sentence by sentence, and that something changed to the log of the process.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Final

from sojourn.agent.narration import sentence
from sojourn.agent.owner import OwnerLog
from sojourn.errors import AdmissionRefused, PolicyInvalid
from sojourn.logs import get_log
from sojourn.privacy import OwnerPolicy, explain

__all__ = ["PolicyFile"]

_SETTLE_S: Final = 0.25  # what an editor may take to write a short file

_log: Final = get_log("sojourn.policy", sentence)


class PolicyFile:
    """One policy file, read when it is needed. Safe to use from several threads.

    Args:
        path: of the file.
        log: the owner's.

    Raises:
        PolicyInvalid: it is not a policy now; an agent does not start on one.
    """

    def __init__(self, path: Path, log: OwnerLog) -> None:
        self._path, self._log = path, log
        self._lock = threading.Lock()
        self._valid = OwnerPolicy.load(path)
        self._problem = ""

    @property
    def last(self) -> OwnerPolicy:
        """The newest policy that was in force, without a look at the file."""
        return self._valid

    def now(self) -> OwnerPolicy:
        """The policy that the file holds.

        Raises:
            AdmissionRefused: it holds none; nothing is admitted.
        """
        with self._lock:
            try:
                found = self._read()
            except PolicyInvalid as problem:
                self._refuse(str(problem))
                raise AdmissionRefused(f"no policy is in force: {problem}") from None
            if found.digest != self._valid.digest or self._problem:
                self._change(found)
            return self._valid

    def check_owner(self, agent: str) -> None:
        """Say so where the policy names another owner than the agent."""
        found = self._valid
        if found.owner != agent:
            self._log.warning("the policy names another owner", owner=found.owner, agent=agent)
            _log.warning("policy.owner", file=found.file, owner=found.owner, agent=agent)

    def _read(self) -> OwnerPolicy:
        """Parse the file, unless it is the one that is in force."""
        try:
            return OwnerPolicy.load(self._path, known=self._valid)
        except PolicyInvalid as problem:
            if str(problem) == self._problem:
                raise
            time.sleep(_SETTLE_S)
            return OwnerPolicy.load(self._path, known=self._valid)

    def _refuse(self, problem: str) -> None:
        if problem == self._problem:
            return
        self._problem = problem
        self._log.warning("policy invalid: nothing is admitted until it is mended", why=problem)
        _log.error("policy.invalid", why=problem)

    def _change(self, found: OwnerPolicy) -> None:
        before, after = explain(self._valid), explain(found)
        self._log.info(
            "policy changed",
            before=self._valid.digest,
            after=found.digest,
            gone=[line.strip() for line in before if line not in after],
            new=[line.strip() for line in after if line not in before],
        )
        _log.info("policy.changed", file=found.file, owner=found.owner, digest=found.digest.hex())
        self._valid, self._problem = found, ""
