"""The guard, asked about real signed orders."""

import dataclasses
import math

import msgspec
import pytest
from sojourn.contracts import ReleaseSpec, UpdateSpec
from sojourn.errors import AdmissionRefused, Refusal
from sojourn.privacy import Admission, decide
from sojourn.vm import compile_source, verify

OTHER = """
from sojourn.program import continuation, release

@continuation
def hospital(order):
    release.count(0, of="n", name="patients", high=1000)
"""
COUNT = ReleaseSpec("count", "patients", 0.0, 1000.0, None)
MEAN = ReleaseSpec("mean", "loss", 0.0, 10.0, None)


def ask(hospital, policy=None, **changes):
    order = hospital.order(**changes)
    return decide(policy or hospital.policy(), order, hospital.bundle(order), hospital.program)


def refused(hospital, words, policy=None, **changes):
    with pytest.raises(AdmissionRefused, match=words) as caught:
        ask(hospital, policy, **changes)
    assert isinstance(caught.value, Refusal)
    assert caught.value.code == "admission_refused"


def update(clip=5.0, max_weight=1000):
    return ReleaseSpec("update", "update", 0.0, 0.0, UpdateSpec(clip, 2**-16, 2**30, max_weight))


def test_an_order_that_one_rule_admits(hospital):
    policy = hospital.policy()
    admission = ask(hospital, policy)
    assert (admission.rule, admission.title, admission.owner) == (0, "rule admit[0] (study)", "hospital-1")
    assert admission.policy == policy.digest
    assert admission.streams == {"patients": frozenset({"x", "y", "age"}), "visits": frozenset({"t"})}
    assert [spec.kind for spec in admission.releases] == ["update", "count", "mean"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('["research"]', '["marketing"]', r"policy.toml: rule admit\[0\] \(study\) does not admit purpose 'research'"),
        ('programs = ["sha256:', 'programs = ["sha256:' + "0" * 64 + '"] #', "does not admit program sha256:"),
        ('plans = ["sha256:', 'plans = ["sha256:' + "0" * 64 + '"] #', "plan sha256:.* has not pinned this hash"),
        ("max_fuel = 1000000", "max_fuel = 999999", "admits 999999 instructions, the job asks for 1000000"),
        ("max_memory = 2000000", "max_memory = 1999999", "admits 1999999 bytes of memory, the job asks for 2000000"),
        ('"stream.batch", "gpu.run", ', "", "does not admit the effects gpu.run, stream.batch, which the program can"),
        ("max_clip = 10.0", "max_clip = 4.9", "admits update up to clip 4.9, the job says 5.0"),
        ("max_weight = 1000", "max_weight = 999", "admits update up to weight 999, the job says 1000"),
        (
            "high = 1000\n",
            "high = 999\n",
            r"admits count 'patients' within \[0.0, 999.0\], the job says \[0.0, 1000.0\]",
        ),
        ('name = "patients"', 'name = "people"', "does not admit the release of count 'patients'"),
        ("low = 0.0\n", "low = 0.5\n", r"admits mean 'loss' within \[0.5, 10.0\], the job says \[0.0, 10.0\]"),
        ("high = 10.0", "high = 9.0", r"admits mean 'loss' within \[0.0, 9.0\]"),
    ],
)
def test_what_a_rule_does_not_admit(hospital, old, new, words):
    refused(hospital, words, hospital.policy((old, new)))


def test_another_author(hospital):
    policy = hospital.policy((hospital.author.key.hex(), "0" * 64))
    refused(hospital, f"does not admit author 'ada' \\({hospital.author.key.hex()}\\)", policy)


def test_pins_can_be_given_up_in_words(hospital):
    pin = f'["sha256:{hospital.job().plan.hex()}"]'
    program = f'["sha256:{hospital.job().program.hex()}"]'
    policy = hospital.policy((pin, '"any-pinned-by-author"'), (program, '"any"'))
    assert ask(hospital, policy).rule == 0


def test_rules_do_not_lend_each_other_parts(hospital):
    """The first rule admits another purpose, the second too little fuel: together they admit nothing."""
    rule = hospital.text().partition("[[admit]]")[2]
    first = rule.replace('["research"]', '["marketing"]')
    second = rule.replace("max_fuel = 1000000", "max_fuel = 10").replace('name = "study"\n', "")
    head = 'version = 1\nowner = "hospital-1"\n'
    both = hospital.parse(head + "[[admit]]" + first + "[[admit]]" + second)
    refused(hospital, r"admit\[0\] \(study\) does not admit purpose .*; rule admit\[1\] admits 10 instructions", both)
    third = hospital.parse(head + "[[admit]]" + first + "[[admit]]" + second + "[[admit]]" + rule)
    assert ask(hospital, third).rule == 2


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((update(clip=10.5),), "up to clip 10.0, the job says 10.5"),
        ((update(max_weight=1001),), "up to weight 1000, the job says 1001"),
        ((msgspec.structs.replace(COUNT, high=1001.0),), "the job says"),
        ((msgspec.structs.replace(MEAN, low=-0.1),), "the job says"),
        ((msgspec.structs.replace(MEAN, low=10.0),), "the job says"),
        ((msgspec.structs.replace(MEAN, kind="sum"),), "does not admit the release of sum 'loss'"),
        ((msgspec.structs.replace(MEAN, name="accuracy"),), "does not admit the release of mean 'accuracy'"),
        ((update(), msgspec.structs.replace(update(), name="again")), "or two updates"),
    ],
)
def test_what_a_job_may_not_answer(hospital, answer, words):
    refused(hospital, words, answer=answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((update(clip=math.nan),), "up to clip 10.0, the job says nan"),
        ((msgspec.structs.replace(MEAN, low=math.nan),), "the job says"),
        ((msgspec.structs.replace(MEAN, high=math.nan),), "the job says"),
        ((msgspec.structs.replace(COUNT, high=math.inf),), "the job says"),
        ((COUNT, COUNT), "two releases of the same kind and name"),
        ((COUNT,) * 300, "more than 256 releases"),
        ((msgspec.structs.replace(update(), update=None),), "does not have the parameters of its kind"),
        ((msgspec.structs.replace(COUNT, update=update().update),), "does not have the parameters of its kind"),
    ],
)
def test_the_guard_does_not_rely_on_the_check_of_documents(hospital, answer, words):
    """The documents' own check refuses these before; the guard refuses them again."""
    order = hospital.order()
    bent = dataclasses.replace(order, phase=msgspec.structs.replace(order.phase, answer=answer))
    with pytest.raises(AdmissionRefused, match=words):
        decide(hospital.policy(), bent, hospital.bundle(order), hospital.program)


def test_an_order_cannot_claim_clearance(hospital):
    order = hospital.order()
    bent = dataclasses.replace(order, order=msgspec.structs.replace(order.order, clearance=("hospital-1/patients",)))
    with pytest.raises(AdmissionRefused, match="claims clearance"):
        decide(hospital.policy(), bent, hospital.bundle(order), hospital.program)


def test_an_entry_that_the_program_does_not_have(hospital):
    refused(hospital, "starts 'clinic', which is no entry of the program", entry="clinic")
    refused(hospital, "starts 'train', which is no entry", entry="train")


def test_only_what_the_entry_can_reach_counts(hospital):
    policy = hospital.policy(('"stream.batch", "gpu.run", ', ""))
    assert ask(hospital, policy, entry="idle", answer=(COUNT,)).releases == (COUNT,)


def test_program_and_bundle_have_to_be_the_order_s(hospital):
    order = hospital.order()
    bundle = hospital.bundle(order)
    other = verify(compile_source(OTHER, "other.py").encode())
    with pytest.raises(AdmissionRefused, match="not those that the author's job names"):
        decide(hospital.policy(), order, bundle, other)
    with pytest.raises(AdmissionRefused, match="not those that the author's job names"):
        decide(hospital.policy(), order, dataclasses.replace(bundle, plan_digest=b"\0" * 32), hospital.program)


def test_opening_streams(hospital):
    admission = ask(hospital)
    admission.check_open("patients", ["x", "y"])
    admission.check_open("patients", ["age"])
    with pytest.raises(AdmissionRefused, match="does not admit stream 'bills'; it admits patients, visits"):
        admission.check_open("bills", ["x"])
    with pytest.raises(AdmissionRefused, match="field 'name' of stream 'patients'; it admits age, x, y"):
        admission.check_open("patients", ["x", "name"])
    with pytest.raises(AdmissionRefused, match="field 'x' of stream 'visits'"):
        admission.check_open("visits", ["t", "x"])


def test_making_effects(hospital):
    admission = ask(hospital)
    admission.check_effect("gpu.run")
    with pytest.raises(AdmissionRefused, match=r"does not admit the effect release\.sum"):
        admission.check_effect("release.sum")


def test_releasing_in_the_order_of_the_answer(hospital):
    admission = ask(hospital)
    assert admission.check_release("update", "update", {}, position=0).update == update().update
    assert admission.check_release("count", "patients", {"high": 1000}, position=1) == COUNT
    assert admission.check_release("mean", "loss", {"low": 0.0, "high": 10.0}, position=2) == MEAN
    assert admission.check_release("mean", "loss", {"low": 0.0, "high": 10.0}) == MEAN


@pytest.mark.parametrize(
    ("kind", "name", "parameters", "position", "words"),
    [
        ("count", "patients", {"high": 999}, None, "with high=999, the job's answer says high=1000.0"),
        ("count", "patients", {}, None, "with no parameters, the job's answer says high=1000.0"),
        ("mean", "loss", {"low": -1.0, "high": 10.0}, None, "with high=10.0, low=-1.0, the job's answer says"),
        ("mean", "loss", {"low": math.nan, "high": 10.0}, None, "low=nan"),
        ("update", "update", {"clip": 100.0}, None, "with clip=100.0, the job's answer says no parameters"),
        (
            "count",
            "people",
            {"high": 1000},
            None,
            "count 'people', the job's answer holds update, count 'patients', mean",
        ),
        ("sum", "loss", {"low": 0.0, "high": 10.0}, None, "does not admit the effect release.sum"),
        ("count", "patients", {"high": 1000}, 0, "as number 1, the job's answer has it as number 2"),
        ("count", "patients", {"high": 1000}, 2, "as number 3, the job's answer has it as number 2"),
    ],
)
def test_releases_that_the_answer_does_not_hold(hospital, kind, name, parameters, position, words):
    with pytest.raises(AdmissionRefused, match=words):
        ask(hospital).check_release(kind, name, parameters, position=position)


def test_an_admission_does_not_change(hospital):
    admission: Admission = ask(hospital)
    with pytest.raises(dataclasses.FrozenInstanceError):
        admission.rule = 1
    with pytest.raises(TypeError):
        admission.streams["bills"] = frozenset({"x"})
