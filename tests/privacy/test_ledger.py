"""The privacy ledger: written before anything leaves, once for each occurrence, and resent as it was."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sojourn.codec import digest
from sojourn.contracts import Occurrence, Released
from sojourn.errors import ReleaseConflict, StoreError, UsageError
from sojourn.privacy import PrivacyLedger, release_mean
from sojourn.privacy.ledger import INLINE_OUTPUT_BYTES

RUN = b"\x07" * 32
POLICY = b"\x01" * 32
SOURCES = ("hospital-1/patients",)
LARGE = bytes(range(256)) * (INLINE_OUTPUT_BYTES // 256 + 1)


def statement(**changes):
    fields = {
        "kind": "count",
        "name": "patients",
        "mechanism": "bounded-count",
        "claim": "trusted-plan",
        "parameters": {"high": 1000.0},
        "value": 114.0,
        "root": b"",
        "operation": 5,
        "policy": POLICY,
    }
    return Released(**(fields | changes))


def record(ledger, output=b"exact bytes", run=RUN, now_ms=1_000, **changes):
    return ledger.record(run, statement(**changes), output, sources=SOURCES, now_ms=now_ms)


@pytest.fixture
def ledger(tmp_path):
    made = PrivacyLedger(tmp_path / "agent.db")
    yield made
    made.close()


def test_what_is_recorded(ledger):
    entry = record(ledger)
    assert entry == ledger.find(Occurrence(RUN, 5))
    assert (entry.run, entry.operation, entry.kind, entry.name) == (RUN, 5, "count", "patients")
    assert (entry.mechanism, entry.claim, entry.parameters) == ("bounded-count", "trusted-plan", {"high": 1000.0})
    assert (entry.sources, entry.epsilon, entry.delta) == (SOURCES, None, None)
    assert (entry.policy, entry.digest, entry.output) == (POLICY, digest(b"exact bytes"), b"exact bytes")
    assert entry.recorded_ms == 1_000
    assert "exact" not in repr(entry)


def test_a_debit_is_part_of_the_row(ledger):
    entry = ledger.record(RUN, statement(), b"x", sources=SOURCES, now_ms=1, epsilon=0.5, delta=1e-6)
    assert (entry.epsilon, entry.delta) == (0.5, 1e-6)


@pytest.mark.parametrize("output", [b"", b"small", LARGE])
def test_the_same_again_returns_the_first(ledger, output):
    first = record(ledger, output, policy=POLICY)
    again = record(ledger, output, policy=b"\x02" * 32, now_ms=9_000)  # the owner edited the file meanwhile
    assert again == first
    assert again.output == output
    assert len(ledger.released()) == 1
    assert ledger.conflicts() == []


@pytest.mark.parametrize("first", [b"small", LARGE])
@pytest.mark.parametrize(
    "change", [{"output": b"other"}, {"output": LARGE + b"."}, {"name": "people"}, {"kind": "sum"}]
)
def test_another_output_for_an_occurrence_is_refused_and_recorded(ledger, first, change):
    kept = record(ledger, first)
    offered = {"output": first} | change
    with pytest.raises(ReleaseConflict, match=r"operation 5 .*already released count 'patients'.*defect or an attack"):
        record(ledger, now_ms=2_000, **offered)
    assert ledger.find(Occurrence(RUN, 5)) == kept
    (conflict,) = ledger.conflicts()
    assert (conflict.recorded, conflict.offered) == (kept.digest, digest(offered["output"]))
    assert (conflict.run, conflict.operation, conflict.noticed_ms) == (RUN, 5, 2_000)
    assert record(ledger, first) == kept


def test_occurrences_are_apart(ledger):
    record(ledger, b"a")
    record(ledger, b"b", operation=6)
    record(ledger, b"c", run=b"\x08" * 32)
    assert [(entry.run[0], entry.operation) for entry in ledger.released()] == [(7, 5), (7, 6), (8, 5)]
    assert [entry.operation for entry in ledger.released(RUN)] == [5, 6]
    assert all(entry.output == b"" for entry in ledger.released())
    assert ledger.find(Occurrence(RUN, 7)) is None


def test_it_survives_being_opened_again(tmp_path):
    first = PrivacyLedger(tmp_path / "agent.db")
    small, large = record(first, b"a"), record(first, LARGE, operation=6)
    first.close()
    again = PrivacyLedger(tmp_path / "agent.db")
    assert again.find(Occurrence(RUN, 5)) == small
    assert again.find(Occurrence(RUN, 6)) == large
    again.close()


def test_two_connections_agree(tmp_path):
    one, two = PrivacyLedger(tmp_path / "agent.db"), PrivacyLedger(tmp_path / "agent.db")
    kept = record(one)
    assert record(two) == kept
    with pytest.raises(ReleaseConflict):
        record(two, b"other")
    assert len(one.conflicts()) == 1
    one.close()
    two.close()


def test_large_outputs_lie_in_private_files(ledger, tmp_path):
    entry = record(ledger, LARGE)
    folder = tmp_path / "agent.db.bodies"
    assert [path.name for path in folder.iterdir()] == [entry.digest.hex()]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / entry.digest.hex()).stat().st_mode & 0o777 == 0o600
    with contextlib.closing(sqlite3.connect(tmp_path / "agent.db")) as connection:
        assert connection.execute("SELECT output FROM privacy_releases").fetchone() == (None,)


def test_a_file_left_by_a_crash_is_filled_again(ledger, tmp_path):
    folder = tmp_path / "agent.db.bodies"
    folder.mkdir()
    name = digest(LARGE).hex()
    (folder / f"{name}.part").write_bytes(b"torn")
    (folder / name).write_bytes(b"torn too")
    assert record(ledger, LARGE).output == LARGE


def test_damage_is_found(ledger, tmp_path):
    large = record(ledger, LARGE)
    record(ledger, b"small", operation=6)
    path = tmp_path / "agent.db.bodies" / large.digest.hex()
    path.write_bytes(LARGE[:-1] + b"?")
    with pytest.raises(StoreError, match="operation 5 is damaged"):
        ledger.find(Occurrence(RUN, 5))
    with pytest.raises(StoreError, match="damaged"):
        record(ledger, LARGE)
    path.unlink()
    with pytest.raises(StoreError, match="cannot be read"):
        ledger.find(Occurrence(RUN, 5))
    connection = sqlite3.connect(tmp_path / "agent.db", isolation_level=None)
    connection.execute("UPDATE privacy_releases SET output = x'00' WHERE operation = 6")
    connection.close()
    with pytest.raises(StoreError, match="operation 6 is damaged"):
        ledger.find(Occurrence(RUN, 6))


@pytest.mark.parametrize("isolation", [None, "DEFERRED"])
def test_a_connection_of_the_caller(tmp_path, isolation):
    connection = sqlite3.connect(tmp_path / "agent.db", isolation_level=isolation)
    ledger = PrivacyLedger(connection, tmp_path / "outbox")
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    record(ledger)
    record(ledger, LARGE, operation=6)
    assert not connection.in_transaction
    ledger.close()
    assert connection.execute("SELECT count(*) FROM privacy_releases").fetchone() == (2,)
    assert len(list((tmp_path / "outbox").iterdir())) == 1
    connection.close()


def test_a_release_has_a_transaction_of_its_own(tmp_path):
    connection = sqlite3.connect(tmp_path / "agent.db", isolation_level=None)
    ledger = PrivacyLedger(connection)
    connection.execute("BEGIN")
    with pytest.raises(UsageError, match="transaction of its own"):
        record(ledger)
    with pytest.raises(UsageError, match="in a transaction"):
        PrivacyLedger(connection)
    connection.execute("ROLLBACK")
    with pytest.raises(UsageError, match="give the privacy ledger its folder"):
        record(ledger, LARGE)
    assert ledger.released() == []
    connection.close()


def test_a_run_has_a_length(ledger):
    with pytest.raises(UsageError, match="32 bytes"):
        record(ledger, run=b"short")


def test_a_database_that_cannot_be_used(tmp_path):
    (tmp_path / "other.db").write_bytes(b"this is not a database" * 100)
    with pytest.raises(StoreError, match="cannot be"):
        PrivacyLedger(tmp_path / "other.db")
    with pytest.raises(StoreError, match="cannot be opened"):
        PrivacyLedger(tmp_path / "missing" / "agent.db")


def test_a_locked_database_releases_nothing(tmp_path):
    other = sqlite3.connect(tmp_path / "agent.db", isolation_level=None)
    connection = sqlite3.connect(tmp_path / "agent.db", isolation_level=None, timeout=0.05)
    ledger = PrivacyLedger(connection)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match=r"cannot be written.*nothing was released"):
        record(ledger)
    other.execute("ROLLBACK")
    assert ledger.released() == []
    record(ledger)
    connection.close()
    other.close()


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
@pytest.mark.parametrize("size", [20, len(LARGE)])
def test_a_recorded_release_survives_a_kill(tmp_path, size):
    """What `record` returned is there after SIGKILL, and the restarted host gets the same bytes."""
    program = textwrap.dedent(
        """
        import os, signal, sys
        from sojourn.contracts import Released
        from sojourn.privacy import PrivacyLedger
        ledger = PrivacyLedger(sys.argv[1])
        output = b"x" * int(sys.argv[2])
        said = Released("count", "n", "bounded-count", "trusted-plan", {}, 1.0, b"", 5, b"p" * 32)
        ledger.record(b"\\x07" * 32, said, output, sources=(), now_ms=1)
        print("recorded", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "agent.db"), str(size)], capture_output=True, check=False
    )
    assert (done.stdout, done.returncode) == (b"recorded\n", -signal.SIGKILL)
    ledger = PrivacyLedger(tmp_path / "agent.db")
    assert ledger.find(Occurrence(RUN, 5)).output == b"x" * size
    ledger.close()


def test_a_mean_goes_through_the_ledger(ledger):
    release = release_mean([1.0, 3.0], 0.0, 10.0)
    entry = ledger.record(RUN, release.statement("loss", 9, POLICY), release.output, sources=SOURCES, now_ms=1)
    assert (entry.output, entry.mechanism, entry.parameters) == (release.output, "bounded-mean", {"low": 0, "high": 10})


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.integers(0, 2), st.sampled_from([b"a", b"b"])), max_size=12))
def test_the_first_output_of_an_occurrence_is_the_only_one(tmp_path_factory, steps):
    ledger = PrivacyLedger(tmp_path_factory.mktemp("ledger") / "agent.db")
    first: dict[int, bytes] = {}
    refused = 0
    for operation, output in steps:
        if first.setdefault(operation, output) == output:
            assert record(ledger, output, operation=operation).output == output
        else:
            refused += 1
            with pytest.raises(ReleaseConflict):
                record(ledger, output, operation=operation)
    assert {entry.operation: entry.digest for entry in ledger.released()} == {k: digest(v) for k, v in first.items()}
    assert len(ledger.conflicts()) == refused
    ledger.close()
