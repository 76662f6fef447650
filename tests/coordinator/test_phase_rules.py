"""The pure logic of rounds: closing, judging, cohorts, statements, summaries."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sojourn.codec import digest
from sojourn.contracts import Answer, BodyRef, Order, Phase, Released, ReleaseSpec, UpdateSpec
from sojourn.errors import ContributionRefused, UsageError
from sojourn_coordinator.rounds import (
    Again,
    Chosen,
    Closed,
    Conflict,
    Contribution,
    Late,
    Missed,
    Open,
    PhaseLedger,
    Stranger,
    Take,
    Waiting,
    check_statement,
    choose_cohort,
    summarise,
)

KEYS = [bytes([number]) * 32 for number in range(6)]


def answer_of(key: bytes) -> bytes:
    return digest(key)


@st.composite
def histories(draw):
    """A phase and what happens to it: who answers or fails, in two orders of arrival."""
    count = draw(st.integers(1, 6))
    quorum = draw(st.integers(1, count))
    fates = [(key, draw(st.sampled_from(["answers", "fails", "silent"]))) for key in KEYS[:count]]
    return count, quorum, fates, draw(st.permutations(fates))


def play(count: int, quorum: int, fates) -> PhaseLedger:
    ledger = PhaseLedger(KEYS[:count], quorum, 1000)
    for key, fate in fates:
        if fate == "answers":
            assert ledger.judge(key, answer_of(key)) == Take()
            ledger.answered(key, answer_of(key))
        elif fate == "fails":
            ledger.gave_up(key)
    return ledger


@given(histories())
def test_the_order_of_arrival_does_not_matter(history) -> None:
    count, quorum, fates, shuffled = history
    one, other = play(count, quorum, fates), play(count, quorum, shuffled)
    assert one.outcome == other.outcome
    assert one.elapse(1000) == other.elapse(1000)
    assert not isinstance(one.outcome, Open)


@given(histories())
def test_what_closes_a_phase(history) -> None:
    count, quorum, fates, _ = history
    ledger = play(count, quorum, fates)
    done = sorted((key, answer_of(key)) for key, fate in fates if fate == "answers")
    silent = [key for key, fate in fates if fate == "silent"]
    assert isinstance(ledger.outcome, Open) == bool(silent)
    assert ledger.awaited == frozenset(silent)
    outcome = ledger.elapse(1000)
    assert outcome == (Closed(tuple(done)) if len(done) >= quorum else Missed(len(done), quorum))


@given(histories(), st.integers(0, 1000))
def test_a_restored_phase_is_the_same(history, spent: int) -> None:
    count, quorum, fates, _ = history
    ledger = play(count, quorum, fates)
    ledger.elapse(spent)
    done = {key: answer_of(key) for key, fate in fates if fate == "answers"}
    gone = {key: b"" for key, fate in fates if fate == "fails"}
    again = PhaseLedger.restore(KEYS[:count], quorum, ledger.remaining_ms, done, gone)
    assert again.outcome == ledger.outcome
    assert again.elapse(1000) == ledger.elapse(1000)


def test_time_is_spent_by_elapse_only_and_never_comes_back() -> None:
    ledger = PhaseLedger(KEYS[:2], 1, 100)
    assert ledger.elapse(40) == Open(0, 2)
    assert ledger.remaining_ms == 60
    ledger.answered(KEYS[0], answer_of(KEYS[0]))
    assert ledger.elapse(59) == Open(1, 2)
    assert isinstance(ledger.elapse(1), Closed)
    assert isinstance(ledger.elapse(10_000), Closed)


def test_judgements() -> None:
    ledger = PhaseLedger(KEYS[:3], 2, 100)
    ledger.answered(KEYS[0], answer_of(KEYS[0]))
    ledger.gave_up(KEYS[1])
    assert ledger.judge(KEYS[0], answer_of(KEYS[0])) == Again()
    assert ledger.judge(KEYS[0], bytes(32)) == Conflict()
    assert ledger.judge(KEYS[1], bytes(32)) == Late()
    assert ledger.judge(KEYS[2], bytes(32)) == Take()
    assert ledger.judge(KEYS[3], bytes(32)) == Stranger()
    assert isinstance(ledger.elapse(100), Missed)
    assert ledger.judge(KEYS[2], bytes(32)) == Late()
    assert ledger.judge(KEYS[0], answer_of(KEYS[0])) == Again()


def test_an_answer_is_taken_once_and_from_the_invited_only() -> None:
    ledger = PhaseLedger(KEYS[:2], 1, 100)
    ledger.answered(KEYS[0], answer_of(KEYS[0]))
    for key in (KEYS[0], KEYS[2]):
        with pytest.raises(UsageError):
            ledger.answered(key, answer_of(key))


@pytest.mark.parametrize(("keys", "quorum"), [([], 1), ([KEYS[0]] * 2, 1), (KEYS[:2], 3), (KEYS[:2], 0)])
def test_phases_that_cannot_be(keys, quorum: int) -> None:
    with pytest.raises(UsageError):
        PhaseLedger(keys, quorum, 100)


@given(st.sets(st.sampled_from(KEYS)), st.integers(0, 6), st.integers(1, 6), st.randoms())
def test_cohorts(connected, wanted: int, quorum: int, random) -> None:
    shuffled = list(connected)
    random.shuffle(shuffled)
    found = choose_cohort(shuffled, wanted, quorum)
    assert found == choose_cohort(connected, wanted, quorum)
    needed = wanted or quorum
    if len(connected) < needed:
        assert found == Waiting(len(connected), needed)
    else:
        assert isinstance(found, Chosen)
        assert list(found.participants) == sorted(connected)[: wanted or None]


UPDATE = ReleaseSpec("update", "update", 0.0, 0.0, UpdateSpec(1.0, 1.0, 10, 10))
PHASE = Phase(
    "train", "collect", "hospital", 1, 1000,
    (UPDATE, ReleaseSpec("count", "patients", 0.0, 50.0, None), ReleaseSpec("mean", "loss", 1.0, 2.0, None)),
)  # fmt: skip
BODY = BodyRef(bytes(32), 10, bytes(32), 5)
ORDER = Order(
    1, b"c" * 32, b"a" * 32, 1, 0, 10, 1000, b"signed job", b"p" * 32, b"l" * 32, "train", 4, b"r" * 32, 3, 1000, (),
    BODY, BODY, b"w" * 32,
)  # fmt: skip
RELEASES = (
    Released("update", "update", "clip", "trusted-plan", {}, None, b"u" * 32, 1, b""),
    Released("count", "patients", "bounded-count", "trusted-plan", {}, 50.0, b"", 2, b""),
    Released("mean", "loss", "bounded-mean", "trusted-plan", {}, 1.5, b"", 3, b""),
)


def statement(**changes) -> Answer:
    fields = {
        "suite": 1, "agent": b"a" * 32, "order": b"o" * 32, "job": digest(b"signed job"), "program": b"p" * 32,
        "plan": b"l" * 32, "run": b"r" * 32, "epoch": 3, "round": 4, "phase": "train", "weights_root": b"w" * 32,
        "outcome": "done", "code": "", "line": 0, "releases": RELEASES, "issued_ms": 5,
    }  # fmt: skip
    return Answer(**(fields | changes))


def check(answer: Answer) -> None:
    check_statement(answer, ORDER, b"o" * 32, PHASE, 3, b"a" * 32)


def released(number: int, **changes) -> tuple[Released, ...]:
    listed = list(RELEASES)
    fields = {name: getattr(listed[number], name) for name in Released.__struct_fields__}
    listed[number] = Released(**(fields | changes))
    return tuple(listed)


def test_statements_that_hold() -> None:
    check(statement())
    check(statement(outcome="failed", code="ValueError", line=3, releases=()))
    check(statement(outcome="refused", code="admission_refused", releases=()))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"agent": b"b" * 32}, "stranger"),
        ({"order": b"x" * 32}, "digest"),
        ({"job": b"x" * 32}, "digest"),
        ({"program": b"x" * 32}, "digest"),
        ({"plan": b"x" * 32}, "digest"),
        ({"run": b"x" * 32}, "digest"),
        ({"weights_root": b"x" * 32}, "digest"),
        ({"round": 5}, "digest"),
        ({"phase": "other"}, "digest"),
        ({"epoch": 2}, "epoch"),
        ({"epoch": 4}, "epoch"),
        ({"suite": 2}, "schema"),
        ({"code": "x"}, "schema"),
        ({"line": 1}, "schema"),
        ({"releases": RELEASES[:2]}, "schema"),
        ({"releases": (*RELEASES, RELEASES[1])}, "schema"),
        ({"releases": (RELEASES[1], RELEASES[0], RELEASES[2])}, "schema"),
        ({"releases": released(0, value=1.0)}, "schema"),
        ({"releases": released(0, root=b"")}, "schema"),
        ({"releases": released(1, value=None)}, "schema"),
        ({"releases": released(1, root=b"u" * 32)}, "schema"),
        ({"releases": released(1, value=51.0)}, "bounds"),
        ({"releases": released(1, value=-1.0)}, "bounds"),
        ({"releases": released(2, value=0.5)}, "bounds"),
        ({"releases": released(2, value=math.nan)}, "bounds"),
        ({"releases": released(2, value=math.inf)}, "bounds"),
        ({"outcome": "failed", "code": "x"}, "schema"),
        ({"outcome": "failed", "releases": ()}, "schema"),
    ],
)
def test_statements_that_do_not_hold(changes, reason: str) -> None:
    with pytest.raises(ContributionRefused) as caught:
        check(statement(**changes))
    assert caught.value.reason == reason


@given(st.permutations(range(3)))
def test_summary_is_weighted_and_has_no_order(order) -> None:
    parts = [
        Contribution(KEYS[number], (RELEASES[0], *released(1, value=float(count))[1:2], *released(2, value=loss)[2:]))
        for number, (count, loss) in enumerate([(10, 1.0), (30, 2.0), (0, 9.0)])
    ]
    found = summarise(parts[number] for number in order)
    assert found == {"patients": 40.0, "loss": 1.75}


def test_a_mean_follows_its_count() -> None:
    """Weighted by the count right before it, not by another one of the same answer."""

    def answer(key: bytes, everyone: float, late: float, mean: float) -> Contribution:
        count, average = released(1, value=everyone)[1:2][0], released(2, value=mean)[2:][0]
        counts = (msgspec.structs.replace(count, name="all"), msgspec.structs.replace(count, name="late", value=late))
        return Contribution(key, (*counts, average))

    found = summarise([answer(KEYS[0], 500.0, 10.0, 1.0), answer(KEYS[1], 100.0, 30.0, 2.0)])
    assert found == {"all": 600.0, "late": 40.0, "loss": 1.75}


def test_a_mean_of_nobody_is_left_out() -> None:
    assert summarise([Contribution(KEYS[0], released(1, value=0.0))]) == {"patients": 0.0}
