"""The journal: what a restart finds, whatever was cut off."""

from pathlib import Path

import pytest
from sojourn.agent.journal import Journal
from sojourn.agent.records import (
    Begin,
    BodyRefAt,
    Commit,
    End,
    JournalRecord,
    Opened,
    Pure,
    Read,
    Sealed,
    SealedObject,
    StreamRef,
)
from sojourn.agent.shelf import JournalShelf
from sojourn.codec import HEADER_BYTES, Kind, decode, encode
from sojourn.contracts import Occurrence
from sojourn.errors import DecodeError, LogCorrupt, StoreError
from sojourn.limits import MIB
from sojourn.streams import LogSpec, LogStream

RUN = b"r" * 32
BEGIN = Begin(b"o" * 32, RUN, 1, b"p" * 32)


def pure(operation: int, output: bytes = b"d" * 32) -> Pure:
    return Pure(RUN, operation, "gpu.run", b"a" * 32, output)


def sealed(effects: int = 0, *objects: SealedObject) -> Sealed:
    return Sealed(b"snapshot %d" % effects, objects, effects)


def opened(folder: Path, begin: Begin = BEGIN) -> Journal:
    journal = Journal(folder)
    journal.start(begin)
    return journal


def begun(folder: Path) -> Journal:
    journal = opened(folder)
    assert journal.recovered is None
    journal.seal(sealed(), iter(()), [])
    return journal


def test_a_new_journal_has_nothing_to_go_on_from(tmp_path):
    journal = opened(tmp_path / "run")
    assert journal.recovered is None
    with pytest.raises(StoreError, match="not begun"):
        journal.sync()


def test_recovery_gives_the_latest_snapshot_and_what_is_behind_it(tmp_path):
    journal = begun(tmp_path / "run")
    journal.effect(pure(1), sync=False)
    journal.seal(sealed(1), iter(()), [])
    read = Read(RUN, 2, "stream.open", b"a" * 32, Opened("patients", ("x",), 7))
    journal.effect(read, sync=True)
    journal.effect(pure(3), sync=False)
    journal.close()
    found = opened(tmp_path / "run").recovered
    assert found is not None
    assert found.sealed == sealed(1)
    assert found.tail == {Occurrence(RUN, 2): read, Occurrence(RUN, 3): pure(3)}
    assert found.end is None


def test_a_killed_process_loses_no_appended_record(tmp_path):
    journal = begun(tmp_path / "run")
    journal.effect(pure(1), sync=False)
    data = next((tmp_path / "run").glob("journal-*"))
    # The process dies: nothing is closed or synced, the bytes are with the operating system.
    copy = tmp_path / "copy" / data.name
    copy.parent.mkdir()
    copy.mkdir()
    for file in data.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    found = opened(tmp_path / "copy").recovered
    assert found is not None
    assert list(found.tail) == [Occurrence(RUN, 1)]
    journal.close()


@pytest.mark.parametrize("lost", [1, 7, 40])
def test_a_torn_tail_is_dropped_and_the_rest_kept(tmp_path, lost):
    journal = begun(tmp_path / "run")
    journal.effect(pure(1), sync=False)
    journal.effect(pure(2), sync=False)
    copy = tmp_path / "copy"
    generation = next((tmp_path / "run").glob("journal-*"))
    (copy / generation.name).mkdir(parents=True)
    for file in generation.iterdir():
        data = file.read_bytes()
        is_segment = len(data) > 200 and file.name not in {"meta", "mark", "lock"}
        (copy / generation.name / file.name).write_bytes(data[:-lost] if is_segment else data)
    found = opened(copy).recovered
    assert found is not None
    assert list(found.tail) == [Occurrence(RUN, 1)]
    journal.close()


def test_rot_before_the_end_is_named_and_not_skipped(tmp_path):
    journal = begun(tmp_path / "run")
    journal.effect(pure(1), sync=False)
    journal.effect(pure(2), sync=True)
    journal.close()
    segment = max((tmp_path / "run").glob("journal-*/*"), key=lambda path: path.stat().st_size)
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(bytes(data))
    with pytest.raises(LogCorrupt):
        opened(tmp_path / "run")


def test_bodies_come_back_and_are_written_once(tmp_path):
    journal = begun(tmp_path / "run")
    handle, big = b"h" * 32, bytes(range(256)) * (9 * MIB // 256)
    journal.seal(sealed(1, SealedObject(handle, BodyRefAt(False, b"d" * 32))), iter([(handle, big)]), [])
    assert handle in journal.sealed_bodies
    assert journal.body(handle) == big
    journal.close()
    again = opened(tmp_path / "run")
    assert again.body(handle) == big
    with pytest.raises(StoreError, match="lacks a tensor body"):
        again.body(b"x" * 32)


def test_a_long_run_does_not_grow_its_journal_without_bound(tmp_path):
    journal = begun(tmp_path / "run")
    body = bytes(40 * MIB)
    rotated = False
    for step in range(4):
        rotated = rotated or journal.will_rotate()
        journal.seal(sealed(step), iter([(bytes([step]) * 32, body)]), [pure(step)])
    assert rotated
    assert len(list((tmp_path / "run").glob("journal-*"))) == 1
    journal.close()
    again = opened(tmp_path / "run")
    assert again.recovered is not None
    assert again.recovered.sealed == sealed(3)
    assert list(again.recovered.tail) == [Occurrence(RUN, 3)]


def test_an_unfinished_generation_gives_way_to_the_one_before(tmp_path):
    journal = begun(tmp_path / "run")
    journal.effect(pure(1), sync=True)
    journal.close()
    other = opened(tmp_path / "other")
    other.seal(sealed(5), iter(()), [])
    other.close()
    # A second generation whose creation was cut short: a log without a snapshot.
    LogStream.create(tmp_path / "run" / "journal-000002", LogSpec("journal")).close()
    again = opened(tmp_path / "run")
    assert again.recovered is not None
    assert again.recovered.sealed == sealed(0)
    assert list(again.recovered.tail) == [Occurrence(RUN, 1)]


def test_a_journal_of_another_order_is_not_gone_on_from(tmp_path):
    begun(tmp_path / "run").close()
    other = Begin(b"n" * 32, RUN, 2, b"p" * 32)
    journal = opened(tmp_path / "run", other)
    assert journal.recovered is None
    journal.seal(sealed(9), iter(()), [])
    journal.close()
    assert opened(tmp_path / "run", other).recovered.sealed == sealed(9)


def test_a_retired_journal_serves_the_next_run(tmp_path):
    shelf = JournalShelf(tmp_path)
    first = shelf.take(BEGIN, {BEGIN.order})
    first.seal(sealed(), iter(()), [])
    first.effect(pure(1), sync=False)
    first.end(End("done", "", 0))
    shelf.retire(first)
    second = Begin(b"2" * 32, b"s" * 32, 1, b"p" * 32)
    assert shelf.take(second, {second.order}) is first
    assert first.recovered is None
    first.seal(sealed(3), iter(()), [])
    shelf.keep(first)
    shelf.close()
    again = JournalShelf(tmp_path).take(second, {second.order}).recovered
    assert again is not None
    assert (again.sealed, again.tail, again.end) == (sealed(3), {}, None)


def test_the_shelf_finds_the_journals_of_held_orders_and_uses_only_others(tmp_path):
    shelf = JournalShelf(tmp_path)
    begins = [Begin(bytes([n]) * 32, bytes([n]) * 32, 1, b"p" * 32) for n in range(3)]
    taken = [shelf.take(begin, {begin.order for begin in begins}) for begin in begins]
    for journal in taken:
        journal.seal(sealed(), iter(()), [])
        shelf.keep(journal)
    shelf.close()
    after = JournalShelf(tmp_path)
    held = {begins[0].order, begins[2].order, b"n" * 32}
    new = after.take(Begin(b"n" * 32, b"n" * 32, 1, b"p" * 32), held)
    assert new.recovered is None
    assert after.take(begins[2], held).recovered is not None
    assert after.take(begins[0], held).recovered is not None
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 3, "the ended run's journal was used on"


def test_a_log_that_is_no_journal_is_named(tmp_path):
    log = LogStream.create(tmp_path / "run" / "journal-000001", LogSpec("journal"))
    log.put(b"something else")
    log.close()
    with pytest.raises(StoreError, match="cannot be read"):
        Journal(tmp_path / "run")


def test_the_end_is_found(tmp_path):
    journal = begun(tmp_path / "run")
    journal.effect(Commit(RUN, 1, "release.count", b"a" * 32, None), sync=False)
    journal.end(End("failed", "ValueError", 12))
    journal.close()
    assert opened(tmp_path / "run").recovered.end == End("failed", "ValueError", 12)


def test_records_are_framed_and_strict():
    data = encode(JournalRecord(sealed(1, SealedObject(b"h", StreamRef("s", ("x",), 3)))))
    assert int.from_bytes(data[2:4], "big") == Kind.JOURNAL
    assert decode(JournalRecord, data).item.effects == 1
    with pytest.raises(DecodeError):
        decode(JournalRecord, data + b"\x00")
    with pytest.raises(DecodeError):
        decode(JournalRecord, data[:HEADER_BYTES] + data[HEADER_BYTES:].replace(b"sealed", b"selaed"))
