"""Seconds per round and memory, by number of agents.

    python tests/benchmarks/rounds.py [--rounds N] [--cases 2x0.1 …]

The echo job goes through everything a real one does: admitted and signed, guard, machine, ONNX Runtime, release,
privacy ledger, sealing, TLS websockets on loopback, fold, fsync and commit; one process per agent. Beside it stand what
the disk's fsync costs, and the figure of the best-known peer, which was measured on a machine of this size. A table;
the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import psutil
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent))

from echo import build, policy
from sojourn.testing.federation import COORDINATOR, REGISTRAR, Federation
from sojourn.testing.fleet import Fleet, Process

CASES: Final = ("2x0.1", "10x0.1", "25x0.1")
PEER_S: Final = {"2x0.1": 6.5, "25x0.1": 34.0}  # Flower 1.42, one process per message, 2 cores
MB: Final = 1e6
SYNCS: Final = 200

console: Final = Console(stderr=True, highlight=False)


def fsync_ms(folder: Path) -> float:
    """Median of writing 4 KiB and fdatasync."""
    times = []
    with (folder / "fsync.probe").open("wb") as out:
        for _ in range(SYNCS):
            out.write(bytes(4096))
            out.flush()
            began = time.perf_counter()
            os.fdatasync(out.fileno())
            times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e3


def tree(process: Process) -> list[psutil.Process]:
    """The process and its children."""
    assert process.child is not None
    top = psutil.Process(process.child.pid)
    return [top, *top.children(recursive=True)]


def peak_mb(process: Process) -> float:
    """Largest resident set so far (VmHWM), summed over the process tree, 10^6 bytes."""
    total = 0
    for one in tree(process):
        status = Path(f"/proc/{one.pid}/status").read_text(encoding="ascii")
        total += next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    return total / MB


def idle_mb(process: Process) -> float:
    """Proportional set size of the process tree now, 10^6 bytes."""
    return sum(one.memory_full_info().pss for one in tree(process)) / MB


def measure(work: Path, agents: int, megabytes: float, rounds: int) -> dict[str, Any]:
    """One case: real processes, one job."""
    with Fleet() as fleet:
        federation = Federation(work, fleet)
        federation.found()
        submission = build(federation.author, agents, megabytes, rounds)
        names = [f"agent-{k:02d}" for k in range(agents)]
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            list(pool.map(lambda name: federation.enrol(name, policy(submission, name), {}), names))
        fleet.stop(REGISTRAR)
        federation.start()
        published = []
        with federation.operator() as api:
            while sum(agent["connected"] for agent in api.agents()) < agents:
                fleet.check()
                time.sleep(0.2)
            job = api.submit(submission.data)
            for event in api.follow(job):
                if event.name == "published":
                    published.append(time.perf_counter())
            found = api.job(job)
        assert found["state"] == "done", found
        seconds = [row["seconds"] for row in found["table"]][1:]
        apart = [later - before for before, later in pairwise(published)]
        coordinator, *processes = (fleet.processes[name] for name in (COORDINATOR, *names))
        return {
            "seconds_per_round": round(statistics.median(apart), 4),
            "seconds_open_to_publish": round(statistics.median(seconds), 4),
            "rounds": len(apart),
            "coordinator_peak_mb": round(peak_mb(coordinator), 1),
            "agent_peak_mb": round(statistics.median(map(peak_mb, processes)), 1),
            "agent_idle_mb": round(statistics.median(map(idle_mb, processes)), 1),
        }


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description="Seconds per round and memory, by number of agents and size.")
    parser.add_argument(
        "--rounds", type=int, default=21, help="rounds of a case; the first is not counted (default 21)"
    )
    parser.add_argument("--cases", nargs="+", default=list(CASES), help="agents x MB, e.g. 2x0.1 10x0.1")
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    for case in options.cases:
        agents, _, megabytes = case.partition("x")
        with tempfile.TemporaryDirectory(prefix="sojourn-bench-") as folder:
            console.print(f"{case}: {agents} agents, {megabytes} MB …")
            figures[case] = measure(Path(folder), int(agents), float(megabytes), options.rounds)
            figures["fsync_ms"] = round(fsync_ms(Path(folder)), 3)
    table = Table("agents x MB", "ms a round", "peer, ms", "coordinator peak MB", "agent peak MB", "agent idle MB")
    for case in options.cases:
        row = figures[case]
        peer = f"{PEER_S[case] * 1e3:.0f}" if case in PEER_S else "–"
        memory = (f"{row[key]:.0f}" for key in ("coordinator_peak_mb", "agent_peak_mb", "agent_idle_mb"))
        table.add_row(case, f"{row['seconds_per_round'] * 1e3:.1f}", peer, *memory)
    table.caption = f"one fdatasync of 4 KiB on this disk: {figures['fsync_ms']:.2f} ms; {os.cpu_count()} cores"
    console.print(table)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
