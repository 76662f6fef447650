"""The owner's side of one order, with nothing left out: documents, guard, graphs, releases, ledger, and the reader.

The program is not stepped here (that is the agent's test): what its effects ask for is asked for by hand.
"""

import math

import numpy as np
import pytest
from sojourn.codec import digest
from sojourn.contracts import Occurrence
from sojourn.datoms import UpdateReader, split_datoms
from sojourn.errors import GraphFailed, PlanMismatch
from sojourn.interpreters import OnnxInterpreter
from sojourn.privacy import (
    Misfit,
    PrivacyLedger,
    decide,
    release_count,
    release_mean,
    release_update,
)

SHAPES = {"w": (3, 1)}


@pytest.fixture
def ledger(tmp_path):
    made = PrivacyLedger(tmp_path / "agent.db")
    yield made
    made.close()


def admitted(hospital):
    order = hospital.order()
    bundle = hospital.bundle(order)
    return decide(hospital.policy(), order, bundle, hospital.program), order, bundle


def train(hospital, bundle, rows, size=8):
    """What the private region does, effect by effect."""
    interpreter = OnnxInterpreter("cpu")
    plan = interpreter.load(bundle.plan, bundle.graphs)
    table = hospital.rows(rows)
    state, losses = {"w": np.zeros((3, 1), np.float32)}, []
    for start in range(0, rows, size):
        batch = {name: column[start : start + size] for name, column in table.items()}
        out = interpreter.run(plan, "train", {"state": state} | batch)
        state = out["state"]
        losses.append(out["losses"])
    interpreter.close()
    return {"state": state, "losses": losses, "n": rows}


def release_all(admission, run, ledger, base, result):
    """Every release of the answer, in order, through check, mechanism and ledger."""
    made = []
    asked = (
        ("update", "update", {}),
        ("count", "patients", {"high": 1000}),
        ("mean", "loss", {"low": 0.0, "high": 10.0}),
    )
    for position, (kind, name, parameters) in enumerate(asked):
        spec = admission.check_release(kind, name, parameters, position=position)
        if spec.update is not None:
            release = release_update(result["state"], base, result["n"], spec.update, SHAPES)
        elif kind == "count":
            release = release_count(result["n"], spec.high)
        else:
            release = release_mean(result["losses"], spec.low, spec.high)
        statement = release.statement(name, 10 + position, admission.policy)
        entry = ledger.record(run, statement, release.output, sources=("hospital-1/patients",), now_ms=1)
        made.append((statement, entry))
    return made


def test_from_order_to_released_bytes(hospital, ledger):
    admission, order, bundle = admitted(hospital)
    admission.check_open("patients", ["x", "y"])
    base = {"w": np.zeros((3, 1), np.float32)}
    result = train(hospital, bundle, 21)
    made = release_all(admission, order.order.run, ledger, base, result)

    spec = admission.releases[0].update
    reader = UpdateReader(SHAPES, spec)
    pieces = [reader.feed(datom) for datom in split_datoms(made[0][1].output)]
    weight, root = reader.finish()
    assert (weight, root) == (21, made[0][0].root)
    q = next(piece for piece in pieces if piece is not None)
    np.testing.assert_allclose(q.values * spec.scale / weight, result["state"]["w"][:, 0], atol=1e-5)

    assert made[1][0].value == 21.0
    assert made[2][0].value == math.fsum(np.concatenate(result["losses"]).astype(float).clip(0, 10)) / 21
    assert {statement.policy for statement, _ in made} == {hospital.policy().digest}
    left = ledger.released(order.order.run)
    assert [(entry.kind, entry.name, entry.operation) for entry in left] == [
        ("update", "update", 10),
        ("count", "patients", 11),
        ("mean", "loss", 12),
    ]
    assert all(entry.claim == "trusted-plan" and entry.epsilon is None for entry in left)


def test_after_a_crash_the_same_bytes_leave(hospital, ledger):
    admission, order, bundle = admitted(hospital)
    base = {"w": np.zeros((3, 1), np.float32)}
    first = release_all(admission, order.order.run, ledger, base, train(hospital, bundle, 21))
    again = release_all(admission, order.order.run, ledger, base, train(hospital, bundle, 21))
    assert [entry.output for _, entry in first] == [entry.output for _, entry in again]
    assert ledger.find(Occurrence(order.order.run, 10)).digest == digest(first[0][1].output)
    assert ledger.conflicts() == []


def test_a_failed_region_leaves_no_trace_in_what_is_released(hospital, ledger, tmp_path):
    """An error in the box gives an answer of the same form, size and statement as one of an empty hospital."""
    admission, order, _ = admitted(hospital)
    base = {"w": np.zeros((3, 1), np.float32)}
    error = Misfit("KeyError: 'x' in row 7")
    failed = release_all(admission, order.order.run, ledger, base, {"state": error, "losses": error, "n": error})
    other = PrivacyLedger(tmp_path / "other.db")
    empty = release_all(admission, order.order.run, other, base, {"state": base, "losses": [], "n": 0})
    other.close()
    assert [statement for statement, _ in failed] == [statement for statement, _ in empty]
    assert [entry.output for _, entry in failed] == [entry.output for _, entry in empty]


def test_a_plan_that_copies_rows_is_not_admitted_but_would_run(hospital):
    """The pin is what keeps a leaking plan out: the graph itself is an ordinary one."""
    admission, _, bundle = admitted(hospital)
    assert admission.rule == 0
    with pytest.raises(PlanMismatch, match="pins graph 'train'"):
        OnnxInterpreter("cpu").load(bundle.plan, {"train": bundle.graphs["train"] + b"\x32\x00"})


def test_a_program_s_wrong_feed_is_an_error_of_the_tree(hospital):
    _, _, bundle = admitted(hospital)
    interpreter = OnnxInterpreter("cpu")
    plan = interpreter.load(bundle.plan, bundle.graphs)
    with pytest.raises(GraphFailed, match=r"takes \['state', 'x', 'y'\]"):
        interpreter.run(plan, "train", {"state": {"w": np.zeros((3, 1), np.float32)}})
