"""What a data scientist calls: a submission that a coordinator takes, or one sentence that says what to write."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from sojourn.client import build_submission
from sojourn.client.submission import count, mean, phase, total, update
from sojourn.codec import digest, encode
from sojourn.contracts import SUITE_1, Graph, Phase, Plan, Port, ReleaseSpec, StateTensor, UpdateSpec
from sojourn.crypto import Identity, create_trust, load_trusted_set, sign_document
from sojourn.datoms import split_datoms, unpack
from sojourn.errors import ConfigError, PlanMismatch, ProgramRefused, UsageError
from sojourn.submissions import check_submission

NOW = 1_800_000_000_000
HEAD = "from sojourn.program import continuation, fleet, gpu, log, model, private, release, stream, tensor, updates\n"

SURVEY = (
    HEAD
    + """
def look(rows):
    return {"n": 1, "values": []}

@continuation
def clinic(order):
    rows = stream.open("visits", fields=["age", "bp"])
    seen = private(look, rows, fuel=1000, memory=100000)
    release.count(seen, of="n", name="visits", high=500)
    release.mean(seen, of="values", name="bp", low=40.0, high=200.0)

@continuation
def rounds(job):
    cohort = fleet.invite(round=0)
    fleet.ask(cohort, "survey")
"""
)

TRAIN = (
    HEAD
    + """
def step(weights):
    out = gpu.run("echo", state=weights)
    return {"state": out["state"], "n": 1}

@continuation
def hospital(order):
    result = private(step, order.weights, fuel=1000, memory=100000)
    release.update(result, of="state", weight="n", base=order.weights)
"""
)

ANSWER = (count("visits", high=500), mean("bp", low=40, high=200))


@pytest.fixture(scope="module")
def trust(tmp_path_factory):
    return create_trust(tmp_path_factory.mktemp("trust") / "t", at_ms=NOW)


@pytest.fixture(scope="module")
def author(trust):
    return Identity.load(trust.author / "identity.key")


@pytest.fixture
def trusted(trust):
    return load_trusted_set(trust.coordinator, at_ms=NOW)


@pytest.fixture
def build(author):
    """`build_submission` of the survey, with changes."""

    def make(**changes):
        wanted = {
            "name": "blood pressure",
            "purpose": "survey",
            "program": SURVEY,
            "phases": [phase("survey", entry="clinic", quorum=2, answer=ANSWER)],
            "now_ms": NOW,
        }
        return build_submission(author, **(wanted | changes))

    return make


def echo_graph() -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["w.new"])],
        "echo",
        [helper.make_tensor_value_info("w", TensorProto.FLOAT, [3])],
        [helper.make_tensor_value_info("w.new", TensorProto.FLOAT, [3])],
    )
    made = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 18)])
    onnx.checker.check_model(made)
    return made.SerializeToString(deterministic=True)


def echo_plan(**changes) -> Plan:
    state = Port("state", "state", "", ())
    plan = Plan(
        suite=SUITE_1,
        name="echo",
        state=(StateTensor("w", "f32", (3,), trained=True),),
        graphs=(Graph("echo", b"", inputs=(state,), outputs=(state,)),),
        constants={},
    )
    return msgspec.structs.replace(plan, **changes)


@pytest.fixture
def train(build):
    """`build_submission` of a training job on the packaged rounds, with changes."""

    def make(**changes):
        wanted = {
            "program": TRAIN,
            "phases": [phase("train", entry="hospital", answer=[update(clip=1.0, max_weight=10)])],
            "plan": echo_plan(),
            "graphs": {"echo": echo_graph()},
            "initial": {"w": np.zeros(3, np.float32)},
            "args": {"rounds": 3},
        }
        return build(**(wanted | changes))

    return make


# What is built


def test_a_job_without_graphs_verifies_under_the_real_roster(build, trusted):
    made = build()
    found = trusted.verify_submission(made.data, NOW + 1)
    check_submission(found)
    assert (found.job.value, found.job.digest, found.plan.value) == (made.job, made.id, made.plan)
    assert found.graphs == {}
    assert unpack(split_datoms(found.initial), root=made.job.initial) == {}
    assert made.plan_digest == digest(encode(made.plan))
    assert made.effects == {"survey": {"stream.open", "release.count", "release.mean"}}
    assert made.streams == {"visits": ("age", "bp")}
    assert made.job.rounds == made.job.program  # the program has a continuation `rounds` of its own


def test_a_training_job_verifies_and_takes_the_packaged_rounds(train, trusted):
    made = train(heldout=None)
    found = trusted.verify_submission(made.data, NOW + 1)
    check_submission(found)
    assert made.job.rounds != made.job.program
    assert made.plan.graphs[0].digest == digest(echo_graph())  # it was left empty
    np.testing.assert_array_equal(
        unpack(split_datoms(found.initial), root=made.job.initial)["w"], np.zeros(3, np.float32)
    )
    assert train(rounds="fedavg").job.rounds == made.job.rounds


def test_files_are_taken_as_they_are(train, tmp_path):
    program, graph = tmp_path / "program.py", tmp_path / "echo.onnx"
    program.write_text(TRAIN, encoding="utf-8")
    graph.write_bytes(echo_graph())
    made = train(program=program, graphs={"echo": graph})
    assert (made.program_digest, made.plan_digest) == (train().program_digest, train().plan_digest)


def test_ints_become_floats_wherever_a_float_is_meant(build, trusted):
    by_hand = Phase(
        "survey", "collect", "clinic", 1, 1000,
        (ReleaseSpec("count", "visits", 0, 500, None), ReleaseSpec("mean", "bp", 40, 200, None)),
    )  # fmt: skip
    made = build(phases=[by_hand])
    assert [type(spec.high) for spec in made.job.phases[0].answer] == [float, float]
    trusted.verify_submission(made.data, NOW + 1)


def test_constants_of_a_plan_too(train):
    with pytest.raises(PlanMismatch, match="constant 'rate'"):  # it got as far as the graph, which has no such input
        train(plan=echo_plan(constants={"rate": 1}))


def test_two_submissions_of_the_same_things_are_two_jobs(build):
    assert build().id != build().id
    assert build().plan_digest == build().plan_digest


def test_a_job_lives_as_long_as_was_said(build):
    made = build(lifetime=timedelta(hours=2))
    assert (made.job.issued_ms, made.job.expires_ms) == (NOW, NOW + 7_200_000)


# Mistakes


def refused(words: str, make, **changes) -> None:
    with pytest.raises(UsageError, match=words):
        make(**changes)


def survey_of(*answer: ReleaseSpec, **changes) -> list[Phase]:
    return [phase("survey", **({"entry": "clinic", "answer": answer or ANSWER} | changes))]


def test_phases_that_the_program_does_not_have(build):
    refused("phase 'survey' starts 'clinik', which is no @continuation of <program>; write one of clinic, rounds",
            build, phases=survey_of(entry="clinik"))  # fmt: skip
    refused("one phase or more", build, phases=[])
    refused("has quorum 0; write 1 or more", build, phases=survey_of(quorum=0))
    refused("has quorum 4, and a cohort has 3 participants; lower", build, phases=survey_of(quorum=4), participants=3)
    with pytest.raises(UsageError, match="deadline_s is 0"):
        survey_of(deadline_s=0)


def test_releases_that_the_answer_does_not_name(build):
    visits, pressure = ANSWER
    for words, answer in (
        (
            r"<program>:11: release\.mean 'bp' is not in .* which holds count 'visits'; add mean\('bp', low=40\.0, ",
            (visits,),
        ),
        (
            r"release\.count 'visits' is not .* which holds count 'calls', mean 'bp'; add count\('visits', high=500\)",
            (count("calls", high=500), pressure),
        ),
        (
            r"<program>:10: release\.count 'visits' says high=500, the answer of phase 'survey' says high=400\.0",
            (count("visits", high=400), pressure),
        ),
        (r"low=40\.0, the answer of phase 'survey' says low=30\.0", (visits, mean("bp", low=30, high=200))),
    ):
        refused(words, build, phases=survey_of(*answer))


def test_an_answer_that_the_program_does_not_give(build):
    visits, pressure = ANSWER
    refused(
        "holds sum 'age', which 'clinic' of <program> never releases",
        build,
        phases=survey_of(*ANSWER, total("age", low=0, high=120)),
    )
    words = "releases count 'visits', mean 'bp', the answer .* holds mean 'bp', count 'visits'; write both in one order"
    refused(words, build, phases=survey_of(pressure, visits))


def test_releases_with_names_that_are_no_literals_are_left_to_the_hosts(build):
    source = SURVEY.replace('name="visits"', 'name=order.args["name"]')
    assert build(program=source, args={"name": "visits"}).streams == {"visits": ("age", "bp")}
    refused(r"release\.count is not in the answer", build, program=source, phases=survey_of(ANSWER[1]))


def test_effects_in_the_wrong_place(build):
    inviting = SURVEY.replace("    seen = private", "    fleet.invite(round=0)\n    seen = private")
    refused(
        r"<program>:9: fleet\.invite is an effect of rounds; phase 'survey' runs on an agent: move it to the rounds",
        build,
        program=inviting,
    )
    opening = SURVEY.replace("fleet.invite(round=0)", 'stream.open("a", fields=["b"])')
    refused(r"stream\.open is an effect of agents, and rounds run on a coordinator", build, program=opening)


def test_rounds_that_do_not_ask_for_what_there_is(build):
    refused("asks for phase 'survey', the job has 'poll'; write one of these", build,
            phases=[phase("poll", entry="clinic", answer=ANSWER)])  # fmt: skip
    refused("phase 'again' is never asked for by 'rounds'", build,
            phases=[*survey_of(), phase("again", entry="clinic", answer=ANSWER)])  # fmt: skip
    refused("the job's rounds starts 'loop', which is no @continuation", build, rounds_entry="loop", rounds=SURVEY)
    without = SURVEY[: SURVEY.index("@continuation\ndef rounds")]
    refused(r"fedavg\.py:\d+: fleet\.ask asks for phase 'train', the job has 'survey'; .* a round loop of your own",
            build, program=without)  # fmt: skip
    refused(r"updates\.aggregate folds updates, and no phase of this job answers with one", build, program=without,
            phases=[phase("train", entry="clinic", answer=ANSWER)])  # fmt: skip
    refused("no packaged round loop 'fedprox'", build, rounds="fedprox")


def test_graphs(train):
    refused("'gpu.run needs a graph|needs a graph, and this job has none; pass plan=", train, plan=None, graphs=None)
    refused("no plan; pass plan=", train, plan=None)
    refused("runs graph 'ekko', the plan has 'echo'", train, program=TRAIN.replace('gpu.run("echo"', 'gpu.run("ekko"'))
    refused("gives graph 'echo' the inputs weights; it takes state", train,
            program=TRAIN.replace("state=weights)", "weights=weights)"))  # fmt: skip
    refused("cannot read .*missing.onnx", train, graphs={"echo": Path("missing.onnx")})
    refused(r"the manifest states graphs \['echo'\], the bundle has \[\]", train, graphs={})
    refused("the file is sha256", train,
            plan=echo_plan(graphs=(msgspec.structs.replace(echo_plan().graphs[0], digest=bytes(32)),)))  # fmt: skip
    refused(r"the manifest states f32\[4\], the graph has f32\[3\]", train,
            plan=echo_plan(state=(StateTensor("w", "f32", (4,), trained=True),)))  # fmt: skip
    refused("graph 'echo'", train, graphs={"echo": b"not onnx"}, plan=echo_plan())


def test_models(train):
    refused("the plan trains w; pass initial=", train, initial=None)
    refused(r"initial\['w'\] is float64; write array.astype\(numpy.float32\)", train, initial={"w": np.zeros(3)})
    refused(r"initial tensor 'w' is float32 \(4,\)", train, initial={"w": np.zeros(4, np.float32)})
    refused("has a tensor 'v'", train, initial={"w": np.zeros(3, np.float32), "v": np.zeros(3, np.float32)})
    refused("lacks the trained tensor 'w'", train, initial={})
    refused("initial: ", train, initial={"w": np.zeros(3, np.float32), "": np.zeros(1, np.float32)})


def test_a_model_without_a_plan(build):
    refused("has a tensor 'w' that the plan's state does not have", build, initial={"w": np.zeros(3, np.float32)})


def test_arguments(build, train):
    refused(r"args\['size'\] is of type int64; write a bool, int, float or str", build, args={"size": np.int64(3)})
    refused(r"args\['sizes'\] is of type list", build, args={"sizes": [3]})
    refused(r'counts to args\["rounds"\]; pass for example args=\{"rounds": 10\}', train, args={})
    refused("the limit|fuel has to be", build, fuel=0)
    refused("expires_ms has to be after", build, lifetime=timedelta(0))
    refused("1 to 256 printable characters", build, name="")
    refused("Job.name: Expected `str`", build, name=3)


LIMITS = "fuel=1000, memory=100000"  # of SURVEY's region
ARGUMENT = "fuel=order.args['f'], memory=5000"
WHOLE = "which is charged to the run's own, and the job gives a run fuel=100000 in all"


@pytest.mark.parametrize(
    ("written", "args", "words"),
    [
        ("fuel=99999, memory=5000", {}, None),
        (
            "fuel=100000, memory=5000",
            {},
            rf"<program>:9: private\(look, ...\) has fuel=100000, {WHOLE}; write a smaller",
        ),
        ("fuel=9, memory=50000000", {}, "has memory=50000000, .* a run memory=5000000 in all; .*pass a larger memory="),
        ("fuel=9, memory=0", {}, "has memory=0; write an int of 1 or more"),
        (ARGUMENT, {"f": 99999}, None),
        (
            ARGUMENT,
            {"f": 200000},
            rf"takes fuel= from args\['f'\], and that has fuel=200000, {WHOLE}; lower args\['f'\]",
        ),
        (ARGUMENT, {}, r"takes fuel= from args\['f'\], which the job lacks; pass args={'f': ...}"),
        (ARGUMENT, {"f": 1e3}, r"that has fuel=1000.0; write an int of 1 or more"),
        (ARGUMENT, {"f": True}, r"that has fuel=True; write an int of 1 or more"),
        ("fuel=order.args['f'] // 2, memory=5000", {"f": 200000}, None),
    ],
)
def test_what_regions_take_is_less_than_what_the_run_has(build, written, args, words):
    def make():
        return build(program=SURVEY.replace(LIMITS, written), args=args, fuel=100_000, memory=5_000_000)

    if words is None:
        assert make().job.fuel == 100_000
    else:
        refused(words, make)


def test_what_all_regions_take_together_is_less_too(build):
    again = f"    private(look, rows, {LIMITS})\n    release.count(seen"
    source = SURVEY.replace("    release.count(seen", again)
    assert build(program=source, fuel=2001).job.fuel == 2001
    words = (
        r"in lines 9, 10 take fuel=1000 \+ 1000 = 2000 together, .*; write smaller ones there, or pass a larger fuel="
    )
    refused(words, build, program=source, fuel=2000)


def test_policies(build):
    with pytest.raises(ConfigError, match="no aggregation policy 'krum'; installed: fedavg; write one of these"):
        build(policy="krum")
    with pytest.raises(ConfigError, match="has no option 'f'"):
        build(policy={"name": "fedavg", "f": 1})


def test_a_job_without_graphs_keeps_its_plan_under_another_name(build):
    """An owner pins the plan's hash; a job that is only renamed still has it."""
    named, renamed = build(name="blood pressure"), build(name="blood pressure, second try")
    assert named.plan_digest == renamed.plan_digest
    assert named.id != renamed.id


def test_sources(build, tmp_path):
    refused(r"program is the text 'program.py', which is no program; for a file write Path\('program.py'\)", build,
            program="program.py")  # fmt: skip
    refused("program: cannot read .*missing.py", build, program=tmp_path / "missing.py")
    (tmp_path / "latin.py").write_bytes(b"# \xe9\n")
    refused("pass the path of a UTF-8 file", build, program=tmp_path / "latin.py")
    with pytest.raises(ProgramRefused, match=r"<program>:\d+:\d+: .*write"):
        build(program=SURVEY.replace("return {", "yield {"))


def test_only_an_author_signs(trust):
    with pytest.raises(UsageError, match="is a coordinator; a submission is signed by an author"):
        build_submission(
            Identity.load(trust.coordinator / "identity.key"), name="n", purpose="p", program=SURVEY, phases=survey_of()
        )


def test_nothing_is_signed_that_would_not_decode(author):
    with pytest.raises(UsageError, match=r"ReleaseSpec|Plan\.constants\['rate'\] holds the int 1; write 1\.0"):
        sign_document(author, echo_plan(constants={"rate": 1}))


# The numbers of an update


@given(st.floats(1e-6, 1e6), st.integers(1, 2**31 - 1))
def test_an_updates_default_numbers_hold_the_clip_and_are_as_fine_as_they_can_be(clip, max_weight):
    spec = update(clip=clip, max_weight=max_weight).update
    assert spec.clip * spec.max_weight <= spec.bound * spec.scale
    assert spec.bound < 2**31
    assert spec.clip * spec.max_weight / (spec.scale / 2) > 2**31 - 1
    assert spec.scale == 2.0 ** round(np.log2(spec.scale))


def test_numbers_of_an_update_that_do_not_fit():
    for words, given_ in (
        ("clip is 0", {"clip": 0, "max_weight": 1}),
        ("clip is nan", {"clip": float("nan"), "max_weight": 1}),
        ("max_weight is 0", {"clip": 1.0, "max_weight": 0}),
        ("scale is -1", {"clip": 1.0, "max_weight": 1, "scale": -1.0}),
        ("is too fine for clip", {"clip": 5.0, "max_weight": 1000, "scale": 2.0**-30}),
        ("bound 9 would cut an update", {"clip": 1.0, "max_weight": 10, "scale": 1.0, "bound": 9}),
    ):
        with pytest.raises(UsageError, match=words):
            update(**given_)
    assert update(clip=1.0, max_weight=10, scale=1.0, bound=10).update == UpdateSpec(1.0, 1.0, 10, 10)


# What the program names, and the job has or lacks


def test_rounds_under_another_name_are_named(build):
    other = SURVEY.replace("def rounds(job)", "def weekly(job)")
    refused(
        "<program> has no @continuation 'rounds', and 'weekly' asks agents; pass rounds_entry='weekly', or rename it",
        build,
        program=other,
    )
    assert build(program=other, rounds_entry="weekly").job.rounds_entry == "weekly"
    refused("has no @continuation 'wekly', and 'weekly' asks agents; pass rounds_entry='weekly'", build,
            program=other, rounds_entry="wekly")  # fmt: skip
    refused("which is no @continuation of <rounds>; pass rounds_entry='weekly'", build, program=SURVEY, rounds=other)


def test_a_rounds_entry_that_nothing_has_is_refused(train):
    refused(r"has no @continuation 'loop' \(it has 'hospital'\); pass rounds= with", train, rounds_entry="loop")


MEANT = (
    r"<program>:\d+: clinic\(\) reads args\['agge'\], which the job lacks; it has 'age', 'size'; did you mean 'age'\?"
)


@pytest.mark.parametrize(
    ("line", "args", "words"),
    [
        ("    age = order.args['agge']", {"age": 1, "size": 2}, MEANT),
        ("    a = order.args\n    age = a['zz']", {"age": 1}, "'age'; write one of these, or pass args={'zz': ...}"),
        ("    age = order.args['age']", {}, "it has none; please pass args={'age': ...}"),
        ("    age = order.args['age']", {"age": 1}, None),
        ("    age = order.args['age'] if 'age' in order.args else 3", {}, None),
        ("    age = order.args.get('age')", {}, None),
        ("    try:\n        age = order.args['age']\n    except KeyError:\n        age = 3", {}, None),
        ("    a = order.args\n    a['age'] = 3\n    age = a['age']", {}, None),
        ("    order.args.update({'age': 3})\n    age = order.args['age']", {}, None),
    ],
)  # fmt: skip
def test_keys_of_arguments_are_looked_up_before_anything_is_signed(build, line, args, words):
    source = SURVEY.replace("def clinic(order):", f"def clinic(order):\n{line}")

    if words is None:
        assert build(program=source, args=args).job.args == args
    else:
        refused(words, build, program=source, args=args)


def test_keys_of_arguments_of_rounds_too(build):
    source = SURVEY.replace("fleet.invite(round=0)", "fleet.invite(round=job.args['first'])")
    refused(r"rounds\(\) reads args\['first'\]", build, program=source)
    assert build(program=source, args={"first": 0}).job.args == {"first": 0}


# What an entry does with private data


def changed(old: str, new: str) -> str:
    assert old in SURVEY
    return SURVEY.replace(old, new)


COUNT = '    release.count(seen, of="n"'


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ('    if seen["n"] > 3:\n        log.note("many")\n', "index"),
        ('    if seen:\n        log.note("many")\n', "test"),
        ("    seen == 3\n", "compare"),
        ("    seen + 1\n", "compute with"),
        ("    len(seen)\n", "measure"),
        ("    for each in seen:\n        log.note('x')\n", "iterate over"),
        ("    log.note(f'{seen}')\n", "print"),
        ("    seen.get('n')\n", r"call .get\(\) of"),
    ],
)
def test_a_box_is_not_used_as_if_it_were_open(build, line, word):
    refused(
        rf"<program>:10: clinic\(\) would {word} a box, which is sealed outside of regions; decide inside, .*release",
        build,
        program=changed(COUNT, line + COUNT),
    )


def test_what_a_program_may_do_with_a_box(build):
    tried = "    try:\n        seen['n']\n    except TypeError:\n        log.note('sealed')\n"
    again = "    seen = private(look, [seen], fuel=1000, memory=100000)\n"  # assigned twice: not followed
    for line in (tried, again, "    kept = [seen]\n    seen2 = seen\n"):
        assert build(program=changed(COUNT, line + COUNT)).job.name == "blood pressure"


def test_a_payload_is_one_that_the_region_returns(build):
    refused(
        r"<program>:10: release.count takes of='m' from what look\(\) returns, which has 'n', 'values'; write one of",
        build,
        program=changed('of="n"', 'of="m"'),
    )
    refused("of='value' from .*; write 'values'", build, program=changed('of="values"', 'of="value"'))
    early = changed('    return {"n"', '    if rows is None:\n        return {"m": 1}\n    return {"n"')
    build(program=early.replace('of="n"', 'of="m"'))
    unknown = changed('    return {"n": 1, "values": []}', '    made = {"n": 1}\n    made["m"] = 2\n    return made')
    build(program=unknown.replace('of="n"', 'of="m"'))


def test_fields_of_a_batch_are_those_that_the_stream_was_opened_with(build):
    look = "    batch, cursor = stream.batch(rows, stream.first(rows), 10)\n"
    read = changed('    return {"n": 1,', look + '    return {"n": batch["rows"],')
    build(program=read)
    refused(
        r"<program>:5: look\(\) reads 'agge' of a batch, which has 'age', 'bp', 'rows'; write 'age', or add 'agge' to",
        build,
        program=read.replace('batch["rows"]', 'batch["agge"]'),
    )
    refused("write one of these, or add 'minute'", build, program=read.replace('batch["rows"]', 'batch["minute"]'))
    build(program=read.replace('batch["rows"]', 'batch["minute"] if "minute" in batch else 0'))
    build(program=read.replace(look, look + "    batch['minute'] = 3\n").replace('batch["rows"]', 'batch["minute"]'))
