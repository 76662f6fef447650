"""The agent over real TLS: orders in, answers out, and everything that may happen in between."""

import asyncio
import contextlib
import time
from dataclasses import dataclass, field

import pytest
from sojourn.agent import desk as desk_module
from sojourn.agent.link import AgentLink
from sojourn.agent.runtime import Agent
from sojourn.codec import digest
from sojourn.contracts import Entry
from sojourn.crypto import server_context, sign_document
from sojourn.errors import ConfigError, PolicyInvalid, StateInUse, StateVersion
from sojourn.wire import Closed, Committed, Greeting, Lease, Rejected
from sojourn_coordinator.gateway import Gateway


@dataclass
class Body:
    data: bytes

    @property
    def length(self) -> int:
        return len(self.data)

    def read(self, offset: int, n: int) -> memoryview:
        return memoryview(self.data)[offset : offset + n]


@dataclass
class Sink:
    host: "Coordinator"
    order: bytes
    packet: bytes
    got: bytearray = field(default_factory=bytearray)

    async def feed(self, chunk: memoryview) -> None:
        self.got += chunk

    async def finish(self):
        return self.host.take(self.order, self.packet, bytes(self.got))

    async def abort(self) -> None:
        pass


class Coordinator:
    """A coordinator that carries orders to one agent and keeps every answer."""

    def __init__(self, federation):
        self.federation = federation
        self.bodies = {}
        self.minted = {}
        self.answers = []
        self.verdicts = []  # in order; Committed when empty
        self.told = []
        self.renewals = []
        self.lease_ms = 30_000
        self.changed = asyncio.Event()
        self.agent = None

    def say(self, *what) -> None:
        self.told.append(what)
        self.changed.set()

    async def until(self, condition, seconds=15):
        async with asyncio.timeout(seconds):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    def add(self, minted):
        self.bodies |= {name: Body(data) for name, data in minted.bodies.items()}
        self.minted[minted.digest] = minted
        return minted

    def take(self, order, packet, body):
        verdict = self.verdicts.pop(0) if self.verdicts else Committed
        self.answers.append((order, packet, body))
        self.say("answer", order)
        return verdict(order) if verdict is not Rejected else Rejected(order, "bounds")

    async def on_hello(self, agent: Entry, hello):
        self.say("hello", tuple((held.order, held.state) for held in hello.held))
        leases = tuple(Lease(h.order, self.minted[h.order].order.epoch, self.lease_ms) for h in hello.held)
        return Greeting(self.federation.coordinator.key, leases)

    async def on_gone(self, agent):
        self.say("gone")

    async def on_accepted(self, agent, order):
        self.say("accepted", order)

    async def on_declined(self, agent, order, code):
        self.say("declined", order, code)

    async def on_renew(self, agent, order, epoch):
        self.renewals.append((order, epoch))
        return self.lease_ms

    def open_body(self, agent, body):
        return self.bodies.get(body)

    async def on_offer(self, agent, order, packet, body, length):
        return Sink(self, order, packet)

    def opened(self, entry, index=-1):
        order, packet, body = self.answers[index]
        return self.federation.open_answer(entry, packet, body, self.minted[order])


@pytest.fixture
async def line(federation):
    """(coordinator, gateway) listening on loopback."""
    coordinator = Coordinator(federation)
    context = server_context(federation.coordinator, federation.trusted.roster.authority)
    verify = lambda data: federation.trusted.verify_agent(data, time.time_ns() // 1_000_000)  # noqa: E731
    async with Gateway(coordinator, verify, ssl=context) as gateway:
        yield coordinator, gateway


@contextlib.asynccontextmanager
async def serving(folder, gateway):
    """An agent at work; stopped as Ctrl-C stops it."""
    with Agent(folder, f"wss://127.0.0.1:{gateway.port}") as agent:
        task = asyncio.create_task(agent.run())
        try:
            yield agent
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def test_orders_go_in_and_answers_come_out(line, federation, folder, agent_entry):
    coordinator, gateway = line
    job = federation.job()
    minted = [coordinator.add(federation.mint(agent_entry, job=job)) for _ in range(3)]
    async with serving(folder, gateway) as agent:
        for order in minted:
            gateway.deliver(agent_entry.key, order.digest, order.envelope)
        await coordinator.until(lambda: len(coordinator.answers) == 3)
        for index in range(3):
            assert coordinator.opened(agent_entry, index).answer.outcome == "done"
        async with asyncio.timeout(5):
            while agent._database.held():
                await asyncio.sleep(0.01)
        assert not list((folder / "outbox").iterdir()), "what was committed is not kept"
        assert agent.connected


async def test_a_refused_order_is_declined_with_its_public_code_only(line, federation, folder, agent_entry):
    coordinator, gateway = line
    (folder / "policy.toml").write_text(federation.policy_text(purpose="something else"))
    minted = coordinator.add(federation.mint(agent_entry))
    async with serving(folder, gateway) as agent:
        gateway.deliver(agent_entry.key, minted.digest, minted.envelope)
        await coordinator.until(lambda: ("declined", minted.digest, "admission_refused") in coordinator.told)
        assert agent._database.order(minted.digest) is None
    log = (folder / "owner.log").read_text()
    assert "does not admit purpose 'study'" in log


# A policy that changes while the agent runs


def policies_of(coordinator, entry) -> list[str]:
    """For each answer, which policy every one of its releases names; empty where there is none."""
    answers = [coordinator.opened(entry, index).answer for index in range(len(coordinator.answers))]
    return ["".join({released.policy.hex() for released in answer.releases}) for answer in answers]


async def test_the_next_order_is_judged_by_the_policy_of_then(line, federation, folder, agent_entry):
    coordinator, gateway = line
    texts = [federation.policy_text(), federation.policy_text("other"), federation.policy_text() + "# read again\n"]
    minted = [coordinator.add(federation.mint(agent_entry)) for _ in range(4)]

    async def deliver(order) -> None:
        before = len(coordinator.told)
        gateway.deliver(agent_entry.key, order.digest, order.envelope)
        await coordinator.until(lambda: any(told[0] in {"answer", "declined"} for told in coordinator.told[before:]))

    async with serving(folder, gateway) as agent:
        await deliver(minted[0])
        (folder / "policy.toml").write_text(texts[1])
        await deliver(minted[1])
        (folder / "policy.toml").write_text(texts[2] + "surprise = 1\n")
        await deliver(minted[2])
        (folder / "policy.toml").write_text(texts[2])
        await deliver(minted[3])
        assert agent.policy.digest == digest(texts[2].encode())
    declined = [told[1:] for told in coordinator.told if told[0] == "declined"]
    assert declined == [(order.digest, "admission_refused") for order in minted[1:3]]
    assert policies_of(coordinator, agent_entry) == [digest(texts[0].encode()).hex(), digest(texts[2].encode()).hex()]
    log = (folder / "owner.log").read_text()
    assert log.count('"policy changed"') == 2
    assert log.count('"policy invalid: nothing is admitted until it is mended"') == 1
    assert "no policy is in force" in log


@pytest.mark.parametrize("then", ["other", "surprise"])
async def test_a_change_never_reaches_into_an_order(line, federation, folder, agent_entry, monkeypatch, then):
    """It is accepted; the owner takes the permission back; it ends as it was admitted, and the next one is declined."""
    coordinator, gateway = line
    before, run_order = (folder / "policy.toml").read_bytes(), desk_module.run_order
    first, second = (coordinator.add(federation.mint(agent_entry)) for _ in range(2))

    def change_then_run(*arguments):
        (folder / "policy.toml").write_text(federation.policy_text(then) + ("surprise = 1\n" * (then == "surprise")))
        return run_order(*arguments)

    prepare = desk_module.WorkDesk.prepare

    def change_between(desk, opened):
        if desk._database.order(opened.order.digest) is not None:  # accepted: this is the start of the work
            (folder / "policy.toml").write_text(federation.policy_text("nothing"))
        return prepare(desk, opened)

    monkeypatch.setattr(desk_module.WorkDesk, "prepare", change_between)
    monkeypatch.setattr(desk_module, "run_order", change_then_run)
    async with serving(folder, gateway):
        gateway.deliver(agent_entry.key, first.digest, first.envelope)
        await coordinator.until(lambda: coordinator.answers)
        gateway.deliver(agent_entry.key, second.digest, second.envelope)
        await coordinator.until(lambda: ("declined", second.digest, "admission_refused") in coordinator.told)
    assert coordinator.opened(agent_entry).answer.outcome == "done"
    assert policies_of(coordinator, agent_entry) == [digest(before).hex()]


async def test_after_a_restart_an_order_is_judged_anew(line, federation, folder, agent_entry, monkeypatch):
    coordinator, gateway = line
    minted = coordinator.add(federation.mint(agent_entry))
    with monkeypatch.context() as patch:
        patch.setattr(desk_module.WorkDesk, "work", lambda *_: None)  # it ends before the order is worked on
        async with serving(folder, gateway):
            gateway.deliver(agent_entry.key, minted.digest, minted.envelope)
            await coordinator.until(lambda: ("accepted", minted.digest) in coordinator.told)
    (folder / "policy.toml").write_text(federation.policy_text("other"))
    async with serving(folder, gateway):
        await coordinator.until(lambda: coordinator.answers)
    answer = coordinator.opened(agent_entry).answer
    assert (answer.outcome, answer.code, answer.releases) == ("refused", "admission_refused", ())


async def test_tampered_and_foreign_orders_are_declined_and_start_nothing(
    line, federation, folder, agent_entry, tmp_path
):
    coordinator, gateway = line
    other = federation.enrolled(tmp_path / "other", "other")
    good = federation.mint(agent_entry)
    flipped = bytearray(good.envelope)
    flipped[len(flipped) // 2] ^= 1
    foreign = federation.mint(other)
    late = federation.mint(agent_entry, issued_ms=1_000, expires_ms=2_000)
    unsigned = federation.mint(agent_entry, signer=federation.coordinator)
    cases = [
        (good.digest, bytes(flipped)),
        (foreign.digest, foreign.envelope),
        (late.digest, late.envelope),
        (unsigned.digest, unsigned.envelope),
        (digest(b"another name"), good.envelope),
    ]
    async with serving(folder, gateway) as agent:
        for name, envelope in cases:
            gateway.deliver(agent_entry.key, name, envelope)
        await coordinator.until(lambda: sum(told[0] == "declined" for told in coordinator.told) == len(cases))
        codes = {told[1]: told[2] for told in coordinator.told if told[0] == "declined"}
        assert codes[foreign.digest] == "wrong_recipient"
        assert codes[late.digest] == "expired"
        assert codes[unsigned.digest] == "unknown_signer"
        assert codes[digest(b"another name")] == "trust"
        assert codes[good.digest] in {"signature_invalid", "decode"}
        assert agent._database.held() == []


async def test_an_order_that_was_seen_is_refused_without_harm(line, federation, folder, agent_entry):
    coordinator, gateway = line
    minted = coordinator.add(federation.mint(agent_entry))
    async with serving(folder, gateway):
        gateway.deliver(agent_entry.key, minted.digest, minted.envelope)
        await coordinator.until(lambda: len(coordinator.answers) == 1)
        await asyncio.sleep(0.1)
    async with serving(folder, gateway) as agent:  # another process; the network replays the order
        gateway.deliver(agent_entry.key, minted.digest, minted.envelope)
        await coordinator.until(lambda: ("declined", minted.digest, "replayed") in coordinator.told)
        assert len(coordinator.answers) == 1
        assert agent._database.order(minted.digest).state == "committed"


async def test_the_same_run_under_the_same_epoch_starts_once(line, federation, folder, agent_entry):
    coordinator, gateway = line
    first = coordinator.add(federation.mint(agent_entry))
    again = coordinator.add(federation.mint(agent_entry, run=first.order.run))
    async with serving(folder, gateway):
        gateway.deliver(agent_entry.key, first.digest, first.envelope)
        gateway.deliver(agent_entry.key, again.digest, again.envelope)
        await coordinator.until(lambda: ("declined", again.digest, "replayed") in coordinator.told)


async def test_a_held_order_is_listed_and_its_stored_answer_offered_again(
    line, federation, folder, agent_entry, monkeypatch
):
    """The agent dies between making its answer durable and offering it: another process offers the same bytes."""
    coordinator, gateway = line
    minted = coordinator.add(federation.mint(agent_entry))
    offered = asyncio.Event()
    with monkeypatch.context() as patch:
        patch.setattr(AgentLink, "offer", lambda *_: offered.set())
        async with serving(folder, gateway) as agent:
            gateway.deliver(agent_entry.key, minted.digest, minted.envelope)
            await asyncio.wait_for(offered.wait(), 10)
            stored = agent._database.order(minted.digest).packet
    async with serving(folder, gateway):
        await coordinator.until(lambda: coordinator.answers)
    assert ("hello", ((minted.digest, "answered"),)) in coordinator.told
    assert coordinator.answers[0][1] == stored, "signed and sealed once"
    assert coordinator.opened(agent_entry).answer.outcome == "done"


async def test_a_large_body_waits_in_the_outbox(line, federation, folder, agent_entry, monkeypatch):
    coordinator, gateway = line
    monkeypatch.setattr(desk_module, "INLINE_BODY_BYTES", 0)
    minted = coordinator.add(federation.mint(agent_entry))
    with monkeypatch.context() as patch:
        offered = asyncio.Event()
        patch.setattr(AgentLink, "offer", lambda *_: offered.set())
        async with serving(folder, gateway) as agent:
            gateway.deliver(agent_entry.key, minted.digest, minted.envelope)
            await asyncio.wait_for(offered.wait(), 10)
            assert agent._database.order(minted.digest).sealed is None
    (kept,) = (folder / "outbox").iterdir()
    stored = kept.read_bytes()
    async with serving(folder, gateway) as agent:
        await coordinator.until(lambda: coordinator.answers)
        assert coordinator.answers[0][2] == stored
        assert coordinator.opened(agent_entry).answer.outcome == "done"
        async with asyncio.timeout(5):
            while kept.exists():
                await asyncio.sleep(0.01)


async def test_a_restarted_holder_gets_a_lease_before_it_offers(line, federation, folder, agent_entry):
    coordinator, gateway = line
    minted = coordinator.add(federation.mint(agent_entry, lease_ms=501))  # over at once, less the margin
    async with serving(folder, gateway):
        gateway.deliver(agent_entry.key, minted.digest, minted.envelope)
        await coordinator.until(lambda: coordinator.answers)
    assert coordinator.renewals
    assert set(coordinator.renewals) == {(minted.digest, 1)}, "the same epoch"


async def test_an_order_that_is_not_ours_any_more_is_given_up(line, federation, folder, agent_entry):
    coordinator, gateway = line
    coordinator.lease_ms = 0
    minted = coordinator.add(federation.mint(agent_entry, lease_ms=501))
    async with serving(folder, gateway) as agent:
        gateway.deliver(agent_entry.key, minted.digest, minted.envelope)
        async with asyncio.timeout(10):
            while (row := agent._database.order(minted.digest)) is None or row.state != "closed":
                await asyncio.sleep(0.02)
        assert row.code == "lease"
        assert coordinator.answers == []


@pytest.mark.parametrize(("verdict", "state"), [(Closed, "closed"), (Rejected, "rejected")])
async def test_other_verdicts_end_the_order(line, federation, folder, agent_entry, verdict, state):
    coordinator, gateway = line
    coordinator.verdicts = [verdict]
    minted = coordinator.add(federation.mint(agent_entry))
    async with serving(folder, gateway) as agent:
        gateway.deliver(agent_entry.key, minted.digest, minted.envelope)
        async with asyncio.timeout(10):
            while (row := agent._database.order(minted.digest)) is None or row.state != state:
                await asyncio.sleep(0.02)
        assert not list((folder / "outbox").iterdir())
        assert row.code == {"closed": "closed", "rejected": "bounds"}[state]


async def test_a_run_goes_on_after_a_stop_in_its_middle(line, federation, folder, agent_entry):
    coordinator, gateway = line
    minted = coordinator.add(federation.mint(agent_entry, job_args={"epochs": 60, "fuel": 5_000_000}))
    async with serving(folder, gateway):
        gateway.deliver(agent_entry.key, minted.digest, minted.envelope)
        journal = folder / "runs"
        async with asyncio.timeout(10):
            while sum(path.stat().st_size for path in journal.rglob("*") if path.is_file()) < 20_000:
                await asyncio.sleep(0.001)
    assert coordinator.answers == []
    async with serving(folder, gateway) as agent:
        await coordinator.until(lambda: coordinator.answers)
        assert ("hello", ((minted.digest, "running"),)) in coordinator.told
        assert coordinator.opened(agent_entry).answer.outcome == "done"
        row = agent._database.order(minted.digest)
        assert (row.effects, row.recomputed, row.restarts) == (60 * 11 + 5, 0, 1)
        assert 0 < row.resumed < row.effects


async def test_a_body_that_is_not_there_ends_the_order_not_the_agent(line, federation, folder, agent_entry):
    coordinator, gateway = line
    missing, fine = federation.mint(agent_entry), coordinator.add(federation.mint(agent_entry))
    async with serving(folder, gateway):
        gateway.deliver(agent_entry.key, missing.digest, missing.envelope)
        gateway.deliver(agent_entry.key, fine.digest, fine.envelope)
        await coordinator.until(lambda: coordinator.answers)
        assert ("declined", missing.digest, "body_unavailable") in coordinator.told


async def test_weights_that_are_gone_are_answered_for(line, federation, folder, agent_entry):
    coordinator, gateway = line
    minted = coordinator.add(federation.mint(agent_entry))
    del coordinator.bodies[minted.order.weights.id]
    async with serving(folder, gateway):
        gateway.deliver(agent_entry.key, minted.digest, minted.envelope)
        await coordinator.until(lambda: coordinator.answers)
    answer = coordinator.opened(agent_entry).answer
    assert (answer.outcome, answer.code) == ("refused", "body_unavailable")


async def test_weights_that_were_altered_are_refused(line, federation, folder, agent_entry):
    coordinator, gateway = line
    minted = coordinator.add(federation.mint(agent_entry))
    body = bytearray(minted.bodies[minted.order.weights.id])
    body[-20] ^= 1
    coordinator.bodies[minted.order.weights.id] = Body(bytes(body))
    async with serving(folder, gateway):
        gateway.deliver(agent_entry.key, minted.digest, minted.envelope)
        await coordinator.until(lambda: coordinator.answers)
    answer = coordinator.opened(agent_entry).answer
    assert (answer.outcome, answer.code, answer.releases) == ("refused", "signature_invalid", ())


async def test_a_newer_roster_is_taken_and_an_older_one_is_not(line, federation, folder, agent_entry):
    coordinator, gateway = line
    async with serving(folder, gateway) as agent:
        await coordinator.until(lambda: coordinator.told)
        before = (folder / "roster.signed").read_bytes()
        await agent.on_roster(sign_document(federation.coordinator, federation.trusted.roster))
        assert (folder / "roster.signed").read_bytes() == before
    assert "roster refused" in (folder / "owner.log").read_text()


def test_what_does_not_fit_is_said_before_anything_runs(federation, folder, agent_entry, tmp_path):
    with Agent(folder, "wss://127.0.0.1:1"), pytest.raises(StateInUse):
        Agent(folder, "wss://127.0.0.1:1")
    (folder / "policy.toml").write_text(federation.policy_text() + "surprise = 1\n")
    with pytest.raises(PolicyInvalid, match="surprise"):
        Agent(folder, "wss://127.0.0.1:1")
    (folder / "policy.toml").write_text(federation.policy_text())
    (folder / "version").write_text("sojourn agent 2\n")
    with pytest.raises(StateVersion, match="newer"):
        Agent(folder, "wss://127.0.0.1:1")
    with pytest.raises(ConfigError):
        Agent(tmp_path / "nothing", "wss://127.0.0.1:1")
    assert not (tmp_path / "nothing").exists()
