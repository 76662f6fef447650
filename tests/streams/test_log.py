"""The log: what it keeps through crashes, what it says about damage, and who may use it."""

import errno
import itertools
import os
import shutil
import signal
import subprocess
import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sojourn.errors import DecodeError, LogCorrupt, StateInUse, StoreError, UsageError
from sojourn.limits import MAX_RECORD_BYTES
from sojourn.streams import START, Appended, Blocked, Cursor, Data, End, LogSpec, LogStream, Sealed
from sojourn.streams.recovery import recover
from sojourn.streams.segments import SEGMENT_HEADER_BYTES, encode_mark, record_header, segment_name

SMALL = LogSpec(segment_bytes=4096)


def contents(log):
    return [datom for _, datom in log.records()]


def datoms(count, size=40):
    return [bytes([index % 251]) * (size + index % 7) for index in range(count)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log"


# Appending and reading


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=3000), max_size=12), st.integers(1, 5))
def test_positions_read_back_across_segments_and_reopening(tmp_path_factory, records, limit):
    path = tmp_path_factory.mktemp("logs") / "log"
    with LogStream.create(path, SMALL) as log:
        positions = [log.put(record) for record in records]
        assert [log.read_at(position) for position in positions] == records
        assert list(log.records()) == list(zip(positions, records, strict=True))
    with LogStream.open(path, readonly=True) as log:
        assert [log.read_at(position) for position in reversed(positions)] == records[::-1]
        found, cursor = [], START
        while isinstance(outcome := log.read(cursor, limit), Data):
            found += outcome.datoms
            cursor = outcome.next
        assert (found, outcome, cursor) == (records, Blocked(), log.end)
        assert list(log.peek(START, 5)) == [(p, r[:5]) for p, r in zip(positions, records, strict=True)]


def test_first_position_is_zero_and_segments_are_named_by_position(path):
    with LogStream.create(path, SMALL) as log:
        assert log.append(b"x" * 4000) == Appended(0)
        assert log.append(b"y" * 4000) == Appended(4008)
        assert log.append(b"z" * 9000) == Appended(8016)  # larger than a segment: alone in one
        assert log.append(b"w") == Appended(17024)
    names = sorted(entry.name for entry in path.iterdir() if entry.suffix == ".log")
    assert names == [segment_name(base) for base in (0, 4008, 8016, 17024)]


def test_log_is_private(path):
    with LogStream.create(path) as log:
        log.put(b"x")
    assert path.stat().st_mode & 0o777 == 0o700
    assert all(entry.stat().st_mode & 0o077 == 0 for entry in path.iterdir())


def test_first_datoms_come_with_the_creation(path):
    LogStream.create(path, None, [b"one", b"two"]).close()
    with LogStream.open(path, readonly=True) as log:
        assert contents(log) == [b"one", b"two"]


def test_a_failed_creation_leaves_nothing_in_the_way(path, monkeypatch):
    def interrupted(self, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.rename", interrupted)
        with pytest.raises(StoreError, match="No space left"):
            LogStream.create(path)
    assert not path.exists()
    LogStream.create(path).close()
    assert [entry.name for entry in path.parent.iterdir()] == ["log"]


def test_create_open_and_either(path):
    with pytest.raises(UsageError, match="create it first"):
        LogStream.open(path)
    LogStream.open_or_create(path).close()
    with LogStream.open_or_create(path) as log:
        log.put(b"x")
    with pytest.raises(UsageError, match="exists"):
        LogStream.create(path)
    with pytest.raises(UsageError, match="at least 4096"):
        LogStream.create(path.with_name("other"), LogSpec(segment_bytes=100))


def test_misuse(path):
    with LogStream.create(path) as log:
        for wrong in (b"", bytes(MAX_RECORD_BYTES + 1)):
            with pytest.raises(UsageError, match="a log takes 1 to"):
                log.append(wrong)
        with pytest.raises(UsageError, match="no datom at position 0"):
            log.read_at(0)
    with LogStream.open(path, readonly=True) as log:
        for wrong in (lambda: log.append(b"x"), log.sync, log.flush, log.seal):
            with pytest.raises(UsageError, match="without readonly"):
                wrong()


def test_closed_log_takes_nothing(path):
    log = LogStream.create(path)
    log.close()
    log.close()
    with pytest.raises(StoreError, match="closed"):
        log.append(b"x")


def test_seal_is_durable_and_final(path):
    with LogStream.create(path) as log:
        log.put(b"x")
        log.seal()
        assert log.read(log.end, 1) == End()
        assert list(log.peek(START, 10)) == [(0, b"x")]
    with LogStream.open(path, readonly=True) as log:
        assert log.read(START, 5) == Data((b"x",), Cursor(9))
        assert log.read(Cursor(9), 5) == log.read(log.end, 5) == End()
        with pytest.raises(UsageError):
            log.read_at(9)
    with LogStream.open(path) as log:
        assert log.append(b"y") == Sealed()
        with pytest.raises(UsageError, match="is sealed"):
            log.put(b"y")


def test_attach_finds_the_log_that_was_named(path):
    with LogStream.create(path) as log:
        log.put(b"x")
        descriptor = log.descriptor
    with LogStream.attach(descriptor, path.parent) as log:
        assert contents(log) == [b"x"]
    shutil.rmtree(path)
    LogStream.create(path).close()
    with pytest.raises(UsageError, match="another one"):
        LogStream.attach(descriptor, path.parent)


@pytest.mark.parametrize("name", ["../log", "/etc", "", ".", "a\\b"])
def test_a_descriptor_does_not_lead_out_of_its_folder(path, name):
    with LogStream.create(path) as log:
        descriptor = log.descriptor
    with pytest.raises(UsageError, match="not the name of a log"):
        LogStream.attach(type(descriptor)("log", descriptor.stream, name), path.parent)


# Readers beside the writer


def test_reading_takes_no_lock_and_sees_what_is_synced(path):
    with LogStream.create(path, SMALL) as log, LogStream.open(path, readonly=True) as reader:
        assert reader.read(START, 9) == Blocked()
        log.put(b"one")
        log.flush()
        assert reader.read(START, 9) == Blocked()
        assert contents(log) == [b"one"]
        log.sync()
        assert reader.read(START, 9) == Data((b"one",), Cursor(11))
        for datom in datoms(200):  # new segments while the reader is open
            log.put(datom)
        log.sync()
        assert contents(reader) == [b"one", *datoms(200)]
        log.seal()
        assert reader.read(Cursor(reader.end.position - 8), 1) == End()


def test_one_writer(path):
    with LogStream.create(path), pytest.raises(StateInUse, match=rf"in use by this process \({os.getpid()}\)"):
        LogStream.open(path)
    LogStream.open(path).close()


HOLD = """
import sys
from sojourn.streams import LogStream
log = LogStream.open(sys.argv[1])
for index in range(int(sys.argv[2])):
    log.put(b"synced %d" % index)
log.sync()
log.put(b"flushed")
log.flush()
log.put(b"only in memory")
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_killed_writer(path):
    LogStream.create(path).close()
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, path, "3"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout.readline() == "ready\n"
        with pytest.raises(StateInUse, match=f"in use by process {process.pid}; stop that one first"):
            LogStream.open(path)
        with LogStream.open(path, readonly=True) as reader:
            assert contents(reader) == [b"synced 0", b"synced 1", b"synced 2"]
        process.send_signal(signal.SIGKILL)
    with LogStream.open(path) as log:
        assert contents(log) == [b"synced 0", b"synced 1", b"synced 2", b"flushed"]


# Syncing


@pytest.fixture
def syncs(monkeypatch):
    calls = []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: calls.append(fd) or real(fd))
    return calls


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere fsync stands in")
def test_one_sync_for_many_appends_and_none_for_none(path, syncs):
    with LogStream.create(path) as log:
        syncs.clear()
        for datom in datoms(100):
            log.put(datom)
        assert syncs == []
        log.sync()
        assert len(syncs) == 1
        log.sync()
        assert len(syncs) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere fsync stands in")
def test_a_segment_is_synced_before_the_next_begins(path, syncs, monkeypatch):
    folders = []
    monkeypatch.setattr("sojourn.streams.logwriter.sync_folder", lambda folder: folders.append((folder, len(syncs))))
    with LogStream.create(path, SMALL) as log:
        syncs.clear()
        folders.clear()
        log.put(bytes(4000))
        log.put(bytes(4000))
        assert folders == [(path, 1)]


def test_a_failed_sync_ends_the_handle_and_reopening_recovers(path, monkeypatch):
    log = LogStream.create(path)
    log.put(b"kept")
    log.sync()
    log.put(b"lost or not")

    def broken(fd):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("sojourn.streams.logwriter.sync_data", broken)
        with pytest.raises(StoreError, match="could not be synced: Input/output error"):
            log.sync()
    for use in (log.sync, log.flush, lambda: log.put(b"more"), log.seal):
        with pytest.raises(StoreError, match="open it again to recover"):
            use()
    log.close()
    with LogStream.open(path) as log:
        assert contents(log)[0] == b"kept"
        log.put(b"more")


def test_a_full_disk_tears_nothing_that_was_committed(path, monkeypatch):
    log = LogStream.create(path)
    log.put(b"kept")
    log.sync()
    real = os.write

    def full(fd, data):
        if len(data) > 100:
            real(fd, data[:50])
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data)

    log.put(bytes(500))
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(StoreError, match="free space"):
            log.flush()
    log.close()
    with LogStream.open(path) as log:
        assert contents(log) == [b"kept"]
        assert log.append(b"next") == Appended(12)


def test_many_threads_append_and_sync(path):
    with LogStream.create(path, SMALL) as log:
        positions = {}

        def work(name):
            for index in range(60):
                datom = f"{name}-{index}".encode() * 5
                positions[log.put(datom)] = datom
                if index % 7 == 0:
                    log.sync()
                    assert log.read_at(next(iter(positions)))

        threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert dict(log.records()) == positions
        assert len(positions) == 240
    with LogStream.open(path, readonly=True) as log:
        assert dict(log.records()) == positions


# Crashes


def crashed(path, synced, unsynced, spec=SMALL):
    """A copy of a log whose process died with `unsynced` handed to the operating system but not synced."""
    log = LogStream.create(path, spec)
    for datom in synced:
        log.put(datom)
    log.sync()
    for datom in unsynced:
        log.put(datom)
    log.flush()
    copy = path.with_name("crashed")
    shutil.copytree(path, copy)
    log.close()
    return copy


def last_segment(path):
    return max(path.glob("*.log"))


def reset(path, good):
    for name, data in good.items():
        (path / name).write_bytes(data)
    for entry in path.glob("*.log"):
        if entry.name not in good:
            entry.unlink()


def files(path):
    return {entry.name: entry.read_bytes() for entry in path.iterdir()}


def test_a_cut_at_every_byte_of_the_last_record_gives_the_committed_prefix(path):
    synced, last = datoms(6), b"the last record"
    copy = crashed(path, synced, [last])
    good, segment = files(copy), last_segment(copy)
    whole = good[segment.name]
    start = len(whole) - len(last) - 8
    for size in range(start, len(whole) + 1):
        for tail in (b"", bytes(len(whole) - size), b"\xff" * (len(whole) - size)):  # cut, or pages never written
            reset(copy, good)
            segment.write_bytes(whole[:size] + tail)
            with LogStream.open(copy) as log:
                assert contents(log) == synced + ([last] if size == len(whole) else [])
                position = log.put(b"after the crash")
                assert position == (len(whole) if size == len(whole) else start) - SEGMENT_HEADER_BYTES
            with LogStream.open(copy, readonly=True) as log:
                assert contents(log)[-1] == b"after the crash"


def test_a_cut_anywhere_behind_the_mark_gives_whole_records_only(path):
    synced, unsynced = datoms(3), datoms(5, 10)
    copy = crashed(path, synced, unsynced)
    good, segment = files(copy), last_segment(copy)
    whole = good[segment.name]
    ends = list(itertools.accumulate((len(datom) + 8 for datom in synced + unsynced), initial=SEGMENT_HEADER_BYTES))
    for size in range(ends[len(synced)], len(whole) + 1):
        reset(copy, good)
        segment.write_bytes(whole[:size])
        with LogStream.open(copy) as log:
            kept = sum(end <= size for end in ends) - 1
            assert contents(log) == (synced + unsynced)[:kept]


def test_a_hole_in_what_was_not_synced_cuts_there(path):
    """After a power cut, later pages may have been written and earlier ones not."""
    synced, unsynced = datoms(3), datoms(5, 10)
    copy = crashed(path, synced, unsynced)
    segment = last_segment(copy)
    data = bytearray(segment.read_bytes())
    data[-30] ^= 1
    segment.write_bytes(data)
    with LogStream.open(copy) as log:
        found = contents(log)
        assert found == (synced + unsynced)[: len(found)]
        assert len(synced) <= len(found) < 8


def test_a_kill_while_a_segment_is_created(path):
    with LogStream.create(path, SMALL) as log:
        log.put(bytes(4080))
        log.put(b"second segment")
    good, second = files(path), last_segment(path)
    assert second.name == segment_name(4088)
    for size in range(SEGMENT_HEADER_BYTES + 1):
        for mark in (encode_mark(4088), encode_mark(0)):  # after a kill, and after a power cut
            reset(path, good)
            second.write_bytes(good[second.name][:size])
            (path / "mark").write_bytes(mark)
            with LogStream.open(path) as log:
                assert contents(log) == [bytes(4080)]
                log.put(b"again")
            with LogStream.open(path, readonly=True) as log:
                assert contents(log) == [bytes(4080), b"again"]


def test_recovery_is_idempotent_and_makes_the_prefix_durable(path):
    copy = crashed(path, datoms(2), datoms(2))
    LogStream.open(copy).close()
    with LogStream.open(copy, readonly=True) as log:
        assert contents(log) == datoms(2) + datoms(2)  # the mark has caught up


# Damage


def damaged(path, count=40):
    with LogStream.create(path, SMALL) as log:
        for datom in datoms(count, 300):
            log.put(datom)
    return files(path)


def test_each_flipped_bit_of_what_was_synced_is_found_and_named(path):
    with LogStream.create(path) as log:
        positions = [log.put(b"one"), log.put(b"two")]
    good, segment = files(path), last_segment(path)
    whole = good[segment.name]
    for bit in range(len(whole) * 8):
        bad = bytearray(whole)
        bad[bit // 8] ^= 1 << bit % 8
        segment.write_bytes(bad)
        with pytest.raises(LogCorrupt) as caught:
            LogStream.open(path)
        assert segment.name in str(caught.value)
        if bit // 8 >= SEGMENT_HEADER_BYTES:
            at = max(p for p in positions if p + SEGMENT_HEADER_BYTES <= bit // 8)
            assert f"offset {at + SEGMENT_HEADER_BYTES} " in str(caught.value)
            assert f"position {at})" in str(caught.value)
        assert segment.read_bytes() == bad  # nothing was cut


def test_rot_in_an_earlier_segment_is_found_by_whoever_reads_it(path):
    damaged(path)
    first = min(path.glob("*.log"))
    data = bytearray(first.read_bytes())
    data[SEGMENT_HEADER_BYTES + 308 + 8 + 5] ^= 0x10  # in the second record
    first.write_bytes(data)
    with LogStream.open(path) as log:
        log.put(b"the writer goes on")
        assert log.read(START, 1).datoms == (datoms(1, 300)[0],)
        with pytest.raises(LogCorrupt, match=rf"{first.name}, offset {SEGMENT_HEADER_BYTES + 308} \(position 308\)"):
            log.read_at(308)
        with pytest.raises(LogCorrupt, match="checksum does not hold"):
            contents(log)
        assert log.read_at(308 + 309) == datoms(3, 300)[2]
    with LogStream.open(path, readonly=True) as log, pytest.raises(LogCorrupt):
        contents(log)


def test_a_synced_tail_that_is_gone_is_no_torn_tail(path):
    damaged(path)
    segment = last_segment(path)
    segment.write_bytes(segment.read_bytes()[:-1])
    with pytest.raises(LogCorrupt, match="stops within a record"):
        LogStream.open(path)
    segment.write_bytes(segment.read_bytes()[: SEGMENT_HEADER_BYTES + 0])
    with pytest.raises(LogCorrupt, match="stops before the end of what was synced"):
        LogStream.open(path)


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("readonly", [False, True])
def test_missing_or_shortened_segments(path, index, readonly):
    good = damaged(path)
    segment = sorted(path.glob("*.log"))[index]

    def read():
        with LogStream.open(path, readonly=readonly) as log:
            contents(log)

    segment.write_bytes(good[segment.name][:-1])
    with pytest.raises(LogCorrupt):
        read()
    segment.unlink()
    with pytest.raises(LogCorrupt):
        read()


def test_segments_of_another_log_are_not_taken(path):
    damaged(path)
    other = path.with_name("other")
    damaged(other)
    name = last_segment(path).name
    shutil.copy(other / name, path / name)
    with pytest.raises(LogCorrupt, match="belongs to another log"):
        LogStream.open(path)


def test_records_do_not_hold_elsewhere(path):
    """A record is bound to its position: the disk cannot give one twice, or two in another order."""
    with LogStream.create(path) as log:
        log.put(b"debit")
        log.put(b"other")
    segment = last_segment(path)
    data = segment.read_bytes()
    head, one, two = data[:64], data[64:77], data[77:]
    for swapped in (one + one, two + one, two + two):
        segment.write_bytes(head + swapped)
        with pytest.raises(LogCorrupt):
            LogStream.open(path)


def test_a_position_that_is_none_is_not_taken_for_data(path):
    with LogStream.create(path) as log:
        log.put(b"x" * 100)
        for position in range(1, 100):
            with pytest.raises(LogCorrupt):
                log.read_at(position)


@pytest.mark.parametrize("mark", [b"", b"SJ", bytes(20), encode_mark(1)[:-1] + b"\0"])
def test_a_damaged_mark_says_what_to_do_and_that_works(path, mark):
    damaged(path)
    (path / "mark").write_bytes(mark)
    for readonly in (False, True):
        with (
            pytest.raises(LogCorrupt, match="delete it and open the log for writing"),
            LogStream.open(path, readonly=readonly) as log,
        ):
            contents(log)
    (path / "mark").unlink()
    with LogStream.open(path) as log:
        assert contents(log) == datoms(40, 300)


def test_meta_that_is_none(path):
    damaged(path)
    (path / "meta").write_bytes(b"SJ\x06\x01\x00\x02" + (path / "meta").read_bytes()[6:])
    with pytest.raises(DecodeError, match="version 2 is not version 1"):
        LogStream.open(path)


def test_a_record_behind_the_seal_is_damage(path):
    with LogStream.create(path) as log:
        log.put(b"x")
        log.seal()
        meta = log._meta
    segment = last_segment(path)
    segment.write_bytes(segment.read_bytes() + record_header(meta.stream, 17, b"y") + b"y")
    with pytest.raises(LogCorrupt, match="behind the seal"):
        recover(path, meta)
