"""A model of exactly once: a host that is killed anywhere, any number of times, does what one life would have done.

The parts are the agent's own: host, journal, log, ledger, database, owner's log, graphs in the runtime. Only the disk
below them is simulated. The model is one undisturbed run of the same order on a copy of the same folder:

* commit: each release is in the ledger once and each note in the owner's log once, with what the model released;
* pure and read: whenever an effect is answered, in whatever life, it is with the value that the model gave it, though
  rows come in between;
* the answer is the model's, and counts of effects resumed and recomputed stay within what was promised.

`SOJOURN_FUZZ_KILLS=n` tries n examples instead of the few of `make test`.
"""

import importlib.util
import json
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sojourn.agent import journal as journal_module
from sojourn.agent.data import AgentStreams
from sojourn.agent.database import read_orders
from sojourn.agent.folder import AgentPaths
from sojourn.agent.host import RunHost
from sojourn.agent.owner import OwnerLog
from sojourn.limits import SEAL_CADENCE_EFFECTS
from sojourn.privacy import PrivacyLedger
from sojourn.vm import Handle

EXAMPLES = int(os.environ.get("SOJOURN_FUZZ_KILLS", "16"))

# Notes in every world, a read that fails and is caught, a scalar that is read, two regions, releases between notes.
MIXED = """\
from sojourn.program import continuation, gpu, log, private, release, stream, tensor


def train(rows, weights, size):
    state, losses, n, cursor = weights, [], 0, stream.first(rows)
    while cursor is not None:
        batch, cursor = stream.batch(rows, cursor, size)
        out = gpu.run("train", state=state, x=batch["x"], y=batch["y"])
        state, n = out["state"], n + batch["rows"]
        losses.append(out["losses"])
        if n % 2:
            log.note(f"inside {n}")
        try:
            tensor.item(out["losses"])
        except ValueError:
            pass
    return {"state": state, "losses": losses, "n": n}


@continuation
def hospital(order):
    a = order.args
    log.note("begins")
    try:
        stream.open("absent", fields=["x"])
    except (PermissionError, LookupError):
        log.note("no such stream")
    rows = stream.open("patients", fields=["x", "y"])
    first = private(train, rows, order.weights, a["size"], fuel=a["fuel"], memory=a["memory"])
    log.note("between")
    result = private(train, rows, order.weights, a["size"] + 1, fuel=a["fuel"], memory=a["memory"])
    release.update(result, of="state", weight="n", base=order.weights)
    log.note("released one")
    release.count(first, of="n", name="patients", high=1000)
    release.mean(result, of="losses", name="loss", low=0.0, high=10.0)
    log.note("ends")
"""


def _load_disk():
    spec = importlib.util.spec_from_file_location("agent_disk", Path(__file__).parent / "disk.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


DISK = _load_disk()


def shown(value):
    """A value given to the machine, with the identity of each handle."""
    if isinstance(value, Handle):
        return (value.kind, value.id.hex(), value.label.names)
    if isinstance(value, dict):
        return {key: shown(item) for key, item in value.items()}
    return [shown(item) for item in value] if isinstance(value, list | tuple) else repr(value)


class Life:
    """One process of the agent: from its start to its end or its kill."""

    def __init__(self, world, folder, disk, minted):
        self._world, self.folder, self.disk, self.minted = world, folder, disk, minted
        self.given, self.model = {}, {}

    def accept(self):
        with self._world.bench(self.folder) as bench:
            bench.accept(self.minted)

    def work(self, *, target=None, moment="before", stop_after=None):
        """Take the held order up. True when its answer is durable."""
        stop, seen = threading.Event(), [0]
        original = RunHost._resume

        def resume(host, effect, outcome):
            value = shown(outcome.value) if hasattr(outcome, "value") else repr(outcome)
            known = self.given.setdefault(effect.occurrence, (effect.name, value))
            assert known == (effect.name, value), "an effect was answered in two ways"
            assert self.model.get(effect.occurrence, known) == known, "an effect was answered in another way"
            seen[0] += 1
            if seen[0] == stop_after:
                stop.set()
            return original(host, effect, outcome)

        with pytest.MonkeyPatch.context() as monkey, self.disk.in_use():
            monkey.setattr(RunHost, "_resume", resume)
            with self._world.bench(self.folder) as bench:
                (row,) = bench.agent._database.held()
                if row.state == "answered":
                    return True
                opened = bench.agent._desk.open(row.envelope, row.accepted_ms)
                self.disk.arm(target, moment)
                try:
                    return bench.work(opened, stop) is not None
                except DISK.Killed:
                    return False
                finally:
                    self.disk.disarm()

    @property
    def opened(self):
        """Whether the private stream was opened in some life."""
        return any(name == "stream.open" and value[0] == "stream" for name, value in self.given.values())

    def facts(self):
        """What is outside of the process: answer, ledger, notes, counts."""
        paths, answer, notes = AgentPaths(self.folder), None, []
        (row,) = read_orders(paths.database)[0]
        ledger = PrivacyLedger(paths.database, paths.root / "released")
        released = ledger.released(self.minted.order.run)
        ledger.close()
        if row.packet is not None:
            opened = self._world.federation.open_answer(self._world.entry, row.packet, row.sealed or b"", self.minted)
            found = opened.answer
            answer = (found.outcome, found.code, found.line, found.releases, opened.body)
        lines = [line for line in paths.log.read_bytes().splitlines() if line.endswith(b"}")]
        for fields in map(json.loads, lines):  # without those that a kill cut
            if fields["event"] == "note":
                notes.append((fields["run"], fields["operation"], fields["text"]))
        return row, [(entry.operation, entry.kind, entry.name, entry.digest) for entry in released], notes, answer


class World:
    """Orders that were minted once, each with the undisturbed run that is its model."""

    def __init__(self, federation, bench_class, entry, template, plain, root):
        self.federation, self._bench, self.entry = federation, bench_class, entry
        self._template, self.plain, self._root = template, plain, root
        self._models, self._copies = {}, 0

    def bench(self, folder):
        return self._bench(self.federation, folder, self.entry)

    def begin(self, source, size):
        """A fresh folder with the accepted order, and its model."""
        if (source, size) not in self._models:
            args = {"size": size, "epochs": 2}
            life = Life(
                self, self._copy(self._template), DISK.Disk(), self.federation.mint(self.entry, source, job_args=args)
            )
            life.accept()
            accepted = self._copy(life.folder)
            assert life.work()
            self._models[source, size] = life.minted, accepted, life.given, life.facts(), len(life.disk.writes)
        minted, accepted, given, facts, writes = self._models[source, size]
        life = Life(self, self._copy(accepted), DISK.Disk(), minted)
        life.model = given
        return life, facts, writes

    def _copy(self, folder):
        self._copies += 1
        target = self._root / str(self._copies)
        shutil.copytree(folder, target)
        return target


class KilledRuns(RuleBasedStateMachine):
    world: World
    kills = 0

    @initialize(source=st.sampled_from(["hospital", MIXED]), size=st.sampled_from([3, 8, 20]), small=st.booleans())
    def begin(self, source, size, small):
        source = self.world.plain if source == "hospital" else source
        self.rotate = 0 if small else journal_module._ROTATE_BYTES
        self.life, self.model, self.writes = self.world.begin(source, size)
        self.answered, self.lives, self.cuts = False, 0, 0

    def live(self, **options):
        with pytest.MonkeyPatch.context() as monkey:
            monkey.setattr(journal_module, "_ROTATE_BYTES", self.rotate)
            self.answered = self.life.work(**options)
        self.lives += 1

    @precondition(lambda self: not self.answered)
    @rule(place=st.integers(0, 10_000), moment=st.sampled_from(["before", "during", "after"]))
    def kill(self, place, moment):
        self.live(target=place % self.writes, moment=moment)
        type(self).kills += self.life.disk.dead
        self.life.disk.dead = False

    @precondition(lambda self: not self.answered)
    @rule(place=st.integers(0, 10_000), moment=st.sampled_from(["before", "during", "after"]), keep=st.floats(0, 1))
    def cut_the_power(self, place, moment, keep):
        self.live(target=place % self.writes, moment=moment)
        self.life.disk.dead = False
        self.cuts += 1
        self.life.disk.power_cut(self.life.folder / "runs", keep)

    @precondition(lambda self: not self.answered)
    @rule(effects=st.integers(1, 12))
    def stop(self, effects):
        self.live(stop_after=effects)

    @precondition(lambda self: not self.answered and self.life.opened)
    @rule(rows=st.integers(1, 3))
    def rows_come(self, rows):
        """What an owner imports once the run has fixed what it reads: no life may see it."""
        streams = AgentStreams(AgentPaths(self.life.folder).streams)
        streams.append("patients", {"x": np.ones((rows, 3), np.float32), "y": np.ones((rows, 1), np.float32)})
        streams.close()

    @rule()
    def finish(self):
        if not self.answered:
            self.live()
        assert self.answered
        self.check_the_end()

    @invariant()
    def nothing_is_committed_twice(self):
        if not hasattr(self, "life"):
            return
        _, ledger, notes, _ = self.life.facts()
        assert ledger == self.model[1][: len(ledger)]
        assert notes == self.model[2][: len(notes)]

    def check_the_end(self):
        row, ledger, notes, answer = self.life.facts()
        model = self.model[0]
        assert (ledger, notes, answer) == self.model[1:]
        assert answer[0] == "done"
        assert row.effects == model.effects
        assert row.recomputed <= SEAL_CADENCE_EFFECTS * self.lives or self.cuts

    def teardown(self):
        if hasattr(self, "life"):
            self.finish()
            shutil.rmtree(self.life.folder)


@pytest.fixture
def world(federation, bench_class, agent_entry, folder, hospital_source, tmp_path):
    (tmp_path / "lives").mkdir()
    return World(federation, bench_class, agent_entry, folder, hospital_source, tmp_path / "lives")


def explore(world, examples):
    """Kill runs in many ways; returns how many lives were ended by a kill."""

    class Explored(KilledRuns):
        pass

    Explored.world = world
    run_state_machine_as_test(
        Explored,
        settings=settings(
            max_examples=examples,
            stateful_step_count=5,
            deadline=None,
            derandomize=examples <= 16,
            phases=[Phase.generate],  # each step is a life of an agent: a smaller example is not worth hundreds of them
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        ),
    )
    return Explored.kills


@pytest.mark.timeout(86_400 if EXAMPLES > 16 else 240)
def test_killed_runs_do_what_one_life_would_have_done(world):
    assert explore(world, EXAMPLES) > EXAMPLES // 4


def test_a_line_of_the_log_that_was_cut_takes_no_other_with_it(world):
    """Every line of a run is cut in its middle, once."""
    life, model, _ = world.begin(MIXED, 8)
    assert life.work()
    lines = [number for number, kind in enumerate(life.disk.writes) if kind == "line"]
    assert len(lines) > 7
    for number in lines[::3]:
        life, model, _ = world.begin(MIXED, 8)
        assert not life.work(target=number, moment="during")
        life.disk.dead = False
        assert life.work()
        assert life.facts()[1:] == model[1:]
        assert sum(not line.endswith(b"}") for line in (life.folder / "owner.log").read_bytes().splitlines()) == 1


def test_a_host_that_forgets_what_it_noted_is_noticed(world, monkeypatch):
    monkeypatch.setattr(OwnerLog, "noted", lambda _: frozenset())
    with pytest.raises(AssertionError):
        explore(world, 16)
