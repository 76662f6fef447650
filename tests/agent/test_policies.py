"""The owner's policy file while an agent runs: read when it is needed, deny when it is none, changes written down."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest
from sojourn.agent import policies
from sojourn.agent.owner import OwnerLog
from sojourn.agent.policies import PolicyFile
from sojourn.codec import digest
from sojourn.errors import AdmissionRefused, PolicyInvalid
from structlog.testing import capture_logs


@pytest.fixture
def text(federation) -> str:
    return federation.policy_text()


@pytest.fixture
def path(tmp_path: Path, text: str) -> Path:
    (tmp_path / "policy.toml").write_text(text)
    return tmp_path / "policy.toml"


@pytest.fixture
def log(tmp_path: Path):
    opened = OwnerLog(tmp_path / "owner.log")
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def no_patience(monkeypatch) -> None:
    monkeypatch.setattr(policies, "_SETTLE_S", 0.0)


def events(tmp_path: Path, name: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (tmp_path / "owner.log").read_text().splitlines()]
    return [line for line in lines if str(line["event"]).startswith(name)]


def test_a_file_that_does_not_change_is_parsed_once(path, log, monkeypatch) -> None:
    file = PolicyFile(path, log)
    monkeypatch.setattr("sojourn.privacy.policy.tomllib.loads", lambda _: pytest.fail("parsed again"))
    os.utime(path)
    assert file.now() is file.last


def test_a_change_holds_from_the_next_look_and_is_written_down(path, log, text, tmp_path) -> None:
    file = PolicyFile(path, log)
    old = file.last
    stamp = path.stat()
    path.write_text(text.replace("high = 1000.0", "high = 2000.0"))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # the same size and time: it is the bytes that count
    assert file.last is old, "nobody has looked"
    with capture_logs() as said:
        new = file.now()
    assert new.digest == digest(path.read_bytes()) != old.digest
    assert file.last is new
    (line,) = events(tmp_path, "policy changed")
    assert (line["before"], line["after"]) == (old.digest.hex(), new.digest.hex())
    assert [each for each in line["gone"] if "patients" in each] != []
    assert [each for each in line["new"] if "from 0 to 2000.0" in each] != []
    assert not [each for each in line["new"] if "model update" in each], "only what differs"
    assert [each["event"] for each in said] == ["policy.changed"]


@pytest.mark.parametrize("broken", ["surprise = 1\n", "[[", None])
def test_what_is_no_policy_admits_nothing_until_it_is_mended(path, log, text, tmp_path, broken) -> None:
    file = PolicyFile(path, log)
    if broken is None:
        path.unlink()
    else:
        path.write_text(text + broken)
    with capture_logs() as said:
        for _ in range(3):
            with pytest.raises(AdmissionRefused, match="no policy is in force"):
                file.now()
    assert [each["event"] for each in said] == ["policy.invalid"], "once"
    assert len(events(tmp_path, "policy invalid")) == 1
    path.write_text(text)
    assert file.now().digest == digest(text.encode())
    assert len(events(tmp_path, "policy changed")) == 1, "that it is in force again is said too"


def test_a_file_that_is_being_written_is_read_twice(path, log, text, monkeypatch) -> None:
    monkeypatch.setattr(policies, "_SETTLE_S", 5.0)
    file = PolicyFile(path, log)
    path.write_text("")

    def written(_: float) -> None:
        path.write_text(text + "# done\n")

    monkeypatch.setattr(time, "sleep", written)
    assert file.now().digest == digest((text + "# done\n").encode())


def test_an_agent_does_not_start_without_one(path, log, text) -> None:
    path.write_text(text + "surprise = 1\n")
    with pytest.raises(PolicyInvalid, match="surprise"):
        PolicyFile(path, log)


def test_two_threads_write_a_change_down_once(path, log, text, tmp_path) -> None:
    file = PolicyFile(path, log)
    path.write_text(text + "# another\n")
    threads = [threading.Thread(target=file.now) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(events(tmp_path, "policy changed")) == 1
