"""Test hooks that kill this process at a chosen occurrence. They come from the environment and from nowhere else.

* `SOJOURN_FAULT="kill-at-gpu:<n>"`: right after the n-th `gpu.run` inside a private region of this process has
  completed and its lineage record is in the journal, the process writes `fault.json` into its state folder, prints
  the occurrence to stderr and sends itself SIGKILL.
* `SOJOURN_FAULT_IGNORE_JOURNAL=1`: the build that shows that a chaos check can fail. A restart throws the journal of
  a run away and starts from the top; it reports no resumed effect.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from sojourn.contracts import Occurrence
from sojourn.errors import ConfigError

__all__ = ["FAULT_FILE", "FAULT_VARIABLE", "IGNORE_JOURNAL_VARIABLE", "Faults"]

FAULT_VARIABLE: Final = "SOJOURN_FAULT"
IGNORE_JOURNAL_VARIABLE: Final = "SOJOURN_FAULT_IGNORE_JOURNAL"
FAULT_FILE: Final = "fault.json"
_KIND: Final = "kill-at-gpu"
_PREFIX: Final = f"{_KIND}:"


class Faults:
    """What the environment asks to go wrong.

    Args:
        folder: where `fault.json` goes.
        kill_at_gpu: die after this many region `gpu.run` effects; 0 is never.
        ignore_journal: start restarted runs from the top.
    """

    __slots__ = ("_done", "_folder", "_kill_at_gpu", "ignore_journal")

    def __init__(self, folder: Path, kill_at_gpu: int = 0, *, ignore_journal: bool = False) -> None:
        self._folder = folder
        self._kill_at_gpu = kill_at_gpu
        self._done = 0
        self.ignore_journal = ignore_journal

    @classmethod
    def from_environment(cls, folder: Path, environment: Mapping[str, str] | None = None) -> Faults:
        """Read the two variables.

        Raises:
            ConfigError: `SOJOURN_FAULT` is set to something that no agent understands.
        """
        variables = os.environ if environment is None else environment
        wanted = variables.get(FAULT_VARIABLE, "")
        count = 0
        if wanted.startswith(_PREFIX):
            text = wanted.removeprefix(_PREFIX)
            if not text.isascii() or not text.isdigit() or int(text) < 1:
                raise ConfigError(f"{FAULT_VARIABLE}={wanted!r}: write kill-at-gpu:<n> with n of 1 or more")
            count = int(text)
        elif wanted:
            raise ConfigError(
                f"{FAULT_VARIABLE}={wanted!r} is not a fault of an agent; write kill-at-gpu:<n> or unset it"
            )
        return cls(folder, count, ignore_journal=variables.get(IGNORE_JOURNAL_VARIABLE, "") == "1")

    def gpu_run_done(self, occurrence: Occurrence) -> None:
        """Told after each region `gpu.run` that was computed and journalled; does not return from the n-th."""
        self._done += 1
        if self._done != self._kill_at_gpu:
            return
        run, operation = occurrence
        where = {"run": run.hex(), "operation": operation, "effect": "gpu.run", "count": self._done}
        report = {"kind": _KIND, "occurrence": where, "pid": os.getpid()}
        target = self._folder / FAULT_FILE
        with target.open("w", encoding="utf-8") as file:
            json.dump(report, file)
            file.flush()
            os.fsync(file.fileno())
        sys.stderr.write(f"killed_at {json.dumps(where)}\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)
