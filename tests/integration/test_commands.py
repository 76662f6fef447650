"""An operator's commands against a real coordinator: results, exit codes and messages."""

from __future__ import annotations

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from sojourn.client import trace
from sojourn.client.cli import app
from sojourn.client.submission import build_submission, count, phase
from sojourn.crypto.identity import read_root_public
from sojourn.datoms import from_safetensors
from sojourn.testing.federation import COORDINATOR
from sojourn.testing.fleet import BIN
from typer.testing import CliRunner, Result

from .conftest import ROUNDS, Ended, Hospitals


class Commands:
    """`sojourn` with the operator's environment."""

    def __init__(self, hospitals: Hospitals) -> None:
        self.env = hospitals.federation.operator_env

    def __call__(self, *arguments: str | Path, **env: str) -> Result:
        return CliRunner().invoke(app, [str(a) for a in arguments], env={**self.env, **env})

    def json(self, *arguments: str | Path) -> object:
        done = self(*arguments, "--json")
        assert done.exit_code == 0, done.output
        assert done.stdout.count("\n") == 1
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def sojourn(hospitals: Hospitals) -> Commands:
    return Commands(hospitals)


def test_jobs_and_agents_as_tables_and_as_json(sojourn: Commands, hospitals: Hospitals, undisturbed: Ended) -> None:
    assert undisturbed.id in [row["id"] for row in sojourn.json("jobs")]
    assert [agent["name"] for agent in sojourn.json("agents")] == hospitals.names
    assert sojourn.json("job", undisturbed.id) == undisturbed.row
    for arguments, words in [
        (["jobs"], [undisturbed.id[:16], "hospitals-0", f"{ROUNDS}/{ROUNDS}"]),
        (["agents"], hospitals.names),
        (
            ["job", undisturbed.id],
            ["done", f"round {ROUNDS} of {ROUNDS}", f"{undisturbed.row['table'][-1]['loss']:.4f}"],
        ),
    ]:
        done = sojourn(*arguments, COLUMNS="160")
        assert done.exit_code == 0
        assert all(word in done.stdout for word in words), done.stdout


def test_submit_and_follow(sojourn: Commands, hospitals: Hospitals, undisturbed: Ended, tmp_path: Path) -> None:
    file = tmp_path / "hospitals.submission"
    file.write_bytes(hospitals.submission())
    found = sojourn.json("submit", file, "--follow")
    assert (found["state"], found["model"]) == ("done", undisturbed.row["model"])
    again = sojourn("submit", file)
    assert again.stdout == found["id"] + "\n"
    assert sojourn.json("follow", found["id"]) == found

    file.write_bytes(file.read_bytes()[:-1] + b"x")
    refused = sojourn("submit", file)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "error:" in refused.stderr


FAILING = """\
from sojourn.program import continuation, fleet, private, release, stream


def size(rows):
    return {"n": 1}


@continuation
def clinic(order):
    rows = stream.open("patients", fields=["x"])
    result = private(size, rows, fuel=1000, memory=100000)
    release.count(result, of="n", name="patients", high=1000)


@continuation
def rounds(job):
    cohort = fleet.invite(round=0)
    assert job.args["rounds"] > 0, "nothing to do"
    fleet.ask(cohort, "survey", weights=job.initial)
"""


def test_a_job_that_fails_is_told_apart_from_an_error(sojourn: Commands, hospitals: Hospitals, tmp_path: Path) -> None:
    survey = phase("survey", entry="clinic", quorum=1, answer=[count("patients", high=1000)])
    author = hospitals.federation.author
    submission = build_submission(
        author, name="fails", purpose="survey", program=FAILING, phases=[survey], args={"rounds": 0}
    )
    (tmp_path / "fails.submission").write_bytes(submission.data)
    done = sojourn("submit", tmp_path / "fails.submission", "--follow", "--json")
    assert done.exit_code == 3
    found = json.loads(done.stdout)
    assert (found["state"], found["error"]["line"]) == ("failed", 18)
    assert "the job failed" in done.stderr
    shown = sojourn("job", found["id"])
    assert "line 18 of the job's program, in 'rounds'" in shown.stdout

    made = sojourn.json("provenance", "export", found["id"], "-o", tmp_path / "fails.zip")
    assert made["bytes"] > 0
    root = read_root_public(hospitals.federation.trust / "root.pub")
    traced = trace(tmp_path / "fails.zip", root)
    assert (traced.rounds, traced.model) == ((), traced.initial)


def test_models_by_round(sojourn: Commands, undisturbed: Ended, root_key: bytes, tmp_path: Path) -> None:
    target = tmp_path / "model.safetensors"
    found = sojourn.json("model", undisturbed.id, "-o", target)
    assert target.read_bytes() == undisturbed.model.read_bytes()
    assert found["root"] == undisturbed.row["model"]
    first = sojourn.json("model", undisturbed.id, "--round", "0", "-o", target)
    _, metadata = from_safetensors(target.read_bytes())
    assert metadata["sojourn.root"] == first["root"] != found["root"]
    assert sojourn("model", undisturbed.id, "--round", ROUNDS, "-o", target).exit_code == 1
    assert sojourn("model", undisturbed.id, "-o", tmp_path / "no" / "folder").exit_code == 2


def test_export_and_trace(sojourn: Commands, hospitals: Hospitals, undisturbed: Ended, tmp_path: Path) -> None:
    export, root = tmp_path / "provenance.zip", hospitals.federation.trust / "root.pub"
    made = sojourn.json("provenance", "export", undisturbed.id, "-o", export)
    assert made["bytes"] == export.stat().st_size
    assert export.read_bytes() == undisturbed.export.read_bytes()  # the same state gives the same bytes

    check = ["provenance", "trace", undisturbed.model, "--export", export, "--root", root, "--recompute"]
    found = sojourn.json(*check)
    assert (found["verified"], found["recomputed"], found["model"]) == (True, True, undisturbed.row["model"])
    assert found["model_sha256"] == sha256(undisturbed.model.read_bytes()).hexdigest() != found["model"]
    tree = sojourn(*check, COLUMNS="200")
    assert tree.exit_code == 0
    words = [
        f"with root {found['model']}",
        f"sha256 {found['model_sha256']}",
        "verified",
        "recomputed, same bits",
        "trusted-plan",
        "program",
        "plan",
        *hospitals.names,
        found["initial"],
    ]
    assert all(word in tree.stdout for word in words), tree.stdout

    other = tmp_path / "first.safetensors"
    sojourn("model", undisturbed.id, "--round", "0", "-o", other)
    broken = sojourn("provenance", "trace", other, "--export", export, "--root", root, "--json")
    assert broken.exit_code == 3
    assert json.loads(broken.stdout)["item"] == "first.safetensors"
    assert "first.safetensors" in broken.stderr
    for arguments in ([tmp_path / "none", "--export", export], [undisturbed.model, "--export", tmp_path / "none"]):
        assert sojourn("provenance", "trace", *arguments, "--root", root).exit_code == 2


@pytest.mark.parametrize(
    ("env", "code", "words"),
    [
        ({"SOJOURN_TOKEN_FILE": "/nowhere/token"}, 2, "token file"),
        ({"SOJOURN_CA": "/nowhere/ca.pem"}, 2, "--ca"),
        ({"SOJOURN_COORDINATOR": "http://127.0.0.1:1"}, 2, "https://"),
        ({"SOJOURN_COORDINATOR": "https://127.0.0.1:1"}, 1, "check that it runs"),
    ],
)
def test_what_an_operator_can_get_wrong(sojourn: Commands, env: dict[str, str], code: int, words: str) -> None:
    done = sojourn("jobs", **env)
    assert (done.exit_code, done.stdout) == (code, "")
    assert words in done.stderr


def test_jobs_that_do_not_exist(sojourn: Commands, tmp_path: Path) -> None:
    for arguments in (["job", "ab" * 32], ["follow", "ab" * 32], ["model", "ab" * 32]):
        done = sojourn(*arguments)
        assert (done.exit_code, done.stdout) == (1, ""), arguments
        assert "not_found" in done.stderr
    for wrong, words in (("no-such", "no job id"), ("", "no job id"), ("0" * 12, "0 jobs begin with")):
        done = sojourn("job", wrong)
        assert (done.exit_code, done.stdout) == (2, ""), wrong
        assert words in done.stderr
    job = json.loads(sojourn("jobs", "--json").stdout)[0]
    assert json.loads(sojourn("job", job["id"][:10], "--json").stdout)["id"] == job["id"]
    export = tmp_path / "none.zip"
    assert sojourn("provenance", "export", "ab" * 32, "-o", export).exit_code == 1
    assert not export.exists()


def test_a_wrong_token_is_refused(sojourn: Commands, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("guess\n")
    done = sojourn("jobs", SOJOURN_TOKEN_FILE=str(tmp_path / "token"))
    assert done.exit_code == 1
    assert "unauthorised" in done.stderr


def test_a_second_coordinator_on_the_state_is_refused(hospitals: Hospitals, undisturbed: Ended) -> None:
    federation = hospitals.federation
    command = [BIN / "sojourn-coordinator", "run", "--state", federation.state, "--agents", "127.0.0.1:0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    child = federation.fleet.processes[COORDINATOR].child
    assert child is not None
    assert (done.returncode, done.stdout) == (2, "")
    assert str(child.pid) in done.stderr


def test_the_coordinators_own_commands(hospitals: Hospitals, undisturbed: Ended) -> None:
    state = str(hospitals.federation.state)
    script = "from sojourn_coordinator.cli import app; app()"
    arguments = [sys.executable, "-c", script, "status", "--state", state, "--json"]
    found = json.loads(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout)
    assert undisturbed.id in [job["id"] for job in found["jobs"]]
    assert [agent["name"] for agent in found["agents"]] == hospitals.names
