# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201, F821
from sojourn import continuation


@continuation
def rounds(job):
    weights = job.initial
    for k in range(job.args["rounds"]):
        cohort = fleet.invite(round=k)
        answers = fleet.ask(cohort, "train", weights=weights)
        folded = updates.aggregate(answers, policy=job.policy, base=weights)
        weights = model.publish(folded, round=k)
    return weights
