"""The author's and the operator's side: build, submit, follow, fetch, inspect, and verify where a model comes from.

Speaks only to the coordinator's operator listener; what it downloads it verifies against the root key it was given.
Names of this facade are imported when they are first used, so that a command loads only what it needs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sojourn.client.api import Event, Operator, OperatorError
    from sojourn.client.drafts import policy_for
    from sojourn.client.provenance import Provenance, ProvenanceBroken, trace
    from sojourn.client.submission import Submission, build_submission

__all__ = [
    "Event",
    "Operator",
    "OperatorError",
    "Provenance",
    "ProvenanceBroken",
    "Submission",
    "build_submission",
    "policy_for",
    "trace",
]

_HOMES: Final = {
    "Event": "sojourn.client.api",
    "Operator": "sojourn.client.api",
    "OperatorError": "sojourn.client.api",
    "Provenance": "sojourn.client.provenance",
    "ProvenanceBroken": "sojourn.client.provenance",
    "Submission": "sojourn.client.submission",
    "build_submission": "sojourn.client.submission",
    "policy_for": "sojourn.client.drafts",
    "trace": "sojourn.client.provenance",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)
