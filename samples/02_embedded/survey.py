"""The author's side: the signed question, and a draft of the policy with which a clinic lets it in.

python survey.py federation/author/identity.key survey.submission
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from sojourn.client.submission import Submission, build_submission, count, mean, phase
from sojourn.crypto import Identity

__all__ = ["AGE", "survey"]

PROGRAM: Final = Path(__file__).resolve().parent / "program.py"
AGE: Final = 50
MIB: Final = 1 << 20


def survey(author: Identity) -> Submission:
    """How many patients are `AGE` or older, and what is their mean blood pressure?"""
    answer = [count("older", high=1000), mean("pressure", low=40, high=200), count("patients", high=1000)]
    return build_submission(
        author,
        name="blood pressure survey",
        purpose="public-health-survey",
        program=PROGRAM,
        phases=[phase("survey", entry="clinic", quorum=3, deadline_s=60, answer=answer)],
        args={"age": AGE, "fuel": 1_000_000, "memory": 4 * MIB},
        participants=3,
        fuel=2_000_000,
        memory=8 * MIB,
    )


if __name__ == "__main__":
    key, target = map(Path, sys.argv[1:])
    found = survey(Identity.load(key))
    target.write_bytes(found.data)
    print(f"{target}: job {found.id.hex()}")
