"""The test hook that kills the coordinator at a named occurrence.

`SOJOURN_FAULT="kill-at-answers:<round>:<n>"` in the environment: right after the n-th answer of that round is
committed, the process says so on stderr, writes `fault.json` into its state folder and sends itself SIGKILL, so that no
handler runs and nothing is flushed. There is no other way to reach this code.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from sojourn.errors import ConfigError

__all__ = ["VARIABLE", "Fault"]

VARIABLE: Final = "SOJOURN_FAULT"
_KIND: Final = "kill-at-answers"
_FORM: Final = f"{_KIND}:<round>:<n>"


@dataclass(frozen=True, slots=True)
class Fault:
    """Where to die.

    Attributes:
        round: number of the round.
        answers: how many of its answers are committed then.
    """

    round: int
    answers: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self | None:
        """The fault that the environment asks for, None for none.

        Raises:
            ConfigError: the variable is set to something else.
        """
        text = environment.get(VARIABLE)
        if not text:
            return None
        kind, *numbers = text.split(":")
        if kind != _KIND or len(numbers) != 2 or not all(number.isdecimal() for number in numbers):
            raise ConfigError(f"{VARIABLE}={text!r} is not of the form {_FORM}; unset it unless this is a test")
        return cls(int(numbers[0]), int(numbers[1]))

    def strike(self, state: Path, round_: int, answers: int) -> None:
        """Die here if this is the occurrence."""
        if (round_, answers) != (self.round, self.answers):
            return
        occurrence = {"round": round_, "answers": answers}
        text = json.dumps({"kind": _KIND, "occurrence": occurrence, "pid": os.getpid()})
        (state / "fault.json").write_text(text + "\n", "utf-8")
        sys.stderr.write(f"fault: SIGKILL after answer {answers} of round {round_}\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)
