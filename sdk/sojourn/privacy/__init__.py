"""What may happen to private data on this host, what leaves it, and what has left.

Rules of this package:

* `OwnerPolicy` is the owner's word, `decide` applies it to a verified order, `release_*` bound what leaves, and
  `PrivacyLedger` writes it down first. Each trusts nothing that a program, an author or a coordinator says.
* Only public things raise. A private payload that does not fit is released as a neutral element.
* Nothing here runs a graph or moves a byte.
"""

from sojourn.privacy.entries import LedgerConflict, LedgerEntry
from sojourn.privacy.explain import PolicyReport, check_policy, explain
from sojourn.privacy.guard import Admission, decide
from sojourn.privacy.ledger import PrivacyLedger
from sojourn.privacy.payloads import Misfit
from sojourn.privacy.policy import AdmitRule, OwnerPolicy, ReleaseRule
from sojourn.privacy.releases import Release, release_count, release_mean, release_sum, release_update

__all__ = [
    "Admission",
    "AdmitRule",
    "LedgerConflict",
    "LedgerEntry",
    "Misfit",
    "OwnerPolicy",
    "PolicyReport",
    "PrivacyLedger",
    "Release",
    "ReleaseRule",
    "check_policy",
    "decide",
    "explain",
    "release_count",
    "release_mean",
    "release_sum",
    "release_update",
]
