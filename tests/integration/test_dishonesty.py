"""What a coordinator could show with its own key, some of it with an agent's help, and what is named then.

A coordinator may sign again what it signed, and make its ledger fit. What others signed, it cannot.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from sojourn.client import Provenance, ProvenanceBroken, trace
from sojourn.codec import Record, digest
from sojourn.contracts import Answer, Closure, Evaluation, LedgerEntry, Order, Publication
from sojourn.crypto import Identity, sign_document
from sojourn.datoms import BlockKind, join_datoms, pack_list, split_datoms, unpack

from .conftest import ROUNDS, Ended, Hospitals
from .exports import forge, payload, read, write

Changes = dict[str, Record | bytes | None]
Edit = Callable[[LedgerEntry], LedgerEntry | None]
LAST = ROUNDS - 1
replace = msgspec.structs.replace


def same(entry: LedgerEntry) -> LedgerEntry:
    return entry


class Liar:
    """Holds the coordinator's key and those of the agents that help it."""

    def __init__(self, hospitals: Hospitals, export: Path, root_key: bytes, work: Path) -> None:
        self.items, self._root_key, self._path = read(export), root_key, work / "shown.zip"
        federation = hospitals.federation
        self.coordinator = Identity.load(federation.state / "identity.key")
        agents = [Identity.load(federation.folder(name) / "identity.key") for name in hospitals.names]
        self.agents = {agent.key: agent for agent in agents}

    def publication(self, number: int, **changes: Any) -> Changes:
        item = f"rounds/{number}/publication.signed"
        return {item: replace(payload(Publication, self.items[item]), **changes)}

    def evaluation(self, number: int, **changes: Any) -> Changes:
        item = f"rounds/{number}/evaluation.signed"
        return {item: replace(payload(Evaluation, self.items[item]), **changes)}

    def closure(self, number: int, **changes: Any) -> Changes:
        """Another closure, and the publication over it."""
        item = f"rounds/{number}/closure.signed"
        closure = replace(payload(Closure, self.items[item]), **changes)
        return {item: closure, **self.publication(number, closure=digest(sign_document(self.coordinator, closure)))}

    def closed(self, number: int) -> Closure:
        return payload(Closure, self.items[f"rounds/{number}/closure.signed"])

    def answer(self, number: int, key: bytes, **changes: Any) -> tuple[str, bytes]:
        """Another answer that the agent itself signs, and its name."""
        item = f"rounds/{number}/answers/{key.hex()}.signed"
        return item, sign_document(self.agents[key], replace(payload(Answer, self.items[item]), **changes))

    def counting(self, number: int, key: bytes, data: bytes) -> Changes:
        """The closure that counts `data` as the answer of this agent."""
        answers = tuple((k, digest(data) if k == key else old) for k, old in self.closed(number).answers)
        return self.closure(number, answers=answers)

    def show(self, changes: Changes, edit: Edit = same, *, recompute: bool = False) -> Provenance:
        path = write(self._path, forge(self.items, self.coordinator, changes, edit))
        return trace(path, self._root_key, recompute=recompute)

    def refused(self, changes: Changes, edit: Edit = same, *, recompute: bool = False) -> tuple[str, str]:
        """What is named, and why."""
        with pytest.raises(ProvenanceBroken) as caught:
            self.show(changes, edit, recompute=recompute)
        return caught.value.item, str(caught.value)


@pytest.fixture
def liar(hospitals: Hospitals, undisturbed: Ended, root_key: bytes, tmp_path: Path) -> Liar:
    return Liar(hospitals, undisturbed.export, root_key, tmp_path)


def test_signing_the_same_again_changes_nothing(liar: Liar, undisturbed: Ended, root_key: bytes) -> None:
    assert liar.show(liar.closure(1), recompute=True) == trace(undisturbed.export, root_key, recompute=True)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"weight": 1}, "another sum of weights"),
        ({"policy": {"name": "median"}}, "another policy"),
        ({"round": 9}, "another job or round"),
        ({"job": bytes(32)}, "another job or round"),
        ({"base": bytes(32)}, "the model before"),
        ({"closure": bytes(32)}, "another closure"),
        ({"closure": b""}, "folded from nothing"),
    ],
)
def test_another_publication(liar: Liar, changes: dict[str, Any], why: str) -> None:
    item, said = liar.refused(liar.publication(LAST, **changes))
    assert (item, why in said) == (f"rounds/{LAST}/publication.signed", True)


@pytest.mark.parametrize("changes", [{"model": bytes(32)}, {"round": 0}, {"heldout": bytes(32)}, {"run": bytes(32)}])
def test_another_evaluation(liar: Liar, changes: dict[str, Any]) -> None:
    item, said = liar.refused(liar.evaluation(LAST, **changes))
    assert (item, "evaluates another" in said) == (f"rounds/{LAST}/evaluation.signed", True)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"round": 9}, "another job, run or round"),
        ({"run": bytes(32)}, "another job, run or round"),
        ({"phase": "survey"}, "'survey', which the job does not have"),
    ],
)
def test_another_closure(liar: Liar, changes: dict[str, Any], why: str) -> None:
    item, said = liar.refused(liar.closure(1, **changes))
    assert (item, why in said) == ("rounds/1/closure.signed", True)


def test_whom_a_closure_counts(liar: Liar) -> None:
    closure, item = liar.closed(1), "rounds/1/closure.signed"
    twice = liar.closure(1, answers=(*closure.answers, closure.answers[0]))
    uninvited = liar.closure(1, participants=closure.participants[1:])
    left_out = liar.closure(1, answers=closure.answers[1:])
    too_few = liar.closure(1, answers=closure.answers[2:])
    for changes, why in (
        (twice, "twice"),
        (uninvited, "not invited"),
        (left_out, "leaves out an answer that the ledger has"),
    ):
        named, said = liar.refused(changes)
        assert (named, why in said) == (item, True)

    def silent(entry: LedgerEntry) -> LedgerEntry | None:
        return None if entry.kind == "answered" and entry.detail["round"] == 1 else entry

    named, said = liar.refused(too_few, silent)
    assert (named, "quorum of 2" in said) == (item, True)


def test_an_answer_that_is_left_out_of_the_ledger_too(liar: Liar) -> None:
    """The ledger says that the run failed; the answer in the export says that it did not."""
    key, answer = liar.closed(1).answers[0]
    left_out = liar.closure(1, answers=liar.closed(1).answers[1:])

    def failed(entry: LedgerEntry) -> LedgerEntry:
        return replace(entry, detail={**entry.detail, "outcome": "failed"}) if entry.subject == answer else entry

    item, said = liar.refused(left_out, failed)
    assert (item, "closure counts" in said) == (f"rounds/1/answers/{key.hex()}.signed", True)


@pytest.mark.parametrize("kind", ["publication", "evaluation", "closure"])
def test_two_documents_of_one_thing(liar: Liar, kind: str) -> None:
    """Both signed, one of them in the ledger."""
    item = f"rounds/1/{kind}.signed"
    other = {"publication": liar.publication, "evaluation": liar.evaluation, "closure": liar.closure}[kind](
        1, **({"metrics": {"loss": 0.0}} if kind == "evaluation" else {"operation": 999})
    )
    recorded = digest(liar.items[item])
    told = sign_document(liar.coordinator, other[item])

    def unchanged(entry: LedgerEntry) -> LedgerEntry:
        return replace(entry, subject=recorded) if entry.subject == digest(told) else entry

    named, said = liar.refused(other, unchanged)
    assert (named, "not what the ledger has" in said) == (item, True)


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"round": 9}, "round or phase"), ({"weights_root": bytes(32)}, "another model"), ({"job": b""}, "")],
)
def test_another_order(liar: Liar, changes: dict[str, Any], why: str) -> None:
    key = liar.closed(1).participants[1]
    item = f"rounds/1/orders/{key.hex()}.signed"
    named, said = liar.refused({item: replace(payload(Order, liar.items[item]), **changes)})
    assert (named, why in said) == (item, True)


def test_an_order_of_another_job(liar: Liar, hospitals: Hospitals) -> None:
    other = read(hospitals.finish(hospitals.submit()).export)
    key = liar.closed(1).participants[1]
    item = f"rounds/1/orders/{key.hex()}.signed"
    order = replace(payload(Order, liar.items[item]), job=other["job.signed"])
    assert liar.refused({item: order}) == (item, f"{item}: carries another job")


def test_an_answer_that_no_agent_signed(liar: Liar) -> None:
    key = liar.closed(0).participants[1]
    item = f"rounds/0/answers/{key.hex()}.signed"
    made_up = sign_document(liar.coordinator, payload(Answer, liar.items[item]))
    named, said = liar.refused({item: made_up, **liar.counting(0, key, made_up)})
    assert (named, "not signed by agent" in said) == (item, True)


def test_two_answers_of_one_agent(liar: Liar) -> None:
    """An agent that signs twice for one order; it is clear which one counts."""
    key, first = liar.closed(0).answers[0]
    item, second = liar.answer(0, key, issued_ms=1)
    named, said = liar.refused({item: second})  # in the ledger, but the closure counts the first
    assert (named, "not the answer that the closure counts" in said) == (item, True)

    def unchanged(entry: LedgerEntry) -> LedgerEntry:
        return replace(entry, subject=first) if entry.subject == digest(second) else entry

    named, said = liar.refused({item: second, **liar.counting(0, key, second)}, unchanged)
    assert (named, "not what the ledger has" in said) == (item, True)
    assert isinstance(liar.show({item: second, **liar.counting(0, key, second)}), Provenance)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"outcome": "failed", "code": "error"}, "its run is failed"),
        ({"releases": ()}, "holds 0 updates"),
        ({"epoch": 7}, "another epoch"),
        ({"run": bytes(32)}, "another run"),
    ],
)
def test_an_answer_that_says_something_else(liar: Liar, changes: dict[str, Any], why: str) -> None:
    key = liar.closed(0).participants[2]
    item, data = liar.answer(0, key, **changes)
    named, said = liar.refused({item: data, **liar.counting(0, key, data)})
    assert (named, why in said) == (item, True)


def test_an_answer_with_two_updates(liar: Liar) -> None:
    key = liar.closed(0).participants[2]
    item = f"rounds/0/answers/{key.hex()}.signed"
    releases = payload(Answer, liar.items[item]).releases
    item, data = liar.answer(0, key, releases=(*releases, releases[0]))
    named, said = liar.refused({item: data, **liar.counting(0, key, data)})
    assert (named, "holds 2 updates" in said) == (item, True)


def test_a_model_that_the_updates_do_not_make_is_found_by_recomputing(liar: Liar) -> None:
    """Without recomputing, a coordinator's word for the sum is taken; with it, the publication is named."""
    tensors = unpack(split_datoms(liar.items[f"models/{LAST}.stream"]), root=None)
    datoms, root = pack_list({name: tensor + np.float32(1.0) for name, tensor in tensors.items()}, BlockKind.WEIGHT)
    model = {f"models/{LAST}.stream": join_datoms(datoms)}
    changes = {**liar.publication(LAST, model=root), **liar.evaluation(LAST, model=root), **model}
    assert liar.show(changes).model == root.hex()
    item, said = liar.refused(changes, recompute=True)
    assert (item, "recomputing" in said) == (f"rounds/{LAST}/publication.signed", True)


def test_a_model_that_is_published_as_it_is(liar: Liar) -> None:
    """A rounds program may publish the initial model: there is no phase then, and nothing to fold."""
    initial = payload(Publication, liar.items["rounds/0/publication.signed"]).base
    kept: Changes = {
        name: None
        for name in liar.items
        if name.startswith(("rounds/", "agents/", "models/")) and name != "models/initial.stream"
    }
    changes: Changes = {
        **kept,
        **liar.publication(0, base=initial, model=initial, closure=b"", policy={}, weight=0),
        **liar.evaluation(0, model=initial),
        "models/0.stream": liar.items["models/initial.stream"],
    }

    def first_only(entry: LedgerEntry) -> LedgerEntry | None:
        told = entry.kind in {"published", "evaluated"} and entry.detail["round"] == 0
        return entry if told or entry.kind in {"submitted", "done"} else None

    found = liar.show(changes, first_only, recompute=True)
    assert (found.model, len(found.rounds), found.rounds[0].contributions) == (initial.hex(), 1, ())


# The ledger is the coordinator's own. It has to be of this job, hold together and say of what is shown.


@pytest.mark.parametrize(
    "edit",
    [
        lambda entry: replace(entry, job=bytes(32)) if entry.sequence == 5 else entry,
        lambda entry: None if entry.kind == "submitted" else entry,
        lambda entry: replace(entry, subject=bytes(32)) if entry.kind == "submitted" else entry,
        lambda entry: replace(entry, detail={}) if entry.kind == "published" else entry,
        lambda entry: replace(entry, detail={"round": -1}) if entry.kind == "published" else entry,
        lambda entry: replace(entry, detail={"round": "0"}) if entry.kind == "evaluated" else entry,
        lambda _: None,
    ],
)
def test_a_ledger_that_is_none(liar: Liar, edit: Edit) -> None:
    assert liar.refused({}, edit)[0] == "ledger.jsonl"


def test_a_ledger_that_is_silent(liar: Liar) -> None:
    def without(kind: str) -> str:
        return liar.refused({}, lambda entry: None if entry.kind == kind else entry)[0]

    assert without("closed") == "rounds/0/closure.signed"
    assert without("answered").startswith("rounds/0/answers/")
    assert without("evaluated") == "rounds/0/evaluation.signed"
    assert without("published") in liar.items  # nothing of the rounds belongs to anything then


@pytest.mark.parametrize("edit", [lambda e: replace(e, time_ms=e.time_ms + 1), lambda _: None])
def test_a_ledger_with_another_end(liar: Liar, edit: Edit, root_key: bytes, tmp_path: Path) -> None:
    """Its chain holds: only the signed head tells."""
    forged = forge(liar.items, liar.coordinator, {}, lambda entry: edit(entry) if entry.kind == "done" else entry)
    with pytest.raises(ProvenanceBroken, match="not the ledger that the coordinator signed") as caught:
        trace(write(tmp_path / "x.zip", {**forged, "ledger.signed": liar.items["ledger.signed"]}), root_key)
    assert caught.value.item == "ledger.jsonl"
