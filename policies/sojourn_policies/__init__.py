"""Aggregation interpreters: how a coordinator combines updates, and the round loops that ship with the system.

A policy is data in a job (`{"name": "fedavg"}`); its entry point (`sojourn.aggregation`) makes a `Fold` of it. A fold
is exact: sums are integers, so neither the order in which updates arrive nor how they are cut into blocks changes a bit
of the result.
"""

from sojourn_policies.fedavg import FedAvg, Fold
from sojourn_policies.packaged import packaged_rounds

__all__ = ["FedAvg", "Fold", "packaged_rounds"]
