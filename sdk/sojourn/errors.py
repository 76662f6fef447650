"""Every error that Sojourn raises on purpose, as one tree.

Two branches answer two different questions. `UsageError` is the caller's own mistake: the message says what to
write, run or fix. `PeerError` is somebody else's bytes or behaviour: the message says what was refused, and nothing
that was already committed is lost. `Refusal` is neither: a data owner's policy said no, which is a normal answer.

A class has a fixed `code`, safe to show to any party. Text in the message may name files, fields and limits, never
keys or private values.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AdmissionRefused",
    "BodyUnavailable",
    "BudgetExhausted",
    "ConfigError",
    "ContributionRefused",
    "DecodeError",
    "EnrolmentRefused",
    "EnrolmentUnanswered",
    "Expired",
    "GraphFailed",
    "GraphRefused",
    "LogCorrupt",
    "MachineError",
    "PeerError",
    "PlanMismatch",
    "PolicyInvalid",
    "PortInUse",
    "ProgramInvalid",
    "ProgramRefused",
    "ProtocolError",
    "ProvenanceBroken",
    "QuorumMissed",
    "Refusal",
    "ReleaseConflict",
    "ReleaseInvalid",
    "Replayed",
    "RolledBack",
    "SignatureInvalid",
    "SnapshotInvalid",
    "SojournError",
    "StateInUse",
    "StateVersion",
    "StoreError",
    "StreamFieldMissing",
    "StreamInUse",
    "TrustError",
    "UnknownSigner",
    "UsageError",
    "WireViolation",
    "WrongRecipient",
]


class SojournError(Exception):
    """Root of the tree. `code` is stable and public; the message is for the reader at hand."""

    code: ClassVar[str] = "error"


class UsageError(SojournError):
    """The caller asked for something that cannot be done; the message says what to do instead."""

    code = "usage"


class ConfigError(UsageError):
    """A configuration file or option is missing, unreadable or contradictory."""

    code = "config"


class EnrolmentUnanswered(ConfigError):
    """An enrolment was asked for and no answer came: it may have been granted. Ask again with the same keys."""

    code = "enrolment_unanswered"


class PolicyInvalid(ConfigError):
    """A policy file has an unknown key, a value out of range, or admits nothing."""

    code = "policy_invalid"


class StateInUse(UsageError):
    """Another process holds the lock of this state folder."""

    code = "state_in_use"


class StreamInUse(StateInUse):
    """Another process has a private stream open for writing; an agent's streams are opened by the agent only."""

    code = "stream_in_use"


class StateVersion(UsageError):
    """The state folder was written by a version that this program does not read."""

    code = "state_version"


class PortInUse(UsageError):
    """The address to listen on is taken."""

    code = "port_in_use"


class StreamFieldMissing(UsageError):
    """A program asked for a field that the stream does not have."""

    code = "stream_field_missing"


class ProgramRefused(UsageError):
    """Source outside the language: where it is, why it is refused and what to write instead.

    Attributes:
        file: name of the source file as the author gave it.
        line: 1-based line.
        column: 1-based column.
        why: what was found.
        instead: what to write.
    """

    code = "program_refused"

    def __init__(self, file: str, line: int, column: int, why: str, instead: str) -> None:
        self.file, self.line, self.column, self.why, self.instead = file, line, column, why, instead
        super().__init__(f"{file}:{line}:{column}: {why}; {instead}")


class PlanMismatch(UsageError):
    """A plan's graph does not have the inputs, outputs, types or shapes that its manifest states."""

    code = "plan_mismatch"


class ReleaseInvalid(UsageError):
    """Public parameters of a release that no payload can satisfy. Nothing about a payload is ever raised."""

    code = "release_invalid"


class GraphFailed(UsageError):
    """A graph did not run: inputs that are not what the plan states, or a failure inside the runtime.

    The message holds names, types and shapes only. `detail` is the runtime's own text, which may hold values that
    depend on private data: it belongs in the owner's log and nowhere else.

    Attributes:
        detail: private text of the runtime; empty where the inputs were refused.
    """

    code = "graph_failed"

    def __init__(self, message: str, detail: str = "") -> None:
        self.detail = detail
        super().__init__(message)


class PeerError(SojournError):
    """Bytes or behaviour of another party that this host refuses."""

    code = "peer"


class DecodeError(PeerError):
    """Untrusted bytes that are not exactly one canonical object of the expected kind and version.

    Attributes:
        reason: one of `magic`, `kind`, `version`, `schema`, `canonical`, `trailing`, `oversize`, `digest`, `value`.
    """

    code = "decode"

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class ProgramInvalid(PeerError):
    """A program that the verifier refuses; nothing of it was run."""

    code = "program_invalid"


class SnapshotInvalid(PeerError):
    """A snapshot that is not a state of its program; nothing of it was run."""

    code = "snapshot_invalid"


class GraphRefused(PeerError):
    """A graph that the interpreter does not load: custom operators, outside files, unbounded sizes."""

    code = "graph_refused"


class TrustError(PeerError):
    """A document whose origin, address or time does not hold."""

    code = "trust"


class SignatureInvalid(TrustError):
    """The signature does not verify over exactly these bytes."""

    code = "signature_invalid"


class UnknownSigner(TrustError):
    """The signer is not in the roster in the role that this document needs, or is revoked."""

    code = "unknown_signer"


class WrongRecipient(TrustError):
    """The document is addressed to somebody else."""

    code = "wrong_recipient"


class Expired(TrustError):
    """The document is past its expiry, or from the future, by the highest time this host has seen."""

    code = "expired"


class Replayed(TrustError):
    """The document was seen before."""

    code = "replayed"


class RolledBack(TrustError):
    """A version older than one already seen."""

    code = "rolled_back"


class EnrolmentRefused(TrustError):
    """The enrolment token is unknown, used, expired or bound to another name."""

    code = "enrolment_refused"


class ProtocolError(PeerError):
    """A message that the connection's state does not allow."""

    code = "protocol"


class WireViolation(ProtocolError):
    """A message on a connection that the protocol's tables or credits do not allow; it ends that connection only.

    Attributes:
        reason: a name of `sojourn.wire.tables.CLOSE_CODES`.
    """

    code = "wire_violation"

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class BodyUnavailable(PeerError):
    """The coordinator has no body of this identity and length (any more); the order that names it cannot run."""

    code = "body_unavailable"


class ProvenanceBroken(PeerError):
    """An item of a provenance export does not hold.

    Attributes:
        item: name of the item inside the export, or of the file beside it.
    """

    code = "provenance_broken"

    def __init__(self, item: str, why: str) -> None:
        self.item = item
        super().__init__(f"{item}: {why}")


class ContributionRefused(PeerError):
    """An answer that the round does not take.

    Attributes:
        reason: one of `shape`, `bounds`, `blocks`, `duplicate`, `closed`, `epoch`, `schema`, `digest`, `stranger`.
    """

    code = "contribution_refused"

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class Refusal(SojournError):
    """A policy said no. This is an answer, not a fault."""

    code = "refused"


class AdmissionRefused(Refusal):
    """The owner's policy does not admit this order; the owner's log says which rule."""

    code = "admission_refused"


class QuorumMissed(Refusal):
    """A phase reached its deadline with fewer answers than its quorum."""

    code = "quorum_missed"


class MachineError(SojournError):
    """The virtual machine was driven wrongly by its host (a defect of the host, not of the program)."""

    code = "machine"


class BudgetExhausted(MachineError):
    """Fuel or memory of a run, or a privacy budget, is spent."""

    code = "budget_exhausted"


class StoreError(SojournError):
    """Durable state that cannot be read or written."""

    code = "store"


class ReleaseConflict(StoreError):
    """A second, different output for an occurrence that was already released: a defect or an attack."""

    code = "release_conflict"


class LogCorrupt(StoreError):
    """A record in the middle of a log fails its checksum: bit rot, not a torn tail. The message names it."""

    code = "log_corrupt"
