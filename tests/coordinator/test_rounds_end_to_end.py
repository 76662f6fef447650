import json

from sojourn.datoms import split_datoms, unpack
from sojourn_coordinator.queries import agents_view, job_view, jobs_view, model_view


async def test_a_job_runs_to_its_end(world, wait_for_end) -> None:
    async with world.serving() as (coordinator, links), world.working(coordinator, links):
        job = await coordinator.submit(world.submission(rounds=3))
        events = await wait_for_end(coordinator, job)
        view = await job_view(coordinator.house.database, job)
        joined, root = await model_view(coordinator.house, job, None)
        listed = await jobs_view(coordinator.house.database)
        known = await agents_view(coordinator.house.database, {hand.key for hand in world.hands})
    names = [event.name for event in events]
    assert names[0] == "submitted"
    assert names[-1] == "done"
    assert names.count("opened") == names.count("closed") == names.count("published") == 3
    assert names.count("answered") == 9
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert (view["state"], view["round"], view["rounds"], view["error"]) == ("done", 3, 3, None)
    assert [row["round"] for row in view["table"]] == [0, 1, 2]
    row = view["table"][0]
    weights = [hand.update_for(0, {"w": (3,)})[1] for hand in world.hands]
    assert row["participants"] == 3
    assert row["patients"] == sum(weights)
    assert abs(row["train_loss"] - 3 / sum(weights)) < 1e-12
    assert row["bytes"] > 0
    assert 0.0 <= row["auc"] <= 1.0
    assert row["loss"] > 0
    assert view["model"] == root.hex()
    assert set(unpack(split_datoms(joined), root=root)) == {"w"}
    assert listed[0]["state"] == "done"
    assert all(agent["connected"] for agent in known)
    published = [json.loads(event.data) for event in events if event.name == "published"]
    assert [data["loss"] for data in published] == [row["loss"] for row in view["table"]]
