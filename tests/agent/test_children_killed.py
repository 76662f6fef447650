"""Children of a run, and a host that is killed: around every write, and once while a deadline passes."""

import importlib.util
import json
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sojourn.agent import desk as desk_module
from sojourn.agent import journal as journal_module
from sojourn.agent import tasks
from sojourn.agent.database import read_orders
from sojourn.agent.desk import stored_answer
from sojourn.agent.folder import AgentPaths
from sojourn.agent.host import RunHost
from sojourn.agent.journal import Journal
from sojourn.limits import SEAL_CADENCE_EFFECTS


def _load(name):
    spec = importlib.util.spec_from_file_location(f"agent_{name}", Path(__file__).parent / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CHILDREN, DISK = _load("children"), _load("disk")


@pytest.fixture(autouse=True)
def short_turns(monkeypatch):
    monkeypatch.setattr(tasks, "TASK_TURN_FUEL", 1000)


class Lives:
    """One order in copies of one folder, each worked by a host that is killed, and by the next one."""

    def __init__(self, federation, bench_class, entry, folder, root):
        CHILDREN.admit_tasks(folder, federation.policy_text())
        self._made = bench_class, federation, entry
        self._folder, self._root, self._copies = folder, root, 0
        self.minted = federation.mint(entry, CHILDREN.KILLED, job_args={"epochs": 1, "size": 8})
        with self.bench(folder) as bench:
            bench.accept(self.minted)
        self.model, self.writes = self.work(self.fresh())

    def bench(self, folder):
        bench_class, federation, entry = self._made
        return bench_class(federation, folder, entry)

    def fresh(self):
        self._copies += 1
        return shutil.copytree(self._folder, self._root / str(self._copies))

    def work(self, folder, target=None, moment="before"):
        """One life; gives what is outside of the process, or None if it was killed, and how much it wrote."""
        disk = DISK.Disk()
        with disk.in_use(), self.bench(folder) as bench:
            (row,) = bench.agent._database.held()
            opened = bench.agent._desk.open(row.envelope, row.accepted_ms)
            disk.arm(target, moment)
            try:
                ready = stored_answer(row, AgentPaths(folder)) if row.state == "answered" else bench.work(opened)
            except DISK.Killed:
                return None, len(disk.writes)
            finally:
                disk.disarm()
            found = bench.answer(self.minted, opened, ready)
        answer = found.answer
        lines = AgentPaths(folder).log.read_text().splitlines()
        said = [json.loads(line) for line in lines if '"event": "note"' in line and line.endswith("}")]  # not cut
        facts = (
            answer.outcome, answer.code, answer.releases, found.body,
            [(line["run"], line["operation"], line["text"]) for line in said],
        )  # fmt: skip
        row = bench_row(folder, self.minted)
        return (facts, row.effects, row.recomputed), len(disk.writes)


def bench_row(folder, minted):
    (row,) = [row for row in read_orders(AgentPaths(folder).database)[0] if row.digest == minted.digest]
    return row


@pytest.fixture
def lives(federation, bench_class, agent_entry, folder, tmp_path):
    (tmp_path / "lives").mkdir()
    return Lives(federation, bench_class, agent_entry, folder, tmp_path / "lives")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("first", [0, 1, 2])
@pytest.mark.parametrize("small", [False, True], ids=["one-generation", "rotates"])
def test_a_kill_at_every_write_changes_nothing(lives, monkeypatch, first, small):
    """Each write is met before, in its middle and after it, by one of the three parameters; half of them rotating."""
    if small:
        monkeypatch.setattr(journal_module, "_ROTATE_BYTES", 0)
    facts, effects, _ = lives.model
    assert facts[0] == "done"
    killed = 0
    for target in range(int(small), lives.writes, 2):
        folder = lives.fresh()
        moment = ("before", "during", "after")[(target // 2 + first) % 3]
        found, _ = lives.work(folder, target, moment)
        killed += found is None
        if found is None:
            found, _ = lives.work(folder)
        assert found is not None
        assert found[:2] == (facts, effects), f"killed {moment} write {target}"
        assert found[2] <= SEAL_CADENCE_EFFECTS
        shutil.rmtree(folder)
    assert killed >= lives.writes // 2 - 2


def kill_when(monkeypatch, name):
    """Die when a run asks for this effect while a child is waited for with a deadline."""
    original = RunHost._answer

    def answer(self, effect):
        if effect.name == name and any(task.until_ms for task in self._tree):
            raise DISK.Killed
        return original(self, effect)

    monkeypatch.setattr(RunHost, "_answer", answer)


SLOW = CHILDREN.counted(
    """\
    t = spawn(slow, fuel=500_000, memory=50_000)
    try:
        log.note(join(t, within=60))
    except DeadlineMissed:
        log.note("missed")
""",
    "def slow():\n    while True:\n        for k in range(300):\n            pass\n"
    "        release.count(private(same, 3, fuel=100, memory=9000), of='n', name='patients', high=1000)\n"
    "        return 'in time'\n",
)


@pytest.mark.parametrize(("away_s", "said"), [(59, "in time"), (61, "missed")])
def test_the_time_for_which_a_host_is_down_counts(federation, folder, agent_entry, bench_class, away_s, said):
    CHILDREN.admit_tasks(folder, federation.policy_text())
    minted = federation.mint(agent_entry, SLOW, job_answer=CHILDREN.COUNT)
    clock = [1_000_000]
    with bench_class(federation, folder, agent_entry) as bench, pytest.MonkeyPatch.context() as monkey:
        object.__setattr__(bench.agent._work._bench, "now_ms", lambda: clock[0])
        opened = bench.accept(minted)
        kill_when(monkey, "release.count")
        with pytest.raises(DISK.Killed):
            bench.work(opened)
    clock[0] += away_s * 1000
    with bench_class(federation, folder, agent_entry) as bench:
        object.__setattr__(bench.agent._work._bench, "now_ms", lambda: clock[0])
        (row,) = bench.agent._database.held()
        bench.work(bench.agent._desk.open(row.envelope, row.accepted_ms))
        assert CHILDREN.notes(bench) == [said]


def test_what_was_released_is_not_overtaken_by_a_deadline_that_passed_meanwhile(
    federation, folder, agent_entry, bench_class
):
    """Killed between ledger and journal: the child's release happened, so it happens again before anybody is late."""
    CHILDREN.admit_tasks(folder, federation.policy_text())
    minted = federation.mint(agent_entry, SLOW, job_answer=CHILDREN.COUNT)
    clock = [1_000_000]
    with bench_class(federation, folder, agent_entry) as bench, pytest.MonkeyPatch.context() as monkey:
        object.__setattr__(bench.agent._work._bench, "now_ms", lambda: clock[0])
        opened = bench.accept(minted)
        original = Journal.effect

        def effect(self, record, *, sync):
            if record.name == "release.count" and not hasattr(record, "until_ms"):
                raise DISK.Killed
            original(self, record, sync=sync)

        monkey.setattr(Journal, "effect", effect)
        with pytest.raises(DISK.Killed):
            bench.work(opened)
        assert len(bench.agent._work._bench.ledger.released(minted.order.run)) == 1
    clock[0] += 3600_000
    order = []
    with bench_class(federation, folder, agent_entry) as bench, pytest.MonkeyPatch.context() as monkey:
        object.__setattr__(bench.agent._work._bench, "now_ms", lambda: clock[0])
        original = RunHost._resume
        monkey.setattr(RunHost, "_resume", lambda self, e, o: (order.append(e.name), original(self, e, o))[1])
        (row,) = bench.agent._database.held()
        ready = bench.work(bench.agent._desk.open(row.envelope, row.accepted_ms))
        assert order == ["release.count", "log.note"]
        assert CHILDREN.notes(bench) == ["missed"]
        answer = bench.answer(minted, None, ready).answer
        assert [(r.kind, r.value) for r in answer.releases] == [("count", 3.0)]


TURNS = CHILDREN.counted(
    """\
    pauses = [("a", 30), ("b", 170), ("c", 400)]
    tasks = [spawn(work, name, pause, fuel=200_000, memory=50_000) for name, pause in pauses]
    for k in range(6):
        log.note(str(k))
        for j in range(90):
            pass
    for t in tasks:
        join(t)
""",
    "def work(name, pause):\n    for k in range(6):\n        for j in range(pause):\n            pass\n"
    "        log.note(name + str(k))\n        private(same, k, fuel=100, memory=9000)\n",
)


def test_a_run_that_is_stopped_goes_on_with_the_same_turn(
    federation, folder, agent_entry, bench_class, tmp_path, monkeypatch
):
    """The order in which runs do things does not depend on where the host was stopped."""
    CHILDREN.admit_tasks(folder, federation.policy_text())
    monkeypatch.setattr(desk_module, "MAX_RUN_RESTARTS", 10_000)
    monkeypatch.setattr(tasks, "TASK_REGION_TURNS", 5)
    minted = federation.mint(agent_entry, TURNS, job_answer=())
    with bench_class(federation, folder, agent_entry) as bench:
        bench.accept(minted)
    said = []
    for number in (None, 1, 4):
        copy = shutil.copytree(folder, tmp_path / str(number))
        answered = False
        while not answered:
            with bench_class(federation, copy, agent_entry) as bench, pytest.MonkeyPatch.context() as monkey:
                (row,) = bench.agent._database.held()
                stop, seen, original = threading.Event(), [], RunHost._answer

                def answer(self, effect, number=number, stop=stop, seen=seen, original=original):
                    seen.append(effect.name)
                    if len(seen) == number:
                        stop.set()
                    return original(self, effect)

                monkey.setattr(RunHost, "_answer", answer)
                opened = bench.agent._desk.open(row.envelope, row.accepted_ms)
                answered = bench.work(opened, stop) is not None
                if answered:
                    said.append(CHILDREN.notes(bench))
    assert len(said[0]) == 24
    for other in said:
        assert other == said[0]


PROCESS = """\
import os, signal, sys, threading
from sojourn.agent import Agent, tasks
from sojourn.agent.host import RunHost
folder, number = sys.argv[1], int(sys.argv[2])
original, seen = RunHost._answer, [0]
def answer(self, effect):
    done = original(self, effect)
    seen[0] += 1
    if seen[0] == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return done
RunHost._answer = answer
tasks.TASK_TURN_FUEL = 1000
agent = Agent(folder, "wss://127.0.0.1:1")
(row,) = agent._database.held()
agent._work.work(agent._desk.open(row.envelope, row.accepted_ms), threading.Event())
agent.close()
"""


def test_a_real_process_is_killed_again_and_again(lives):
    folder, kills = lives.fresh(), 0
    for number in (4, 9, 14):
        done = subprocess.run([sys.executable, "-c", PROCESS, str(folder), str(number)], check=False, timeout=60)
        kills += done.returncode == -signal.SIGKILL
    assert kills == 3
    found, _ = lives.work(folder)
    assert found[:2] == lives.model[:2]
