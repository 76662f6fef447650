"""The owner's policy file: what is read, and what an operator is told about a file that is wrong."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sojourn.codec import digest, encode, hexdigest
from sojourn.contracts import NO_PLAN
from sojourn.errors import ConfigError, PolicyInvalid
from sojourn.limits import MAX_DOCUMENT_BYTES, MAX_FUEL
from sojourn.privacy import OwnerPolicy, check_policy, explain
from sojourn.vm import EFFECTS

AUTHOR = "a1" * 32
PLAN = "sha256:" + "b2" * 32
FILE = f"""\
version = 1
owner = "hospital-1"

[[admit]]
name = "study"
authors = ["{AUTHOR}"]
purposes = ["breast-cancer"]
programs = "any"
plans = ["{PLAN}"]
streams = {{ patients = ["x", "y"] }}
effects = ["stream.open", "stream.first", "stream.batch", "gpu.run", "release.update", "release.count", "release.mean"]
max_fuel = 1000000
max_memory = 2000000

[[admit.release]]
kind = "update"
claim = "trusted-plan"
max_clip = 10.0
max_weight = 1000

[[admit.release]]
kind = "count"
claim = "trusted-plan"
name = "patients"
high = 1000

[[admit.release]]
kind = "mean"
claim = "trusted-plan"
name = "loss"
low = 0
high = 10.0
"""


MEAN = 'kind = "mean"\nclaim = "trusted-plan"\nname = "loss"\nlow = 0\n'
UNRELEASED = FILE.partition("[[admit.release]]")[0]
COUNT_AGAIN = 'kind = "count"\nclaim = "trusted-plan"\nname = "patients"\n'


def parse(text):
    return OwnerPolicy.parse(text.encode(), "policy.toml")


def changed(old, new):
    assert old in FILE
    return FILE.replace(old, new, 1)


def refusal(text):
    with pytest.raises(PolicyInvalid) as caught:
        parse(text)
    message = str(caught.value)
    assert message.startswith("policy.toml: ")
    assert caught.value.__suppress_context__
    return message


def test_a_policy_is_read(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_bytes(FILE.encode())
    policy = OwnerPolicy.load(path)
    (rule,) = policy.admit
    assert (policy.owner, policy.file) == ("hospital-1", str(path))
    assert policy.digest == digest(FILE.encode())
    assert (rule.authors, rule.programs, rule.plans) == ((AUTHOR,), "any", (PLAN,))
    assert rule.streams == {"patients": ("x", "y")}
    update, count, mean = rule.release
    assert (update.max_clip, update.max_weight, count.high, mean.low, mean.high) == (10.0, 1000, 1000.0, 0.0, 10.0)


def test_the_digest_is_that_of_the_exact_bytes():
    assert parse(FILE).digest != parse(FILE + "# a comment\n").digest


def test_a_policy_does_not_change():
    policy = parse(FILE)
    with pytest.raises(ValueError, match="frozen"):
        policy.admit[0].max_fuel = MAX_FUEL


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("purposes =", "purpose =", "admit[0].purpose: unknown key; did you mean 'purposes'? keys here are name"),
        ("owner =", "admits = 1\nowner =", "admits: unknown key; did you mean 'admit'? keys here are version, owner"),
        ("max_clip =", "clip =", "admit[0].release[0].clip: unknown key; did you mean 'max_clip'? keys here are kind"),
        ('owner = "hospital-1"\n', "", "owner: missing; allowed: the data owner's name"),
        ("version = 1", "version = 2", "version: input should be 1, found 2; allowed: 1"),
        ("version = 1", 'version = "1"', "version: input should be 1, found '1'"),
        ("max_fuel = 1000000", "max_fuel = 0", "max_fuel: input should be greater than 0, found 0; allowed: instr"),
        ("max_fuel = 1000000", "max_fuel = 1e6", "max_fuel: input should be a valid integer, found 1000000.0"),
        ("max_fuel = 1000000", f"max_fuel = {MAX_FUEL + 1}", "less than or equal to"),
        ("max_memory = 2000000", "max_memory = true", "max_memory: input should be a valid integer, found True"),
        ('"any"', '"all"', "admit[0].programs: this is neither a list of hashes nor 'any'; allowed: a list"),
        (PLAN, "sha256:B2", "admit[0].plans: 'sha256:B2' is not a hash"),
        (f'["{PLAN}"]', f'["{PLAN}", "{PLAN}"]', "stands here twice"),
        (f'["{PLAN}"]', '"any"', "neither a list of hashes nor 'any-pinned-by-author'"),
        (f'["{PLAN}"]', "[3]", "3 is not a hash"),
        (AUTHOR, AUTHOR.upper(), "is not a key id; allowed: a list of authors' key ids"),
        (AUTHOR, AUTHOR[:-1], "admit[0].authors[0]: "),
        ('"gpu.run"', '"gpu.runs"', "admit[0].effects[3]: 'gpu.runs' is not an effect"),
        ('"gpu.run"', '"fleet.ask"', "'fleet.ask' is not an effect of an agent's program; allowed: a list of gpu.run"),
        ('"gpu.run"', '"stream.open"', "'stream.open' stands here twice"),
        ('["x", "y"]', "[]", "admit[0].streams.patients: empty, so that nothing is admitted"),
        ('["x", "y"]', '"x"', "admit[0].streams.patients: input should be a valid list, found 'x'"),
        ('{ patients = ["x", "y"] }', '["patients"]', "admit[0].streams: input should be a valid dictionary"),
        ('"trusted-plan"', '"private"', "claim: input should be 'trusted-plan', found 'private'"),
        ('kind = "count"', 'kind = "histogram"', "release[1].kind: input should be 'update', 'count', 'mean' or 'sum'"),
        ("high = 1000\n", "", "admit[0].release[1]: a release of kind 'count' needs name, high; missing: high"),
        ("high = 1000\n", "high = 1000\nlow = 0\n", "a release of kind 'count' takes name, high; not low"),
        ("high = 1000\n", "high = 0.5\n", "a count's bound is 1 or more"),
        ("low = 0\n", "low = 10\n", "low (10.0) must be below high (10.0)"),
        ("max_clip = 10.0", "max_clip = inf", "finite number, found inf"),
        ("max_clip = 10.0", "max_clip = nan", "found nan"),
        ("max_clip = 10.0", "max_clip = 0.0", "greater than 0"),
        ('"release.count", ', "", "admit[0]: count 'patients' may be released, but 'release.count' is not among"),
        (MEAN, COUNT_AGAIN, "\"count 'patients'\" stands here twice"),
        ("version = 1", "version = = 1", "this is not TOML: Invalid value (at line 1"),
    ],
)  # fmt: skip
def test_a_wrong_file_names_the_key_what_was_found_and_what_is_allowed(old, new, words):
    assert words in refusal(changed(old, new))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('version = 1\nowner = "x"\n', "admit: missing (without it nothing is admitted); allowed: one [[admit]] table"),
        ('version = 1\nowner = "x"\nadmit = []\n', "admit: empty, so that nothing is admitted"),
        (FILE.replace('["breast-cancer"]', "[]"), "admit[0].purposes: empty, so that nothing is admitted"),
        (FILE.replace(f'["{AUTHOR}"]', "[]"), "admit[0].authors: empty, so that nothing is admitted"),
        (FILE.replace(f'["{PLAN}"]', "[]"), "admit[0].plans: this is neither"),
        (UNRELEASED, "admit[0].release: missing"),
        (UNRELEASED + "release = []", "admit[0].release: empty, so that nothing is admitted"),
    ],
)
def test_a_file_that_admits_nothing(text, words):
    assert words in refusal(text)


def test_all_problems_at_once():
    message = refusal(changed("max_fuel = 1000000", "max_fuel = -1").replace("owner", "holder"))
    assert message.splitlines()[0] == "policy.toml: 3 problems"
    assert len(message.splitlines()) == 4


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(
        PolicyInvalid, match=r"none\.toml: No such file.*sojourn policy draft SUBMISSION --owner NAME -o .*none\.toml"
    ):
        OwnerPolicy.load(tmp_path / "none.toml")
    with pytest.raises(PolicyInvalid, match="directory"):
        OwnerPolicy.load(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'owner = "\xe9"')
    with pytest.raises(PolicyInvalid, match="byte 9 is not UTF-8"):
        OwnerPolicy.load(tmp_path / "latin.toml")
    (tmp_path / "long.toml").write_bytes(b"#" * (MAX_DOCUMENT_BYTES + 1))
    with pytest.raises(PolicyInvalid, match="more than"):
        OwnerPolicy.load(tmp_path / "long.toml")
    assert issubclass(PolicyInvalid, ConfigError)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_policy_or_a_clear_refusal(data):
    with pytest.raises(PolicyInvalid, match=r"policy\.toml: "):
        OwnerPolicy.parse(data, "policy.toml")


@given(st.integers(0, len(FILE) - 1), st.sampled_from('x0]=\n"'))
def test_a_damaged_file_is_a_policy_or_a_clear_refusal(position, character):
    try:
        parse(FILE[:position] + character + FILE[position + 1 :])
    except PolicyInvalid as problem:
        assert str(problem).startswith("policy.toml: ")  # noqa: PT017 - either outcome is right


def test_every_effect_of_an_agent_can_be_admitted():
    unserved = {name for name in EFFECTS if name.split(".")[0] in {"fleet", "updates", "model"}}
    agent = ", ".join(f'"{name}"' for name in EFFECTS if name not in unserved)
    start = FILE.index("effects = [")
    end = FILE.index("]", start)
    policy = parse(FILE[:start] + f"effects = [{agent}" + FILE[end:])
    assert set(policy.admit[0].effects) == set(EFFECTS) - unserved
    assert unserved


@pytest.mark.parametrize("name", ["model.publish", "fleet.ask"])
def test_an_effect_that_no_agent_serves_cannot_be_admitted(name):
    with pytest.raises(PolicyInvalid, match=f"'{name}' is not an effect of an agent's program"):
        parse(FILE.replace("effects = [", f'effects = ["{name}", ', 1))


def test_the_explanation_says_everything():
    text = "\n".join(explain(parse(FILE)))
    for part in (
        "hospital-1",
        hexdigest(FILE.encode()),
        AUTHOR[:16],
        "'breast-cancer'",
        "any program that the author signs",
        PLAN,
        "reading x, y of stream 'patients'",
        "gpu.run",
        "1,000,000 instructions and 2,000,000 bytes",
        "a model update of L2 norm 10.0 or less and weight 1000 or less",
        "the count 'patients' from 0 to 1000.0",
        "the mean 'loss' of one value per unit, each within [0.0, 10.0]",
        "without noise",
    ):
        assert part in text


def test_the_plan_of_a_job_without_graphs_is_named_in_words():
    none = f"sha256:{hexdigest(encode(NO_PLAN))}"
    text = "\n".join(explain(parse(changed(PLAN, none))))
    assert "with no plan, so without graphs," in text
    assert none not in text
    both = "\n".join(explain(parse(changed(f'["{PLAN}"]', f'["{PLAN}", "{none}"]'))))
    assert f"with the plan {PLAN} or none," in both


def test_checking_warns_of_what_widens(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text(FILE)
    report = check_policy(path)
    assert report.digest == hexdigest(FILE.encode())
    assert report.lines == tuple(explain(OwnerPolicy.load(path)))
    (single,) = [line for line in report.warnings if "single unit" in line]
    page = re.search(r"no key for a smallest number of units \((\S+)\)", single)
    assert page is not None
    assert "a least number of units" in (Path(__file__).resolve().parents[2] / page[1]).read_text("utf-8")
    assert not [line for line in report.warnings if "any plan" in line]
    path.write_text(changed(f'["{PLAN}"]', '"any-pinned-by-author"'))
    report = check_policy(path)
    assert any("A plan can copy a row of your data" in line for line in report.warnings)
    assert any("any plan that the author signs" in line for line in report.lines)
    path.write_text(changed('"gpu.run"', '"gpu.run", "release.sum"'))
    assert any("release.sum may be reached, but no" in line for line in check_policy(path).warnings)
