from sojourn.program import continuation, fleet, private, release, stream, tensor


def look(rows, age):
    patients, older, pressures, cursor = 0, 0, [], stream.first(rows)
    while cursor is not None:
        patient, cursor = stream.batch(rows, cursor, 1)
        patients += 1
        if tensor.item(patient["age"]) >= age:
            older += 1
            pressures.append(patient["bp"])
    return {"patients": patients, "older": older, "pressures": pressures}


@continuation
def clinic(order):
    a = order.args
    rows = stream.open("patients", fields=["age", "bp"])
    seen = private(look, rows, a["age"], fuel=a["fuel"], memory=a["memory"])
    release.count(seen, of="older", name="older", high=1000)
    release.mean(seen, of="pressures", name="pressure", low=40.0, high=200.0)
    release.count(seen, of="patients", name="patients", high=1000)


@continuation
def rounds(job):
    cohort = fleet.invite(round=0)
    fleet.ask(cohort, "survey")
