"""Tensors through streams of blocks: exact, canonical, and refused when anything is changed."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from ml_dtypes import bfloat16
from sojourn.codec import encode
from sojourn.datoms import (
    Block,
    BlockKind,
    DType,
    Manifest,
    Seal,
    TensorSpec,
    Unpacker,
    decode_manifest,
    pack,
    pack_list,
    root_of,
    stream_root,
    unpack,
    unpack_stream,
)
from sojourn.errors import DecodeError, UsageError

NUMPY = [dtype.numpy for dtype in DType if dtype is not DType.BF16]
arrays = hnp.arrays(st.sampled_from(NUMPY), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=7))
tensors = st.dictionaries(st.text("abz#./é", min_size=1, max_size=3), arrays, max_size=4)


def same(one, other):
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


@given(tensors, st.sampled_from([8, 24, 64, 1 << 20]), st.sampled_from(BlockKind))
def test_round_trip_is_exact(given_tensors, block_bytes, kind):
    datoms, root = pack_list(given_tensors, kind, {"round": 3, "name": "x"}, block_bytes)
    found = unpack_stream(datoms, root=root)
    assert sorted(found.tensors) == sorted(given_tensors)
    for name, array in given_tensors.items():
        assert same(found.tensors[name], array)
        assert found.tensors[name].flags.writeable
    assert found.manifest.kind is kind
    assert found.manifest.meta == {"round": 3, "name": "x"}
    assert found.seal == Seal(len(datoms) - 2, root)
    assert all(len(Block.decode(datom).payload) <= block_bytes for datom in datoms[1:-1])
    assert root_of(given_tensors, kind, {"name": "x", "round": 3}, block_bytes) == root


@given(
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9),
    st.sampled_from([DType.F32, DType.U8, DType.I64]),
    st.integers(8, 300),
)
def test_grid_covers_each_element_once_and_in_order(shape, dtype, block_bytes):
    spec = TensorSpec.plan("t", dtype, shape, block_bytes)
    place = 0
    for position in range(spec.blocks):
        assert spec.start(position) == place
        part = spec.block_shape(position)
        assert len(part) == len(shape)
        place += int(np.prod(part, dtype=int))
        assert int(np.prod(part, dtype=int)) * dtype.itemsize <= block_bytes
    assert place == spec.elements == int(np.prod(shape, dtype=int))


def test_a_row_larger_than_a_block_is_cut():
    wide = np.arange(6 * 1000, dtype=np.float32).reshape(3, 2, 1000)
    datoms, root = pack_list({"w": wide}, BlockKind.WEIGHT, block_bytes=1600)
    assert len(datoms) == 2 + 6 * 3
    assert same(unpack(datoms, root=root)["w"], wide)


def test_memory_order_does_not_matter():
    array = np.arange(24, dtype=np.int16).reshape(4, 6)
    root = root_of({"a": array})
    assert root_of({"a": np.asfortranarray(array)}) == root
    assert root_of({"a": np.repeat(array, 2, axis=1)[:, ::2]}) == root
    assert root_of({"a": array.astype(">i2")}) == root


def test_order_of_names_does_not_matter_but_names_do():
    a, b = np.ones(3, np.float32), np.zeros((), np.int8)
    assert root_of({"a": a, "b": b}) == root_of({"b": b, "a": a})
    assert root_of({"a": a, "b": b}) != root_of({"a": a, "c": b})
    names = [spec.name for spec in decode_manifest(next(pack({"#w": a, "z": a, "a": a}, BlockKind.UPDATE))).tensors]
    assert names == ["a", "z", "#w"]


def test_root_depends_on_everything():
    a = np.ones(3, np.float32)
    roots = {
        root_of({"a": a}),
        root_of({"a": a}, meta={"x": 1}),
        root_of({"a": a}, meta={"x": 1.0}),
        root_of({"a": a}, meta={"x": True}),
        root_of({"a": a}, BlockKind.STATE),
        root_of({"a": a}, block_bytes=4),
        root_of({"a": a.reshape(3, 1)}),
        root_of({"a": a.view(np.int32)}),
        root_of({}),
    }
    assert len(roots) == 9


def test_bfloat16_as_bits_and_as_extension_type():
    values = np.array([1.0, -2.5, 3e38], bfloat16)
    bits = values.view(np.uint16)
    datoms, root = pack_list({"b": bits}, BlockKind.WEIGHT, dtypes={"b": DType.BF16})
    assert root_of({"b": values}) == root
    found = unpack_stream(datoms, root=root)
    assert found.manifest.tensors[0].dtype is DType.BF16
    assert same(found.tensors["b"], bits)
    assert root_of({"b": bits}) != root


def test_payloads_are_aligned_in_the_datom():
    datoms, _ = pack_list({"x": np.arange(10, dtype=np.float64)}, BlockKind.KV)
    block = Block.decode(datoms[1])
    assert datoms[1][64:] == bytes(block.payload)


@pytest.fixture(scope="module")
def small():
    return pack_list(
        {"a": np.arange(3, dtype=np.float32), "m": np.array([True, False])}, BlockKind.WEIGHT, {"k": "v"}, block_bytes=8
    )


def test_every_flipped_bit_is_refused(small):
    datoms, root = small
    for index, datom in enumerate(datoms):
        for bit in range(len(datom) * 8):
            bad = bytearray(datom)
            bad[bit // 8] ^= 1 << bit % 8
            for expected in (root, None):  # the seal alone finds it, too
                with pytest.raises(DecodeError):
                    unpack([*datoms[:index], bytes(bad), *datoms[index + 1 :]], root=expected)


def test_every_cut_and_every_extra_byte_is_refused(small):
    datoms, _ = small
    for index, datom in enumerate(datoms):
        for bad in [datom[:size] for size in range(len(datom))] + [datom + b"\0"]:
            with pytest.raises(DecodeError):
                unpack([*datoms[:index], bad, *datoms[index + 1 :]], root=None)


@settings(max_examples=150)
@given(st.lists(st.integers(0, 4), max_size=7))
def test_only_the_one_order_is_taken(small, order):
    datoms, root = small
    assert len(datoms) == 5
    if order == [0, 1, 2, 3, 4]:
        return
    with pytest.raises(DecodeError):
        unpack([datoms[index] for index in order], root=root)


def test_another_stream_is_not_the_one_asked_for(small):
    _, root = small
    datoms, _ = pack_list({"a": np.zeros(3, np.float32)}, BlockKind.WEIGHT)
    with pytest.raises(DecodeError, match="not the one that was asked for") as caught:
        unpack(datoms, root=root)
    assert caught.value.reason == "digest"


def test_a_refused_stream_stays_refused(small):
    datoms, root = small
    reader = Unpacker(root=root)
    reader.feed(datoms[0])
    with pytest.raises(DecodeError):
        reader.feed(datoms[2])
    with pytest.raises(DecodeError, match="was refused"):
        reader.feed(datoms[1])
    with pytest.raises(DecodeError):
        reader.finish()


def test_a_reader_says_what_it_waits_for(small):
    datoms, root = small
    reader = Unpacker(root=root)
    with pytest.raises(UsageError, match="manifest is the first"):
        _ = reader.manifest
    blocks = [reader.feed(datom) for datom in datoms[:-1]]
    assert [block and (block.tensor, block.position) for block in blocks] == [None, (0, 0), (0, 1), (1, 0)]
    with pytest.raises(DecodeError, match="before its seal"):
        reader.finish()
    assert reader.feed(datoms[-1]) is None
    assert reader.finish().root == root
    with pytest.raises(DecodeError) as caught:
        reader.feed(datoms[-1])
    assert caught.value.reason == "trailing"


def test_blocks_of_another_kind_type_or_shape_are_refused():
    manifest = decode_manifest(next(pack({"a": np.zeros(4, np.float32)}, BlockKind.WEIGHT)))
    for tensors, kind in (
        ({"a": np.zeros(4, np.float32)}, BlockKind.STATE),
        ({"a": np.zeros(4, np.int32)}, BlockKind.WEIGHT),
        ({"a": np.zeros((2, 2), np.float32)}, BlockKind.WEIGHT),
    ):
        reader = Unpacker()
        reader.feed(encode(manifest))
        with pytest.raises(DecodeError, match="not what the manifest promises"):
            reader.feed(pack_list(tensors, kind)[0][1])


def raw_manifest(*spec, kind=1, meta=None):
    body = msgspec.msgpack.encode([kind, [list(spec)], meta or {}])
    return encode(Manifest(BlockKind.WEIGHT, (), {}))[:6] + body


@pytest.mark.parametrize(
    "spec",
    [
        ("", 1, [2], 0, 2, 1),
        ("x" * 257, 1, [2], 0, 2, 1),
        ("a", 0, [2], 0, 2, 1),
        ("a", 1, [1] * 9, 0, 1, 1),
        ("a", 1, [-1], 0, 1, 1),
        ("a", 1, [1 << 30, 1 << 30], 0, 1, 1 << 30),
        ("a", 1, [2], 1, 2, 1),
        ("a", 1, [2], 0, 0, 1),
        ("a", 1, [2], 0, 3, 1),
        ("a", 1, [2], 0, 1, 1),
        ("a", 1, [2], 0, 1, 3),
        ("a", 1, [], 0, 1, 0),
        ("a", 1, [0], 0, 1, 1),
        ("a", 1, [1 << 24], 0, 1 << 24, 1),
    ],
)
def test_manifests_whose_numbers_do_not_hold(spec):
    with pytest.raises(DecodeError):
        decode_manifest(raw_manifest(*spec))
    assert decode_manifest(raw_manifest("a", 1, [2], 0, 2, 1)).nbytes == 8


def test_manifest_names_stand_once_and_in_order():
    one, two = TensorSpec.plan("a", DType.U8, (1,), 8), TensorSpec.plan("b", DType.U8, (1,), 8)
    for wrong in ((two, one), (one, one)):
        with pytest.raises(ValueError, match="order of their names"):
            Manifest(BlockKind.WEIGHT, wrong, {})


def test_a_claim_costs_nothing_and_is_limited():
    huge = Manifest(BlockKind.WEIGHT, (TensorSpec.plan("a", DType.F64, (1 << 36,), 1 << 20),), {})
    datoms = [encode(huge), encode(Seal(0, stream_root(encode(huge), [])))]
    with pytest.raises(DecodeError) as caught:
        unpack(datoms, root=None)
    assert caught.value.reason == "oversize"
    with pytest.raises(DecodeError, match="sealed before block 0"):
        unpack(datoms, root=None, limit=1 << 40)


@pytest.mark.parametrize(
    ("wrong", "meta"),
    [
        ({"": np.zeros(1)}, {}),
        ({"x" * 300: np.zeros(1)}, {}),
        ({"\ud800": np.zeros(1)}, {}),
        ({"a": np.zeros((1,) * 9)}, {}),
        ({"a": np.array(["text"])}, {}),
        ({"a": np.zeros(1)}, {"k": [1]}),
        ({"a": np.zeros(1)}, {"k": 1 << 70}),
        ({"a": np.zeros(1)}, {str(index): index for index in range(65)}),
    ],
)
def test_what_cannot_be_packed_is_refused_before_the_first_datom(wrong, meta):
    with pytest.raises(UsageError):
        pack(wrong, BlockKind.WEIGHT, meta)


def test_block_size_has_to_hold_an_element():
    with pytest.raises(UsageError, match="blocks of 4 bytes"):
        pack({"a": np.zeros(1)}, BlockKind.WEIGHT, block_bytes=4)
