"""Whatever is changed in an export, left out, added or exchanged: the item is named."""

from __future__ import annotations

import json
import random
import zipfile
from pathlib import Path

import pytest
from sojourn.client import ProvenanceBroken, trace

from .conftest import Ended, Hospitals
from .exports import Altered, Items, flipped, positions, read, write


@pytest.fixture(scope="module")
def items(undisturbed: Ended) -> Items:
    return read(undisturbed.export)


def named(path: Path, root_key: bytes) -> str | None:
    """The item that the trace names; None if it finds nothing wrong."""
    try:
        trace(path, root_key)
    except ProvenanceBroken as problem:
        return problem.item
    return None


def by_round(items: Items, kind: str, number: int = 0) -> list[str]:
    return sorted(name for name in items if name.startswith(f"rounds/{number}/{kind}"))


def test_a_changed_byte_in_any_item_is_named(items: Items, root_key: bytes, tmp_path: Path) -> None:
    missed, altered = {}, Altered(tmp_path / "changed.zip", items)
    for name, data in items.items():
        for position in positions(len(data)):
            found = named(altered(name, flipped(data, position)), root_key)
            if found != name:
                missed[name, position] = found
    assert not missed


def test_a_changed_byte_under_a_stale_checksum_is_named(undisturbed: Ended, root_key: bytes, tmp_path: Path) -> None:
    whole = undisturbed.export.read_bytes()
    with zipfile.ZipFile(undisturbed.export) as archive:
        infos = archive.infolist()
    path = tmp_path / "stale.zip"
    missed = {}
    for info in infos:
        begin = info.header_offset + 30 + len(info.filename)
        for position in positions(info.file_size, spread=1):
            path.write_bytes(flipped(whole, begin + position))
            found = named(path, root_key)
            if found != info.filename:
                missed[info.filename, position] = found
    assert not missed


@pytest.mark.parametrize("kind", ["answers/", "updates/"])
def test_every_byte_of_an_answer_and_of_an_update(items: Items, root_key: bytes, tmp_path: Path, kind: str) -> None:
    name = by_round(items, kind)[0]
    altered = Altered(tmp_path / "changed.zip", items)
    for position in range(len(items[name])):
        assert named(altered(name, flipped(items[name], position)), root_key) == name, position


def test_an_altered_export_is_one_that_is_written_with_the_altered_item(items: Items, tmp_path: Path) -> None:
    altered = Altered(tmp_path / "altered.zip", items)
    for name, data in items.items():
        changed = flipped(data, len(data) // 2)
        written = write(tmp_path / "written.zip", {**items, name: changed})
        assert altered(name, changed).read_bytes() == written.read_bytes(), name


def test_a_missing_item_is_named(items: Items, root_key: bytes, tmp_path: Path) -> None:
    for name in items:
        path = write(tmp_path / "fewer.zip", {n: data for n, data in items.items() if n != name})
        assert named(path, root_key) == name


def test_exchanged_items_are_named(items: Items, root_key: bytes, tmp_path: Path) -> None:
    pairs = [tuple(by_round(items, kind)[:2]) for kind in ("orders/", "answers/", "updates/")]
    pairs.append(tuple(sorted(name for name in items if name.startswith("agents/"))[:2]))
    pairs += [(name, name.replace("rounds/0/", "rounds/1/")) for name in by_round(items, "")]
    pairs += [("models/initial.stream", "models/2.stream"), ("job.signed", "plan.signed")]
    assert len(pairs) > 15
    for left, right in pairs:
        path = write(tmp_path / "exchanged.zip", {**items, left: items[right], right: items[left]})
        assert named(path, root_key) in {left, right}, (left, right)


def test_items_of_another_job_are_named(hospitals: Hospitals, items: Items, root_key: bytes, tmp_path: Path) -> None:
    """The same author, programs, hospitals and coordinator, and in the end the same model: another job all the same."""
    other = read(hospitals.finish(hospitals.submit()).export)
    assert other.keys() == items.keys()
    strange = [name for name in items if other[name] != items[name]]
    assert {"job.signed", "ledger.signed", "ledger.jsonl"} < set(strange)
    for name in strange:
        found = named(write(tmp_path / "mixed.zip", {**items, name: other[name]}), root_key)
        # Another job verifies: it is the coordinator's statements about this one that do not fit it.
        assert found == ("ledger.signed" if name == "job.signed" else name)


def test_what_belongs_to_nothing_is_named(items: Items, root_key: bytes, tmp_path: Path) -> None:
    answer, key = by_round(items, "answers/")[0], "0" * 64
    extra = {
        f"rounds/0/answers/{key}.signed": items[answer],
        f"rounds/9/answers/{key}.signed": items[answer],
        "rounds/9/publication.signed": items["rounds/0/publication.signed"],
        "models/0.stream": items["models/initial.stream"],
        "graph/more": b"",
        f"agents/{key}.entry": next(data for name, data in items.items() if name.startswith("agents/")),
        "README.txt": b"trust me",
        "../escape": b"",
    }
    for name, data in extra.items():
        assert named(write(tmp_path / "more.zip", {**items, name: data}), root_key) == name


def test_every_line_of_the_ledger_counts(items: Items, root_key: bytes, tmp_path: Path) -> None:
    lines = items["ledger.jsonl"].splitlines(keepends=True)
    kinds = {json.loads(line)["kind"] for line in lines}
    assert kinds == {"submitted", "opened", "answered", "closed", "published", "evaluated", "done"}
    for number in range(len(lines)):
        fewer = b"".join(lines[:number] + lines[number + 1 :])
        assert named(write(tmp_path / "ledger.zip", {**items, "ledger.jsonl": fewer}), root_key) == "ledger.jsonl"
    for edited in (b"", items["ledger.jsonl"][:-1], b"[]\n", b'{"bytes": 1}\n', b"[" * 100_000 + b"\n"):
        assert named(write(tmp_path / "ledger.zip", {**items, "ledger.jsonl": edited}), root_key) == "ledger.jsonl"


def test_a_damaged_zip_is_refused_or_read_as_it_was(undisturbed: Ended, root_key: bytes, tmp_path: Path) -> None:
    """Bytes of the zip's own structure: either they do not matter, or the export is refused. Nothing else happens."""
    whole, draw = undisturbed.export.read_bytes(), random.Random(2)
    with zipfile.ZipFile(undisturbed.export) as archive:
        directory = archive.start_dir
    truth = trace(undisturbed.export, root_key)
    path = tmp_path / "zip.zip"
    for _ in range(150):
        data = flipped(whole, draw.randrange(directory, len(whole)))
        path.write_bytes(data)
        try:
            assert trace(path, root_key) == truth
        except ProvenanceBroken:
            continue
    for length in [0, 1, 21, 22, 100, directory, len(whole) - 1, *(draw.randrange(len(whole)) for _ in range(20))]:
        path.write_bytes(whole[:length])
        assert named(path, root_key) is not None
