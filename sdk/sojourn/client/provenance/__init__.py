"""Where a model comes from: verify a provenance export against the root key alone.

An export is a zip of exact signed bytes (`archive`). The walk starts at the initial model and goes forward (`walk`):
job, programs and plan by the author's signature (`documents`); the coordinator's ledger by its chain and signed head
(`ledger`); and for each model that the ledger says was published, the orders, the agents' answers and updates, the
closure that froze them, and the publication that chains it to the model before (`rounds`). Nothing is trusted because
it is in the export: a document counts by its signature under the roster that the root key signed, a stream by its seal
root in a signed statement. The first item that does not hold is named in `ProvenanceBroken`, and so is an item that
belongs to nothing.

With `recompute`, the aggregation is done again from the recorded updates and every model's root must come out.
"""

from sojourn.client.provenance.results import Contribution, Provenance, RoundTrace
from sojourn.client.provenance.walk import trace
from sojourn.errors import ProvenanceBroken

__all__ = ["Contribution", "Provenance", "ProvenanceBroken", "RoundTrace", "trace"]
