"""Aggregation interpreters: how a coordinator combines updates, and the round loops that ship with the system.

A policy is data in a job (`{"name": "fedavg"}`); this package turns it into a `Fold`. A fold is exact: sums are
integers, so neither the order in which updates arrive nor how they are cut into blocks changes a bit of the result.
"""

from sojourn_policies.fedavg import FedAvg, Fold, FoldResult
from sojourn_policies.packaged import packaged_rounds
from sojourn_policies.registry import Policy, policy, policy_names

__all__ = ["FedAvg", "Fold", "FoldResult", "Policy", "packaged_rounds", "policy", "policy_names"]
