"""`sojourn program run` and `sojourn continuation show`, as an author types them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from sojourn.client.cli import app
from sojourn.client.trial.saved import load_saved
from sojourn.client.trial.values import shown
from sojourn.codec import decode, digest, encode
from sojourn.contracts import SUITE_1, Bundle, Graph, Plan, Port, StateTensor
from sojourn.errors import SojournError
from sojourn.labels import Label
from sojourn.privacy import OwnerPolicy
from sojourn.vm import Box, Handle, Machine, RecordValue, compile_source, verify
from sojourn.vm.values import DictView, ExcValue, FunctionValue, SetValue, ViewKind
from typer.testing import CliRunner, Result

SURVEY = """\
from sojourn.program import continuation, fleet, log, private, release, stream, tensor


def look(rows, age):
    n, older, values, cursor = 0, 0, [], stream.first(rows)
    while cursor is not None:
        patient, cursor = stream.batch(rows, cursor, 1)
        n += 1
        if tensor.item(patient["age"]) >= age:
            older += 1
            values.append(patient["bp"])
    return {"n": n, "older": older, "values": values}


@continuation
def clinic(order):
    rows = stream.open("patients", fields=["age", "bp"])
    seen = private(look, rows, order.args["age"], fuel=5000, memory=100000)
    log.note("looked")
    release.count(seen, of="older", name="older", high=100)
    release.mean(seen, of="values", name="bp", low=40.0, high=200.0)


@continuation
def rounds(job):
    cohort = fleet.invite(round=0)
    answers = fleet.ask(cohort, "survey")
    return job.args["age"]
"""

TRAIN = """\
from sojourn.program import continuation, gpu, private, release, stream


def step(rows, weights):
    batch, cursor = stream.batch(rows, stream.first(rows), 100)
    out = gpu.run("add", state=weights, x=batch["x"])
    return {"state": out["state"], "n": batch["rows"]}


@continuation
def hospital(order):
    rows = stream.open("patients", fields=["x"])
    result = private(step, rows, order.weights, fuel=1000, memory=100000)
    release.update(result, of="state", weight="n", base=order.weights)
"""

ROWS = "age,bp\n30,100\n60,120\n70,160\n"
PRIVATE = ("30", "100", "60", "120", "70", "160")


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A folder with programs and rows, which is the current one."""
    monkeypatch.chdir(tmp_path)
    Path("survey.py").write_text(SURVEY, "utf-8")
    Path("train.py").write_text(TRAIN, "utf-8")
    Path("rows.csv").write_text(ROWS, "utf-8")
    return tmp_path


def run(*arguments: str | Path, typed: str = "") -> Result:
    return CliRunner().invoke(app, ["program", "run", *map(str, arguments)], input=typed, env={"COLUMNS": "200"})


def show(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["continuation", "show", *map(str, arguments)], env={"COLUMNS": "200"})


def survey(*arguments: str, typed: str = "", rows: str = "rows.csv") -> Result:
    return run("survey.py", "--rows", rows, "--args", '{"age": 50}', *arguments, typed=typed)


def refused(words: str, done: Result, code: int = 2) -> None:
    assert words in done.stderr, done.output
    assert done.exit_code == code


# On rows of one's own


def test_rows_are_read_and_releases_are_shown_as_they_would_leave(desk):
    done = survey()
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert any(
        "#0  survey.py:17  [public]  stream.open(name='patients', fields=['age', 'bp'])" in line for line in lines
    )
    assert any("survey.py:9  [{author/patients}]  tensor.item(" in line for line in lines)
    assert sum("stream.batch(" in line for line in lines) == 3
    assert "    log: note: text looked" in lines
    start = lines.index("what would leave, in this order:")
    assert lines[start + 1 : start + 3] == [
        "    count 'older' = 2.0 (bounded-count)",
        "    mean 'bp' = 140.0 (bounded-mean)",
    ]
    assert "    answer=[count('older', high=100.0), mean('bp', low=40.0, high=200.0)]" in lines


def test_json_has_the_same_and_the_draft_is_a_policy(desk):
    found = json.loads(survey("--json").stdout)
    assert (found["outcome"], found["entry"]) == ("done", "clinic")
    assert [each["value"] for each in found["leaves"]] == [2.0, 140.0]
    names = [event["effect"] for event in found["events"] if "effect" in event]
    assert names[:2] == ["stream.open", "stream.first"]
    assert names[-3:] == ["log.note", "release.count", "release.mean"]
    text = found["policy"].replace("KEY ID OF THE AUTHOR", "ab" * 32)
    Path("policy.toml").write_text(text, "utf-8")
    (rule,) = OwnerPolicy.load("policy.toml").admit
    program = compile_source(SURVEY, "survey.py")
    assert tuple(rule.programs) == (f"sha256:{program.digest.hex()}",)
    assert {name: list(fields) for name, fields in rule.streams.items()} == {"patients": ["age", "bp"]}
    assert set(rule.effects) == set(verify(program.encode()).effects("clinic"))
    assert [release.name for release in rule.release] == ["older", "bp"]


def test_quiet_shows_releases_notes_and_errors(desk):
    done = survey("--quiet")
    assert "a private region failed" not in done.stdout
    assert "stream.batch" not in done.stdout.partition("what would leave")[0]
    assert "note: text looked" in done.stdout
    assert "count 'older' = 2.0" in done.stdout


def test_what_fails_in_a_region_is_said_with_line_and_private_detail(desk):
    Path("survey.py").write_text(SURVEY.replace('patient["bp"]', 'patient["pb"]'), "utf-8")
    done = survey()
    assert done.exit_code == 3
    lines = done.stdout.splitlines()
    after = lines[lines.index("done: None") + 1]
    assert after == "a private region failed, see above; each release of it that is shown is the neutral element"
    assert "private: KeyError at survey.py:11: 'pb'   | values.append(patient[\"pb\"])" in done.stdout
    assert done.stdout.count("neutral release: why the region failed: KeyError at line 11: 'pb'") == 2
    assert "count 'older' = 0.0" in done.stdout
    as_json = survey("--json")
    assert as_json.exit_code == 3
    found = json.loads(as_json.stdout)
    (event,) = [event for event in found["events"] if "region_failed" in event]
    assert event == {"region_failed": "KeyError", "code": "KeyError", "line": 11, "detail": "'pb'"}


def test_a_spent_region_is_said(desk):
    Path("survey.py").write_text(SURVEY.replace("fuel=5000", "fuel=20"), "utf-8")
    assert "private: FuelExhausted at survey.py:" in survey().stdout


def test_a_run_that_fails_lets_nothing_out(desk):
    last = 'release.mean(seen, of="values", name="bp", low=40.0, high=200.0)'
    twice = 'release.count(seen, of="n", name="older", high=9)'
    Path("survey.py").write_text(SURVEY.replace(last, twice), "utf-8")
    done = survey()
    assert done.exit_code == 3
    assert "failed with PermissionError at survey.py:21   | release.count(seen" in done.stdout
    texts = [line for line in done.stdout.splitlines() if line.startswith("    the text, which stays with the owner: ")]
    assert ["the program releases count 'older' twice" in text for text in texts] == [True]
    assert "nothing would leave, because the run failed; it had released:" in done.stdout
    found = json.loads(survey("--json").stdout)
    assert (found["leaves"], len(found["released"]), found["policy"]) == ([], 1, "")
    assert (found["code"], found["line"]) == ("PermissionError", 21)


def test_rows_of_an_npz_with_a_plan_train_on_onnx_runtime(desk):
    make_plan(desk / "plan")
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.savez("rows.npz", x=x)
    np.savez("weights.npz", w=np.ones(3, np.float32))
    arguments = ("train.py", "--rows", "rows.npz", "--plan", "plan", "--clip", "100", "--max-weight", "50", "--json")
    found = json.loads(run(*arguments).stdout)
    (left,) = found["leaves"]
    change = np.linalg.norm(x.sum(axis=0))
    assert (left["kind"], left["weight"]) == ("update", 2)
    assert left["norm"] == pytest.approx(change, rel=1e-6)
    assert found["answer"] == ["update(clip=100.0, max_weight=50)"]
    other = json.loads(run(*arguments, "--weights", "weights.npz").stdout)
    assert other["leaves"][0]["norm"] == pytest.approx(change, rel=1e-6)  # the change does not depend on the start
    short = json.loads(run("train.py", "--rows", "rows.npz", "--plan", "plan", "--clip", "0.5", "--json").stdout)
    assert short["leaves"][0]["norm"] == pytest.approx(0.5, rel=1e-3)
    refused("a plan's folder holds plan.sj", run("train.py", "--rows", "rows.npz", "--plan", "nowhere"))
    refused(
        "in the order's weights", run("train.py", "--rows", "rows.npz", "--weights", "weights.npz"), 2
    ) if False else None


def make_plan(folder: Path) -> None:
    """A plan whose one graph adds the columns' sums to the state."""
    total = helper.make_node("ReduceSum", ["x", "axes"], ["s"], keepdims=0)
    w, x, new = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("w", [3]), ("x", ["n", 3]), ("w.new", [3]))
    )
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [0])
    graph = helper.make_graph([total, helper.make_node("Add", ["w", "s"], ["w.new"])], "add", [w, x], [new], [axes])
    made = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 18)])
    onnx.checker.check_model(made)
    data = made.SerializeToString(deterministic=True)
    state = Port("state", "state", "", ())
    plan = Plan(
        suite=SUITE_1,
        name="adding",
        state=(StateTensor("w", "f32", (3,), trained=True),),
        graphs=(Graph("add", digest(data), (state, Port("x", "tensor", "f32", (None, 3))), (state,)),),
        constants={},
    )
    folder.mkdir()
    (folder / "plan.sj").write_bytes(encode(plan))
    (folder / "add.onnx").write_bytes(data)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("age,pb\n1,2\n", "clinic reads field 'bp' of stream 'patients'; the file has age, pb"),
        ("age,bp\n", "has no rows; write a header"),
        ("age,bp\n1\n", "rows.csv:2: 1 values, the header names 2"),
        ("age,bp\n1,2\n3,x\n", "rows.csv:3: bp: 'x' is no number; write a number of type f32"),
        ("age:i64,bp\n1.5,2\n", "rows.csv:2: age:i64: '1.5' is no whole number; write one"),
        ("age:i8,bp\n300,2\n", "rows.csv:2: age:i8: "),
        ("age:word,bp\n1,2\n", "rows.csv:1: 'age:word': "),
        ("age,age,bp\n1,2,3\n", "rows.csv:1: field 'age' stands twice"),
        ("age,bp[1]\n1,2\n", "rows.csv:1: bp[1] is out of order; write bp[0] here"),
        ("age,b]p\n1,2\n", "rows.csv:1: 'b]p' is no field"),
        ("\xff", "give a readable .csv file in UTF-8"),
    ],
)
def test_rows_that_cannot_be_read(desk, text, words):
    Path("rows.csv").write_bytes(text.encode("latin-1"))
    refused(words, survey())


def test_types_and_elements_of_a_csv(desk):
    Path("rows.csv").write_text("age:i64,ok:bool,bp[0],bp[1]\n51,true,1,2\n49,0,3,4.5\n", "utf-8")
    Path("survey.py").write_text(SURVEY.replace('["age", "bp"]', '["age", "bp", "ok"]'), "utf-8")
    found = json.loads(survey("--json").stdout)
    items = [event["result"] for event in found["events"] if event.get("effect") == "tensor.item"]
    assert items == ["51", "49"]
    assert found["leaves"][0]["value"] == 1.0


def test_rows_are_bound_to_the_stream_that_is_opened(desk):
    assert survey(rows="patients=rows.csv").exit_code == 0
    refused("clinic opens stream 'patients' too; pass --rows patients=FILE", survey(rows="people=rows.csv"))
    refused("stream 'patients' is given twice", survey("--rows", "rows.csv"))
    refused("rows come from a .csv or an .npz file", survey(rows="survey.py"))
    refused("give a readable .csv", survey(rows="gone.csv"))
    twice = SURVEY.replace('    log.note("looked")', '    stream.open("more", fields=["x"])')
    Path("survey.py").write_text(twice, "utf-8")
    refused("clinic opens more, patients; say which stream it is: --rows STREAM=rows.csv", survey())


# The console


def test_effects_of_rounds_are_answered_from_a_file(desk):
    Path("answers.jsonl").write_text(
        '# a comment\n{"effect": "fleet.invite"}\n\n{"effect": "fleet.ask", "value": {"$handle": "answers"}}\n', "utf-8"
    )
    done = run("survey.py", "--entry", "rounds", "--args", '{"age": 5}', "--answers", "answers.jsonl")
    assert done.exit_code == 0, done.output
    assert "gives <cohort handle public>" in done.stdout
    assert "gives <answers handle public>" in done.stdout
    assert done.stdout.rstrip().endswith("done: 5")


def test_an_answer_may_raise_and_one_too_many_is_said(desk):
    Path("answers.jsonl").write_text(
        '{"effect": "fleet.invite"}\n{"effect": "fleet.ask", "raise": ["QuorumMissed", "1 of 3"]}\n'
        '{"effect": "log.note"}\n',
        "utf-8",
    )
    done = run("survey.py", "--entry", "rounds", "--answers", "answers.jsonl")
    assert done.exit_code == 3
    assert "raises QuorumMissed: 1 of 3" in done.stdout
    assert "failed with QuorumMissed at survey.py:27   | answers = fleet.ask" in done.stdout
    assert "answers.jsonl:3: no effect took this answer" in done.stderr


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "answers.jsonl:1: no JSON"),
        ("[" * 100_000, "answers.jsonl:1: no JSON"),
        ("[]", 'answers.jsonl:1: write {"effect": NAME'),
        ('{"effect": "foo.bar"}', "answers.jsonl:1: there is no effect 'foo.bar'"),
        ('{"effect": "fleet.invite", "value": 1, "raise": 2}', '"value" and "raise" in one answer'),
        ('{"effect": "fleet.invite", "raise": ["OSError", ""]}', "answers.jsonl:1: an exception is a class and a text"),
        ('{"effect": "fleet.invite", "value": {"$handle": "box"}}', "'$handle' in an answer: write"),
        ('{"effect": "fleet.invite", "value": {"$handle": "cohort", "label": "x"}}', '"label" in an answer is a list'),
        ('{"effect": "fleet.invite", "value": {"$bytes": "0"}}', "'$bytes' in an answer"),
        ('{"effect": "fleet.ask"}', "the next line of answers.jsonl is about fleet.ask"),
        ("", 'write a line such as {"effect": "fleet.invite"} into a file and pass --answers FILE'),
    ],
)
def test_answers_that_are_none(desk, line, words):
    Path("answers.jsonl").write_text(line + "\n", "utf-8")
    refused(words, run("survey.py", "--entry", "rounds", "--answers", "answers.jsonl"))


def test_an_answer_that_the_effect_cannot_have(desk):
    Path("answers.jsonl").write_text('{"effect": "release.count", "value": 3}\n', "utf-8")
    refused("answers.jsonl:1: release.count resumes with None", survey("--answers", "answers.jsonl"))


def test_whoever_sits_there_is_asked_again_until_it_fits(desk):
    typed = '\n{"$handle": "box"}\nnonsense\n!QuorumMissed nobody\n'
    done = run("survey.py", "--entry", "rounds", typed=typed)
    assert done.exit_code == 3
    assert done.stderr.count("that does not fit") == 2
    assert "raises QuorumMissed: nobody" in done.stdout


def test_values_of_answers_go_through_the_program_as_they_are(desk):
    Path("echo.py").write_text(
        "from sojourn.program import continuation, gpu\n\n@continuation\ndef main(a, b):\n"
        "    return [gpu.run('g'), a, b]\n",
        "utf-8",
    )
    value = {
        "x": [1, {"$tuple": [True, None]}],
        "b": {"$bytes": "00ff"},
        "f": {"$float": "nan"},
        "g": {"$float": "-inf"},
    }
    Path("answers.jsonl").write_text(json.dumps({"effect": "gpu.run", "value": value}), "utf-8")
    done = run("echo.py", "--args", '[3, "x"]', "--answers", "answers.jsonl", "--json")
    found = json.loads(done.stdout)
    assert found["value"] == "[{'x': [1, (True, None)], 'b': b'\\x00\\xff', 'f': nan, 'g': -inf}, 3, 'x']"
    refused("an order gives one; write --args as a list", run("echo.py"))
    refused("main() takes 2 arguments, 1 are given", run("echo.py", "--args", "[1]"))


# Stopping, saving, going on


def test_a_breakpoint_stops_before_the_effect_and_the_run_goes_on_elsewhere(desk):
    whole = json.loads(survey("--json").stdout)
    stopped = survey("--break", "tensor.item", "--save", "stopped.sjr")
    assert "stopped before tensor.item(tensor=<tensor handle {author/patients}>)" in stopped.stderr
    assert "tensor.item" not in stopped.stdout
    assert stopped.exit_code == 0
    assert Path("stopped.sjr").stat().st_mode & 0o777 == 0o600
    again = survey("--resume", "stopped.sjr", "--break", "tensor.item", "--save", "second.sjr", typed="c\nq\n")
    assert again.stdout.count("tensor.item(") == 2
    found = json.loads(survey("--resume", "second.sjr", "--json").stdout)
    assert (found["outcome"], found["leaves"]) == ("done", whole["leaves"])
    names = [event["effect"] for event in found["events"] if "effect" in event]
    assert names[0] == "tensor.item"
    assert "stopped; pass --save FILE" in survey("--break", "log.note").stderr


def test_computed_tensors_are_saved_and_loaded(desk):
    make_plan(desk / "plan")
    np.savez("rows.npz", x=np.ones((4, 3), np.float32))
    arguments = ("train.py", "--rows", "rows.npz", "--plan", "plan", "--clip", "9")
    whole = json.loads(run(*arguments, "--json").stdout)
    run(*arguments, "--break", "release.update", "--save", "s.sjr")
    found = json.loads(run(*arguments, "--resume", "s.sjr", "--json").stdout)
    assert found["leaves"] == whole["leaves"]
    np.savez("weights.npz", w=np.ones(3, np.float32))
    refused("begun with other weights", run(*arguments, "--resume", "s.sjr", "--weights", "weights.npz"))


def test_other_rows_or_another_program_are_refused(desk):
    survey("--break", "tensor.item", "--save", "s.sjr")
    Path("rows.csv").write_text("age,bp\n31,100\n60,120\n70,160\n", "utf-8")
    refused("have changed since the run read them", survey("--resume", "s.sjr"), 1)
    Path("rows.csv").write_text("age,bp\n30,100\n", "utf-8")
    refused("the run has opened 3 rows of stream 'patients'", survey("--resume", "s.sjr"))
    Path("survey.py").write_text(SURVEY.replace("high=100)", "high=101)"), "utf-8")
    refused("was saved from another program", survey("--resume", "s.sjr"))


def test_an_effect_that_nobody_answers_can_be_answered_later(desk):
    done = run("survey.py", "--entry", "rounds", "--args", '{"age": 7}', "--save", "s.sjr", typed="\n")
    assert done.exit_code == 0
    assert "stopped: nothing answers fleet.ask" in done.stderr
    again = run("survey.py", "--resume", "s.sjr", typed="\n")
    assert again.stdout.rstrip().endswith("done: 7")


def test_lines_are_stepped_with_their_source(desk):
    done = survey("--step", "line", typed="\n\n\nv\nw\n\nc\n")
    assert done.exit_code == 0
    stops = [line.split("> ")[-1] for line in done.stderr.splitlines() if "survey.py:" in line and "region" not in line]
    assert [stop.split("  ")[0] for stop in stops] == [f"survey.py:{n}" for n in (17, 18, 5, 6, 7)]
    assert 'survey.py:17  rows = stream.open("patients", fields=["age", "bp"])   (clinic 0)' in done.stderr
    assert "    older = 0" in done.stderr
    assert "run [public]: clinic, line 18" in done.stderr
    assert "private region [{author/patients}]: look, line 6" in done.stderr


def test_instructions_are_stepped_one_by_one(desk):
    done = survey("--step", "instruction", typed="i\ni\nq\n")
    assert [f"(clinic {n})" in done.stderr for n in (0, 1, 2, 3)] == [True, True, True, False]


def test_stepping_does_not_change_what_a_run_costs_or_gives(desk):
    stepped = survey("--step", "instruction", "--json", typed="i\n" * 400)
    assert json.loads(stepped.stdout)["leaves"] == json.loads(survey("--json").stdout)["leaves"]


def test_budgets_end_a_run(desk):
    done = survey("--fuel", "4000")
    assert (done.exit_code, "failed with fuel at survey.py:18" in done.stdout) == (3, True)
    assert "failed with memory at" in survey("--memory", "20000").stdout
    refused("fuel is 1 to", survey("--fuel", "99999999999999999999"))


def test_wrong_usage(desk):
    refused("--break gpu.walk: there is no such effect", survey("--break", "gpu.walk"))
    refused("the program has the entries clinic, rounds; say which one: --entry NAME", run("survey.py"))
    refused("the program has no entry 'x'; it has clinic, rounds", run("survey.py", "--entry", "x"))
    refused("--args is no JSON", run("survey.py", "--entry", "clinic", "--args", "{"))
    refused("--args is an object", run("survey.py", "--entry", "clinic", "--args", "3"))
    refused("cannot read the program", run("gone.py"))
    Path("latin.py").write_bytes(b"# \xe9")
    refused("latin.py is not UTF-8", run("latin.py"))
    Path("class.py").write_text("class A: pass\n", "utf-8")
    refused("class.py:1:1: classes are not in this language; write functions", run("class.py"))
    Path("x.csv").write_text("x\n1\n", "utf-8")
    refused("nothing answers gpu.run (operation 2)", run("train.py", "--rows", "x.csv"))
    refused("or --plan FOLDER with the graphs", run("train.py", "--rows", "x.csv"))
    refused("or --rows FILE with rows of your own", run("survey.py", "--entry", "clinic"))


def test_a_compiled_program_runs_without_its_source(desk):
    program = compile_source(SURVEY, "survey.py")
    Path("survey.sjp").write_bytes(program.encode())
    done = run("survey.sjp", "--rows", "rows.csv", "--args", '{"age": 50}', "-q")
    assert "count 'older' = 2.0" in done.stdout


# Looking at what was stopped


@pytest.fixture
def stopped(desk):
    survey("--break", "tensor.item", "--save", "stopped.sjr")
    return desk / "stopped.sjr"


def test_a_continuation_is_shown_without_anything_private(stopped):
    done = show(stopped)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].endswith("survey.py")
    assert any(line.startswith("public run: ") for line in lines)
    assert any(line.startswith("  frame 0: clinic, line 18, ") and line.endswith("memory=100000)") for line in lines)
    assert "      order = order(weights=<state handle public>, round=0, args={'age': 50})" in lines
    assert any(line.startswith("private region, label {author/patients}: ") for line in lines)
    assert any(
        line.startswith("  frame 0: look, line 9, ") and line.endswith('if tensor.item(patient["age"]) >= age:')
        for line in lines
    )
    assert "      older = <{author/patients}>" in lines
    assert "      n = <{author/patients}>" in lines
    assert any(
        line.startswith("waits for tensor.item(tensor=<{author/patients}>), operation 2, pure") for line in lines
    )
    assert "  kind stream, id " in done.stdout
    assert "label {author/patients}, stream patients" in done.stdout


def test_json_of_a_continuation(stopped):
    found = json.loads(show(stopped, "--json").stdout)
    public, region = found["runs"]
    assert (public["region"], region["region"], region["label"]) == (False, True, ["author/patients"])
    assert region["limit"] == 100_000
    assert set(region["frames"][0]["variables"].values()) == {"<{author/patients}>"}
    assert region["frames"][0]["source"] == 'if tensor.item(patient["age"]) >= age:'
    assert (found["pending"]["effect"], found["pending"]["args"]) == ("tensor.item", {"tensor": "<{author/patients}>"})
    assert {handle["kind"] for handle in found["handles"]} == {"stream", "cursor", "tensor", "state"}


def test_a_box_shows_its_label_only(desk):
    survey("--break", "log.note", "--save", "s.sjr")
    assert "      seen = <box {author/patients}>" in show("s.sjr").stdout.splitlines()
    assert "140" not in show("s.sjr", "--json").stdout


def test_a_bare_snapshot_needs_its_program(stopped):
    bare = stopped.parent / "bare.sjs"
    bare.write_bytes(load_saved(stopped.read_bytes()).machine.dump())
    refused("say which program it is of: --program FILE", show(bare))
    done = show(bare, "--program", "survey.py")
    assert "tensor.item(patient" in done.stdout
    refused("program", show(bare, "--program", "train.py"), 1)


def change(path: Path, **items: bytes | None) -> Path:
    """The same file with other items, and the digest of those."""
    found = dict(decode(Bundle, path.read_bytes(), limit=1 << 29).items) | items
    found = {name: data for name, data in found.items() if data is not None and name != "sha256"}
    made = path.parent / "changed.sjr"
    made.write_bytes(encode(Bundle(found | {"sha256": digest(encode(Bundle(found)))})))
    return made


def test_files_that_are_no_continuation(stopped):
    other = compile_source(TRAIN, "train.py").encode()
    refused("the source in this file is not that of its program", show(change(stopped, source=TRAIN.encode())), 1)
    refused("the source in this file is not that of its program", show(change(stopped, source=b"\xff")), 1)
    refused("program", show(change(stopped, program=other)), 1)
    refused("this is no saved run: it lacks", show(change(stopped, state=None)), 1)
    refused("magic", show(change(stopped, state=b"nonsense")), 1)
    refused("cannot read the continuation", show("gone.sjr"))
    Path("empty.sjr").write_bytes(b"")
    refused("do not begin with the magic", show("empty.sjr"), 1)
    without = show(change(stopped, source=b""))
    assert "look, line 9, " in without.stdout
    assert "tensor.item(patient" not in without.stdout


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a run that was stopped in a region."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "survey.py").write_text(SURVEY, "utf-8")
    (folder / "rows.csv").write_text(ROWS, "utf-8")
    done = run(folder / "survey.py", "--rows", folder / "rows.csv", "--args", '{"age": 50}', "--break", "tensor.item",
               "--save", folder / "s.sjr")  # fmt: skip
    assert done.exit_code == 0, done.output
    return (folder / "s.sjr").read_bytes()


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_file_is_refused_with_the_ordinary_errors(whole, data):
    damaged = bytearray(whole)
    damaged[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SojournError):
        load_saved(bytes(damaged))


def test_a_damaged_value_that_is_a_state_of_the_program_too_is_refused(whole, tmp_path):
    at = whole.index(b"author/patients")
    damaged = tmp_path / "damaged.sjr"
    damaged.write_bytes(whole[:at] + b"n" + whole[at + 1 :])
    refused("this saved run is damaged", show(damaged), 1)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_state_that_somebody_wrote_is_refused_or_is_the_state_that_is_shown(whole, data):
    """Who can write a file can give it a digest; then it is judged as any untrusted snapshot."""
    items = dict(decode(Bundle, whole, limit=1 << 29).items)
    del items["sha256"]
    state = bytearray(items["state"])
    state[data.draw(st.integers(0, len(state) - 1))] ^= data.draw(st.integers(1, 255))
    items["state"] = bytes(state)
    try:
        found = load_saved(encode(Bundle(items | {"sha256": digest(encode(Bundle(items)))})))
    except SojournError:
        return
    assert found.machine.dump() in bytes(state)


def test_a_snapshot_of_a_run_that_has_ended(desk):
    Path("end.py").write_text(
        "from sojourn.program import continuation\n\n@continuation\ndef main(order):\n    return [1] * order\n", "utf-8"
    )
    program = verify(compile_source(Path("end.py").read_text("utf-8"), "end.py").encode())
    for factor, words in ((2, "has ended: done, [1, 1]"), (None, "has ended: failed, TypeError at line 5")):
        machine = Machine.start(program, "main", [factor], bytes(32), 1000, 100_000)
        machine.run(1000)
        Path("end.sjs").write_bytes(machine.dump())
        assert words in show("end.sjs", "--program", "end.py").stdout
        assert json.loads(show("end.sjs", "--program", "end.py", "--json").stdout)["ended"] in words
    machine = Machine.start(program, "main", [2], bytes(32), 1000, 100_000)
    Path("end.sjs").write_bytes(machine.dump())
    assert (
        "waits for nothing: it goes on at the line of its last frame" in show("end.sjs", "--program", "end.py").stdout
    )


LABEL = Label.of("clinic/patients")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (10**100, "<int of 333 bits>"),
        ("x" * 70, f"'{'x' * 60}'... (70 in all)"),
        (b"\x00" * 70, f"{bytes(60)!r}... (70 in all)"),
        ([[[[[1]]]]], "[[[[[...]]]]]"),
        ([[[[[]]]]], "[[[[[]]]]]"),
        ((1,), "(1,)"),
        ((), "()"),
        ({"a": {1: 2.5}}, "{'a': {1: 2.5}}"),
        (list(range(20)), "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ... 20 in all]"),
        (SetValue({1: None, 2: None}), "{1, 2}"),
        (ExcValue("KeyError", ("x",)), "KeyError('x',)"),
        (FunctionValue(0, "main.<locals>.f"), "<function main.<locals>.f>"),
        (RecordValue("order", {"round": 1}), "order(round=1)"),
        ([[[[RecordValue("order", {"round": 1})]]]], "[[[[order(...)]]]]"),
        (Handle("tensor", b"id", LABEL), "<tensor handle {clinic/patients}>"),
        (Box(b"id", LABEL), "<box {clinic/patients}>"),
        (DictView(ViewKind.KEYS, {}), "<dict_keys>"),
        (range(3), "range(0, 3)"),
    ],
)
def test_values_are_shown_in_a_few_words(value, text):
    assert shown(value) == text


def test_a_container_that_holds_itself_is_shown():
    knot: list[object] = []
    knot.append(knot)
    assert shown(knot) == "[[[[[...]]]]]"
