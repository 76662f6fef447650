"""The operator's side: submit, follow, fetch, inspect, and verify where a model comes from.

Speaks only to the coordinator's operator listener; what it downloads it verifies against the root key it was given.
"""

from sojourn.client.api import Operator, OperatorError
from sojourn.client.provenance import Provenance, ProvenanceBroken, trace

__all__ = ["Operator", "OperatorError", "Provenance", "ProvenanceBroken", "trace"]
