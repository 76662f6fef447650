"""The whole of this sample at once, on loopback: a federation, three clinics' apps, one question, its answer.

    python samples/02_embedded/run.py

It does what the README does by hand, with the same commands. The last line on standard output is one JSON object.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from rich.console import Console  # noqa: E402
from sojourn.client.drafts import policy_for  # noqa: E402
from sojourn.testing.federation import Federation  # noqa: E402
from sojourn.testing.fleet import BIN, Fleet, FleetError, call  # noqa: E402
from survey import survey  # noqa: E402

CLINICS: Final = (1, 2, 3)
POLL_S: Final = 0.1

console = Console(stderr=True, highlight=False)


def run(work: Path) -> dict[str, Any]:
    """Set a federation up in `work`, ask, and return the job as the operator sees it."""
    with Fleet() as fleet:
        federation = Federation(work, fleet)
        federation.found()
        submission = survey(federation.author)
        (work / "survey.submission").write_bytes(submission.data)
        apps = {}
        for number in CLINICS:
            name = f"clinic-{number}"
            federation.enrol(name, policy_for(submission, name), streams={})
            apps[name] = ["python", HERE / "clinic.py", federation.folder(name), str(number)]
        federation.start(apps=apps)
        _submit(fleet, work / "survey.submission", federation.operator_env)
        show = ("sojourn", "job", submission.id.hex())
        console.print(call(*show, env=federation.operator_env), end="")
        found: dict[str, Any] = json.loads(call(*show, "--json", env=federation.operator_env))
    return found


def _submit(fleet: Fleet, submission: Path, operator: dict[str, str]) -> None:
    """`sojourn submit FILE --follow`, as long as every process lives."""
    command = [str(BIN / "sojourn"), "submit", str(submission), "--follow"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, **operator})
    try:
        while child.poll() is None:
            fleet.check()
            time.sleep(POLL_S)
    finally:
        child.kill()
        child.wait()
    if child.returncode:
        logs = "\n".join(f"--- {process.name}\n{process.tail()}" for process in fleet.processes.values())
        raise FleetError(f"the job did not end well (exit {child.returncode})\n{logs}")


def main() -> int:
    """Command line; see the module's docstring."""
    with tempfile.TemporaryDirectory(prefix="sojourn-") as folder:
        try:
            found = run(Path(folder))
        except KeyboardInterrupt:
            console.print("interrupted")
            return 130
        except FleetError as problem:
            console.print(f"the sample failed: {problem}", markup=False)
            return 1
    (row,) = found["table"]
    print(json.dumps({"state": found["state"], "clinics": row["agents"], "total": row["released"]}, sort_keys=True))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
