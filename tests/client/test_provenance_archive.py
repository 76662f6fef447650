"""An export from anywhere as a zip: what is not allowed in one, and how much it can make the reader do."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sojourn.client.provenance.archive import Archive
from sojourn.crypto.documents import MAX_SIGNED_BYTES
from sojourn.errors import ProvenanceBroken
from sojourn.limits import MAX_EXPORT_DIRECTORY_BYTES, MIB

KEY = "ab" * 32
GOOD = {
    "roster.signed": b"roster",
    f"agents/{KEY}.entry": b"entry",
    "graph/train": b"graph",
    "models/initial.stream": b"stream",
    "models/11.stream": b"stream",
    "rounds/0/closure.signed": b"closure",
    f"rounds/10/updates/{KEY}.stream": b"update",
    "ledger.jsonl": b"",
}
CENTRAL = b"PK\x01\x02"


def zipped(items: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, data in items.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return made.getvalue()


def patched(data: bytes, name: str, offset: int, form: str, *values: int) -> bytes:
    """Write into the central directory's entry of `name`, at `offset` (APPNOTE.TXT 4.3.12)."""
    at = data.index(CENTRAL)
    while data[at + 46 : at + 46 + len(name)] != name.encode():
        at = data.index(CENTRAL, at + 1)
    made = bytearray(data)
    struct.pack_into(form, made, at + offset, *values)
    return bytes(made)


def read_all(path: Path) -> dict[str, bytes]:
    with Archive(path) as archive:
        return {name: archive[name] for name in sorted(archive.names)}


@pytest.fixture
def refused(tmp_path: Path) -> Callable[[bytes], ProvenanceBroken]:
    def ask(data: bytes) -> ProvenanceBroken:
        path = tmp_path / "export.zip"
        path.write_bytes(data)
        with pytest.raises(ProvenanceBroken) as caught:
            read_all(path)
        return caught.value

    return ask


Refused = Callable[[bytes], ProvenanceBroken]


def test_items_are_read_by_name_and_what_was_not_read_is_left_over(tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    path.write_bytes(zipped(GOOD))
    with Archive(path) as archive:
        assert archive.names == GOOD.keys()
        assert archive.under("models/") == ["models/11.stream", "models/initial.stream"]
        for name, data in GOOD.items():
            with pytest.raises(ProvenanceBroken) as caught:
                archive.finish()
            assert caught.value.item in GOOD
            assert archive[name] == data
        archive.finish()
        with pytest.raises(ProvenanceBroken, match="missing") as caught:
            archive["job.signed"]
        assert caught.value.item == "job.signed"


@pytest.mark.parametrize(
    "name",
    [
        "readme.txt", "../roster.signed", "/roster.signed", "rounds/00/closure.signed", "rounds/-1/closure.signed",
        "rounds/1/answers/ab.signed", f"rounds/1/answers/{KEY.upper()}.signed", f"agents/{KEY}", "models/x.stream",
        "roster.signed/", "graph/", "rounds/0/closure.signed\n", "rounds/9999999999/closure.signed",
    ],
)  # fmt: skip
def test_a_name_that_no_item_has(refused: Refused, name: str) -> None:
    problem = refused(zipped({**GOOD, name: b""}))
    assert (problem.item, "not the name" in str(problem)) == (name, True)


def test_compressed_items_are_refused_whatever_they_would_grow_to(refused: Refused) -> None:
    bomb = zipped({"ledger.jsonl": bytes(64 * MIB)}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < MIB
    problem = refused(bomb)
    assert (problem.item, "compressed" in str(problem)) == ("ledger.jsonl", True)


def test_a_document_beyond_its_limit(refused: Refused) -> None:
    problem = refused(zipped({"job.signed": bytes(MAX_SIGNED_BYTES + 1)}))
    assert (problem.item, "MAX_SIGNED_BYTES" in str(problem)) == ("job.signed", True)


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("rounds/0/closure.signed", "MAX_SIGNED_BYTES"),
        ("graph/train", "MAX_GRAPH_BYTES"),
        ("ledger.jsonl", "MAX_LEDGER_BYTES"),
        ("models/11.stream", "more bytes than the export has"),
    ],
)
def test_a_declared_size_beyond_its_limit(refused: Refused, name: str, limit: str) -> None:
    problem = refused(patched(zipped(GOOD), name, 20, "<II", 0xFFFFFFF0, 0xFFFFFFF0))
    assert (problem.item, limit in str(problem)) == (name, True)


def test_items_that_share_their_bytes(refused: Refused) -> None:
    """Many names for one stretch of the file (Fifield 2019, a zip bomb without recursion)."""
    data = zipped({"graph/a": bytes(1000), "graph/b": b"", "graph/c": b""})
    for name in ("graph/b", "graph/c"):
        data = patched(patched(data, name, 20, "<II", 1000, 1000), name, 42, "<I", 0)
    problem = refused(data)
    assert problem.item == "graph/b"


def test_a_name_twice(refused: Refused) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("job.signed", b"one")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("job.signed", b"two")
    problem = refused(made.getvalue())
    assert (problem.item, "twice" in str(problem)) == ("job.signed", True)


def test_encrypted_items(refused: Refused) -> None:
    problem = refused(patched(zipped(GOOD), "roster.signed", 8, "<H", 1))
    assert (problem.item, "encrypted" in str(problem)) == ("roster.signed", True)


def test_two_sizes_for_one_item(refused: Refused) -> None:
    problem = refused(patched(zipped(GOOD), "roster.signed", 20, "<I", 5))
    assert (problem.item, "two different sizes" in str(problem)) == ("roster.signed", True)


def test_an_item_outside_the_file(refused: Refused) -> None:
    assert refused(patched(zipped(GOOD), "roster.signed", 42, "<I", 0x7FFFFFFF)).item == "roster.signed"


def test_a_directory_beyond_its_limit(refused: Refused) -> None:
    data = zipped(GOOD)
    declared = data[:-10] + struct.pack("<I", MAX_EXPORT_DIRECTORY_BYTES + 1) + data[-6:]
    assert "MAX_EXPORT_DIRECTORY_BYTES" in str(refused(declared))
    wide = data[:-22] + b"PK\x06\x06" + bytes(36) + struct.pack("<Q", 1 << 40) + bytes(8) + b"PK\x06\x07" + bytes(16)
    assert "MAX_EXPORT_DIRECTORY_BYTES" in str(refused(wide + data[-22:]))


@pytest.mark.parametrize("data", [b"", b"PK", bytes(22), b"PK\x05\x06" + bytes(17), zipped(GOOD) + b"more"])
def test_what_is_no_zip(refused: Refused, data: bytes) -> None:
    assert refused(data).item == "export.zip"


def test_an_export_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ProvenanceBroken):
        Archive(tmp_path)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_is_refused_or_harmless(tmp_path: Path, data: st.DataObject) -> None:
    whole = bytearray(zipped(GOOD))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "export.zip"
    path.write_bytes(whole[: data.draw(st.integers(len(whole) - 30, len(whole)))])
    try:
        found = read_all(path)
    except ProvenanceBroken:
        return
    assert all(GOOD.get(name, content) == content for name, content in found.items())
