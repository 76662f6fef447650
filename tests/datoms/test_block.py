"""Blocks: one form, aligned payload, hostile headers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_dtypes import bfloat16
from sojourn.codec import Kind, header_of
from sojourn.datoms import ALIGNMENT, BLOCK_HEADER_BYTES, Block, BlockKind, Codec, DType
from sojourn.datoms.dtypes import dtype_of
from sojourn.errors import DecodeError, UsageError
from sojourn.limits import MAX_BLOCK_PAYLOAD_BYTES


def block(shape=(2, 3), dtype=DType.F32, payload=None, **other):
    payload = (bytes(range(256)) * 8)[: int(np.prod(shape)) * dtype.itemsize] if payload is None else payload
    return Block(
        **{
            "kind": BlockKind.WEIGHT,
            "tensor": 1,
            "position": 2,
            "shape": shape,
            "dtype": dtype,
            "codec": Codec.RAW,
            "payload": memoryview(payload),
        }
        | other
    )


shapes = st.lists(st.integers(0, 3), max_size=4).map(tuple)


@given(shapes, st.sampled_from(DType), st.sampled_from(BlockKind), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_round_trip(shape, dtype, kind, tensor, position):
    payload = bytes(int(np.prod(shape))) if dtype is DType.BOOL else None
    one = block(shape, dtype, payload, kind=kind, tensor=tensor, position=position)
    data = one.encode()
    other = Block.decode(data)
    assert other == one
    assert other.encode() == data
    assert other.digest == one.digest
    assert other.array().shape == shape
    assert other.array().dtype == dtype.numpy


def test_layout_is_fixed():
    data = block().encode()
    assert BLOCK_HEADER_BYTES % ALIGNMENT == 0
    assert header_of(data) == (Kind.BLOCK, 1)
    assert data[:32].hex() == "534a020200010040010100020000000100000002000000180000000000000000"
    assert data[32:64].hex() == "0000000200000003" + "00000000" * 6
    assert data[64:] == bytes(range(24))


def test_array_is_a_view_of_the_datom():
    buffer = bytearray(block().encode())
    array = Block.decode(buffer).array()
    buffer[64:68] = np.float32(7.5).tobytes()
    assert array[0, 0] == 7.5


def flips():
    """Every single-bit flip in a header that changes what the header says, with the reason it is refused for."""
    good = block().encode()
    for bit in range(BLOCK_HEADER_BYTES * 8):
        bad = bytearray(good)
        bad[bit // 8] ^= 0x80 >> bit % 8
        yield bit, bytes(bad)


def test_flipped_header_bits_are_refused_or_another_block():
    good, refused = block(), 0
    for _, bad in flips():
        try:
            other = Block.decode(bad)
        except DecodeError:
            refused += 1
        else:
            assert other != good
            assert other.digest != good.digest
            assert other.encode() == bad
    assert refused > 400  # what is left are other tensors, positions, kinds, types of equal size


def patched(offset, value):
    data = bytearray(block().encode())
    data[offset : offset + len(value)] = value
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "magic"),
        (b"SJ\x02", "magic"),
        (patched(0, b"X"), "magic"),
        (patched(2, b"\x02\x01"), "kind"),
        (patched(4, b"\x00\x02"), "version"),
        (block().encode()[:63], "schema"),
        (patched(6, b"\x00\x80"), "schema"),
        (block().encode()[:-1], "schema"),
        (block().encode() + b"\0", "trailing"),
        (patched(20, b"\xff\xff\xff\xff"), "oversize"),
        (patched(24, b"\1"), "canonical"),
        (patched(60, b"\1"), "canonical"),
        (patched(11, b"\x09"), "canonical"),
        (patched(8, b"\x00"), "value"),
        (patched(9, b"\xff"), "value"),
        (patched(10, b"\x01"), "value"),
        (patched(32, b"\0\0\0\3"), "value"),
    ],
)
def test_hostile_headers(data, reason):
    with pytest.raises(DecodeError) as caught:
        Block.decode(data)
    assert caught.value.reason == reason


def test_limit_is_checked_before_anything_is_taken():
    with pytest.raises(DecodeError) as caught:
        Block.decode(block().encode(), limit=23)
    assert caught.value.reason == "oversize"


def test_bool_is_zero_or_one():
    good = block((2,), DType.BOOL, b"\0\1").encode()
    assert Block.decode(good).array().tolist() == [False, True]
    with pytest.raises(DecodeError, match="0 or 1"):
        Block.decode(good[:-1] + b"\2")
    with pytest.raises(UsageError):
        block((1,), DType.BOOL, b"\2")


@pytest.mark.parametrize(
    "wrong",
    [
        {"shape": (1,) * 9},
        {"shape": (-1, -24)},
        {"shape": (2, 4)},
        {"tensor": 2**32},
        {"position": -1},
    ],
)
def test_a_block_cannot_be_made_wrong(wrong):
    with pytest.raises(UsageError):
        block(payload=bytes(24), **({"shape": (2, 3)} | wrong))


def test_payload_is_bounded():
    size = MAX_BLOCK_PAYLOAD_BYTES + 1
    with pytest.raises(UsageError, match="the limit is"):
        block((size,), DType.U8, bytes(size))


def test_repr_shows_no_content():
    assert repr(block((4,), DType.U8, b"key!")) == "Block(WEIGHT, tensor=1, position=2, shape=(4,), u8, 4 bytes)"


def test_dtypes_by_name_and_by_array():
    for dtype in DType:
        assert DType.from_name(dtype.name_of) is dtype
        if dtype is not DType.BF16:
            assert DType.of(dtype.numpy) is dtype
            assert DType.of(dtype.numpy.newbyteorder(">")) is dtype
    assert DType.of(np.dtype(bfloat16)) is DType.BF16
    assert dtype_of("x", np.zeros(1, np.uint16), {"x": DType.BF16}) is DType.BF16
    assert dtype_of("x", np.zeros(1, np.uint16), None) is DType.U16


@pytest.mark.parametrize("name", ["float32", "F32", "", "f8"])
def test_unknown_type_name_lists_those_that_exist(name):
    with pytest.raises(UsageError, match=r"write one of f32, f16, bf16"):
        DType.from_name(name)


@pytest.mark.parametrize("dtype", ["O", "U3", "c8", "M8[s]", "V4"])
def test_arrays_without_counterpart(dtype):
    with pytest.raises(UsageError, match="convert with"):
        DType.of(np.dtype(dtype))


def test_a_stated_type_has_to_be_the_arrays_own():
    with pytest.raises(UsageError, match="'x' is f32, not i32"):
        dtype_of("x", np.zeros(1, np.float32), {"x": DType.I32})
