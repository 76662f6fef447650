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
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from hospitals import baselines, chaos, data, job, progress, report, settings  # noqa: E402
from rich.console import Console  # noqa: E402
from sojourn.client.api import OperatorError  # noqa: E402
from sojourn.codec import hexdigest  # noqa: E402
from sojourn.testing.federation import COORDINATOR, Federation  # noqa: E402
from sojourn.testing.fleet import BIN, Fleet, FleetError, call  # noqa: E402

console = Console(stderr=True, highlight=False)
AGENTS = settings.HOSPITALS
EXIT_FAILED, EXIT_INTERRUPTED = 1, 130


class Demo:
    """One run: a federation and the steps in order."""

    def __init__(self, work: Path, output: Path, seed: int, kill_seed: int | None, fleet: Fleet) -> None:
        self.work, self.output, self.seed, self.chaos = work, output, seed, kill_seed
        self.federation = Federation(work, fleet)
        self.kills: list[chaos.Kill] = []
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

    def start(self) -> None:
        """Coordinator and agents; where machines will die is drawn and printed."""
        if self.chaos is not None:
            names = [hospital.name for hospital in self.split.hospitals]
            self.kills = chaos.draw_kills(self.chaos, names, self.info)
            planned = "; ".join(f"{kill.name} will be killed {kill.when}" for kill in self.kills)
            console.print(f"[yellow]chaos[/] (seed {self.chaos}): {planned}")
        self.federation.start({kill.name: kill.fault for kill in self.kills})

    def train(self) -> dict[str, Any]:
        """Submit the job as an operator would and follow it to its end."""
        call_env = self.federation.operator_env
        identity = call("sojourn", "submit", self.work / "hospitals.submission", env=call_env).strip()
        console.print(f"submitted as job {identity}", soft_wrap=True)
        try:
            with self.federation.operator() as api, chaos.announced(console, self.federation, self.kills):
                how = progress.follow(api, identity, console, self.info.rounds)
                found = api.job(identity)
        except OperatorError as problem:
            how, found = str(problem), {}
        self.federation.fleet.check()
        if how is not None:
            logs = "\n".join(f"--- {p.name}\n{p.tail()}" for p in self.federation.fleet.processes.values())
            raise FleetError(f"{how}\n{logs}")
        return found

    def fetch(self, identity: str) -> dict[str, Any]:
        """Model and provenance, and the chain verified and recomputed from the export and the root key alone."""
        model, export, root = (self.output / name for name in (chaos.MODEL, "provenance.zip", "root.pub"))
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


def run(seed: int, output: Path, kill_seed: int | None) -> dict[str, Any]:
    """The whole demo; returns the figures of its last line."""
    began = time.monotonic()
    output.mkdir(parents=True, exist_ok=True)
    earlier = chaos.replaced(output, disturbed=kill_seed is not None)
    if earlier:
        console.print(earlier, soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="sojourn-demo-") as folder:
        try:
            with Fleet() as fleet:
                demo = Demo(Path(folder), output, seed, kill_seed, fleet)
                console.print(
                    f"[bold]1[/] keys, enrolment, private rows: {AGENTS} hospitals, each its own folder and policy"
                )
                demo.set_up()
                console.print(report.hospitals_table(demo.split))
                console.print("[bold]2[/] starting the coordinator and the agents")
                demo.start()
                console.print(f"[bold]3[/] submitting the signed job: {demo.info.rounds} rounds")
                done = demo.train()
                found = demo.fetch(done["id"])
            figures = demo.chaos_figures() if kill_seed is not None else {}
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
        f"model, curves, provenance and logs are in {output}/; the root of the model's tensors, by which provenance "
        f"names it, is {found['model']}; model_sha256 is of the file model.safetensors",
        soft_wrap=True,
    )
    console.print("to verify its provenance on any machine, and to compute it again bit for bit:")
    console.print(
        f"  {os.path.relpath(BIN / 'sojourn')} provenance trace {output}/model.safetensors "
        f"--export {output}/provenance.zip --root {output}/root.pub --recompute",
        soft_wrap=True,
    )
    sha256 = hexdigest((output / chaos.MODEL).read_bytes())
    if kill_seed is None:
        chaos.keep_undisturbed(output, seed, demo.info, sha256)
    else:
        figures |= _compared(chaos.compare_with_undisturbed(output, seed, demo.info, sha256), output, seed)
    return {
        **summary,
        "model_sha256": sha256,
        "seconds": round(time.monotonic() - began, 1),
        **figures,
    }


def _compared(same: bool | None, output: Path, seed: int) -> dict[str, bool]:
    """Say whether the kills made a difference, if there is something to compare with."""
    if same is None:
        console.print(
            f"{output}/ holds no undisturbed run of seed {seed}, so the models were not compared", soft_wrap=True
        )
        return {}
    if same:
        console.print(f"[green]the same model, bit for bit, as the undisturbed run of seed {seed} in {output}/[/]")
    else:
        console.print(f"[red]another model than the undisturbed run of seed {seed} in {output}/[/]")
    return {"same_as_undisturbed": same}


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
    kill_seed = None
    if options.chaos:
        kill_seed = secrets.randbelow(1 << 31) if options.chaos_seed is None else options.chaos_seed
    try:
        figures = run(options.seed, options.output, kill_seed)
    except KeyboardInterrupt:
        console.print(
            "interrupted; the demo's machines have ended and their state is removed: start it again from the top"
        )
        return EXIT_INTERRUPTED
    except FleetError as problem:
        console.print(f"the demo failed: {problem}", markup=False, style="red")
        return EXIT_FAILED
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
