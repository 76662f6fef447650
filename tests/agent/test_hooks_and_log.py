"""The owner's log, test hooks, and leases."""

import json
import os
import stat

import pytest
from sojourn.agent.faults import Faults
from sojourn.agent.leases import Leases
from sojourn.agent.owner import OwnerLog
from sojourn.contracts import Occurrence
from sojourn.errors import ConfigError
from sojourn.limits import LEASE_MARGIN_MS

AT = Occurrence(b"r" * 32, 4)


def test_the_owners_log_is_private_json_lines(tmp_path):
    log = OwnerLog(tmp_path / "owner.log")
    log.warning("release refused", run=b"\x01\x02", why="too wide")
    log.info("order ended", count=3)
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "owner.log").read_text().splitlines()]
    assert [(line["event"], line["level"]) for line in lines] == [
        ("release refused", "warning"),
        ("order ended", "info"),
    ]
    assert lines[0]["run"] == "0102"
    assert lines[0]["timestamp"].endswith("Z")
    if os.name == "posix":
        assert stat.S_IMODE((tmp_path / "owner.log").stat().st_mode) == 0o600


def test_notes_are_known_by_their_occurrence(tmp_path):
    log = OwnerLog(tmp_path / "owner.log")
    log.note(AT, 'a text with "event": "note" and\na line break')
    again = OwnerLog(tmp_path / "owner.log")
    assert again.noted() == {AT}
    for open_log in (log, again):
        open_log.close()


def test_a_cut_line_does_not_hide_the_others(tmp_path):
    path = tmp_path / "owner.log"
    path.write_text(
        '{"event": "note", "run": "zz\n' + json.dumps({"event": "note", "run": AT.run.hex(), "operation": 4})
    )
    log = OwnerLog(path)
    assert log.noted() == {AT}
    log.close()


@pytest.mark.parametrize("text", ["kill-at-gpu:", "kill-at-gpu:0", "kill-at-gpu:-1", "kill-at-gpu:x", "kill"])
def test_an_unknown_fault_is_refused(tmp_path, text):
    with pytest.raises(ConfigError, match="kill-at-gpu"):
        Faults.from_environment(tmp_path, {"SOJOURN_FAULT": text})


def test_without_the_variables_nothing_goes_wrong(tmp_path):
    faults = Faults.from_environment(tmp_path, {})
    for _ in range(5):
        faults.gpu_run_done(AT)
    assert not faults.ignore_journal
    assert not list(tmp_path.iterdir())
    assert Faults.from_environment(tmp_path, {"SOJOURN_FAULT_IGNORE_JOURNAL": "1"}).ignore_journal


def test_a_new_order_has_its_lease_until_the_margin():
    leases = Leases()
    leases.take(b"o", b"r", 1, 10_000, 0)
    assert leases.may_commit(b"o", 10_000 - LEASE_MARGIN_MS - 1)
    assert not leases.may_commit(b"o", 10_000 - LEASE_MARGIN_MS)
    assert leases.due(100) == []
    assert leases.due(6_000) == [(b"o", 1)]


def test_a_restarted_holder_has_none_until_it_is_renewed():
    leases = Leases()
    leases.resume(b"o", b"r", 2, 0)
    assert not leases.may_commit(b"o", 0)
    assert leases.due(0) == [(b"o", 2)]
    assert leases.granted(b"o", 1, 10_000, 0), "another epoch's lease is none"
    assert not leases.may_commit(b"o", 1)
    assert leases.granted(b"o", 2, 10_000, 0)
    assert leases.may_commit(b"o", 1)


def test_two_refusals_in_a_row_give_the_order_up():
    leases = Leases()
    leases.take(b"o", b"r", 1, 10_000, 0)
    assert leases.granted(b"o", 1, 0, 100)
    assert not leases.may_commit(b"o", 100)
    assert leases.granted(b"o", 1, 10_000, 200)
    assert leases.granted(b"o", 1, 0, 300)
    assert not leases.granted(b"o", 1, 0, 400)
    leases.drop(b"o")
    assert leases.due(500) == []
    assert leases.granted(b"o", 1, 0, 600), "nothing to give up any more"
