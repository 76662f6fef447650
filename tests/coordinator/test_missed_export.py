"""A job whose phase missed its quorum: what its export says, who answered or declined, and what to do next."""

from __future__ import annotations

import asyncio
import json
import zipfile

import pytest
from sojourn.client.cli import app
from sojourn.client.provenance import trace
from sojourn.crypto.identity import read_root_public
from sojourn.errors import ProvenanceBroken
from sojourn.wire import Committed
from sojourn_coordinator.export import export_job
from typer.testing import CliRunner


@pytest.fixture
async def missed(world, wait_for_end, tmp_path):
    """The export of a job that one agent answered, one refused and one was silent to."""
    path = tmp_path / "missed.zip"
    async with world.serving() as (coordinator, links):
        for hand in world.hands:
            await hand.connect(coordinator)
        job = await coordinator.submit(world.submission(rounds=1, evaluate=False, deadline_ms=300))
        async with asyncio.timeout(10):
            envelopes = [await hand.take(links) for hand in world.hands]
        no = {"outcome": "refused", "code": "admission_refused", "releases": ()}
        for hand, envelope, changes in zip(world.hands, envelopes, ({}, no), strict=False):
            assert isinstance(await hand.offer(coordinator, hand.prepare(coordinator, envelope, **changes)), Committed)
        await wait_for_end(coordinator, job)
        path.write_bytes(b"".join([piece async for piece in await export_job(coordinator.house, job)]))
    return path


async def test_the_trace_says_what_happened_and_what_to_do(world, missed) -> None:
    command = ["provenance", "trace", "--export", str(missed), "--root", str(world.layout.root_public)]
    shown = CliRunner().invoke(app, command, env={"COLUMNS": "300"})
    assert (shown.exit_code, shown.stderr) == (0, "")
    for words in (
        "no model and no survey  verified",
        "round 0  train missed its quorum: 1 of 3 agents answered, 2 had to",
        f"agent-0 {world.hands[0].key.hex()[:12]}  answered",
        f"agent-1 {world.hands[1].key.hex()[:12]}  refused, admission_refused: its owner's policy does not admit",
        "1 agent did not answer before the deadline",
        "the job failed with QuorumMissed",
        "`sojourn policy draft SUBMISSION --owner NAME`",
        "`sojourn agents`",
        "build the submission once more and submit that file",
    ):
        assert words in shown.stdout, shown.stdout
    found = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert (found["verified"], found["state"], found["ending"]["code"]) == (True, "failed", "QuorumMissed")
    assert [(each["agent"], each["state"]) for each in found["missed"][0]["heard"]] == [
        ("agent-0", "answered"), ("agent-1", "refused"),
    ]  # fmt: skip


async def test_a_name_in_it_is_one_that_a_registrar_signed(world, missed, tmp_path) -> None:
    with zipfile.ZipFile(missed) as archive:
        items = {name: archive.read(name) for name in archive.namelist()}
    entry = f"agents/{world.hands[1].key.hex()}.entry"
    root = read_root_public(world.layout.root_public)
    assert {name for name in items if name.startswith("agents/")} == {
        f"agents/{hand.key.hex()}.entry" for hand in world.hands[:2]
    }

    def traced(changed):
        other = tmp_path / "changed.zip"
        with zipfile.ZipFile(other, "w") as archive:
            for name, data in changed.items():
                archive.writestr(zipfile.ZipInfo(name), data)
        return trace(other, root)

    with pytest.raises(ProvenanceBroken) as caught:
        traced({**items, entry: items[entry][:-1] + bytes([items[entry][-1] ^ 1])})
    assert caught.value.item == entry
    without = traced({name: data for name, data in items.items() if name != entry})
    assert [each.agent for each in without.missed[0].heard] == ["agent-0", ""]
