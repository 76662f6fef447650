"""`program.py` on the machine, with ONNX Runtime behind `gpu.run`: it does what `simulation` computes."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest
from hospitals import baselines, data, graphs, job, settings, simulation
from sojourn.codec import encode
from sojourn.contracts import UpdateSpec
from sojourn.datoms import quantise
from sojourn.interpreters import OnnxInterpreter
from sojourn.labels import PUBLIC, Label
from sojourn.vm import Done, Handle, Machine, Parked, RecordValue, verify
from sojourn_policies import Fold

ARGS = {
    "epochs": settings.EPOCHS,
    "size": settings.BATCH,
    "fuel": settings.REGION_FUEL,
    "memory": settings.REGION_MEMORY,
    "rounds": settings.ROUNDS,
}
RUN = bytes(32)


@pytest.fixture(scope="module")
def program():
    return verify(encode(job.compiled()))


class Agent:
    """The least host of an agent's program: keeps what handles stand for and answers effects."""

    def __init__(self, rows: data.Patients) -> None:
        self.rows, self.things, self.numbers = rows, {}, count(1)
        self.interpreter = OnnxInterpreter(provider="cpu")
        self.plan = self.interpreter.load(*graphs.load_plan())
        self.private = Label(frozenset({f"{rows.name}/patients"}))
        self.released, self.effects = [], []

    def keep(self, kind: str, thing: object, label: Label) -> Handle:
        handle = Handle(kind, next(self.numbers).to_bytes(32, "big"), label)
        self.things[handle.id] = thing
        return handle

    def run(self, program, weights: dict[str, np.ndarray]) -> Machine:
        order = RecordValue("order", {"weights": self.keep("state", weights, PUBLIC), "round": 0, "args": dict(ARGS)})
        machine = Machine.start(program, "hospital", [order], RUN, settings.JOB_FUEL, settings.JOB_MEMORY)
        while isinstance(progress := machine.run(10_000_000), Parked):
            self.effects.append(progress.effect.name)
            machine.resume(self.answer(machine, progress.effect))
        assert isinstance(progress, Done), progress
        return machine

    def answer(self, machine: Machine, effect) -> object:
        args = effect.args
        match effect.name:
            case "stream.open":
                assert args == {"name": "patients", "fields": ["x", "y"]}
                return self.keep("stream", self.rows, self.private)
            case "stream.first":
                return self.keep("cursor", 0, effect.label)
            case "stream.batch":
                start = self.things[args["cursor"].id]
                end = min(start + args["n"], len(self.rows))
                batch = {name: self.keep("tensor", getattr(self.rows, name)[start:end], effect.label) for name in "xy"}
                cursor = self.keep("cursor", end, effect.label) if end < len(self.rows) else None
                return ({**batch, "rows": end - start}, cursor)
            case "gpu.run":
                feeds = {name: self.things[args[name].id] for name in ("state", "x", "y")}
                found = self.interpreter.run(self.plan, args["name"], feeds)
                return {
                    name: self.keep("state" if name == "state" else "tensor", value, effect.label)
                    for name, value in found.items()
                }
            case _:
                self.released.append((effect.name, {k: v for k, v in args.items() if k != "box"}))
                self.result = machine.open(args["box"])
                return None


@pytest.fixture(scope="module")
def ran(program):
    """One hospital's whole run: the host, the machine and the hospital."""
    agent = Agent(data.load(0).hospitals[2])
    return agent, agent.run(program, baselines.initial_weights())


def test_the_region_trains_as_the_oracle_does(ran):
    agent, _ = ran
    expected, _ = baselines.Trainer().train(
        baselines.initial_weights(), agent.rows, baselines.steps_of_round(agent.rows)
    )
    state = agent.things[agent.result["state"].id]
    assert {name: tensor.tobytes() for name, tensor in state.items()} == {n: t.tobytes() for n, t in expected.items()}
    assert agent.result["n"] == len(agent.rows)
    losses = [agent.things[handle.id] for handle in agent.result["losses"]]
    assert sum(len(part) for part in losses) == len(agent.rows)  # of the last pass only: one value a patient


def test_it_releases_what_the_job_says_and_in_that_order(ran):
    agent, _ = ran
    (phase,) = job.phases()
    assert [name for name, _ in agent.released] == [f"release.{spec.kind}" for spec in phase.answer]
    (_, update), (_, counted), (_, mean) = agent.released
    assert (update["of"], update["weight"]) == ("state", "n")
    assert (counted["name"], counted["high"]) == (phase.answer[1].name, phase.answer[1].high)
    assert (mean["name"], mean["low"], mean["high"]) == (
        phase.answer[2].name,
        phase.answer[2].low,
        phase.answer[2].high,
    )


def test_it_makes_the_steps_that_the_submission_announces(ran):
    agent, _ = ran
    assert agent.effects.count("gpu.run") == baselines.steps_of_round(agent.rows)
    assert agent.effects[0] == "stream.open"
    assert agent.effects[-3:] == ["release.update", "release.count", "release.mean"]


def test_the_largest_hospital_stays_well_within_the_budgets(program, monkeypatch):
    """429 rows in one hospital, ten times fewer instructions and bytes than the region is charged for."""
    monkeypatch.setitem(ARGS, "fuel", settings.REGION_FUEL // 10)
    monkeypatch.setitem(ARGS, "memory", settings.REGION_MEMORY // 10)
    agent = Agent(data.load(0).pooled)
    machine = agent.run(program, baselines.initial_weights())
    assert agent.result["n"] == 429
    outside = settings.JOB_FUEL - settings.REGION_FUEL // 10 - machine.fuel_left
    assert outside < (settings.JOB_FUEL - settings.REGION_FUEL) / 10


def test_the_rounds_program_is_federated_averaging(program, monkeypatch):
    """Both programs on the machine, three rounds, five hospitals: the oracle's model, bit for bit."""
    monkeypatch.setitem(ARGS, "rounds", 3)
    study = data.load(0)
    expected, _ = simulation.simulate(study, rounds=3)
    spec = UpdateSpec(settings.CLIP, settings.SCALE, settings.BOUND, settings.COUNT_HIGH)
    things: dict[bytes, object] = {}
    numbers, asked = count(1), []

    def keep(kind: str, thing: object) -> Handle:
        handle = Handle(kind, next(numbers).to_bytes(32, "big"), PUBLIC)
        things[handle.id] = thing
        return handle

    def answer(effect) -> object:
        args = effect.args
        asked.append(effect.name)
        match effect.name:
            case "fleet.invite":
                return keep("cohort", args["round"])
            case "fleet.ask":
                assert args["phase"] == "train"
                base = things[args["weights"].id]
                answers = []
                for hospital in study.hospitals:
                    agent = Agent(hospital)
                    agent.run(program, base)
                    state = agent.things[agent.result["state"].id]
                    delta = {name: state[name].astype(np.float64) - base[name] for name in base}
                    answers.append((quantise(delta, agent.result["n"], spec), agent.result["n"]))
                return keep("answers", answers)
            case "updates.aggregate":
                assert args["policy"] == {"name": "fedavg"}
                fold = Fold(things[args["base"].id], spec)
                for update, weight in things[args["answers"].id]:
                    fold.add(update, weight)
                return keep("model", fold.result().tensors)
            case _:
                return keep("state", things[args["model"].id])

    initial = keep("state", baselines.initial_weights())
    record = RecordValue("job", {"initial": initial, "args": dict(ARGS), "policy": {"name": "fedavg"}})
    machine = Machine.start(program, "rounds", [record], RUN, settings.JOB_FUEL, settings.JOB_MEMORY)
    while isinstance(progress := machine.run(1_000_000), Parked):
        machine.resume(answer(progress.effect))
    assert isinstance(progress, Done), progress
    assert asked == ["fleet.invite", "fleet.ask", "updates.aggregate", "model.publish"] * 3
    model = things[progress.value.id]
    assert {name: tensor.tobytes() for name, tensor in model.items()} == {n: t.tobytes() for n, t in expected.items()}
