"""Programs with children for the tests of an agent, and the policy that admits them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sojourn.contracts import ReleaseSpec

__all__ = ["COUNT", "HEAD", "KILLED", "admit_tasks", "counted"]

HEAD = """\
from sojourn.program import Cancelled, DeadlineMissed, cancel, continuation, fork, gpu, here, join, log, private
from sojourn.program import release, spawn, stream


def same(n):
    return {"n": n}


"""

COUNT = (ReleaseSpec("count", "patients", 0.0, 1000.0, None),)

# A child that trains, one that is given up, a fork that releases; notes where something is decided.
KILLED = (
    HEAD
    + """\
def train(rows, weights, epochs, size):
    state, losses, n = weights, [], 0
    for _ in range(epochs):
        losses, n, cursor = [], 0, stream.first(rows)
        while cursor is not None:
            batch, cursor = stream.batch(rows, cursor, size)
            out = gpu.run("train", state=state, x=batch["x"], y=batch["y"])
            state, n = out["state"], n + batch["rows"]
            losses.append(out["losses"])
    return {"state": state, "losses": losses, "n": n}


def idle(name):
    try:
        while True:
            pass
    finally:
        log.note(name + " is cleaned up")


def part(rows, weights, epochs, size):
    left = spawn(idle, "grandchild", fuel=900_000, memory=100_000)
    log.note("part begins")
    box = private(train, rows, weights, epochs, size, fuel=1_000_000, memory=10_000_000)
    log.note("part ends")
    return box


@continuation
def hospital(order):
    a = order.args
    rows = stream.open("patients", fields=["x", "y"])
    lazy = spawn(idle, "child", fuel=900_000, memory=100_000)
    first = spawn(part, rows, order.weights, a["epochs"], a["size"], fuel=3_000_000, memory=20_000_000)
    try:
        join(lazy, within=0)
    except DeadlineMissed as e:
        log.note(str(e))
    cancel(lazy)
    try:
        join(lazy, within=3600)
    except Cancelled as e:
        log.note(str(e))
    result = join(first)
    other = fork(fuel=1_000_000, memory=20_000_000)
    if other is None:
        release.update(result, of="state", weight="n", base=order.weights)
        log.note("released by a fork")
        return 7
    log.note(str(join(other)))
    release.count(result, of="n", name="patients", high=1000)
    release.mean(result, of="losses", name="loss", low=0.0, high=10.0)
"""
)


def admit_tasks(folder: Path, text: str, *names: str) -> None:
    """Let the owner's policy in `folder` admit the three effects of children, or those that are named."""
    listed = ", ".join(f'"{name}"' for name in names or ("task.spawn", "task.join", "task.cancel"))
    (folder / "policy.toml").write_text(text.replace('"log.note",', f'"log.note", {listed},'))


def counted(body: str, functions: str = "") -> str:
    """A program whose entry is `body`, indented by four."""
    return f"{HEAD}{functions}\n\n@continuation\ndef hospital(order):\n{body}"


def notes(bench: Any) -> list[str]:
    """What the program wrote into the owner's log."""
    return [line["text"] for line in bench.log() if line["event"] == "note"]
