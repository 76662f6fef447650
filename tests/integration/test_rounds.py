"""A job over real processes makes the model that the sample's own simulation makes, through kills and interrupts."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
from hospitals.simulation import simulate
from sojourn.client import ProvenanceBroken, trace
from sojourn.crypto import revise_roster
from sojourn.limits import SEAL_CADENCE_EFFECTS
from sojourn.testing.federation import COORDINATOR

from .conftest import ROUNDS, Ended, Hospitals
from .exports import read, write


def same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    """Bit for bit."""
    return left.keys() == right.keys() and all(
        (left[n].dtype, left[n].shape, left[n].tobytes()) == (right[n].dtype, right[n].shape, right[n].tobytes())
        for n in left
    )


def test_the_model_is_the_simulations_bit_for_bit(hospitals: Hospitals, undisturbed: Ended) -> None:
    model, curve = simulate(hospitals.study, ROUNDS)
    assert same(undisturbed.tensors, model)
    table = undisturbed.row["table"]
    assert [row["round"] for row in table] == list(range(ROUNDS))
    np.testing.assert_allclose([row["loss"] for row in table], [m.loss for m in curve[1:]], rtol=1e-5)
    assert {row["participants"] for row in table} == {len(hospitals.names)}
    assert {row["patients"] for row in table} == {sum(map(len, hospitals.study.hospitals))}


def test_killed_agents_and_a_killed_coordinator_change_no_bit(hospitals: Hospitals, undisturbed: Ended) -> None:
    federation = hospitals.federation
    first, later, unharmed = hospitals.names
    steps = 6 * 3  # of `later`, a round: six passes over 42 rows in batches of 16
    federation.restart(first, "kill-at-gpu:1")
    federation.restart(later, f"kill-at-gpu:{steps + 11}")
    federation.restart(COORDINATOR, "kill-at-answers:1:2")
    federation.ready()
    killed = hospitals.finish(hospitals.submit())

    assert same(killed.tensors, undisturbed.tensors)
    assert killed.model.read_bytes() == undisturbed.model.read_bytes()
    deaths = {name: process.deaths.count(-signal.SIGKILL) for name, process in federation.fleet.processes.items()}
    assert deaths == {"registrar": 0, COORDINATOR: 1, first: 1, later: 1, unharmed: 0}
    where = {name: federation.fault(name)["occurrence"] for name in (first, later, COORDINATOR)}
    assert (where[first]["effect"], where[first]["count"]) == ("gpu.run", 1)
    assert (where[later]["effect"], where[later]["count"]) == ("gpu.run", steps + 11)
    assert where[COORDINATOR] == {"round": 1, "answers": 2}
    for name in (first, later):
        counted = hospitals.counted(name, killed.id)
        assert counted["effects_resumed"] > 0, name
        assert counted["effects_recomputed"] <= SEAL_CADENCE_EFFECTS, name
    assert hospitals.counted(later, killed.id)["effects_resumed"] > SEAL_CADENCE_EFFECTS
    assert hospitals.counted(unharmed, killed.id)["effects_resumed"] == 0


def test_the_journal_is_what_resumes(hospitals: Hospitals, undisturbed: Ended) -> None:
    """The build that throws its journal away: the same model, but nothing resumed, which the check above would see."""
    name = hospitals.names[1]
    process = hospitals.federation.restart(name, "kill-at-gpu:11", SOJOURN_FAULT_IGNORE_JOURNAL="1")
    deaths = len(process.deaths)
    forgetful = hospitals.finish(hospitals.submit())
    assert process.deaths[deaths:] == [-signal.SIGKILL]
    assert hospitals.counted(name, forgetful.id)["effects_resumed"] == 0
    assert forgetful.model.read_bytes() == undisturbed.model.read_bytes()
    hospitals.federation.restart(name)


def test_interrupted_processes_leave_with_130_and_go_on_where_they_were(
    hospitals: Hospitals, undisturbed: Ended, root_key: bytes, tmp_path: Path
) -> None:
    federation = hospitals.federation
    identity = hospitals.submit()
    with federation.operator() as api:
        for event in api.follow(identity):
            if event.name == "published":
                api.export(identity, tmp_path / "early.zip")
                break
    early = trace(tmp_path / "early.zip", root_key, recompute=True)  # of a job that is going on
    assert 1 <= len(early.rounds) <= ROUNDS
    for name in (hospitals.names[0], COORDINATOR):
        assert federation.fleet.stop(name, signal.SIGINT) == 130
        federation.restart(name)
    federation.ready()
    assert hospitals.finish(identity).model.read_bytes() == undisturbed.model.read_bytes()


def test_a_later_roster_does_not_unmake_what_was_done(
    hospitals: Hospitals, undisturbed: Ended, root_key: bytes, tmp_path: Path
) -> None:
    """An export holds the roster of its job. The newest one may say of the job's author that he is so no longer."""
    federation = hospitals.federation
    root = federation.trust / "root"
    (federation.state / "roster.signed").write_bytes(revise_roster(root, revoke=[bytes(32)]))
    federation.restart(COORDINATOR)
    federation.ready()
    with federation.operator() as api:
        api.export(undisturbed.id, tmp_path / "later.zip")
    assert (tmp_path / "later.zip").read_bytes() == undisturbed.export.read_bytes()

    newest = revise_roster(root, revoke=[federation.author.key])
    path = write(tmp_path / "newest.zip", {**read(undisturbed.export), "roster.signed": newest})
    with pytest.raises(ProvenanceBroken, match=r"job\.signed: .*revoked"):
        trace(path, root_key)
