"""Children of an order's run on an agent: what each effect means, and programs that mean no good."""

import importlib.util
from pathlib import Path

import pytest
from sojourn.agent import joining, tasks
from sojourn.agent.host import RunHost


def _load(name):
    spec = importlib.util.spec_from_file_location(f"agent_{name}", Path(__file__).parent / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CHILDREN = _load("children")
counted, notes = CHILDREN.counted, CHILDREN.notes


class Clock:
    """The agent's clock, moved by hand."""

    def __init__(self, bench):
        self.ms = 1_000_000
        object.__setattr__(bench.agent._work._bench, "now_ms", lambda: self.ms)


@pytest.fixture(autouse=True)
def short_turns(monkeypatch):
    """Turns of 1000 instructions and few of them, so that what waits need not compute for long."""
    monkeypatch.setattr(tasks, "TASK_TURN_FUEL", 1000)
    monkeypatch.setattr(tasks, "TASK_REGION_TURNS", 4)


@pytest.fixture
def admitted(federation, folder, agent_entry):
    CHILDREN.admit_tasks(folder, federation.policy_text())
    return agent_entry


@pytest.fixture
def ends(federation, admitted, bench_at):
    """Run a program that promises one count; gives (outcome, code, line), values released, and notes."""

    def ends(source, **job):
        with bench_at() as bench:
            answer = bench.done(federation.mint(admitted, source, job_answer=CHILDREN.COUNT, **job)).answer
            return (answer.outcome, answer.code), [r.value for r in answer.releases], notes(bench)

    return ends


def test_children_run_beside_the_data_and_their_boxes_are_joined(federation, admitted, bench_at, monkeypatch):
    monkeypatch.setattr(tasks, "TASK_REGION_TURNS", 64)
    with bench_at() as bench:
        answer = bench.done(federation.mint(admitted, CHILDREN.KILLED))
        found = answer.answer
        assert (found.outcome, found.code) == ("done", "")
        assert [(r.kind, r.value) for r in found.releases][1] == ("count", 20.0)
        assert [r.operation >= 1 << 52 for r in found.releases] == [True, False, False]
        assert notes(bench) == [
            "the child has not ended in time; it goes on", "part begins", "child is cleaned up",
            "cancelled by the run that began it", "part ends", "grandchild is cleaned up", "released by a fork", "7",
        ]  # fmt: skip


LOOK = """
def look(rows, size):
    n, cursor = 0, stream.first(rows)
    while cursor is not None:
        batch, cursor = stream.batch(rows, cursor, size)
        n += batch["rows"]
    return {"patients": n}


def nothing():
    return {"patients": 0}
"""


def test_the_example_of_the_guide_runs_as_it_stands(ends):
    page = (Path(__file__).resolve().parents[2] / "sdk" / "docs" / "guide" / "programs.md").read_text()
    source = page.partition("## Children\n")[2].partition("```python\n")[2].partition("```")[0]
    source = source.replace("def clinic", "def hospital").replace('["age"]', '["x"]') + LOOK
    assert ends(source)[:2] == (("done", ""), [20.0])


def test_without_the_names_in_the_policy_nothing_runs(federation, folder, agent_entry, bench_at):
    CHILDREN.admit_tasks(folder, federation.policy_text(), "task.spawn", "task.join")
    with bench_at() as bench, pytest.raises(Exception, match=r"does not admit the effects task\.cancel"):
        bench.accept(federation.mint(agent_entry, CHILDREN.KILLED))


def test_a_join_gives_the_value_again_and_raises_the_error(ends):
    body = """\
    good, bad = spawn(lambda: [1, {2: 3}], fuel=500, memory=5000), spawn(lambda: [][4], fuel=500, memory=5000)
    spent, wide = spawn(forever, fuel=500, memory=5000), spawn(lambda: "a" * 10**6, fuel=10000, memory=5000)
    log.note(str([join(good), join(good)]))
    for t in [bad, spent, wide]:
        try:
            join(t)
        except Exception as e:
            log.note(str(e))
    cancel(good)
    release.count(private(same, 3, fuel=100, memory=9000), of="n", name="patients", high=1000)
"""
    end, released, said = ends(counted(body, "def forever():\n    while True:\n        pass\n"))
    assert (end, released) == (("done", ""), [3.0])
    assert said == [
        "[[1, {2: 3}], [1, {2: 3}]]", "list index out of range", "the child's fuel is spent",
        "the child's memory is spent",
    ]  # fmt: skip


def test_an_error_of_a_child_that_nobody_catches_ends_the_order_with_its_code(ends):
    child = "def child():\n    stream.open('absent', fields=['x'])\n"
    end, _, _ = ends(counted("    join(spawn(child, fuel=500, memory=5000))\n", child))
    assert end == ("refused", "admission_refused")
    assert ends(counted("    spawn(child, fuel=500, memory=5000)\n", child))[0] == ("done", "")


def test_a_deadline_is_one_of_the_agents_clock(federation, admitted, bench_at):
    body = """\
    t = spawn(slow, fuel=10_000_000 // 2, memory=50_000)
    try:
        join(t, within=90.5)
    except DeadlineMissed:
        log.note("missed")
    log.note(str(join(t, within=1000)))
"""
    slow = "def slow():\n    for k in range(100):\n        log.note(str(k))\n    return 'slow'\n"
    for step, late in [(1_000, True), (10, False)]:
        with bench_at() as bench, pytest.MonkeyPatch.context() as monkey:
            clock, original = Clock(bench), RunHost._answer

            def answer(self, effect, clock=clock, original=original, step=step):
                clock.ms += step if effect.name == "log.note" else 0
                return original(self, effect)

            monkey.setattr(RunHost, "_answer", answer)
            begun = len(notes(bench))
            bench.done(federation.mint(admitted, counted(body, slow), job_answer=()))
            said = notes(bench)[begun:]
            assert said[-1] == "slow"
            assert said.index("missed") == 92 if late else "missed" not in said


def test_a_deadline_reaches_into_a_region_and_a_cancellation_gives_it_up(federation, admitted, bench_at):
    body = """\
    t = spawn(child, fuel=5_000_000, memory=50_000)
    try:
        join(t, within=1)
    except DeadlineMissed:
        cancel(t)
    log.note(str(join(t)))
"""
    functions = """\
def spin():
    for k in range(10**6):
        log.note(str(k))

def child():
    try:
        private(spin, fuel=4_000_000, memory=9000)
    except Cancelled:
        return "given up"
"""
    with bench_at() as bench, pytest.MonkeyPatch.context() as monkey:
        clock, original = Clock(bench), RunHost._answer

        def answer(self, effect):
            clock.ms += 50
            return original(self, effect)

        monkey.setattr(RunHost, "_answer", answer)
        bench.done(federation.mint(admitted, counted(body, functions), job_answer=()))
        assert notes(bench)[-1] == "given up"
        assert len(notes(bench)) < 30


SECRET = """\
def look(rows, epochs):
    first = stream.first(rows)
    for k in range(40 if first is None else 3):
        stream.first(rows)
        for j in range(40):
            pass
    return {"n": 1}

def child(rows, name):
    for k in range(4):
        private(look, rows, 1, fuel=90_000, memory=9000)
        for j in range(200):
            pass
    log.note(name)
"""


def test_the_order_of_public_effects_does_not_tell_what_regions_did(federation, tmp_path, bench_at):
    """One owner has rows and one has none: regions make more effects at the second, and take longer by far."""
    body = """\
    rows = stream.open("patients", fields=["x"])
    tasks = [spawn(child, rows, name, fuel=2_000_000, memory=50_000) for name in "ab"]
    for k in range(60):
        log.note(str(k))
        for j in range(90):
            pass
    for t in tasks:
        join(t)
"""
    said = []
    for rows in (0, 20):
        folder = tmp_path / str(rows)
        entry = federation.agent_folder(folder, rows=rows)
        CHILDREN.admit_tasks(folder, federation.policy_text())
        with bench_at(folder, entry) as bench:
            bench.done(federation.mint(entry, counted(body, SECRET), job_answer=()))
            said.append(notes(bench))
    assert said[0] == said[1]
    assert 1 < said[0].index("a") < 60, "the child's note stands among the parent's"


def test_what_a_child_released_stays_when_it_is_cancelled(ends):
    body = """\
    t = spawn(child, fuel=5000, memory=50_000)
    for k in range(9):
        log.note("")
    cancel(t)
    try:
        join(t)
    except Cancelled:
        log.note("cancelled")
"""
    child = """\
def child():
    release.count(private(same, 5, fuel=100, memory=9000), of="n", name="patients", high=1000)
    while True:
        log.note("goes on")
"""
    end, released, said = ends(counted(body, child))
    assert (end, released) == (("done", ""), [5.0])
    assert "goes on" in said
    assert said[-1] == "cancelled"


# Programs that mean no good.


def test_a_release_in_both_forks_leaves_once(ends):
    body = """\
    box = private(same, 3, fuel=100, memory=9000)
    t = fork(fuel=2000, memory=50_000)
    release.count(box, of="n", name="patients", high=1000)
    if t is not None:
        join(t)
"""
    assert ends(counted(body))[0] == ("refused", "admission_refused")
    caught = body.replace("    release", "    try:\n        release").replace(
        "    if t", "    except PermissionError:\n        log.note('no')\n    if t"
    )
    assert ends(counted(caught)) == (("done", ""), [3.0], ["no"])


def test_a_fork_bomb_comes_to_an_end(ends):
    body = """\
    n = 1
    while True:
        try:
            t = fork(fuel=9_000_000 // 2**n, memory=50_000_000 // 2**n)
        except RuntimeError as e:
            log.note(str(e))
            return
        n += 1
"""
    end, _, said = ends(counted(body))
    assert end[0] in {"done", "failed"}
    assert len(said) <= 257
    assert set(said) <= {"an order begins at most 256 children", "children are nested deeper than 8"}
    assert "children are nested deeper than 8" in said


def test_spawning_in_a_loop_meets_the_bound(ends):
    body = """\
    made = []
    try:
        while True:
            made.append(spawn(lambda: None, fuel=100, memory=2000))
    except RuntimeError as e:
        log.note(f"{len(made)}: {e}")
    for t in made:
        join(t)
"""
    assert ends(counted(body))[2] == ["256: an order begins at most 256 children"]
    assert ends(counted(body.replace("except RuntimeError", "except ValueError")))[0] == ("failed", "budget_exhausted")


def test_budgets_of_children_are_the_parents(ends):
    body = "    for k in range(100):\n        spawn(lambda: None, fuel=1_000_000, memory=2000)\n"
    assert ends(counted(body))[0] == ("failed", "fuel")
    body = "    for k in range(100):\n        spawn(lambda: None, fuel=100, memory=10_000_000)\n"
    assert ends(counted(body))[0] == ("failed", "memory")


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("join(order.weights)", "task.join takes a task, as spawn() and fork() give it"),
        ("join(3)", "task.join takes a task, as spawn() and fork() give it"),
        ("join(t, within=-1)", "task.join takes within= from 0 to 604800 seconds"),
        ("join(t, within=10**400)", "task.join takes within= from 0 to 604800 seconds"),
        ("join(t, within=float('inf'))", "task.join takes within= from 0 to 604800 seconds"),
        ("join(t, within=float('nan'))", "task.join takes within= as a number of seconds"),
        ("join(t, within=True)", "task.join takes within= as a number of seconds"),
        ("join(t, within='1')", "task.join takes within= as a number of seconds"),
        ("cancel(None)", "task.cancel takes a task, as spawn() and fork() give it"),
    ],
)
def test_arguments_that_do_not_fit(ends, call, text):
    body = f"""\
    t = spawn(forever, fuel=900, memory=5000)
    try:
        {call}
    except (TypeError, ValueError) as e:
        log.note(str(e))
"""
    assert ends(counted(body, "def forever():\n    while True:\n        pass\n"))[2] == [text]


@pytest.mark.parametrize("call", ["join(t)", "cancel(t)", "join(t, within=0)"])
@pytest.mark.parametrize("maker", ["fork(fuel=5000, memory=50_000)", "spawn(k, None, fuel=5000, memory=50_000)"])
def test_a_foreign_child_is_not_joined(ends, call, maker):
    """A fork and a continuation have a copy of the handle, and it is good for nothing there: nobody waits in a ring."""
    body = f"""\
    t = spawn(lambda: 1, fuel=500, memory=5000)
    k = here()
    other = None if k is None else {maker}
    if other is None:
        try:
            {call}
        except ValueError as e:
            return str(e)
    log.note(join(other))
"""
    name = call.partition("(")[0]
    assert ends(counted(body))[2] == [f"task.{name}: this task is not a child of this run; pass on its result"]


def test_a_run_has_no_task_of_itself_to_cancel(ends):
    body = """\
    tasks = []
    t = fork(fuel=5000, memory=50_000)
    tasks.append(t)
    if t is None:
        try:
            cancel(tasks[0])
        except TypeError as e:
            return str(e)
    log.note(join(t))
"""
    assert ends(counted(body))[2] == ["task.cancel takes a task, as spawn() and fork() give it"]


def test_a_child_does_not_outlive_its_parent(ends):
    functions = """\
def deep(n):
    t = spawn(deep, n - 1, fuel=8000 * 2 ** n, memory=60_000 * n) if n else None
    try:
        while True:
            pass
    except Cancelled as e:
        log.note(f"{n}: {e}")

def stubborn():
    while True:
        try:
            while True:
                pass
        except Cancelled:
            log.note("stays")
"""
    body = """\
    spawn(deep, 3, fuel=128_000, memory=900_000)
    spawn(stubborn, fuel=30_000, memory=20_000)
    for k in range(9):
        log.note("")
"""
    end, _, said = ends(counted(body, functions))
    assert end == ("done", "")
    assert [text for text in said if text] == [
        "3: the run that began it has ended", "stays", "2: the run that began it has ended",
        "1: the run that began it has ended", "0: the run that began it has ended",
    ]  # fmt: skip


def test_an_order_that_fails_ends_at_once(ends):
    child = "def child():\n    try:\n        while True:\n            pass\n    finally:\n        log.note('late')\n"
    end, _, said = ends(counted("    spawn(child, fuel=20_000, memory=20_000)\n    return [][1]\n", child))
    assert (end, said) == (("failed", "IndexError"), [])


def test_deadlines_and_cancellations_are_counted(ends, monkeypatch):
    monkeypatch.setattr(tasks, "MAX_TASK_WAITS", 5)
    body = """\
    t, n = spawn(forever, fuel=20_000, memory=5000), 0
    try:
        while True:
            n += 1
            try:
                join(t, within=0)
            except DeadlineMissed:
                pass
    except RuntimeError as e:
        log.note(f"{n}: {e}")
    cancel(t)
"""
    end, _, said = ends(counted(body, "def forever():\n    while True:\n        pass\n"))
    assert end == ("failed", "budget_exhausted")
    assert said == ["6: an order waits with a deadline, and cancels, at most 5 times"]


def test_what_is_done_to_a_child_that_ended_costs_no_sync(ends, monkeypatch):
    waited = []
    monkeypatch.setattr(tasks.TaskTree, "count_wait", lambda self: waited.append(1))
    body = "    t = spawn(lambda: 1, fuel=90, memory=5000)\n    join(t)\n    join(t, within=0)\n    cancel(t)\n"
    assert ends(counted(body))[0] == ("done", "")
    assert not waited
    assert joining.Answered.YES is not joining.Answered.WAITS


def test_a_child_that_nobody_can_join_any_more_is_forgotten(federation, admitted, bench_at, monkeypatch):
    """Custody is that of the whole tree: results stay as long as a parent holds the task, and tensors as any run."""
    kept = []
    original = RunHost._seal

    def seal(self):
        original(self)
        kept.append(len(list(self._tree)))

    monkeypatch.setattr(RunHost, "_seal", seal)
    body = """\
    idle = spawn(forever, fuel=20_000, memory=5000)
    held = [spawn(lambda: [0] * 9, fuel=90, memory=5000) for k in range(3)]
    for t in held:
        join(t)
    cancel(idle)
    t = idle = None
    held.pop()
    try:
        join(spawn(forever, fuel=20_000, memory=5000), within=0)
    except DeadlineMissed:
        pass
"""
    with bench_at() as bench:
        source = counted(body, "def forever():\n    while True:\n        pass\n")
        assert bench.done(federation.mint(admitted, source, job_answer=())).answer.outcome == "done"
    assert kept[:3] == [1, 5, 4], "begun; cancelled with all handles held; two forgotten, one new"
