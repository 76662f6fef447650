from sojourn.program import continuation, fleet, gpu, model, private, release, stream, updates


def train(rows, weights, epochs, size):
    state, losses, n = weights, [], 0
    for _ in range(epochs):
        losses, n, cursor = [], 0, stream.first(rows)
        while cursor is not None:
            batch, cursor = stream.batch(rows, cursor, size)
            out = gpu.run("train", state=state, x=batch["x"], y=batch["y"])
            state, n = out["state"], n + batch["rows"]
            losses.append(out["losses"])
    return {"state": state, "losses": losses, "n": n}


@continuation
def hospital(order):
    a = order.args
    rows = stream.open("patients", fields=["x", "y"])
    result = private(train, rows, order.weights, a["epochs"], a["size"], fuel=a["fuel"], memory=a["memory"])
    release.update(result, of="state", weight="n", base=order.weights)
    release.count(result, of="n", name="patients", high=1000)
    release.mean(result, of="losses", name="loss", low=0.0, high=10.0)


@continuation
def rounds(job):
    weights = job.initial
    for k in range(job.args["rounds"]):
        cohort = fleet.invite(round=k)
        answers = fleet.ask(cohort, "train", weights=weights)
        folded = updates.aggregate(answers, policy=job.policy, base=weights)
        weights = model.publish(folded, round=k)
    return weights
