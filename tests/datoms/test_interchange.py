"""safetensors files, with the reference implementation as the oracle."""

import json

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sojourn.datoms import DType, from_safetensors, to_safetensors
from sojourn.errors import DecodeError, UsageError

NUMPY = [dtype.numpy for dtype in DType if dtype is not DType.BF16]
arrays = hnp.arrays(st.sampled_from(NUMPY), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
tensors = st.dictionaries(st.text('abé./ "\\', max_size=3), arrays, max_size=4)


def same(one, other):
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


@given(tensors, st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2))
def test_the_reference_reads_what_we_write(given_tensors, metadata):
    metadata = {k: v for k, v in metadata.items() if (k + v).isprintable()}
    data = to_safetensors(given_tensors, metadata)
    found = safetensors.numpy.load(data)
    assert sorted(found) == sorted(given_tensors)
    assert all(same(found[name], array) for name, array in given_tensors.items())
    ours, again = from_safetensors(data)
    assert again == metadata
    assert all(same(ours[name], array) for name, array in given_tensors.items())


@given(tensors)
def test_we_read_what_the_reference_writes(given_tensors):
    ours, metadata = from_safetensors(safetensors.numpy.save(given_tensors, {"a": "b"}))
    assert metadata == {"a": "b"}
    assert sorted(ours) == sorted(given_tensors)
    assert all(same(ours[name], array) for name, array in given_tensors.items())


def test_bfloat16_bits():
    bits = np.array([[0x3F80, 0xC000]], np.uint16)
    data = to_safetensors({"b": bits}, dtypes={"b": DType.BF16})
    ((name, entry),) = safetensors.deserialize(data)
    assert (name, entry["dtype"], entry["shape"]) == ("b", "BF16", [1, 2])
    assert entry["data"] == bits.tobytes()
    assert same(from_safetensors(data)[0]["b"], bits)


def test_metadata_through_the_reference(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(to_safetensors({"x": np.ones(2, np.float32)}, {"round": "9", "job": "é"}))
    with safetensors.safe_open(path, framework="numpy") as file:
        assert file.metadata() == {"round": "9", "job": "é"}


def test_deterministic_and_aligned():
    one = {"b": np.ones(3, np.uint8), "a": np.ones(2, np.float64), "c": np.ones(1, np.float32)}
    data = to_safetensors(one, {"y": "1", "x": "2"})
    assert data == to_safetensors(dict(reversed(one.items())), {"x": "2", "y": "1"})
    size = int.from_bytes(data[:8], "little")
    assert (size + 8) % 64 == 0
    header = json.loads(data[8 : 8 + size])
    for name, array in one.items():
        assert header[name]["data_offsets"][0] % array.itemsize == 0


def test_what_cannot_be_written():
    with pytest.raises(UsageError, match="rename"):
        to_safetensors({"__metadata__": np.ones(1)})
    with pytest.raises(UsageError, match="not i32"):
        to_safetensors({"a": np.ones(1, np.float32)}, dtypes={"a": DType.I32})


def file(header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def entry(dtype="U8", shape=(2,), offsets=(0, 2)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 7,
        (1 << 40).to_bytes(8, "little") + b"{}",
        file(b"not json"),
        file(b"[1]"),
        file(b"[" * 100_000),
        file(b'{"a":' + json.dumps(entry()).encode() + b',"a":' + json.dumps(entry()).encode() + b"}", b"12"),
        file({"a": 1}),
        file({"a": entry() | {"more": 1}}, b"12"),
        file({"a": {"dtype": "U8"}}),
        file({"__metadata__": {"a": 1}}),
        file({"__metadata__": [1]}),
        file({"a": entry("F8_E4M3")}, b"12"),
        file({"a": entry(["U8"])}, b"12"),
        file({"a": entry(shape=(True, 2))}, b"12"),
        file({"a": entry(shape=(-2, -1))}, b"12"),
        file({"a": entry(shape=(2.0,))}, b"12"),
        file({"a": entry(offsets=(0, 2, 2))}, b"12"),
        file({"a": entry(offsets=(2, 0))}, b"12"),
        file({"a": entry(offsets=(1, 3))}, b"123"),
        file({"a": entry(), "b": entry()}, b"12"),
        file({"a": entry(), "b": entry(offsets=(1, 3))}, b"123"),
        file({"a": entry(shape=(3,))}, b"12"),
        file({"a": entry()}, b"1"),
        file({"a": entry()}, b"123"),
        file({"a": entry("BOOL")}, b"\0\2"),
        file({"a": entry(shape=(1,) * 9)}, b"12"),
        file({"x" * 300: entry()}, b"12"),
    ],
)
def test_hostile_files(data):
    with pytest.raises(DecodeError):
        from_safetensors(data)
