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
from sojourn.crypto import Identity  # noqa: E402
from sojourn.testing.fleet import BIN, Fleet, FleetError, call, free_ports  # noqa: E402

console = Console(stderr=True, highlight=False)
AGENTS = settings.HOSPITALS
EXIT_FAILED, EXIT_INTERRUPTED = 1, 130


class Demo:
    """One run: folders, ports and the steps in order."""

    def __init__(self, work: Path, output: Path, seed: int, chaos: int | None) -> None:
        self.work, self.output, self.seed, self.chaos = work, output, seed, chaos
        self.registrar_port, self.agent_port, self.operator_port = free_ports(3)
        self.trust, self.state = work / "trust", work / "coordinator"
        self.split = data.load(seed)
        self.killed_at: dict[str, Any] = {}

    @staticmethod
    def _at(port: int) -> str:
        return f"127.0.0.1:{port}"

    def names(self) -> list[str]:
        return [f"hospital-{k + 1}" for k in range(AGENTS)]

    def set_up(self, fleet: Fleet) -> None:
        """Keys, enrolment, private rows and policies."""
        call("sojourn", "trust", "init", self.trust)
        fleet.start(
            "registrar",
            [
                "sojourn",
                "registrar",
                "serve",
                "--state",
                self.trust / "registrar",
                "--listen",
                self._at(self.registrar_port),
            ],
            self.work / "registrar.log",
        )
        fleet.wait_for_port("registrar", self.registrar_port)
        call("sojourn-coordinator", "init", "--state", self.state, "--trust", self.trust)
        author = Identity.load(self.trust / "author" / "identity.key")
        self.submission, self.info = job.build_submission(author, self.seed)
        (self.work / "hospitals.submission").write_bytes(self.submission)
        with ThreadPoolExecutor(max_workers=2) as pool:
            list(pool.map(lambda k: self._enrol(k, author.key.hex()), range(AGENTS)))

    def _enrol(self, k: int, author: str) -> None:
        name = self.names()[k]
        folder = self.work / name
        url = f"wss://{self._at(self.registrar_port)}"
        token = call(
            "sojourn", "registrar", "token", "--state", self.trust / "registrar", "--name", name, "--url", url
        ).strip()
        call("sojourn-agent", "enrol", "--state", folder, "--token", token)
        rows = self.split.hospitals[k]
        table = self.work / f"{name}.npz"
        np.savez(table, x=rows.x, y=rows.y)
        call("sojourn-agent", "data", "import", "--state", folder, "--stream", "patients", table)
        table.unlink()
        (folder / "policy.toml").write_text(
            job.policy_toml(author, self.info.plan_digest.hex(), name), encoding="utf-8"
        )

    def faults(self) -> dict[str, str]:
        """Where machines will die, drawn and printed."""
        if self.chaos is None:
            return {}
        draw = np.random.default_rng(self.chaos)
        victim = self.names()[int(draw.integers(AGENTS))]
        steps = self.info.steps_by_hospital[self.names().index(victim)]
        at = int(draw.integers(1, steps * 2))
        late = int(draw.integers(2, self.info.rounds - 1))
        answers = int(draw.integers(1, AGENTS))
        console.print(
            f"[yellow]chaos[/] (seed {self.chaos}): {victim} will be killed after its gpu.run number {at}; "
            f"the coordinator in round {late}, after {answers} committed answers"
        )
        return {victim: f"kill-at-gpu:{at}", "coordinator": f"kill-at-answers:{late}:{answers}"}

    def start(self, fleet: Fleet) -> None:
        """The coordinator and the agents."""
        faults = self.faults()
        fleet.start(
            "coordinator",
            [
                *("sojourn-coordinator", "run", "--state", self.state),
                *("--agents", self._at(self.agent_port), "--operators", self._at(self.operator_port)),
            ],
            self.work / "coordinator.log",
            _fault(faults, "coordinator"),
        )
        for name in self.names():
            fleet.start(
                name,
                [
                    "sojourn-agent",
                    "run",
                    "--state",
                    self.work / name,
                    "--coordinator",
                    f"wss://{self._at(self.agent_port)}",
                ],
                self.work / f"{name}.log",
                _fault(faults, name),
            )
        fleet.wait_for_port("coordinator", self.operator_port)
        self.operator = {
            "SOJOURN_COORDINATOR": f"https://127.0.0.1:{self.operator_port}",
            "SOJOURN_TOKEN_FILE": str(self.state / "operator.token"),
            "SOJOURN_CA": str(self.trust / "ca.pem"),
        }

    def train(self, fleet: Fleet) -> dict[str, Any]:
        """Submit the job as an operator would and follow it to its end."""
        command = [str(BIN / "sojourn"), "submit", str(self.work / "hospitals.submission"), "--follow", "--json"]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **self.operator})
        out, _ = child.communicate()
        fleet.check()
        if child.returncode:
            logs = "\n".join(f"--- {p.name}\n{p.tail()}" for p in fleet.processes.values())
            raise FleetError(f"the job did not end well (exit {child.returncode})\n{logs}")
        found: dict[str, Any] = json.loads(out.splitlines()[-1])
        return found

    def fetch(self, identity: str) -> dict[str, Any]:
        """Model and provenance, and the chain verified and recomputed from the export and the root key alone."""
        model, export = self.output / "model.safetensors", self.output / "provenance.zip"
        call("sojourn", "model", identity, "-o", model, env=self.operator)
        call("sojourn", "provenance", "export", identity, "-o", export, env=self.operator)
        shutil.copyfile(self.trust / "root.pub", self.output / "root.pub")
        traced = call(
            "sojourn", "provenance", "trace", model, "--export", export, "--root", self.output / "root.pub",
            "--recompute", "--json",
        )  # fmt: skip
        found: dict[str, Any] = json.loads(traced)
        return found

    def chaos_figures(self) -> dict[str, Any]:
        """What the machines that died say about it: where, and what was resumed and recomputed."""
        killed: dict[str, Any] = {}
        resumed = recomputed = 0
        for name in [*self.names(), "coordinator"]:
            fault = (self.state if name == "coordinator" else self.work / name) / "fault.json"
            if fault.exists():
                killed[name] = json.loads(fault.read_text(encoding="utf-8"))
        for name in self.names():
            status = json.loads(call("sojourn-agent", "status", "--state", self.work / name, "--json"))
            resumed += status["effects_resumed"]
            recomputed += status["effects_recomputed"]
        return {"killed_at": killed, "effects_resumed": resumed, "effects_recomputed": recomputed}


def _fault(faults: dict[str, str], name: str) -> dict[str, str]:
    return {"SOJOURN_FAULT": faults[name]} if name in faults else {}


def run(seed: int, output: Path, chaos: int | None) -> dict[str, Any]:
    """The whole demo; returns the figures of its last line."""
    began = time.monotonic()
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sojourn-demo-") as folder:
        demo = Demo(Path(folder), output, seed, chaos)
        try:
            with Fleet() as fleet:
                console.print(
                    f"[bold]1[/] keys, enrolment, private rows: {AGENTS} hospitals, each its own folder and policy"
                )
                demo.set_up(fleet)
                console.print(report.hospitals_table(demo.split))
                console.print("[bold]2[/] starting the coordinator and the agents")
                demo.start(fleet)
                console.print(f"[bold]3[/] submitting the signed job: {demo.info.rounds} rounds")
                done = demo.train(fleet)
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
    return {
        **summary,
        "model_sha256": hexdigest((output / "model.safetensors").read_bytes()),
        "seconds": round(time.monotonic() - began, 1),
        **figures,
    }


def main() -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description="Train over five hospitals, without a row leaving any of them.")
    parser.add_argument("--seed", type=int, default=0, help="draws held-out set and hospitals (default 0)")
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
        console.print(f"[bold red]the demo failed[/]: {problem}", markup=False)
        return EXIT_FAILED
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
