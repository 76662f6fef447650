"""The owner's side of one order, with nothing left out: documents, machine, guard, graphs, releases, ledger, reader.

`Host` answers the effects of a real machine; it keeps no journal (that is the agent's) and everything else is real.
"""

import numpy as np
import pytest
from sojourn.codec import digest
from sojourn.datoms import UpdateReader, split_datoms
from sojourn.errors import PlanMismatch, ReleaseConflict
from sojourn.interpreters import OnnxInterpreter
from sojourn.labels import PUBLIC, Label
from sojourn.privacy import (
    Misfit,
    PrivacyLedger,
    decide,
    release_count,
    release_mean,
    release_update,
)
from sojourn.vm import Done, Handle, Machine, Parked, RecordValue, RegionError

SHAPES = {"w": (3, 1)}
KINDS, NAMES = ("update", "count", "mean"), ("update", "patients", "loss")


@pytest.fixture
def ledger(tmp_path):
    made = PrivacyLedger(tmp_path / "agent.db")
    yield made
    made.close()


class Host:
    """Runs one admitted order on `rows` patients."""

    def __init__(self, hospital, ledger, rows):
        self.order = hospital.order()
        self.bundle = hospital.bundle(self.order)
        self.program = hospital.program
        self.admission = decide(hospital.policy(), self.order, self.bundle, self.program)
        self.ledger, self.rows, self.table = ledger, rows, hospital.rows(rows)
        self.base = {"w": np.zeros((3, 1), np.float32)}
        self.things, self.made = {}, []
        self.interpreter = OnnxInterpreter("cpu")
        self.plan = self.interpreter.load(self.bundle.plan, self.bundle.graphs)

    def keep(self, kind, thing, label):
        name = digest(f"{kind} {len(self.things)}".encode())
        self.things[name] = thing
        return Handle(kind, name, label)

    def take(self, value):
        """Handles replaced by what they name, also inside lists and dicts."""
        if isinstance(value, Handle):
            return self.things[value.id]
        if isinstance(value, list):
            return [self.take(item) for item in value]
        return value

    def run(self):
        weights = self.keep("state", self.base, PUBLIC)
        record = RecordValue("order", {"weights": weights, "round": 0, "args": {}})
        machine = Machine.start(self.program, "hospital", (record,), self.order.order.run, 10**6, 2 * 10**6)
        while isinstance(progress := machine.run(10_000), Parked):
            machine.resume(self.answer(machine, progress.effect))
        assert isinstance(progress, Done), progress
        self.interpreter.close()
        return self.made

    def answer(self, machine, effect):
        self.admission.check_effect(effect.name)
        if effect.name == "stream.open":
            self.admission.check_open(effect.args["name"], effect.args["fields"])
            return self.keep("stream", self.table, Label.of("hospital-1/patients"))
        if effect.name == "stream.first":
            return self.keep("cursor", 0, effect.label)
        if effect.name == "stream.batch":
            start = self.take(effect.args["cursor"])
            end = start + effect.args["n"]
            batch = {name: self.keep("tensor", column[start:end], effect.label) for name, column in self.table.items()}
            batch["rows"] = min(end, self.rows) - start
            return batch, self.keep("cursor", end, effect.label) if end < self.rows else None
        if effect.name == "gpu.run":
            feeds = {name: self.take(value) for name, value in effect.args.items() if name != "name"}
            out = self.interpreter.run(self.plan, effect.args["name"], feeds)
            return {
                name: self.keep("state" if isinstance(value, dict) else "tensor", value, effect.label)
                for name, value in out.items()
            }
        return self.release(machine, effect)

    def payload(self, machine, box, key):
        content = machine.open(box)
        if isinstance(content, RegionError):
            return Misfit(f"{content.type_name}: {content.message}")
        return self.take(content[key]) if isinstance(content, dict) and key in content else Misfit(f"no key {key!r}")

    def release(self, machine, effect):
        kind, args = effect.name.removeprefix("release."), effect.args
        name = args.get("name", "update")
        parameters = {key: args[key] for key in ("low", "high") if key in args}
        spec = self.admission.check_release(kind, name, parameters, position=len(self.made))
        payload = self.payload(machine, args["box"], args["of"])
        if spec.update is not None:
            weight = self.payload(machine, args["box"], args["weight"])
            release = release_update(payload, self.take(args["base"]), weight, spec.update, SHAPES)
        elif kind == "count":
            release = release_count(payload, spec.high)
        else:
            release = release_mean(payload, spec.low, spec.high)
        run, operation = effect.occurrence
        statement = release.statement(name, operation, self.admission.policy)
        entry = self.ledger.record(run, statement, release.output, sources=args["box"].label.names, now_ms=1)
        self.made.append((statement, entry, release.note))


def expected(hospital, rows, size=8):
    """The same training in numpy: final weights, and the loss of each patient."""
    table, w, losses = hospital.rows(rows), np.zeros((3, 1)), []
    for start in range(0, rows, size):
        x, y = (table[name][start : start + size].astype(float) for name in ("x", "y"))
        error = x @ w - y
        losses += (error**2)[:, 0].tolist()
        w = w - 2.0**-6 * (x.T @ error)
    return w[:, 0], losses


def test_from_order_to_released_bytes(hospital, ledger):
    host = Host(hospital, ledger, 21)
    update, count, mean = host.run()
    weights, losses = expected(hospital, 21)

    spec = host.admission.releases[0].update
    reader = UpdateReader(SHAPES, spec)
    pieces = [reader.feed(datom) for datom in split_datoms(update[1].output)]
    weight, root = reader.finish()
    assert (weight, root) == (21, update[0].root)
    q = next(piece for piece in pieces if piece is not None)
    np.testing.assert_allclose(q.values * spec.scale / weight, weights, atol=1e-5)

    assert count[0].value == 21.0
    assert mean[0].value == pytest.approx(np.clip(losses, 0.0, 10.0).mean(), rel=1e-5)
    assert {statement.policy for statement, _, _ in host.made} == {hospital.policy().digest}
    left = ledger.released(host.order.order.run)
    assert [(entry.kind, entry.name) for entry in left] == [
        ("update", "update"),
        ("count", "patients"),
        ("mean", "loss"),
    ]
    assert all(entry.claim == "trusted-plan" and entry.epsilon is None for entry in left)
    assert all(entry.sources == ("hospital-1/patients",) for entry in left)


def test_after_a_crash_the_same_bytes_leave(hospital, ledger):
    first, again = Host(hospital, ledger, 21).run(), Host(hospital, ledger, 21).run()
    assert [entry.output for _, entry, _ in first] == [entry.output for _, entry, _ in again]
    assert len(ledger.released()) == 3
    assert ledger.conflicts() == []


def test_other_data_cannot_be_released_under_the_same_occurrence(hospital, ledger):
    """Asking the same order again over a changed stream would be a second look at the data."""
    Host(hospital, ledger, 21).run()
    with pytest.raises(ReleaseConflict, match="already released update"):
        Host(hospital, ledger, 22).run()
    assert len(ledger.conflicts()) == 1


def test_a_failed_region_releases_what_an_empty_one_would(hospital, ledger):
    """The region spends its fuel: every release is made, neutral, and only the owner's notes tell."""
    host = Host(hospital, ledger, 40_000)
    host.rows = 10**6  # the cursor never ends
    made = host.run()
    empty = {"w": np.zeros((3, 1), np.float32)}
    spec = host.admission.releases[0].update
    assert made[0][1].output == release_update(empty, empty, 0, spec, SHAPES).output
    assert [statement.value for statement, _, _ in made] == [None, 0.0, 5.0]
    assert [note.partition(":")[0] for _, _, note in made] == ["FuelExhausted"] * 3


def test_the_interpreter_holds_the_plan_to_its_pins(hospital, ledger):
    host = Host(hospital, ledger, 1)
    with pytest.raises(PlanMismatch, match="pins graph 'train'"):
        host.interpreter.load(host.bundle.plan, {"train": host.bundle.graphs["train"] + b"\x32\x00"})
