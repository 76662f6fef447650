"""The agent's door: orders and bundles of the sample's own job, altered, late, early, astray, replayed and unsigned.

The sweeps change each byte in turn: before opening, after opening and sealed again, and after signing again with the
coordinator's own key. `tests/crypto` does the same to the verifier alone; here it is the agent that refuses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import msgspec
import pytest
from hospitals import job as sample
from security_federation import HOUR_MS, Trial, now_ms, owner_log, submission
from security_rogue import Rogue
from sojourn.agent import Agent
from sojourn.codec import decode, digest, encode
from sojourn.contracts import Bundle, Order, Signed
from sojourn.crypto import sign_document, sign_payload
from sojourn.errors import DecodeError, SignatureInvalid, TrustError
from sojourn.vm import compile_source

NOWHERE = "wss://127.0.0.1:1"


@pytest.fixture
def rogue(trial: Trial) -> Rogue:
    """The coordinator's keys in bad hands, and an agent that admits the sample's job."""
    given = submission(trial.trust.author)
    trial.agent(given, name="door")
    _, entry, _ = trial.trust.agent("door")
    return Rogue(trial.trust, given, entry)


@pytest.fixture
def folder(trial: Trial, rogue: Rogue):
    return trial.folder / "door"


@pytest.fixture
def agent(folder) -> Iterator[Agent]:
    """The agent, without a line: its desk judges what the test hands in."""
    with Agent(folder, NOWHERE) as opened:
        yield opened


def flipped(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Every copy of `data` with one byte changed, in turn; the bit moves along."""
    for index in range(len(data)):
        yield index, data[:index] + bytes([data[index] ^ (1 << index % 8)]) + data[index + 1 :]


def resigned(rogue: Rogue, payload: bytes) -> bytes:
    """Any payload under the coordinator's signature."""
    return sign_payload(rogue.trust.coordinator, payload)


def judge(agent: Agent, envelope: bytes, altered: str) -> None:
    """Let the agent open an envelope that it has to refuse."""
    agent._desk.open(envelope, now_ms())
    pytest.fail(f"{altered} does not count")


# Each byte in turn


def test_each_byte_of_an_envelope(rogue: Rogue, agent: Agent) -> None:
    envelope = rogue.mint().envelope
    agent._desk.open(envelope, now_ms())
    for index, altered in flipped(envelope):
        with pytest.raises((TrustError, DecodeError)):
            judge(agent, altered, f"byte {index} of the envelope")


def test_each_byte_of_an_order_that_is_sealed_again(rogue: Rogue, agent: Agent) -> None:
    for index, altered in flipped(rogue.mint().signed):
        with pytest.raises((TrustError, DecodeError)):
            judge(agent, rogue.seal(altered), f"byte {index} of the signed order")


def test_each_byte_of_an_order_that_is_signed_and_sealed_again(rogue: Rogue, agent: Agent) -> None:
    """What a coordinator may choose it may choose; program, plan, job and all that is in it stay the author's."""
    order = rogue.order()
    payload = encode(order)
    start = payload.index(rogue.job)
    the_authors = range(start, start + len(rogue.job))
    chosen = 0
    for index, altered in flipped(payload):
        try:
            opened = agent._desk.open(rogue.seal(resigned(rogue, altered)), now_ms()).order
        except (TrustError, DecodeError):
            continue
        assert index not in the_authors, f"byte {index - start} of the author's job does not count"
        assert (opened.order.program, opened.order.plan, opened.job.data) == (order.program, order.plan, rogue.job)
        assert (opened.order.recipient, opened.order.phase) == (rogue.entry.key, "train")
        chosen += 1
    assert 0 < chosen < len(payload) - len(rogue.job)


def test_each_byte_of_the_job_fails_by_the_authors_signature(rogue: Rogue, agent: Agent) -> None:
    payload = decode(Signed, rogue.job).payload
    start = rogue.job.index(payload)
    for index, altered in flipped(payload):
        job = rogue.job[:start] + altered + rogue.job[start + len(payload) :]
        with pytest.raises(SignatureInvalid, match="job"):
            judge(agent, rogue.mint(job=job).envelope, f"byte {index} of the job")


@pytest.mark.parametrize("item", ["program", "plan"])
def test_each_byte_of_program_and_plan_fails_by_the_authors_signature(rogue: Rogue, agent: Agent, item: str) -> None:
    opened = agent._desk.open(rogue.mint().envelope, now_ms())
    data = rogue.items[item]
    payload = decode(Signed, data).payload
    inside = range(data.index(payload), data.index(payload) + len(payload))
    for index, altered in flipped(data):
        bundle = encode(Bundle(rogue.items | {item: altered}))
        with pytest.raises((TrustError, DecodeError)) as caught:
            agent._desk.prepare(opened.order, lambda bundle=bundle: bundle)
        assert index not in inside or isinstance(caught.value, SignatureInvalid)


def test_each_byte_of_a_graph_fails_by_its_pin(rogue: Rogue, agent: Agent) -> None:
    opened = agent._desk.open(rogue.mint().envelope, now_ms())
    for _, altered in flipped(rogue.items["graph/train"]):
        bundle = encode(Bundle(rogue.items | {"graph/train": altered}))
        with pytest.raises(DecodeError, match="graph 'train' is not the file that the plan pins"):
            agent._desk.prepare(opened.order, lambda bundle=bundle: bundle)


# At the door of a running agent, over real TLS: refused in public words, nothing runs


def nothing_ran(agent: Agent, folder) -> bool:
    """No order is held or was ever accepted, no journal was begun, nothing was released or waits to leave."""
    empty = not any(any((folder / name).iterdir()) for name in ("runs", "outbox"))
    return empty and agent._database.held() == [] and agent._database.totals().effects_resumed == 0


async def test_altered_orders_are_declined_and_the_good_one_runs(rogue: Rogue, folder) -> None:
    good = rogue.mint()
    envelopes = [altered for index, altered in flipped(good.envelope) if index % 64 == 5]
    signed = [rogue.seal(altered) for index, altered in flipped(good.signed) if index % 64 == 7]
    payload = encode(good.order)
    start = payload.index(rogue.job)
    jobs = [
        rogue.seal(resigned(rogue, altered))
        for index, altered in flipped(payload)
        if index % 64 == 9 and start <= index < start + len(rogue.job)
    ]
    cases = {digest(altered): altered for altered in (*envelopes, *signed, *jobs)}
    assert min(len(envelopes), len(signed), len(jobs)) > 8
    async with rogue.meeting(folder) as (gateway, agent):
        for name, altered in cases.items():
            gateway.deliver(rogue.entry.key, name, altered)
        said = await rogue.heard(len(cases))
        assert set(said) == set(cases)
        assert set(said.values()) <= {"signature_invalid", "unknown_signer", "wrong_recipient", "decode", "trust"}
        assert nothing_ran(agent, folder)
        gateway.deliver(rogue.entry.key, good.digest, good.envelope)
        await rogue.until(("accepted", good.digest), ("answered", good.digest))
    assert len([line for line in owner_log(folder) if line["event"] == "order declined"]) == len(cases)


async def refused(rogue: Rogue, folder, name: bytes, envelope: bytes) -> str:
    """Deliver one order to the agent; its public code, empty when it was accepted. Nothing ran unless it was."""
    async with rogue.meeting(folder) as (gateway, agent):
        gateway.deliver(rogue.entry.key, name, envelope)
        code = (await rogue.heard(1))[name]
        assert not code or nothing_ran(agent, folder)
        return code


async def test_a_good_order_is_accepted(rogue: Rogue, folder) -> None:
    good = rogue.mint()
    assert await refused(rogue, folder, good.digest, good.envelope) == ""


async def test_a_tampered_order(rogue: Rogue, folder) -> None:
    good = rogue.mint()
    altered = decode(Signed, good.signed)
    other = msgspec.structs.replace(good.order, round=1)
    altered = encode(msgspec.structs.replace(altered, payload=encode(other)))
    assert await refused(rogue, folder, digest(altered), rogue.seal(altered)) == "signature_invalid"


async def test_an_expired_order(rogue: Rogue, folder) -> None:
    now = now_ms()
    late = rogue.mint(issued_ms=now - 2 * HOUR_MS, expires_ms=now - 1)
    assert await refused(rogue, folder, late.digest, late.envelope) == "expired"


async def test_an_order_from_the_future(rogue: Rogue, folder) -> None:
    now = now_ms()
    early = rogue.mint(issued_ms=now + HOUR_MS, expires_ms=now + 2 * HOUR_MS)
    assert await refused(rogue, folder, early.digest, early.envelope) == "expired"


async def test_an_order_addressed_to_another_agent(rogue: Rogue, folder) -> None:
    _, other, _ = rogue.trust.agent("somebody else")
    astray = rogue.mint(recipient=other.key)
    assert await refused(rogue, folder, astray.digest, astray.envelope) == "wrong_recipient"


async def test_an_envelope_addressed_to_another_agent(rogue: Rogue, folder) -> None:
    _, other, _ = rogue.trust.agent("somebody else")
    signed = rogue.sign(rogue.order())
    assert await refused(rogue, folder, digest(signed), rogue.seal(signed, other)) == "wrong_recipient"


async def test_an_unsigned_order(rogue: Rogue, folder) -> None:
    signed = decode(Signed, rogue.mint().signed)
    unsigned = encode(msgspec.structs.replace(signed, signature=bytes(64)))
    assert await refused(rogue, folder, digest(unsigned), rogue.seal(unsigned)) == "signature_invalid"


async def test_an_order_signed_by_somebody_who_is_no_coordinator(rogue: Rogue, folder) -> None:
    signed = sign_document(rogue.trust.author, rogue.order(coordinator=rogue.trust.author.key))
    assert await refused(rogue, folder, digest(signed), rogue.seal(signed)) == "unknown_signer"


async def test_a_job_that_the_coordinator_signed_itself(rogue: Rogue, folder) -> None:
    job = sign_document(rogue.trust.coordinator, rogue.given.job)
    forged = rogue.mint(job=job)
    assert await refused(rogue, folder, forged.digest, forged.envelope) == "unknown_signer"


async def test_a_program_that_the_coordinator_put_in_its_place(rogue: Rogue, folder) -> None:
    """The order names another program and the bundle brings it, both signed by the coordinator."""
    text = sample.PROGRAM_FILE.read_text(encoding="utf-8").replace('of="n", name="patients"', 'of="m", name="patients"')
    program = compile_source(text, "program.py")
    signed = sign_document(rogue.trust.coordinator, program)
    named = rogue.mint(program=program.digest)
    assert await refused(rogue, folder, named.digest, named.envelope) == "trust"
    rogue.told.clear()
    rogue.bundle = rogue.keep(encode(Bundle(rogue.items | {"program": signed})))
    brought = rogue.mint()
    assert await refused(rogue, folder, brought.digest, brought.envelope) == "unknown_signer"


async def test_a_replayed_order(rogue: Rogue, folder) -> None:
    """The same order again, in a fresh envelope and to a fresh process, and another under the same sequence."""
    good = rogue.mint()
    async with rogue.meeting(folder) as (gateway, agent):
        gateway.deliver(rogue.entry.key, good.digest, good.envelope)
        await rogue.until(("answered", good.digest))
        async with asyncio.timeout(10):
            while agent._database.held():
                await asyncio.sleep(0.01)
    rogue.told.clear()
    assert len([line for line in owner_log(folder) if line["event"] == "order accepted"]) == 1
    second = rogue.mint(sequence=good.order.sequence)
    async with rogue.meeting(folder) as (gateway, _):
        gateway.deliver(rogue.entry.key, good.digest, rogue.seal(good.signed))
        gateway.deliver(rogue.entry.key, second.digest, second.envelope)
        assert await rogue.heard(2) == {good.digest: "replayed", second.digest: "replayed"}
    accepted = [line for line in owner_log(folder) if line["event"] == "order accepted"]
    assert len(accepted) == 1, "and nothing ran again"


async def test_a_run_is_taken_once_under_each_epoch(rogue: Rogue, folder) -> None:
    """Another order of a run that is here: an older or the same epoch is refused, a later one is a new custody."""
    first = rogue.mint(epoch=2)
    async with rogue.meeting(folder) as (gateway, _):
        gateway.deliver(rogue.entry.key, first.digest, first.envelope)
        await rogue.until(("answered", first.digest))
        again = [rogue.mint(run=first.order.run, epoch=epoch) for epoch in (1, 2, 3)]
        for order in again:
            gateway.deliver(rogue.entry.key, order.digest, order.envelope)
        said = await rogue.heard(4)
        assert [said[order.digest] for order in again] == ["replayed", "replayed", ""]
        await rogue.until(("answered", again[2].digest))


def test_an_order_has_no_place_for_frames() -> None:
    """An order starts at an entry. What a coordinator signs cannot be a state of the machine."""
    assert "frames" not in Order.__struct_fields__
    assert "snapshot" not in Order.__struct_fields__
