"""The one place that verifies documents: from untrusted bytes to objects that may be acted on.

Model: python-tuf's trusted metadata set. Rules:

* Pure: no file, no network, no clock. Time is passed in; the set keeps the highest it was given and never goes back.
* Everything starts at the root key. It signs the roster; the roster names authors, coordinators and registrars; a
  registrar signs an agent's entry; an author signs programs, plans and jobs; a coordinator signs orders and records.
* Every method either returns a verified object or raises a `TrustError` or `DecodeError`. None returns a bool, and none
  changes the set when it raises, but for its time.
* A document is checked in this order: form, suite, signer in that role and not revoked, signature over the exact
  bytes, then addresses and times, then agreement with the documents it names.

To check an old export, give the time at which the document was made: what held then is what is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from sojourn.codec import Kind, Record, decode, digest, header_of
from sojourn.contracts import (
    Answer,
    Bundle,
    Closure,
    Entry,
    Evaluation,
    Job,
    LedgerHead,
    Order,
    Plan,
    Publication,
    Role,
    Roster,
    Signed,
    key_id,
)
from sojourn.crypto.checks import check_entry, check_job, check_order, check_plan, check_roster
from sojourn.crypto.documents import open_signed, verify_signed
from sojourn.crypto.suite import check_suite
from sojourn.crypto.verified import Verified, VerifiedBundle, VerifiedOrder, VerifiedSubmission
from sojourn.errors import DecodeError, Expired, RolledBack, TrustError, UnknownSigner, WrongRecipient
from sojourn.limits import MAX_BUNDLE_BYTES, MAX_CLOCK_SKEW_MS, MAX_ORDER_LIFETIME_MS, MAX_PROGRAM_BYTES

__all__ = ["TrustedSet", "Verified", "VerifiedBundle", "VerifiedOrder", "VerifiedSubmission"]

R = TypeVar("R", bound=Record)

GRAPH_PREFIX: Final = "graph/"


class TrustedSet:
    """What one party trusts: a pinned root key, the newest roster seen, and a time that never goes back."""

    __slots__ = ("_entries", "_floor", "_least_version", "_revoked", "_root", "_roster", "_roster_bytes")

    def __init__(self, root_key: bytes, *, floor_ms: int = 0, least_version: int = 0) -> None:
        """Begin with the pin.

        Args:
            root_key: Ed25519 public key of the root, 32 bytes.
            floor_ms: highest time that this party has seen, from durable storage.
            least_version: highest roster version that this party has seen, from durable storage.
        """
        self._root = root_key
        self._floor = floor_ms
        self._least_version = least_version
        self._roster: Roster | None = None
        self._roster_bytes = b""
        self._entries: dict[bytes, Entry] = {}
        self._revoked: frozenset[bytes] = frozenset()

    # Time and roster

    @property
    def now(self) -> int:
        """The highest time given so far, Unix milliseconds. Store it; begin with it after a restart."""
        return self._floor

    @property
    def root_key(self) -> bytes:
        """The pin, 32 bytes."""
        return self._root

    @property
    def roster(self) -> Roster:
        """The newest roster.

        Raises:
            TrustError: none was loaded.
        """
        if self._roster is None:
            raise TrustError("no roster was loaded yet; call load_roster first")
        return self._roster

    @property
    def roster_bytes(self) -> bytes:
        """The exact signed bytes of `roster`, to be stored or passed on."""
        return self._roster_bytes

    def observe(self, now_ms: int) -> int:
        """Take the host's clock and return the set's time: the higher of it and all that was given before."""
        self._floor = max(self._floor, now_ms)
        return self._floor

    def load_roster(self, data: bytes, now_ms: int) -> Roster:
        """Verify a roster and make it the current one.

        Args:
            data: `Signed` bytes.
            now_ms: the host's clock.

        Raises:
            UnknownSigner: not signed by the pinned root.
            SignatureInvalid: altered.
            RolledBack: older than the newest seen, or another one under the same version.
            Expired: past its expiry, or from the future.
            DecodeError: form or field.
        """
        now = self.observe(now_ms)
        signed = open_signed(data, "roster")
        if signed.signer != key_id(self._root, b""):
            raise UnknownSigner("the roster is not signed by the root key that this host pins")
        verify_signed(signed, self._root, "roster")
        roster = decode(Roster, signed.payload)
        check_roster(roster)
        newest = self._roster.version if self._roster else self._least_version
        if roster.version < newest:
            raise RolledBack(f"roster version {roster.version} is older than version {newest}, which was seen already")
        if self._roster and roster.version == newest and data != self._roster_bytes:
            raise RolledBack(f"another roster under version {newest}, which was seen already; the root must count up")
        _check_times("roster", roster.issued_ms, roster.expires_ms, now)
        self._roster, self._roster_bytes = roster, bytes(data)
        self._entries = {entry.key: entry for entry in roster.entries}
        self._revoked = frozenset(roster.revoked)
        return roster

    def entry(self, key: bytes, role: Role, now_ms: int) -> Entry:
        """Look a party up in the roster, for example the sender that an envelope claims.

        Raises:
            UnknownSigner: not there in that role, or revoked.
            Expired: its entry or the roster is past its expiry.
        """
        return self._party(key, role, self.observe(now_ms))

    # Agents

    def verify_agent(self, data: bytes, now_ms: int) -> Entry:
        """Verify an agent's entry: signed by a registrar of the roster, not revoked, not expired.

        Raises:
            TrustError: see the module's rules.
            DecodeError: form or field.
        """
        now = self.observe(now_ms)
        entry = self._open(data, "registrar", Entry, check_entry, "agent's entry", now).value
        if entry.role != "agent":
            raise UnknownSigner(f"a registrar signs agents only, not a {entry.role}")
        self._check_agent(entry, now)
        return entry

    # What authors sign

    def verify_job(self, data: bytes, now_ms: int) -> Verified[Job]:
        """Verify an author's job, and that it has not expired."""
        now = self.observe(now_ms)
        job = self._open(data, "author", Job, check_job, "job", now)
        _check_times("job", job.value.issued_ms, job.value.expires_ms, now)
        return job

    def verify_plan(self, data: bytes, author: Entry) -> Plan:
        """Verify a plan that `author` signed (the job's author)."""
        return self._plan(data, author).value

    def verify_program(self, data: bytes, author: Entry) -> bytes:
        """Verify a program that `author` signed; returns its framed bytes, whose code is *not* verified yet."""
        return self._program(data, author, "program").value

    def verify_bundle(self, data: bytes, order: VerifiedOrder | Verified[Job]) -> VerifiedBundle:
        """Verify what an order runs: program and plan by the job's author and as the job names them, graphs as the
        plan pins them, and nothing else.

        Args:
            data: `Bundle` bytes, opened.
            order: the verified order, or the verified job.

        Raises:
            TrustError: signed by somebody else, or not what the job names.
            DecodeError: an item is missing or too many, or a graph is not the pinned one (`digest`).
        """
        job = order.job if isinstance(order, VerifiedOrder) else order
        items = dict(decode(Bundle, data, limit=MAX_BUNDLE_BYTES).items)
        program = self._named_program(_take(items, "program"), job, job.value.program, "program")
        plan = self._named_plan(_take(items, "plan"), job)
        graphs = _graphs(items, plan.value)
        return VerifiedBundle(program.value, plan.value, job.value.plan, graphs)

    def verify_submission(self, data: bytes, now_ms: int) -> VerifiedSubmission:
        """Verify what an operator submits, before anything of it is stored.

        Args:
            data: `Bundle` bytes with the items `job`, `program`, `rounds`, `plan`, `graph/<name>`, `initial` and,
                where the job names held-out data, `heldout`.
            now_ms: the host's clock.

        Raises:
            TrustError: see the module's rules.
            DecodeError: form, field, or an item missing or too many.
        """
        items = dict(decode(Bundle, data, limit=MAX_BUNDLE_BYTES).items)
        job = self.verify_job(_take(items, "job"), now_ms)
        program = self._named_program(_take(items, "program"), job, job.value.program, "program")
        rounds = self._named_program(_take(items, "rounds"), job, job.value.rounds, "rounds program")
        plan = self._named_plan(_take(items, "plan"), job)
        initial = _take(items, "initial")
        heldout = _take(items, "heldout") if job.value.heldout else b""
        return VerifiedSubmission(job, program, rounds, plan, _graphs(items, plan.value), initial, heldout)

    # What coordinators sign

    def verify_order(self, data: bytes, me: Entry, now_ms: int) -> VerifiedOrder:
        """Verify an order after its envelope was opened, and the author's job inside it.

        A coordinator chooses sequence, times, round, run, epoch and bodies. Program, plan and everything that the job
        fixes are the author's: whatever the coordinator signs, an altered job fails the author's signature and an
        altered digest fails the comparison with the job.

        Args:
            data: `Signed(Order)` bytes.
            me: this agent's own verified entry.
            now_ms: the host's clock.

        Raises:
            UnknownSigner: the signer is no coordinator of the roster, or the job's no author; or one is revoked.
            SignatureInvalid: altered, by the coordinator's or by the author's signature.
            WrongRecipient: for another agent.
            Expired: order, job or roster is past its expiry, from the future, or the order lives too long.
            TrustError: the order disagrees with its job.
            DecodeError: form or field.
        """
        now = self.observe(now_ms)
        opened = self._open(data, "coordinator", Order, check_order, "order", now)
        order = opened.value
        if order.coordinator != opened.signer.key:
            raise UnknownSigner("the order names another coordinator than the one that signed it")
        if order.recipient != me.key:
            raise WrongRecipient("the order is addressed to another agent")
        self._check_agent(me, now)
        _check_times("order", order.issued_ms, order.expires_ms, now)
        if order.expires_ms - order.issued_ms > MAX_ORDER_LIFETIME_MS:
            raise Expired(f"the order lives longer than {MAX_ORDER_LIFETIME_MS} ms")
        job = self.verify_job(order.job, now)
        if order.program != job.value.program:
            raise TrustError("the order names another program than its author's job")
        if order.plan != job.value.plan:
            raise TrustError("the order names another plan than its author's job")
        phase = next((phase for phase in job.value.phases if phase.name == order.phase), None)
        if phase is None:
            raise TrustError(f"the order starts the phase {order.phase!r}, which its author's job does not have")
        return VerifiedOrder(order, opened.digest, opened.data, opened.signer, job, job.signer, phase)

    def verify_closure(self, data: bytes) -> Verified[Closure]:
        """Verify a coordinator's closure, by the set's time."""
        return self._record(data, Closure, "closure")

    def verify_publication(self, data: bytes) -> Verified[Publication]:
        """Verify a coordinator's publication, by the set's time."""
        return self._record(data, Publication, "publication")

    def verify_evaluation(self, data: bytes) -> Verified[Evaluation]:
        """Verify a coordinator's evaluation, by the set's time."""
        return self._record(data, Evaluation, "evaluation")

    def verify_ledger_head(self, data: bytes) -> Verified[LedgerHead]:
        """Verify a coordinator's statement of where a job's ledger stands, by the set's time."""
        return self._record(data, LedgerHead, "ledger's head")

    # What agents sign

    def verify_answer(self, data: bytes, agent: Entry, order: bytes | None = None) -> Verified[Answer]:
        """Verify an answer, by the set's time.

        Args:
            data: `Signed(Answer)` bytes.
            agent: verified entry of who must have signed it (`verify_agent`).
            order: the exact `Signed(Order)` bytes that it must answer; None checks the origin only.

        Raises:
            UnknownSigner: signed by another key, or the agent is revoked.
            SignatureInvalid: altered.
            TrustError: it does not answer this order.
            DecodeError: form or field.
        """
        self._check_agent(agent, self._floor)
        signed = open_signed(data, "answer")
        if signed.signer != agent.key:
            raise UnknownSigner(f"the answer is not signed by agent {agent.name!r}, which sent it")
        verify_signed(signed, agent.sign_key, "answer")
        answer = decode(Answer, signed.payload)
        check_suite(answer.suite, "answer")
        if answer.agent != agent.key:
            raise UnknownSigner("the answer names another agent than the one that signed it")
        if order is not None:
            _check_answers(answer, order)
        return Verified(answer, digest(data), agent, bytes(data))

    # Inside

    def _party(self, key: bytes, role: Role, now: int) -> Entry:
        roster = self.roster
        if now >= roster.expires_ms:
            raise Expired("the roster has expired; fetch a new one that the root has signed")
        entry = self._entries.get(key)
        if entry is None or entry.role != role:
            raise UnknownSigner(f"{key.hex()[:16]}… is no {role} of roster version {roster.version}")
        if key in self._revoked:
            raise UnknownSigner(f"{role} {entry.name!r} is revoked by roster version {roster.version}")
        _check_times(f"entry of {role} {entry.name!r}", entry.issued_ms, entry.expires_ms, now)
        return entry

    def _check_agent(self, agent: Entry, now: int) -> None:
        roster = self.roster
        if now >= roster.expires_ms:
            raise Expired("the roster has expired; fetch a new one that the root has signed")
        if agent.role != "agent":
            raise UnknownSigner(f"{agent.role} {agent.name!r} is no agent")
        if agent.key in self._revoked:
            raise UnknownSigner(f"agent {agent.name!r} is revoked by roster version {roster.version}")
        _check_times(f"entry of agent {agent.name!r}", agent.issued_ms, agent.expires_ms, now)

    def _signed(self, data: bytes, role: Role, what: str, now: int) -> tuple[Signed, Entry]:
        signed = open_signed(data, what)
        signer = self._party(signed.signer, role, now)
        verify_signed(signed, signer.sign_key, what)
        return signed, signer

    def _open(
        self, data: bytes, role: Role, cls: type[R], check: Callable[[R], None], what: str, now: int
    ) -> Verified[R]:
        signed, signer = self._signed(data, role, what, now)
        value = decode(cls, signed.payload)
        check(value)
        return Verified(value, digest(data), signer, bytes(data))

    def _record(self, data: bytes, cls: type[R], what: str) -> Verified[R]:
        def check(value: R) -> None:
            check_suite(getattr(value, "suite", 0), what)

        return self._open(data, "coordinator", cls, check, what, self._floor)

    def _plan(self, data: bytes, author: Entry) -> Verified[Plan]:
        plan = self._open(data, "author", Plan, check_plan, "plan", self._floor)
        _check_author(plan.signer, author, "plan")
        return plan

    def _program(self, data: bytes, author: Entry, what: str) -> Verified[bytes]:
        signed, signer = self._signed(data, "author", what, self._floor)
        _check_author(signer, author, what)
        if len(signed.payload) > MAX_PROGRAM_BYTES:
            raise DecodeError("oversize", f"{what}: {len(signed.payload)} bytes, the limit is {MAX_PROGRAM_BYTES}")
        if header_of(signed.payload)[0] != Kind.PROGRAM:
            raise DecodeError("kind", f"{what}: the author signed something that is not a program")
        return Verified(signed.payload, digest(data), signer, bytes(data))

    def _named_program(self, data: bytes, job: Verified[Job], named: bytes, what: str) -> Verified[bytes]:
        program = self._program(data, job.signer, what)
        if digest(program.value) != named:
            raise TrustError(f"this {what} is not the one that the author's job names")
        return program

    def _named_plan(self, data: bytes, job: Verified[Job]) -> Verified[Plan]:
        plan = self._plan(data, job.signer)
        if digest(open_signed(data, "plan").payload) != job.value.plan:
            raise TrustError("this plan is not the one that the author's job names")
        return plan

    def __repr__(self) -> str:
        version = self._roster.version if self._roster else "none"
        return f"TrustedSet(root {self._root.hex()[:16]}…, roster {version}, now {self._floor})"


def _check_times(what: str, issued_ms: int, expires_ms: int, now: int) -> None:
    if expires_ms <= issued_ms:
        raise Expired(f"{what}: expires before it was issued")
    if issued_ms > now + MAX_CLOCK_SKEW_MS:
        raise Expired(f"{what}: issued in the future; compare the clocks of the two hosts")
    if now >= expires_ms:
        raise Expired(f"{what}: expired; its issuer has to make a new one")


def _check_author(signer: Entry, author: Entry, what: str) -> None:
    if signer.key != author.key:
        raise UnknownSigner(f"the {what} is signed by author {signer.name!r}, the job by author {author.name!r}")


def _take(items: dict[str, bytes], name: str) -> bytes:
    if name not in items:
        raise DecodeError("schema", f"bundle: the item {name!r} is missing")
    return items.pop(name)


def _graphs(items: dict[str, bytes], plan: Plan) -> dict[str, bytes]:
    """Take the plan's graphs out of what is left of a bundle; nothing may be left then."""
    graphs = {}
    for graph in plan.graphs:
        data = _take(items, GRAPH_PREFIX + graph.name)
        if digest(data) != graph.digest:
            raise DecodeError("digest", f"bundle: graph {graph.name!r} is not the file that the plan pins")
        graphs[graph.name] = data
    if items:
        raise DecodeError("schema", f"bundle: unexpected item {min(items)!r}")
    return graphs


def _check_answers(answer: Answer, order_bytes: bytes) -> None:
    """The answer's statement names the order and all that the order names. `order_bytes` are the host's own."""
    order = decode(Order, open_signed(order_bytes, "order").payload)
    pairs: dict[str, tuple[object, object]] = {
        "order": (answer.order, digest(order_bytes)),
        "agent": (answer.agent, order.recipient),
        "job": (answer.job, digest(order.job)),
        "program": (answer.program, order.program),
        "plan": (answer.plan, order.plan),
        "run": (answer.run, order.run),
        "epoch": (answer.epoch, order.epoch),
        "round": (answer.round, order.round),
        "phase": (answer.phase, order.phase),
        "weights_root": (answer.weights_root, order.weights_root),
    }
    for field, (stated, expected) in pairs.items():
        if stated != expected:
            raise TrustError(f"the answer states another {field} than the order it was sent for")
