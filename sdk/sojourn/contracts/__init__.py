"""The documents that travel between author, coordinator, agent and registrar.

Plain records and nothing else: what each means, which bytes are signed, and how identities are derived. Who may
sign which is decided in `sojourn.crypto.trust`; what may run is decided in `sojourn.privacy.guard`.
"""

from sojourn.contracts.answers import Answer, AnswerPacket, Closure, Evaluation, Publication, Released
from sojourn.contracts.identities import Entry, Role, Roster, Signed, key_id
from sojourn.contracts.jobs import (
    NO_PLAN,
    Bundle,
    Graph,
    Job,
    Phase,
    Plan,
    Port,
    ReleaseSpec,
    Scalar,
    StateTensor,
    UpdateSpec,
)
from sojourn.contracts.ledger import LedgerEntry, LedgerHead, entry_line, verify_chain
from sojourn.contracts.orders import BodyRef, Order, OrderPacket
from sojourn.contracts.runs import Occurrence, child_run, root_run
from sojourn.contracts.suites import SUITE_1

__all__ = [
    "NO_PLAN",
    "SUITE_1",
    "Answer",
    "AnswerPacket",
    "BodyRef",
    "Bundle",
    "Closure",
    "Entry",
    "Evaluation",
    "Graph",
    "Job",
    "LedgerEntry",
    "LedgerHead",
    "Occurrence",
    "Order",
    "OrderPacket",
    "Phase",
    "Plan",
    "Port",
    "Publication",
    "ReleaseSpec",
    "Released",
    "Role",
    "Roster",
    "Scalar",
    "Signed",
    "StateTensor",
    "UpdateSpec",
    "child_run",
    "entry_line",
    "key_id",
    "root_run",
    "verify_chain",
]
