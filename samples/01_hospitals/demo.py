"""The main job, end to end: five hospitals, one coordinator, real processes, real patients.

    python samples/01_hospitals/demo.py [--seed N] [--chaos] [--output DIR]

The last line on standard output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import numpy as np  # noqa: E402
from hospitals import baselines, data, job, report, settings  # noqa: E402
from rich.console import Console  # noqa: E402
from sojourn.codec import hexdigest  # noqa: E402
from sojourn.testing.federation import COORDINATOR, Federation  # noqa: E402
from sojourn.testing.fleet import BIN, Fleet, FleetError, call  # noqa: E402

console = Console(stderr=True, highlight=False)
AGENTS = settings.HOSPITALS
EXIT_FAILED, EXIT_INTERRUPTED = 1, 130


class Demo:
    """One run: a federation and the steps in order."""

    def __init__(self, work: Path, output: Path, seed: int, chaos: int | None, fleet: Fleet) -> None:
        self.work, self.output, self.seed, self.chaos = work, output, seed, chaos
        self.federation = Federation(work, fleet)
        self.split = data.load(seed)

    def set_up(self) -> None:
        """Keys, enrolment, private rows and policies."""
        self.federation.found()
        author = self.federation.author
        submission, self.info = job.build_submission(author, self.seed)
        (self.work / "hospitals.submission").write_bytes(submission)
        with ThreadPoolExecutor(max_workers=2) as pool:
            list(pool.map(self._enrol, self.split.hospitals))

    def _enrol(self, hospital: data.Patients) -> None:
        author, plan = self.federation.author.key.hex(), self.info.plan_digest.hex()
        rows = {settings.STREAM: {"x": hospital.x, "y": hospital.y}}
        self.federation.enrol(hospital.name, job.policy_toml(author, plan, hospital.name), rows)

    def faults(self) -> dict[str, str]:
        """Where machines will die, drawn and printed."""
        if self.chaos is None:
            return {}
        draw = np.random.default_rng(self.chaos)
        victim = int(draw.integers(AGENTS))
        name = self.split.hospitals[victim].name
        at = int(draw.integers(1, self.info.steps_by_hospital[victim] * 2))
        late = int(draw.integers(2, self.info.rounds - 1))
        answers = int(draw.integers(1, AGENTS))
        console.print(
            f"[yellow]chaos[/] (seed {self.chaos}): {name} will be killed after its gpu.run number {at}; "
            f"the coordinator in round {late}, after {answers} committed answers"
        )
        return {name: f"kill-at-gpu:{at}", COORDINATOR: f"kill-at-answers:{late}:{answers}"}

    def train(self) -> dict[str, Any]:
        """Submit the job as an operator would and follow it to its end."""
        command = [str(BIN / "sojourn"), "submit", str(self.work / "hospitals.submission"), "--follow", "--json"]
        environment = {**os.environ, **self.federation.operator_env}
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        out, _ = child.communicate()
        self.federation.fleet.check()
        if child.returncode:
            logs = "\n".join(f"--- {p.name}\n{p.tail()}" for p in self.federation.fleet.processes.values())
            raise FleetError(f"the job did not end well (exit {child.returncode})\n{logs}")
        found: dict[str, Any] = json.loads(out.splitlines()[-1])
        return found

    def fetch(self, identity: str) -> dict[str, Any]:
        """Model and provenance, and the chain verified and recomputed from the export and the root key alone."""
        model, export, root = (self.output / name for name in ("model.safetensors", "provenance.zip", "root.pub"))
        environment = self.federation.operator_env
        call("sojourn", "model", identity, "-o", model, env=environment)
        call("sojourn", "provenance", "export", identity, "-o", export, env=environment)
        shutil.copyfile(self.federation.trust / "root.pub", root)
        check = ("sojourn", "provenance", "trace", model, "--export", export, "--root", root, "--recompute", "--json")
        found: dict[str, Any] = json.loads(call(*check))
        return found

    def chaos_figures(self) -> dict[str, Any]:
        """What the machines that died say about it: where, and what was resumed and recomputed."""
        names = [hospital.name for hospital in self.split.hospitals]
        faults = {name: self.federation.fault(name) for name in (*names, COORDINATOR)}
        statuses = [self.federation.status(name) for name in names]
        return {
            "killed_at": {name: fault for name, fault in faults.items() if fault is not None},
            "effects_resumed": sum(status["effects_resumed"] for status in statuses),
            "effects_recomputed": sum(status["effects_recomputed"] for status in statuses),
        }


def run(seed: int, output: Path, chaos: int | None) -> dict[str, Any]:
    """The whole demo; returns the figures of its last line."""
    began = time.monotonic()
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sojourn-demo-") as folder:
        try:
            with Fleet() as fleet:
                demo = Demo(Path(folder), output, seed, chaos, fleet)
                console.print(
                    f"[bold]1[/] keys, enrolment, private rows: {AGENTS} hospitals, each its own folder and policy"
                )
                demo.set_up()
                console.print(report.hospitals_table(demo.split))
                console.print("[bold]2[/] starting the coordinator and the agents")
                demo.federation.start(demo.faults())
                console.print(f"[bold]3[/] submitting the signed job: {demo.info.rounds} rounds")
                done = demo.train()
                found = demo.fetch(done["id"])
            figures = demo.chaos_figures() if chaos is not None else {}
        finally:
            logs = output / "logs"
            logs.mkdir(exist_ok=True)
            for log in Path(folder).glob("*.log"):
                shutil.copyfile(log, logs / log.name)
    console.print(
        "[bold]4[/] the same graph, weights and number of steps, trained centrally and by each hospital alone"
    )
    compared = baselines.compare(seed)
    summary = report.summary(done, found, compared, output)
    report.draw(console, done, compared, output)
    console.print(
        f"model, curves, provenance and logs are in {output}/; the model's root is {found['model']}", soft_wrap=True
    )
    console.print("to verify its provenance on any machine, and to compute it again bit for bit:")
    console.print(
        f"  {os.path.relpath(BIN / 'sojourn')} provenance trace {output}/model.safetensors "
        f"--export {output}/provenance.zip --root {output}/root.pub --recompute",
        soft_wrap=True,
    )
    return {
        **summary,
        "model_sha256": hexdigest((output / "model.safetensors").read_bytes()),
        "seconds": round(time.monotonic() - began, 1),
        **figures,
    }


def _seed(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError("a seed is a number from 0 to 4294967295")
    return value


def main() -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description="Train over five hospitals, without a row leaving any of them.")
    parser.add_argument("--seed", type=_seed, default=0, help="draws held-out set and hospitals (default 0)")
    parser.add_argument("--chaos", action="store_true", help="kill an agent and the coordinator on the way")
    parser.add_argument("--chaos-seed", type=int, default=None, help="where they are killed (default: drawn)")
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="folder for model, curves, provenance")
    options = parser.parse_args()
    chaos = None
    if options.chaos:
        chaos = secrets.randbelow(1 << 31) if options.chaos_seed is None else options.chaos_seed
    try:
        figures = run(options.seed, options.output, chaos)
    except KeyboardInterrupt:
        console.print("interrupted")
        return EXIT_INTERRUPTED
    except FleetError as problem:
        console.print(f"the demo failed: {problem}", markup=False, style="red")
        return EXIT_FAILED
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
