"""Planted rows of an agent's stream are sought in everything that the agent sends, before it is sealed.

The plans of the leaking jobs differ from the sample's in one line of one graph, `w.new = x[0]`. A sound detector has to
find that, so it is run on it, too: once the owner's pin is out of the way, and on rows written into noise in each form.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import msgspec
import numpy as np
import onnx
import pytest
from hospitals import graphs
from hospitals.baselines import initial_weights
from onnx import TensorProto, helper
from security_detector import FIELDS, Canaries, Message
from security_federation import Submission, Trial, owner_log, rows_of, submission
from security_tap import Tap
from sojourn.codec import digest
from sojourn.contracts import Plan
from sojourn.errors import AdmissionRefused

ROWS = 40
PLANTED = (0, 5, 16, 32, 39)  # 32 begins the last batch of a pass: what `x[0]` is when the region ends
SEED = 20_260_101


@pytest.fixture(scope="module")
def canaries() -> Canaries:
    return Canaries(len(PLANTED), SEED)


def planted_rows(canaries: Canaries) -> dict[str, np.ndarray]:
    """Ordinary patients with canaries among them."""
    x, y = rows_of(ROWS, 7)
    x[list(PLANTED)] = canaries.x
    return {"x": x, "y": y}


def leaking_plan() -> tuple[Plan, dict[str, bytes]]:
    """The sample's plan, but the training graph puts the batch's first row where the new weights belong."""
    plan, files = graphs.load_plan()
    model = onnx.load_from_string(files["train"])
    kept = [node for node in model.graph.node if not {"w.new", "b.new"} & set(node.output)]
    copied = [
        helper.make_node("Gather", ["x", "first_row"], ["row"], axis=0),
        helper.make_node("Unsqueeze", ["row", "last_axis"], ["w.new"]),
        helper.make_node("Identity", ["b"], ["b.new"]),
    ]
    del model.graph.node[:]
    model.graph.node.extend(kept + copied)
    model.graph.initializer.append(helper.make_tensor("first_row", TensorProto.INT64, [], [0]))
    onnx.checker.check_model(model, full_check=True)
    train = model.SerializeToString(deterministic=True)
    pinned = tuple(
        msgspec.structs.replace(graph, digest=digest(train)) if graph.name == "train" else graph
        for graph in plan.graphs
    )
    return msgspec.structs.replace(plan, graphs=pinned), {**files, "train": train}


@dataclass(frozen=True, slots=True)
class Ran:
    """A job that has ended: what the operator sees, what was tapped, and the public models by round."""

    view: dict
    tap: Tap
    models: dict[int, dict[str, np.ndarray]]
    folder: object


async def run(
    trial: Trial, given: Submission, canaries: Canaries, patch, policy: str | None = None, rows: dict | None = None
) -> Ran:
    """Run a job on one agent with planted rows, or with `rows`, and tap it."""
    folder = trial.agent(given, rows or planted_rows(canaries), policy=policy)
    tap = Tap()
    models: dict[int, dict[str, np.ndarray]] = {0: initial_weights()}
    async with trial.serving() as serving:
        with patch.context() as inner:
            tap.install(inner)
            async with serving.agents(folder):
                job = await serving.submit(given.data)
                view = await serving.ended(job)
        for row in view["table"]:
            models[row["round"] + 1] = await serving.model(job, row["round"])
    return Ran(view, tap, models, folder)


async def test_an_honest_run_sends_no_row(trial: Trial, canaries: Canaries, monkeypatch) -> None:
    given = submission(trial.trust.author, args={"rounds": 3})
    ran = await run(trial, given, canaries, monkeypatch)
    assert (ran.view["state"], len(ran.view["table"])) == ("done", 3)
    ran.tap.check_complete()
    messages = list(ran.tap.messages(ran.models))
    assert [message.name for message in messages if message.name.startswith("update")] == [
        f"update of round {number}" for number in range(3)
    ]
    assert canaries.find(messages) == []


async def test_a_plan_that_copies_a_row_is_refused_by_its_hash(trial: Trial, canaries: Canaries, monkeypatch) -> None:
    honest, leaking = submission(trial.trust.author), submission(trial.trust.author, plan=leaking_plan())
    assert honest.plan_digest != leaking.plan_digest
    ran = await run(trial, leaking, canaries, monkeypatch, policy=trial.policy(honest, "hospital"))
    assert ran.view["state"] == "failed"
    assert ran.tap.packets() == []
    assert not ran.tap.sealed
    (declined,) = [m for m in ran.tap.wire() if type(m).__name__ == "Declined"]
    assert declined.code == AdmissionRefused.code
    (refusal,) = [line for line in owner_log(ran.folder) if line["event"] == "order declined"]
    assert f"does not admit plan sha256:{leaking.plan_digest}: its owner has not pinned this hash" in refusal["why"]
    assert canaries.find(ran.tap.messages(ran.models)) == []


async def test_without_the_pin_the_detector_finds_the_leak(trial: Trial, canaries: Canaries, monkeypatch) -> None:
    leaking = submission(trial.trust.author, plan=leaking_plan())
    pinned = trial.policy(leaking, "hospital")
    unpinned = pinned.replace(f'plans = ["sha256:{leaking.plan_digest}"]', 'plans = "any-pinned-by-author"')
    assert unpinned != pinned
    ran = await run(trial, leaking, canaries, monkeypatch, policy=unpinned)
    assert ran.view["state"] == "done"
    ran.tap.check_complete()
    found = canaries.find(ran.tap.messages(ran.models))
    leaked = PLANTED.index(32)
    assert {finding.row for finding in found} == {leaked}
    forms = {finding.form for finding in found if finding.message == "update of round 0"}
    # The blocks themselves, as they lie in the sealed body, and what they mean.
    assert any(form.startswith("window of <i4") for form in forms)
    assert {"tensor w (blocks)", "tensor w (change)", "tensor w (model)", "tensor w (change), in some order"} <= forms
    # From the second round on only the sum with the public model is the row: the change is near zero.
    assert "tensor w (model)" in {finding.form for finding in found if finding.message == "update of round 1"}


async def test_a_stream_of_one_patient_is_told_by_its_update(trial: Trial, canaries: Canaries, monkeypatch) -> None:
    """What a clip cannot hide (`docs/limitations/privacy.md`): a gradient of one row is a multiple of that row."""
    given = submission(trial.trust.author)
    alone = {"x": canaries.x[:1], "y": np.ones(1, np.float32)}
    ran = await run(trial, given, canaries, monkeypatch, rows=alone)
    assert {finding.row for finding in canaries.find(ran.tap.messages(ran.models))} == {0}


# The detector itself


def noise(seed: int, size: int = 10_000) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def test_the_detector_is_silent_on_noise_and_on_other_rows(canaries: Canaries) -> None:
    other = Canaries(3, SEED + 1)
    messages = [Message(str(seed), noise(seed)) for seed in range(4)]
    messages.append(
        Message("other rows", other.rows.tobytes() + other.x.tobytes() + repr(other.rows.tolist()).encode())
    )
    x, _ = rows_of(ROWS, 7)
    messages.append(Message("patients", x.tobytes(), {"x": x}, tuple(map(float, x.reshape(-1)))))
    assert canaries.find(messages) == []


FORMS = {
    "text, 8 digits": lambda row: ",".join(f"{value:.8f}" for value in row).encode(),
    "text, 5 digits": lambda row: " ".join(f"{value:.5g}" for value in row).encode(),
    "text, exponents": lambda row: " ".join(f"{value:.7e}" for value in row).encode(),
    "text, of float32": lambda row: str(row.astype(np.float32).tolist()).encode(),
    "one field, 7 digits": lambda row: f"age {row[3]:.7f}".encode(),
    "float32": lambda row: row.astype("<f4").tobytes(),
    "float32, big endian, backwards": lambda row: row[::-1].astype(">f4").tobytes(),
    "two fields, float32": lambda row: struct.pack("<f3xf", row[4], row[20]),
    "float64": lambda row: row.astype("<f8").tobytes(),
    "one field, float64": lambda row: struct.pack(">d", row[29]),
    "int32 of 7 digits": lambda row: np.rint(row * 1e7).astype("<i4").tobytes(),
    "int64 of 8 digits, big endian, two fields": lambda row: struct.pack(">qq", *np.rint(row[:2] * 1e8).astype(int)),
    "a multiple, float32": lambda row: (row * -3.7).astype("<f4").tobytes(),
    "a multiple, float64": lambda row: (row * 1e-200).astype(">f8").tobytes(),
    "a multiple, int32": lambda row: np.rint(row * 104_857.3).astype("<i4").tobytes(),
    "a multiple, int64": lambda row: np.rint(row * 3e15).astype("<i8").tobytes(),
    "a little noise": lambda row: (
        (row + np.random.default_rng(3).normal(scale=0.01, size=FIELDS)).astype("f4").tobytes()
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("offset", [0, 1001])
def test_the_detector_finds_each_form_at_any_offset(canaries: Canaries, form: str, offset: int) -> None:
    for row in range(len(PLANTED)):
        around = noise(row, 5_000)
        message = Message("it", around[:offset] + FORMS[form](canaries.rows[row]) + around[offset:])
        assert {finding.row for finding in canaries.find([message])} == {row}


def test_the_detector_finds_a_row_in_any_order_among_numbers(canaries: Canaries) -> None:
    shuffled = np.random.default_rng(1).permutation(canaries.rows[2])
    between = np.random.default_rng(2).normal(size=200)
    numbers = tuple(map(float, np.concatenate([between, shuffled])))
    assert {finding.row for finding in canaries.find([Message("it", b"", {}, numbers)])} == {2}


def test_canaries_have_eight_digits_and_are_all_distinct(canaries: Canaries) -> None:
    texts = [f"{value:.8f}" for value in canaries.rows.reshape(-1)]
    assert len(set(texts)) == len(texts) == len(PLANTED) * FIELDS
    assert all(len(text.partition(".")[2]) == 8 and text[-1] != "0" for text in texts)
