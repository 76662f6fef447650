# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: ANN001, ANN201 - the language takes no annotations
from sojourn.program import continuation, fleet, model, updates


@continuation
def rounds(job):
    weights = job.initial
    for k in range(job.args["rounds"]):
        cohort = fleet.invite(round=k)
        answers = fleet.ask(cohort, "train", weights=weights)
        folded = updates.aggregate(answers, policy=job.policy, base=weights)
        weights = model.publish(folded, round=k)
    return weights
