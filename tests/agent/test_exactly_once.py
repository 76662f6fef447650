"""Kills at every occurrence: the answer is the one of the undisturbed run, and the price is what was promised."""

import json
import os
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
from sojourn.agent import desk as desk_module
from sojourn.agent import journal as journal_module
from sojourn.agent.admission import Prepared
from sojourn.agent.data import AgentStreams
from sojourn.agent.database import AgentDatabase
from sojourn.agent.journal import Journal
from sojourn.errors import StoreError
from sojourn.limits import SEAL_CADENCE_EFFECTS
from sojourn.privacy import PrivacyLedger
from sojourn.streams import Field
from sojourn.streams.logwriter import LogWriter


class Killed(BaseException):
    """The process is gone: no handler of the program under test may catch this."""


def essence(answer):
    """What two answers to one order must agree in: everything but the time of signing."""
    found = answer.answer
    return found.outcome, found.code, found.line, found.releases, answer.body


@pytest.fixture
def minted(federation, agent_entry):
    return federation.mint(agent_entry)


@pytest.fixture
def undisturbed(bench_class, federation, folder, agent_entry, minted, tmp_path):
    """The answer of a run that nothing happens to, on a copy of the same folder."""
    shutil.copytree(folder, tmp_path / "copy")
    with bench_class(federation, tmp_path / "copy", agent_entry) as other:
        answer = other.done(minted)
        effects = other.row(minted).effects
    return answer, effects


def killed_run(bench_class, federation, folder, entry, minted, patch):
    """Accept and work an order until `patch` kills; whatever was open is abandoned."""
    with bench_class(federation, folder, entry) as made, pytest.MonkeyPatch.context() as monkey:
        opened = made.accept(minted)
        drop_what_was_not_written(monkey)
        patch(monkey)
        with pytest.raises(Killed):
            made.work(opened)


def drop_what_was_not_written(monkey):
    """A killed process flushes and syncs nothing; the operating system closes its files."""
    original = LogWriter.close

    def close(self):
        self._failed = "killed"
        original(self)

    monkey.setattr(LogWriter, "close", close)


def resumed(bench):
    """Take the one held order up, as a restart does."""
    (row,) = bench.agent._database.held()
    opened = bench.agent._desk.open(row.envelope, row.accepted_ms)
    ready = bench.work(opened)
    assert ready is not None
    return opened, ready


def kill_at_effect(n, *, after):
    """Die before or after the n-th effect record is appended."""

    def patch(monkey):
        original = Journal.effect
        seen = [0]

        def effect(self, record, *, sync):
            seen[0] += 1
            if seen[0] == n and not after:
                raise Killed
            original(self, record, sync=sync)
            if seen[0] == n:
                raise Killed

        monkey.setattr(Journal, "effect", effect)

    return patch


@pytest.mark.parametrize("after", [True, False], ids=["recorded", "not-recorded"])
@pytest.mark.parametrize("n", [1, 3, 5, 17, 18, 19, 20, 24, 25, 27])
def test_a_kill_at_any_effect_changes_nothing(
    bench_class, federation, folder, agent_entry, minted, undisturbed, n, after
):
    whole, effects = undisturbed
    killed_run(bench_class, federation, folder, agent_entry, minted, kill_at_effect(n, after=after))
    with bench_class(federation, folder, agent_entry) as bench:
        opened, ready = resumed(bench)
        assert essence(bench.answer(minted, opened, ready)) == essence(whole)
        row = bench.row(minted)
        assert row.effects == effects
        assert row.recomputed <= SEAL_CADENCE_EFFECTS
        assert row.resumed + row.recomputed == (n if after else n - 1)
        assert row.restarts == 1
        notes = [line for line in bench.log() if line["event"] == "note"]
        assert len(notes) == 1, "a note is written once"
        assert len(bench.agent._work._bench.ledger.released(minted.order.run)) == 3


def test_resumed_is_what_the_journal_covered_and_recomputed_what_it_did_not(
    bench_class, federation, folder, agent_entry, minted, undisturbed
):
    """After the first gpu.run: open, note, first, batch are resumed, the run of the graph is recomputed."""
    killed_run(bench_class, federation, folder, agent_entry, minted, kill_at_effect(5, after=True))
    with bench_class(federation, folder, agent_entry) as bench:
        resumed(bench)
        assert (bench.row(minted).resumed, bench.row(minted).recomputed) == (4, 1)


@pytest.mark.parametrize("part", ["before", "after"])
@pytest.mark.parametrize("n", [1, 2])
def test_a_kill_around_a_seal(bench_class, federation, folder, agent_entry, minted, undisturbed, n, part):
    whole, effects = undisturbed

    def patch(monkey):
        original = Journal.seal
        seen = [0]

        def seal(self, *args):
            seen[0] += 1
            if seen[0] == n and part == "before":
                raise Killed
            original(self, *args)
            if seen[0] == n:
                raise Killed

        monkey.setattr(Journal, "seal", seal)

    killed_run(bench_class, federation, folder, agent_entry, minted, patch)
    with bench_class(federation, folder, agent_entry) as bench:
        opened, ready = resumed(bench)
        assert essence(bench.answer(minted, opened, ready)) == essence(whole)
        row = bench.row(minted)
        assert (row.effects, row.recomputed) == (effects, 8 if (n, part) == (2, "before") else 0)


@pytest.mark.parametrize("part", ["before", "after"])
def test_a_kill_between_ledger_and_journal_releases_once(
    bench_class, federation, folder, agent_entry, minted, undisturbed, part
):
    whole, _ = undisturbed

    def patch(monkey):
        original = PrivacyLedger.record

        def record(self, *args, **options):
            if part == "before":
                raise Killed
            original(self, *args, **options)
            raise Killed

        monkey.setattr(PrivacyLedger, "record", record)

    killed_run(bench_class, federation, folder, agent_entry, minted, patch)
    with bench_class(federation, folder, agent_entry) as bench:
        opened, ready = resumed(bench)
        assert essence(bench.answer(minted, opened, ready)) == essence(whole)


def test_a_kill_before_the_answer_is_durable_seals_another_and_after_it_the_same(
    bench_class, federation, folder, agent_entry, minted, undisturbed
):
    whole, effects = undisturbed

    def patch(monkey):
        def answered(self, *args):
            raise Killed

        monkey.setattr(AgentDatabase, "answered", answered)

    killed_run(bench_class, federation, folder, agent_entry, minted, patch)
    with bench_class(federation, folder, agent_entry) as bench:
        opened, ready = resumed(bench)
        assert essence(bench.answer(minted, opened, ready)) == essence(whole)
        assert (bench.row(minted).resumed, bench.row(minted).recomputed) == (effects, 0), "the end was journalled"
        stored = ready.packet
    with bench_class(federation, folder, agent_entry) as bench:
        assert bench.row(minted).packet == stored, "after a restart the stored bytes are offered again"


def test_kills_one_after_the_other_are_counted_each(bench_class, federation, folder, agent_entry, minted, undisturbed):
    whole, effects = undisturbed
    killed_run(bench_class, federation, folder, agent_entry, minted, kill_at_effect(7, after=True))
    with bench_class(federation, folder, agent_entry) as made, pytest.MonkeyPatch.context() as monkey:
        drop_what_was_not_written(monkey)
        kill_at_effect(6, after=True)(monkey)
        with pytest.raises(Killed):
            resumed(made)
    with bench_class(federation, folder, agent_entry) as bench:
        opened, ready = resumed(bench)
        assert essence(bench.answer(minted, opened, ready)) == essence(whole)
        row = bench.row(minted)
        assert (row.effects, row.restarts) == (effects, 2)
        assert 0 < row.recomputed <= 2 * SEAL_CADENCE_EFFECTS
        assert row.resumed + row.recomputed == 7 + 13


def test_a_run_that_kills_its_host_each_time_is_given_up(
    bench_class, federation, folder, agent_entry, minted, undisturbed, monkeypatch
):
    """What is no error of ours ends the process; a restart must not take the same order up for ever."""
    monkeypatch.setattr(desk_module, "MAX_RUN_RESTARTS", 2)
    killed_run(bench_class, federation, folder, agent_entry, minted, kill_at_effect(7, after=True))
    for _ in range(2):
        with bench_class(federation, folder, agent_entry) as made, pytest.MonkeyPatch.context() as monkey:
            drop_what_was_not_written(monkey)
            kill_at_effect(1, after=False)(monkey)
            with pytest.raises(Killed):
                resumed(made)
    with bench_class(federation, folder, agent_entry) as bench:
        opened, ready = resumed(bench)
        answer = bench.answer(minted, opened, ready).verified.value
        assert (answer.outcome, answer.code, answer.releases) == ("refused", "budget_exhausted", ())
        assert any("restarted 2 times" in str(line) for line in bench.log())


@pytest.mark.parametrize("n", [18, 24, 27])
def test_a_journal_that_rotates_at_every_seal_loses_nothing(
    bench_class, federation, folder, agent_entry, minted, undisturbed, monkeypatch, n
):
    whole, effects = undisturbed
    monkeypatch.setattr(journal_module, "_ROTATE_BYTES", 0)
    killed_run(bench_class, federation, folder, agent_entry, minted, kill_at_effect(n, after=True))
    with bench_class(federation, folder, agent_entry) as bench:
        opened, ready = resumed(bench)
        assert essence(bench.answer(minted, opened, ready)) == essence(whole)
        row = bench.row(minted)
        assert (row.effects, row.resumed + row.recomputed) == (effects, n)
        assert row.recomputed <= SEAL_CADENCE_EFFECTS


def test_a_stopped_run_goes_on_without_recomputing(bench_class, federation, folder, agent_entry, minted, undisturbed):
    whole, _ = undisturbed
    with bench_class(federation, folder, agent_entry) as bench, pytest.MonkeyPatch.context() as monkey:
        opened = bench.accept(minted)
        stop = threading.Event()
        original = Journal.effect
        seen = [0]

        def effect(self, record, *, sync):
            original(self, record, sync=sync)
            seen[0] += 1
            if seen[0] == 9:
                stop.set()

        monkey.setattr(Journal, "effect", effect)
        assert bench.work(opened, stop) is None
    with bench_class(federation, folder, agent_entry) as bench:
        opened, ready = resumed(bench)
        assert essence(bench.answer(minted, opened, ready)) == essence(whole)
        assert (bench.row(minted).resumed, bench.row(minted).recomputed) == (9, 0)


def test_another_result_on_recomputing_is_refused_and_noted(
    bench_class, federation, folder, agent_entry, minted, monkeypatch
):
    killed_run(bench_class, federation, folder, agent_entry, minted, kill_at_effect(5, after=True))
    with bench_class(federation, folder, agent_entry) as bench:
        original = Prepared.run_graph

        def other(self, graph, inputs):
            found = dict(original(self, graph, inputs))
            found["losses"] = np.nextafter(found["losses"], np.float32(9))
            return found

        monkeypatch.setattr(Prepared, "run_graph", other)
        opened, ready = resumed(bench)
        answer = bench.answer(minted, opened, ready)
        assert essence(answer) == ("refused", "nondeterministic", 0, (), b"")
        ended = [line for line in bench.log() if line["event"] == "run ended"]
        assert "gpu.run at operation" in ended[-1]["detail"]


def test_rows_that_changed_behind_the_run_are_noticed(bench_class, federation, folder, agent_entry, minted):
    killed_run(bench_class, federation, folder, agent_entry, minted, kill_at_effect(5, after=True))
    shutil.rmtree(folder / "streams" / "patients")
    streams = AgentStreams(folder / "streams")
    streams.create("patients", {"x": Field("f32", (3,)), "y": Field("f32", (1,))})
    streams.append("patients", {"x": np.zeros((20, 3), np.float32), "y": np.zeros((20, 1), np.float32)})
    streams.close()
    with bench_class(federation, folder, agent_entry) as bench, pytest.raises(StoreError, match="have changed"):
        resumed(bench)


def test_rows_that_came_later_are_not_seen(bench_class, federation, folder, agent_entry, minted, undisturbed):
    whole, _ = undisturbed
    killed_run(bench_class, federation, folder, agent_entry, minted, kill_at_effect(5, after=True))
    streams = AgentStreams(folder / "streams")
    streams.append("patients", {"x": np.ones((5, 3), np.float32), "y": np.ones((5, 1), np.float32)})
    streams.close()
    with bench_class(federation, folder, agent_entry) as bench:
        opened, ready = resumed(bench)
        assert essence(bench.answer(minted, opened, ready)) == essence(whole)


def test_the_build_that_ignores_the_journal_fails_the_chaos_check(
    bench_class, federation, folder, agent_entry, minted, undisturbed
):
    whole, _ = undisturbed
    killed_run(bench_class, federation, folder, agent_entry, minted, kill_at_effect(20, after=True))
    ignoring = {"SOJOURN_FAULT_IGNORE_JOURNAL": "1"}
    with bench_class(federation, folder, agent_entry, ignoring) as bench:
        opened, ready = resumed(bench)
        assert essence(bench.answer(minted, opened, ready)) == essence(whole)
        assert bench.row(minted).resumed == 0
        assert bench.row(minted).recomputed > SEAL_CADENCE_EFFECTS


def test_the_ledger_releases_nothing_twice_even_from_the_top(
    bench_class, federation, folder, agent_entry, minted, undisturbed
):
    """All three releases are recorded, then the whole run starts over: the stored outputs count."""
    whole, effects = undisturbed
    killed_run(bench_class, federation, folder, agent_entry, minted, kill_at_effect(effects, after=True))
    shutil.rmtree(folder / "runs")
    with bench_class(federation, folder, agent_entry) as bench:
        opened, ready = resumed(bench)
        assert essence(bench.answer(minted, opened, ready)) == essence(whole)
        assert len(bench.agent._work._bench.ledger.released(minted.order.run)) == 3


def test_pure_effects_are_not_synced_one_by_one(bench_class, federation, folder, agent_entry, minted, monkeypatch):
    syncs = []
    original = Journal.sync
    monkeypatch.setattr(Journal, "sync", lambda self: (syncs.append(1), original(self)))
    with bench_class(federation, folder, agent_entry) as bench:
        bench.done(minted)
    # stream.open, and one seal for the ten gpu.run effects
    assert len(syncs) == 2


def test_journal_holds_no_private_row(bench_class, federation, folder, agent_entry, minted):
    """Batches are kept as cursor and digest: the rows themselves stay in their stream."""
    killed_run(bench_class, federation, folder, agent_entry, minted, kill_at_effect(20, after=True))
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    held = b"".join(path.read_bytes() for path in (folder / "runs").rglob("*") if path.is_file())
    assert len(held) > 1000
    assert all(row.tobytes() not in held for row in x)


SCRIPT = """
import sys, threading
from pathlib import Path
from sojourn.agent.runtime import Agent

agent = Agent(Path(sys.argv[1]), "wss://127.0.0.1:1")
(row,) = agent._database.held()
opened = agent._desk.open(row.envelope, row.accepted_ms)
agent._work.work(opened, threading.Event())
print("finished")
"""


def test_a_real_kill(bench_class, federation, folder, agent_entry, minted, undisturbed):
    """SOJOURN_FAULT in a process of its own: SIGKILL right after the ninth gpu.run."""
    whole, _ = undisturbed
    with bench_class(federation, folder, agent_entry) as bench:
        bench.accept(minted)
    environment = {**os.environ, "SOJOURN_FAULT": "kill-at-gpu:9"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )
    assert done.returncode == -9, done.stderr
    assert "finished" not in done.stdout
    fault = json.loads((folder / "fault.json").read_text())
    assert f"killed_at {json.dumps(fault['occurrence'])}" in done.stderr
    assert (fault["kind"], fault["occurrence"]["effect"], fault["occurrence"]["count"]) == ("kill-at-gpu", "gpu.run", 9)
    with bench_class(federation, folder, agent_entry) as bench:
        opened, ready = resumed(bench)
        assert essence(bench.answer(minted, opened, ready)) == essence(whole)
        row = bench.row(minted)
        assert row.recomputed == 1, "eight were sealed, the ninth was not"
        assert row.resumed == 2 + 1 + 5 + 1 + 4 + 8
