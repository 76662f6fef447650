"""What has left an agent, as its owner can look it up afterwards: all of it, and nothing that stayed."""

import asyncio
import json
import sqlite3
from contextlib import closing

import pytest
from sojourn.agent import read_released, read_status
from sojourn.agent.folder import AgentPaths
from sojourn.agent.link import AgentLink
from sojourn.errors import ConfigError, StoreError, UsageError
from sojourn_agent.cli import app
from typer.testing import CliRunner


class Line(AgentLink):
    """A line that is never connected: what it is given waits in it, as on a bad day."""

    def __init__(self) -> None:
        super().__init__("wss://127.0.0.1:1", None, ssl=None)


def offer(bench, opened, ready) -> None:
    """What the event loop does with a durable answer, inside its lease."""

    async def scene() -> None:
        agent, terms = bench.agent, opened.order.order
        agent._link = Line()
        agent._answers[ready.order] = ready
        agent._leases.take(ready.order, terms.run, terms.epoch, 30_000, 1 << 60)
        agent._offer(ready.order)
        agent._link = None

    asyncio.run(scene())


def worked(bench, minted):
    opened = bench.accept(minted)
    return opened, bench.work(opened)


def test_only_what_was_given_to_the_line_has_left(bench, federation, agent_entry, folder):
    minted = federation.mint(agent_entry, job_name="how they do")
    opened, ready = worked(bench, minted)
    assert read_released(folder) == [], "it is written down, and has not left"
    offer(bench, opened, ready)
    update, count, mean = read_released(folder)
    said = bench.answer(minted, opened, ready).answer.releases
    assert [one.value for one in (update, count, mean)] == [one.value for one in said]
    assert [one.parameters for one in (update, count, mean)] == [one.parameters for one in said]
    assert [one.kind for one in (update, count, mean)] == ["update", "count", "mean"]
    assert (count.value, count.length, count.name) == (20.0, 8, "patients")
    assert update.value is None
    assert update.length == len(bench.answer(minted, opened, ready).body)
    assert {(one.job_name, one.author, one.answer) for one in (update, count, mean)} == {
        ("how they do", federation.author.name, "answered")
    }
    assert (count.job, count.author_key, count.order) == (opened.order.job.digest, federation.author.key, minted.digest)
    bench.agent._database.finish(minted.digest, "closed", "closed", count.left_ms + 5)
    assert [one.answer for one in read_released(folder)] == ["closed"] * 3


def test_a_failed_run_has_released_nothing(bench, federation, agent_entry, folder, hospital_source):
    source = hospital_source + "    raise ValueError('on the way')\n"
    opened, ready = worked(bench, federation.mint(agent_entry, source))
    offer(bench, opened, ready)
    assert bench.agent._work._bench.ledger.released(), "it was written down before the run failed"
    assert read_released(folder) == []


def test_an_answer_that_is_found_at_a_restart_may_have_left(bench_at, federation, agent_entry, folder):
    with bench_at() as bench:
        worked(bench, federation.mint(agent_entry))
    assert read_released(folder) == []
    with bench_at() as bench:
        bench.agent._take_up()
    assert len(read_released(folder)) == 3


def test_by_job_and_by_time(bench, federation, agent_entry, folder):
    for name in ("first", "second"):
        minted = federation.mint(agent_entry, job_name=name)
        offer(bench, *worked(bench, minted))
    every = read_released(folder)
    assert [one.job_name for one in every] == ["first"] * 3 + ["second"] * 3
    assert read_released(folder, job="second") == every[3:]
    assert read_released(folder, job=every[0].job.hex()[:10].upper()) == every[:3]
    assert read_released(folder, since_ms=every[-1].left_ms) == [
        one for one in every if one.left_ms >= every[-1].left_ms
    ]
    assert read_released(folder, since_ms=every[-1].left_ms + 1) == []
    with pytest.raises(UsageError, match=r"no order of a job 'third' .*jobs: 'first' \("):
        read_released(folder, job="third")


def test_records_that_are_damaged_are_not_believed(bench, federation, agent_entry, folder):
    offer(bench, *worked(bench, federation.mint(agent_entry)))
    with closing(sqlite3.connect(AgentPaths(folder).database)) as db, db:
        db.execute("UPDATE privacy_releases SET output=x'0000000000000000' WHERE kind='count'")
    with pytest.raises(StoreError, match=r"count 'patients' .*is damaged"):
        read_released(folder)


def test_a_folder_of_before_these_records_is_still_read(bench, federation, agent_entry, folder):
    minted = federation.mint(agent_entry)
    offer(bench, *worked(bench, minted))
    bench.agent._database.finish(minted.digest, "committed", "", 7_000)
    with closing(sqlite3.connect(AgentPaths(folder).database)) as db, db:
        db.execute("DROP TABLE jobs")
        db.execute("DROP TABLE offers")
    assert [(one.job_name, one.left_ms, one.answer) for one in read_released(folder)] == [("", 7_000, "committed")] * 3
    assert read_status(folder).orders[0].author == ""


def test_an_agent_that_never_ran_and_a_folder_that_is_none(federation, tmp_path):
    federation.enrolled(tmp_path / "new")
    assert read_released(tmp_path / "new") == []
    with pytest.raises(ConfigError, match="sojourn-agent enrol"):
        read_released(tmp_path / "none")


def command(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_commands_of_the_owner(bench, federation, agent_entry, folder):
    assert command("released", "--state", folder).stdout == "nothing has left\n"
    minted = federation.mint(agent_entry, job_name="how they do")
    offer(bench, *worked(bench, minted))
    shown = command("released", "--state", folder)
    assert shown.exit_code == 0, shown.output
    (line,) = [line for line in shown.stdout.splitlines() if "count 'patients'" in line]
    cells = [cell.strip() for cell in line.strip("│").split("│")]
    assert cells[1:] == [
        f"how they do, by {federation.author.name}", "train 0", "count 'patients'",
        "high 1000.0 (bounded-count, trusted-plan)", "20.0", "8", "answered",
    ]  # fmt: skip
    assert "3 releases in 1 answers" in shown.stdout
    whole = json.loads(command("released", "--state", folder, "--json", "--since", "2020-01-01").stdout)
    assert [one["kind"] for one in whole] == ["update", "count", "mean"]
    assert (whole[1]["value"], whole[1]["bytes"], whole[1]["author"]) == (20.0, 8, federation.author.name)
    assert json.loads(command("released", "--state", folder, "--json", "--since", "2999-01-01T10:00").stdout) == []
    wrong = command("released", "--state", folder, "--since", "yesterday")
    assert (wrong.exit_code, "write 2026-11-01" in wrong.stderr) == (2, True)
    status = command("status", "--state", folder)
    assert f"how they do, by {federation.author.name}" in status.stdout
    (order,) = json.loads(command("status", "--state", folder, "--json").stdout)["orders"]
    assert (order["job_name"], order["author"]) == (minted.job.name, federation.author.name)
