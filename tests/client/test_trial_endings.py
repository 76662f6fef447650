"""What a trial keeps over its stops, what it says before it starts, and which entry it asks for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sojourn.client.cli import app
from sojourn.client.trial.saved import load_saved
from sojourn.codec import decode, digest, encode
from sojourn.contracts import Bundle
from sojourn.errors import DecodeError
from typer.testing import CliRunner, Result

SOURCE = """\
from sojourn.program import continuation, fleet, log, private, release, stream


def look(rows):
    batch, cursor = stream.batch(rows, stream.first(rows), 10)
    return {"n": batch["rows"] // 0}


def size(rows):
    batch, cursor = stream.batch(rows, stream.first(rows), 10)
    return {"n": batch["rows"]}


@continuation
def station(order):
    rows = stream.open("readings", fields=["celsius"])
    seen = private(look, rows, fuel=6000, memory=100000)
    log.note("between")
    more = private(size, rows, fuel=order.args["fuel"], memory=100000)
    release.count(seen, of="n", name="first", high=100)
    release.count(more, of="n", name="second", high=100)


@continuation
def rounds(job):
    fleet.ask(fleet.invite(round=0), "ask")
"""


@pytest.fixture(autouse=True)
def desk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("program.py").write_text(SOURCE, "utf-8")
    Path("rows.csv").write_text("celsius\n12\n13\n", "utf-8")


def run(*arguments: str, args: str = '{"fuel": 5000}', typed: str = "") -> Result:
    command = ["program", "run", "program.py", "--args", args, *arguments]
    return CliRunner().invoke(app, command, input=typed, env={"COLUMNS": "200"})


def trial(*arguments: str, **more: str) -> Result:
    return run("--rows", "rows.csv", *arguments, **more)


def test_a_region_that_failed_before_the_run_was_saved_still_counts() -> None:
    assert trial().exit_code == 3
    assert trial("--break", "log.note", "--save", "one.sjr", typed="q\n").exit_code == 0
    assert trial("--resume", "one.sjr", "--break", "release.count", "--save", "two.sjr", typed="q\n").exit_code == 0
    done = trial("--resume", "two.sjr")
    assert done.exit_code == 3
    assert "a private region failed, before this run was saved; each release of it" in done.stdout
    assert json.loads(trial("--resume", "two.sjr", "--json").stdout)["outcome"] == "done"
    shown = CliRunner().invoke(app, ["continuation", "show", "two.sjr"])
    assert "a private region of it has failed: it ends with exit code 3" in shown.stdout


def test_a_run_without_a_failed_region_is_saved_without_one() -> None:
    Path("program.py").write_text(SOURCE.replace("// 0", ""), "utf-8")
    trial("--break", "log.note", "--save", "well.sjr", typed="q\n")
    assert trial("--resume", "well.sjr").exit_code == 0
    assert "regions" not in decode(Bundle, Path("well.sjr").read_bytes(), limit=1 << 20).items


def test_what_a_file_says_of_its_regions_is_one_of_two_things() -> None:
    trial("--break", "release.count", "--save", "one.sjr", typed="q\n")
    items = dict(decode(Bundle, Path("one.sjr").read_bytes(), limit=1 << 20).items)
    assert load_saved(encode(Bundle(items))).regions_failed
    del items["sha256"]
    items["regions"] = b"fine"
    with pytest.raises(DecodeError, match="what it says of its regions"):
        load_saved(encode(Bundle(items | {"sha256": digest(encode(Bundle(items)))})))


def test_what_a_submission_would_be_refused_for_is_noted_beforehand() -> None:
    assert "note:" not in trial().stderr
    together = "the private regions in lines 17, 19 take fuel=6000 + 5000 = 11000 together, which is charged to the run"
    assert together in trial("--fuel", "11000").stderr
    assert together not in trial("--fuel", "11001").stderr
    assert "takes fuel= from args['fuel'], which the job lacks" in trial(args="{}").stderr
    Path("program.py").write_text(SOURCE.replace('"between"', 'str(order.args["ful"])'), "utf-8")
    assert "reads args['ful'], which the job lacks; it has 'fuel'; did you mean 'fuel'?" in trial().stderr


@pytest.mark.parametrize(
    "changed",
    [
        ("    more = private", "    if order.round:\n        more = private"),
        ("    more = private", "    for more in range(order.round):\n        more = private"),
        ('    log.note("between")\n', "    if order.round:\n        return\n"),
        ('    log.note("between")\n', "    try:\n        log.note('x')\n    except OSError:\n        return\n"),
    ],
)
def test_only_regions_that_every_run_starts_are_added_up(changed: tuple[str, str]) -> None:
    Path("program.py").write_text(SOURCE.replace(*changed), "utf-8")
    assert "together" not in trial("--fuel", "11000").stderr


def test_which_entries_there_are_to_choose_from() -> None:
    asked = run()
    assert asked.exit_code == 2
    assert (
        "say which one: --entry NAME (an agent runs station, a coordinator runs rounds; with --rows it is station)"
        in asked.stderr
    )
