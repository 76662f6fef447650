"""The logic of rounds, pure: who is invited, when a phase closes, what counts, what an order and an answer must say.

Nothing here waits, reads a clock or touches a store: events go in, values come out. The host commits each value before
it tells anybody.
"""

from sojourn_coordinator.rounds.cohort import Chosen, Cohort, Waiting, choose_cohort
from sojourn_coordinator.rounds.opening import Opening, draft_order
from sojourn_coordinator.rounds.phase import (
    Again,
    Closed,
    Conflict,
    Judgement,
    Late,
    Missed,
    Open,
    Outcome,
    PhaseLedger,
    Stranger,
    Take,
)
from sojourn_coordinator.rounds.statement import check_statement
from sojourn_coordinator.rounds.summary import Contribution, mean_weights, summarise

__all__ = [
    "Again",
    "Chosen",
    "Closed",
    "Cohort",
    "Conflict",
    "Contribution",
    "Judgement",
    "Late",
    "Missed",
    "Open",
    "Opening",
    "Outcome",
    "PhaseLedger",
    "Stranger",
    "Take",
    "Waiting",
    "check_statement",
    "choose_cohort",
    "draft_order",
    "mean_weights",
    "summarise",
]
