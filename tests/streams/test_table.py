"""Rows on a log: exact types, fixed extents, damage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sojourn.codec import Kind, header_of
from sojourn.errors import LogCorrupt, StateInUse, StreamFieldMissing, UsageError
from sojourn.streams import Field, LogStream, TableStream

FIELDS = {"x": Field("f32", (3,)), "y": Field("f32"), "id": Field("i64"), "scan": Field("u8", (2, 2))}


def rows(count, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "x": rng.standard_normal((count, 3)).astype(np.float32),
        "y": rng.standard_normal(count).astype(np.float32),
        "id": rng.integers(-(2**62), 2**62, count),
        "scan": rng.integers(0, 256, (count, 2, 2)).astype(np.uint8),
    }


def same(found, expected):
    assert sorted(found) == sorted(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "patients"


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
    st.integers(0, 45),
    st.integers(1, 50),
    st.sets(st.sampled_from(sorted(FIELDS)), min_size=1),
    st.booleans(),
)
def test_any_window_of_any_fields(tmp_path_factory, parts, start, n, names, readonly):
    path = tmp_path_factory.mktemp("tables") / "t"
    everything = {name: np.concatenate([rows(part, part)[name] for part in parts]) for name in FIELDS}
    total = sum(parts)
    start = min(start, total)
    with TableStream.create(path, FIELDS) as table:
        for part in parts:
            table.append(rows(part, part))
    with TableStream.open(path, readonly=readonly) as table:
        assert table.extent() == total
        assert table.fields == dict(sorted(FIELDS.items()))
        end = max(start, total - 2)
        found = table.read(start, n, end, sorted(names))
        same(found, {name: everything[name][start : min(start + n, end)] for name in names})


def test_long_appends_make_several_row_groups(path):
    wide = {"v": Field("f64", (1000,))}
    values = np.arange(500_000, dtype=np.float64).reshape(500, 1000)
    with TableStream.create(path, wide) as table:
        assert table.append({"v": values}) == 500
    with LogStream.open(path, readonly=True) as log:
        assert len(list(log.records())) == 1 + 4
    with TableStream.open(path, readonly=True) as table:
        same(table.read(0, 10**6, 500), {"v": values})
        same(table.read(130, 3, 500), {"v": values[130:133]})


def test_a_reader_sees_rows_that_are_synced(path):
    with TableStream.create(path, FIELDS) as table, TableStream.open(path, readonly=True) as reader:
        table.append(rows(3))
        assert reader.extent() == 0
        assert table.extent() == 3  # which syncs
        assert reader.extent() == 3
        table.append(rows(2, 1))
        table.sync()
        same(reader.read(3, 5, 5), rows(2, 1))


def test_an_extent_that_was_fixed_stays(path):
    with TableStream.create(path, FIELDS) as table:
        end = table.append(rows(3))
        table.append(rows(3, 1))
        same(table.read(0, 10, end), rows(3))
        same(table.read(3, 1, end), {name: array[:0] for name, array in rows(3).items()})


def test_what_is_read_is_the_readers_own(path):
    with TableStream.create(path, FIELDS) as table:
        table.append(rows(4))
        first = table.read(0, 2, 4)
        for array in first.values():
            array[...] = 0
        same(table.read(0, 4, 4), rows(4))


def test_bfloat16_is_held_as_bits(path):
    with TableStream.create(path, {"b": Field("bf16")}) as table:
        table.append({"b": np.array([0x3F80, 1], np.uint16)})
        assert table.read(0, 2, 2)["b"].tolist() == [0x3F80, 1]


def test_a_field_that_is_missing(path):
    with TableStream.create(path, FIELDS) as table:
        with pytest.raises(StreamFieldMissing, match="no field 'age'; it has id, scan, x, y"):
            table.check_fields(["x", "age"])
        with pytest.raises(StreamFieldMissing, match="'age'"):
            table.read(0, 1, 0, ["age"])


@pytest.mark.parametrize(("start", "n", "end"), [(-1, 1, 3), (0, 0, 3), (0, 1, 4), (3, 1, 2)])
def test_rows_that_do_not_exist(path, start, n, end):
    with TableStream.create(path, FIELDS) as table:
        table.append(rows(3))
        with pytest.raises(UsageError, match="the table has 3 rows"):
            table.read(start, n, end)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"y": None}, "exactly id, scan, x, y"),
        ({"more": np.zeros(3)}, "exactly id, scan, x, y"),
        ({"y": np.zeros(3)}, r"'y' is float64 of shape \(3,\); the table takes float32"),
        ({"y": np.zeros((3, 1), np.float32)}, "'y'"),
        ({"y": np.float32(1)}, "'y'"),
        ({"x": np.zeros((3, 4), np.float32)}, "'x'"),
        ({"y": np.zeros(2, np.float32)}, "different lengths"),
        ({"id": ["a", "b", "c"]}, "'id'"),
    ],
)
def test_columns_that_do_not_fit_change_nothing(path, change, text):
    columns = {name: array for name, array in (rows(3) | change).items() if array is not None}
    with TableStream.create(path, FIELDS) as table:
        with pytest.raises(UsageError, match=text):
            table.append(columns)
        assert table.extent() == 0


def test_no_rows_are_no_row_group(path):
    with TableStream.create(path, FIELDS) as table:
        assert table.append(rows(0)) == 0
    with TableStream.open(path) as table:
        assert table.extent() == 0
        assert table.read(0, 1, 0)["x"].shape == (0, 3)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Field("float"),
        lambda: Field("f32", (0,)),
        lambda: Field("f32", (1,) * 8),
        lambda: Field("f64", (1 << 22,)),
    ],
)
def test_fields_that_cannot_be(wrong):
    with pytest.raises(UsageError):
        wrong()


@pytest.mark.parametrize("fields", [{}, {"": Field("f32")}, {"x" * 300: Field("f32")}])
def test_tables_that_cannot_be(path, fields):
    with pytest.raises(UsageError, match="1 to 256 fields"):
        TableStream.create(path, fields)


def test_one_writer(path):
    with TableStream.create(path, FIELDS), pytest.raises(StateInUse):
        TableStream.open(path)
    TableStream.open(path).close()


@pytest.mark.parametrize("first", [(), (b"no schema",)])
def test_a_log_that_is_no_table(path, first):
    LogStream.create(path, None, first).close()
    for readonly in (False, True):
        with pytest.raises(UsageError, match="is no table"):
            TableStream.open(path, readonly=readonly)
    LogStream.open(path).close()  # not left locked


def test_a_record_that_is_no_row_group(path):
    TableStream.create(path, FIELDS).close()
    with LogStream.open(path) as log:
        log.put(b"something else")
    with pytest.raises(LogCorrupt, match="no row group"):
        TableStream.open(path)


def test_rot_in_a_row_group_is_found_when_it_is_read(path):
    with TableStream.create(path, FIELDS) as table:
        table.append(rows(50))
        table.append(rows(50, 1))
    segment = next(path.glob("*.log"))
    data = bytearray(segment.read_bytes())
    data[len(data) // 2 - 200] ^= 1
    segment.write_bytes(data)
    with TableStream.open(path, readonly=True) as table:
        end = table.extent()
        same(table.read(50, 50, end), rows(50, 1))
        with pytest.raises(LogCorrupt, match="checksum"):
            table.read(0, 1, end)


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        (Field("f32"), np.float32([0, 1e38]), np.float32([0, np.nan])),
        (Field("f64", (2,)), np.zeros((2, 2)), np.array([[0, 1], [2, -np.inf]])),
        (Field("f16"), np.float16([0, 6e4]), np.float16([0, np.inf])),
        (Field("bf16"), np.uint16([0xFF7F, 0x7F7F]), np.uint16([0, 0xFF80])),
    ],
)
def test_a_nan_is_refused_with_its_row_unless_the_field_takes_it(path, field, good, bad):
    with TableStream.create(path, {"v": field, "n": Field("i64")}) as table:
        table.append({"v": good, "n": np.arange(2)})
        with pytest.raises(UsageError, match=r"column 'v' holds a NaN or an infinity, first in .*row 1 .*nan=True"):
            table.append({"v": bad, "n": np.arange(2)})
        assert table.extent() == 2
    loose = Field(field.dtype, field.shape, nan=True)
    with TableStream.create(path.with_name("loose"), {"v": loose, "n": Field("i64")}) as table:
        table.append({"v": bad, "n": np.arange(2)})
    with TableStream.open(path.with_name("loose")) as table:
        assert table.fields == {"n": Field("i64"), "v": loose}
        assert table.read(0, 2, 2)["v"].tobytes() == bad.tobytes()


def test_types_without_nan_cannot_be_declared_to_hold_it():
    with pytest.raises(UsageError, match="i64 holds no NaN"):
        Field("i64", nan=True)


def test_a_table_of_finite_fields_is_written_as_before(path):
    """Its schema is of the first version, so that programs of before read it."""
    with TableStream.create(path, {"v": Field("f32")}):
        pass
    with LogStream.open(path, readonly=True) as log:
        assert header_of(next(log.records())[1]) == (Kind.TABLE, 1)


@pytest.mark.parametrize("column", [np.float32, "f32", ("f32", (3,))])
def test_a_column_that_is_no_field_is_named(tmp_path, column) -> None:
    with pytest.raises(UsageError, match=r"column 'x' is .*; write Field\('f32'\)"):
        TableStream.create(tmp_path / "patients", {"y": Field("f32"), "x": column})
    assert list(tmp_path.iterdir()) == []
