"""Tensors as streams of packed blocks: element types, blocks, manifests, updates, interchange.

Pure: bytes and arrays in, bytes and arrays out. What is decoded is checked against its manifest, and a whole stream
against the root that names it; see the rules in each module.
"""

from sojourn.datoms.block import ALIGNMENT, BLOCK_HEADER_BYTES, Block, BlockKind, Codec
from sojourn.datoms.dtypes import DType
from sojourn.datoms.framing import DatomSplitter, join_datoms, split_datoms
from sojourn.datoms.interchange import from_safetensors, to_safetensors
from sojourn.datoms.manifest import Manifest, Meta, Seal, TensorSpec, decode_manifest, stream_root
from sojourn.datoms.packing import TensorStream, Unpacker, pack, pack_list, root_of, unpack, unpack_stream
from sojourn.datoms.updates import (
    WEIGHT,
    UpdatePiece,
    UpdateReader,
    check_spec,
    pack_update,
    quantise,
    update_manifest,
)

__all__ = [
    "ALIGNMENT",
    "BLOCK_HEADER_BYTES",
    "WEIGHT",
    "Block",
    "BlockKind",
    "Codec",
    "DType",
    "DatomSplitter",
    "Manifest",
    "Meta",
    "Seal",
    "TensorSpec",
    "TensorStream",
    "Unpacker",
    "UpdatePiece",
    "UpdateReader",
    "check_spec",
    "decode_manifest",
    "from_safetensors",
    "join_datoms",
    "pack",
    "pack_list",
    "pack_update",
    "quantise",
    "root_of",
    "split_datoms",
    "stream_root",
    "to_safetensors",
    "unpack",
    "unpack_stream",
    "update_manifest",
]
